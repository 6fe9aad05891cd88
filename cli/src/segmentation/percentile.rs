//! Percentiles of a few numbers, such as those of the images of a folder.

/// The percentile of some numbers, between two of them by linear interpolation, as NumPy's; 1 of none.
pub fn percentile(numbers: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let at = share / 100.0 * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(&low), Some(&high)) => low + (high - low) * at.fract(),
        _ => 1.0,
    }
}

/// The number in the middle.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    percentile(numbers, 50.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_numpy() {
        let of = |numbers: &[f64], share| percentile(numbers.iter().copied(), share);
        assert_eq!(of(&[4.0, 1.0, 2.0], 50.0), 2.0);
        assert_eq!(of(&[4.0, 1.0], 50.0), 2.5);
        assert_eq!(of(&[5.0, 2.0, 4.0], 10.0), 2.4);
        assert_eq!(of(&[3.0], 99.0), 3.0);
        assert_eq!(median([9.0, 7.0].into_iter()), 8.0);
    }
}
