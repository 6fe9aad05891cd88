//! Numbers of bytes in messages and on the command line.

/// "1.50 GiB"
pub fn shown(bytes: u64) -> String {
    let of = |unit: u32| bytes as f64 / f64::from(unit);
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{:.1} KiB", of(1 << 10)),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", of(1 << 20)),
        _ => format!("{:.2} GiB", of(1 << 30)),
    }
}

/// GiB on the command line, as bytes.
///
/// # Errors
/// When it is no number, below 0, or beyond a million.
pub fn of_gib(text: &str) -> Result<u64, String> {
    match text.trim().parse::<f64>() {
        Ok(gib) if (0.0..=1e6).contains(&gib) => Ok((gib * f64::from(1 << 30)) as u64),
        _ => Err("it must be a number of GiB from 0 on, such as 8 or 0.5".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gib_are_read_as_bytes() {
        assert_eq!(of_gib("0"), Ok(0));
        assert_eq!(of_gib("0.5"), Ok(1 << 29));
        for wrong in ["-1", "x", "inf", "NaN", "1e9"] {
            assert!(of_gib(wrong).is_err(), "{wrong}");
        }
    }
}
