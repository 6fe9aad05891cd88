//! [`Pab`]: position-wise attention.

use alloc::vec::Vec;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::graph::{Elementwise, Map, Op, Planner, Record, queries_at_once};
use crate::layers::conv::{Conv, ConvConfig};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "Pab";

/// Configuration of [`Pab`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, fuse::PabConfig};
///
/// let config = PabConfig::new(512);
/// assert_eq!(config.output_shape([1, 512, 8, 7]).unwrap(), [1, 512, 8, 7]);
/// let plan = config.plan([1, 512, 8, 7]);
/// assert_eq!(plan.root.total_parameters(), 2 * (512 * 64 + 64) + 2 * (512 * 512 * 9 + 512));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PabConfig {
    /// The channels of the map.
    pub channels: usize,
    /// The channels of the queries and the keys. Default: 64.
    #[serde(default = "attention_channels")]
    pub attention_channels: usize,
}

pub(crate) const fn attention_channels() -> usize {
    64
}

setters!(
    PabConfig:
    with_attention_channels(attention_channels: usize),
);

impl Config for PabConfig {}

/// The convolutions of a [`Pab`].
struct Parts {
    query: ConvConfig,
    key: ConvConfig,
    value: ConvConfig,
    output: ConvConfig,
}

impl PabConfig {
    /// For maps with `channels` channels.
    pub const fn new(channels: usize) -> Self {
        Self {
            channels,
            attention_channels: attention_channels(),
        }
    }

    fn parts(&self) -> Parts {
        let pointwise = || ConvConfig::new([self.channels, self.attention_channels], 1);
        let conv = || ConvConfig::new([self.channels; 2], 3);
        Parts {
            query: pointwise(),
            key: pointwise(),
            value: conv(),
            output: conv(),
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Pab<R> {
        expect(self.validate::<R>());
        let parts = self.parts();
        Pab {
            query: parts.query.init(device),
            key: parts.key.init(device),
            value: parts.value.init(device),
            output: parts.output.init(device),
            config: self.clone(),
        }
    }
}

impl<const R: usize> Trace<R> for PabConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            check_positive(NAME, "channels", self.channels)?;
            check_positive(NAME, "attention_channels", self.attention_channels)?;
            let parts = self.parts();
            let query = parts.query.trace(planner.at("query"), x)?;
            let key = parts.key.trace(planner.at("key"), x)?;
            let value = parts.value.trace(planner.at("value"), x)?;
            let maps = [&query, &key, &value];
            let attended = planner.at("").leaf("PositionAttention", &maps, || {
                Ok(Record::new(Op::PositionAttention, x.shape).on_grid_of(x))
            })?;
            let (names, maps) = (["map", "attention"], [x, &attended]);
            let sum = planner.at("");
            let sum = sum.elementwise(Elementwise::Sum, &names, &maps, Ok(x.shape))?;
            parts.output.trace(planner.at("output"), &sum)
        })
    }
}

/// The position-wise attention block of MA-Net (doi:10.1109/ACCESS.2020.3025372), as
/// segmentation_models.pytorch's `PABBlock`: every position sees all others.
///
/// `y = conv(x + a)`, with `a` the product of the weights of all pairs of positions, `softmax(query(x)^T key(x))`, and
/// `value(x)`. `query` and `key` are 1x1 convolutions, `value` and `conv` 3x3 ones. The softmax is over all pairs of a
/// sample, not over those of a position.
///
/// The product has an axis of positions and then one of channels. As in segmentation_models.pytorch and the authors' code
/// its numbers are read in that order as a map of channels and then positions, without being transposed: weights that were
/// trained so need it.
///
/// # Memory
/// The weights of `n` positions are `n^2` numbers a sample. At most 2^22 of them, or those of one position, are held at
/// once; a step of training keeps all of them. Use it for the coarsest map.
///
/// # Shapes
/// - input: `[batch, channels, spatial...]`
/// - output: as the input
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, fuse::{Pab, PabConfig}};
///
/// let device = Device::flex();
/// let pab: Pab = PabConfig::new(8).with_attention_channels(4).init(&device);
/// assert_eq!(pab.forward(Tensor::zeros([1, 8, 5, 7], &device)).dims(), [1, 8, 5, 7]);
/// ```
#[derive(Module, Debug)]
pub struct Pab<const R: usize = 4> {
    /// What a position looks for.
    pub query: Conv<R>,
    /// What a position is found by.
    pub key: Conv<R>,
    /// What a position gives.
    pub value: Conv<R>,
    /// The convolution of the sum.
    pub output: Conv<R>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: PabConfig,
}

