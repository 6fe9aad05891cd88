//! [`Blend`]: the weights of the positions of a tile.

use alloc::{vec, vec::Vec};

use serde::{Deserialize, Serialize};

/// How the outputs of overlapping tiles are weighted.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::tiles::{Blend, TilesConfig};
///
/// // Two tiles of four positions, which overlap by two: the network gives 0 for the first, 1 for the second.
/// let blended = |blend| {
///     let (image, mut values) = (Tensor::<3>::zeros([1, 1, 6], &Device::flex()), 0..);
///     let tiles = TilesConfig::new(4).with_overlap(0.5).with_blend(blend);
///     let y = tiles.predict(image, |tile| tile.add_scalar(values.next().unwrap()));
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(blended(Blend::Constant), [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]);
/// assert!(blended(Blend::gaussian())[2] < 0.02); // the nearer centre has nearly all the weight
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Blend {
    /// All positions have the weight 1.
    Constant,
    /// `exp(-d^2 / (2 (sigma n)^2))` on each axis, for a tile of `n` positions and the distance `d` to its
    /// centre; 1e-3 at least. At the edge of a tile, where the network sees less, the weight is small.
    Gaussian {
        /// The standard deviation, as a fraction of the tile.
        sigma: f64,
    },
}

impl Blend {
    /// [`Gaussian`](Self::Gaussian) with MONAI's standard deviation, an eighth of the tile.
    pub const fn gaussian() -> Self {
        Self::Gaussian { sigma: 0.125 }
    }

    /// The weights of the positions of a tile.
    pub(super) fn weights(self, tile: &[usize]) -> Vec<f32> {
        let on_axis = |&n: &usize| -> Vec<f64> {
            let at = |i: usize| match self {
                Self::Constant => 1.0,
                Self::Gaussian { sigma } => {
                    let off = (i as f64 - (n as f64 - 1.0) / 2.0) / (sigma * n as f64);
                    (-off * off / 2.0).exp()
                }
            };
            (0..n).map(at).collect()
        };
        let product = tile.iter().map(on_axis).fold(vec![1.0], |outer, axis| {
            let rows = outer
                .iter()
                .map(|weight| axis.iter().map(move |more| weight * more));
            rows.flatten().collect()
        });
        product
            .into_iter()
            .map(|weight| weight.max(1e-3) as f32)
            .collect()
    }
}
