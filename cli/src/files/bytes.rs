//! Numbers of bytes in messages.

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
