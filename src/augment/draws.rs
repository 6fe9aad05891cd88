//! [`Draws`]: random numbers of the distributions that the transforms need.
//!
//! They are defined here, and not taken from a crate of distributions, so that a seed gives the same numbers on every
//! machine and with every version of such a crate.

use rand_core::Rng;

/// Numbers from a generator.
pub(super) struct Draws<'a> {
    random: &'a mut dyn Rng,
    /// The Box-Muller transform makes two numbers at a time.
    second: Option<f64>,
}

impl<'a> Draws<'a> {
    pub(super) fn new(random: &'a mut dyn Rng) -> Self {
        Self {
            random,
            second: None,
        }
    }

    /// True with a probability. (Of 1/2 it is the highest bit, as in the crate `rand`.)
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        const VALUES: f64 = 4_294_967_296.0;
        f64::from(self.random.next_u32()) >= (1.0 - probability) * VALUES
    }

    /// A number in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.random.next_u64() >> 11) as f64 * STEP
    }

    /// A number between two.
    pub(super) fn uniform(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A factor between two, of which the logarithm is uniform: twice as large is as probable as half as large.
    pub(super) fn factor(&mut self, [low, high]: [f64; 2]) -> f64 {
        let share = self.unit();
        low * libm::pow(high / low, share)
    }

    /// One of so many numbers from 0 on.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// A number of the normal distribution with mean 0 and deviation 1 (Box and Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(second) = self.second.take() {
            return second;
        }
        // (Not 0, of which there is no logarithm.)
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        let angle = core::f64::consts::TAU * self.unit();
        self.second = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn a_half_is_the_coin_of_rand() {
        let (mut ours, mut theirs) = (StdRng::seed_from_u64(3), StdRng::seed_from_u64(3));
        let mut draws = Draws::new(&mut ours);
        for _ in 0..100 {
            assert_eq!(draws.happens(0.5), theirs.random::<bool>());
        }
        assert!((0..100).all(|_| draws.happens(1.0) && !draws.happens(0.0)));
    }

    #[test]
    fn distributions() {
        let mut random = StdRng::seed_from_u64(1);
        let mut draws = Draws::new(&mut random);
        let mut mean = |f: &mut dyn FnMut(&mut Draws<'_>) -> f64| {
            (0..20_000).map(|_| f(&mut draws)).sum::<f64>() / 20_000.0
        };
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.03, "{found}");
        near(mean(&mut |d| d.uniform([2.0, 3.0])), 2.5);
        near(mean(&mut |d| d.factor([0.5, 2.0]).log2()), 0.0);
        near(mean(&mut |d| f64::from(u8::from(d.happens(0.2)))), 0.2);
        near(mean(&mut |d| d.normal()), 0.0);
        near(mean(&mut |d| d.normal().powi(2)), 1.0);
        near(mean(&mut |d| d.below(3) as f64), 1.0);
        assert_eq!(draws.factor([0.7, 0.7]), 0.7);
        assert_eq!(draws.uniform([0.7, 0.7]), 0.7);
        let numbers: Vec<usize> = (0..100).map(|_| draws.below(3)).collect();
        assert!((0..3).all(|n| numbers.contains(&n)));
    }
}
