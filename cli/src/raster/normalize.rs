//! How the numbers of an image are brought to the range that a network is trained on.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What an image's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Intensities {
    /// A few spots are much brighter than the rest, as in fluorescence microscopy: the logarithm is taken
    Log,
    /// A photograph
    Linear,
}

impl Intensities {
    /// Normalises one channel: 0 is dark and 1 is bright.
    pub fn normalize(self, plane: &mut [f32]) {
        if self == Self::Log {
            for value in plane.iter_mut() {
                *value = value.ln_1p();
            }
        }
        stretch(plane, 0.01, 0.998);
    }
}

/// Moves the two quantiles to 0 and 1. Where they are equal, as in an image with a few bright pixels on black,
/// it is the smallest and the largest value that move there. A plane of one value becomes 0.
fn stretch(plane: &mut [f32], low: f64, high: f64) {
    let mut sorted = plane.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let (Some(&smallest), Some(&largest)) = (sorted.first(), sorted.last()) else {
        return;
    };
    let quantile = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
    let (low, high) = match (quantile(low), quantile(high)) {
        (low, high) if low < high => (low, high),
        _ => (smallest, largest),
    };
    let range = if low < high { high - low } else { 1.0 };
    for value in plane {
        *value = (*value - low) / range;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_move_to_0_and_1() {
        let mut plane: Vec<f32> = (0..=1000).map(|n| n as f32).collect();
        Intensities::Linear.normalize(&mut plane);
        assert_eq!([plane[10], plane[998]], [0.0, 1.0]);
    }

    #[test]
    fn a_few_bright_pixels_on_black_are_bright_and_no_more() {
        for (few, many) in [(200.0, 0.0), (0.0, 200.0)] {
            let mut plane = vec![many; 10_000];
            plane[..10].fill(few);
            Intensities::Linear.normalize(&mut plane);
            let [few, many] = [few, many].map(|value| value / 200.0);
            assert_eq!([plane[0], plane[9_999]], [few, many]);
        }
        let mut plane = vec![7.0; 100];
        Intensities::Log.normalize(&mut plane);
        assert_eq!(plane, [0.0; 100]);
    }
}