impl<const R: usize> Trace<R> for Pab<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Pab<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let shape = x.dims();
        expect(self.output_shape(shape));
        let positions = shape[2..].iter().product::<usize>();
        let rows = |map: Tensor<R>| -> Tensor<3> {
            let [batch, channels] = [map.dims()[0], map.dims()[1]];
            map.reshape([batch, channels, positions])
        };
        let query = rows(self.query.forward(x.clone()));
        let key = rows(self.key.forward(x.clone()));
        let value = rows(self.value.forward(x.clone()));
        let attended = attend(query, key, value, queries_at_once(shape[0], positions));
        self.output.forward(x + attended.reshape(shape))
    }
}

/// `softmax(query^T key) value^T`, with the softmax over all pairs of a sample, `at_once` queries at a time.
///
/// - `query`, `key`: `[batch, channels, positions]`; `value`: `[batch, value channels, positions]`
/// - output: `[batch, positions, value channels]`
fn attend(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, at_once: usize) -> Tensor<3> {
    let positions = query.dims()[2];
    let value = value.swap_dims(1, 2);
    // Each piece has its own maximum, by which the exponents are kept small; the pieces are brought to that of all after.
    let mut maxima = Vec::new();
    let mut pieces = Vec::new();
    for start in (0..positions).step_by(at_once) {
        let count = at_once.min(positions - start);
        let rows = query.clone().narrow(2, start, count).swap_dims(1, 2);
        let scores = rows.matmul(key.clone());
        // (A constant: the softmax does not change with it, and so it has no gradient.)
        let maximum = scores.clone().detach().max_dim(1).max_dim(2);
        let weights = (scores - maximum.clone()).exp();
        let total = weights.clone().sum_dim(1).sum_dim(2);
        pieces.push((weights.matmul(value.clone()), total));
        maxima.push(maximum);
    }
    let maximum = match maxima.len() {
        1 => maxima[0].clone(),
        _ => Tensor::cat(maxima.clone(), 1).max_dim(1),
    };
    let mut sum: Option<Tensor<3>> = None;
    let mut outputs = Vec::new();
    for ((output, total), own) in pieces.into_iter().zip(maxima) {
        let scale = (own - maximum.clone()).exp();
        let total = total * scale.clone();
        sum = Some(match sum {
            Some(sum) => sum + total,
            None => total,
        });
        outputs.push(output * scale);
    }
    let Some(sum) = sum else {
        unreachable!("a map has a position at least")
    };
    Tensor::cat(outputs, 1) / sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn the_softmax_is_over_all_pairs() {
        let device = Device::flex();
        let query = Tensor::<3>::from_floats([[[0.0, 1.0]]], &device);
        let key = Tensor::<3>::from_floats([[[0.0, 2.0]]], &device);
        let value = Tensor::<3>::from_floats([[[1.0, 0.0], [0.0, 1.0]]], &device);
        // The scores are [[0, 0], [0, 2]]: of 3 + e^2, with e^2 = 7.389.
        let y = attend(query, key, value, 2);
        let y: Vec<f32> = y.to_data().try_to_vec().unwrap();
        let expected = [0.096_255_11, 0.096_255_11, 0.096_255_11, 0.711_234_7];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
        }
    }

    #[test]
    fn pieces_are_the_whole() {
        let device = Device::flex();
        let random =
            |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Normal(0.0, 3.0), &device);
        let [query, key, value] = [[2, 4, 11], [2, 4, 11], [2, 3, 11]].map(random);
        let attend =
            |at_once| attend(query.clone(), key.clone(), value.clone(), at_once).into_data();
        let whole = attend(11);
        for at_once in [1, 3, 10] {
            attend(at_once).assert_approx_eq::<f32>(&whole, Tolerance::rel_abs(1e-4, 1e-5));
        }
    }

    #[test]
    fn every_rank() {
        let device = Device::flex();
        let config = PabConfig::new(3).with_attention_channels(2);
        let signal: Pab<3> = config.init(&device);
        let x = Tensor::zeros([2, 3, 9], &device);
        assert_eq!(signal.forward(x).dims(), [2, 3, 9]);
        let volume: Pab<5> = config.init(&device);
        let x = Tensor::zeros([1, 3, 2, 3, 4], &device);
        assert_eq!(volume.forward(x).dims(), [1, 3, 2, 3, 4]);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: PabConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            [
                text(PabConfig::new(0)),
                text(PabConfig::new(4).with_attention_channels(0)),
            ],
            [
                "Pab: channels is 0. Set channels to 1 or more.",
                "Pab: attention_channels is 0. Set attention_channels to 1 or more.",
            ]
        );
    }
}
