//! [`Weighting`]: how the learned weights of a sum of maps are normalised.

use serde::{Deserialize, Serialize};

/// What becomes of the learned numbers `w` before the maps are multiplied with them.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::fuse::{WeightedSumConfig, Weighting};
///
/// // The numbers start at one, here those of three maps.
/// let factors = |weighting| {
///     let sum = WeightedSumConfig::new(3).with_weighting(weighting).init(&Device::flex());
///     sum.factors().to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(factors(Weighting::Unbounded), [1.0; 3]);
/// assert_eq!(factors(Weighting::Softmax), [1.0 / 3.0; 3]);
/// assert_eq!(factors(Weighting::fast()), [1.0 / 3.0001; 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Weighting {
    /// `w_i`, as it is.
    Unbounded,
    /// `exp(w_i) / sum_j exp(w_j)`: the factors are positive and sum to one.
    Softmax,
    /// `relu(w_i) / (epsilon + sum_j relu(w_j))`: nearly the same, without an exponential. A number that has
    /// become negative has no gradient any more.
    Fast {
        /// Added to the sum. Default: 1e-4, as effdet.
        #[serde(default = "crate::defaults::fusion_epsilon")]
        epsilon: f64,
    },
}

impl Weighting {
    /// [`Fast`](Self::Fast) with 1e-4.
    pub const fn fast() -> Self {
        Self::Fast {
            epsilon: crate::defaults::fusion_epsilon(),
        }
    }
}
