//! [`WeightedSum`]: the sum of maps, each times a weight that is learned.
//!
//! `y = sum_i n(w)_i x_i`, EfficientDet (arXiv:1911.09070, section 3.3); effdet's `FpnCombine`.

use alloc::{format, string::String, vec::Vec};

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::merge::Merge;
pub use crate::graph::Weighting;
use crate::graph::{Map, Op, Planner, Record};
use crate::plan::Plan;
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect};

const NAME: &str = "WeightedSum";

/// Configuration of [`WeightedSum`].
///
/// # Example
/// ```
/// use burn_skip::fuse::WeightedSumConfig;
///
/// let config = WeightedSumConfig::new(2).with_channels(8);
/// assert_eq!(config.output_shape(&[[1, 8, 5, 5]; 2]).unwrap(), [1, 8, 5, 5]);
/// assert_eq!(config.plan(&[[1, 8, 5, 5]; 2]).root.total_parameters(), 2 * 8);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WeightedSumConfig {
    /// The number of maps.
    pub maps: usize,
    /// The channels of the maps, if each has a weight of its own; none: one weight a map. Default: none.
    #[serde(default)]
    pub channels: Option<usize>,
    /// How the weights are normalised. Default: [`Weighting::fast`].
    #[serde(default = "Weighting::fast")]
    pub weighting: Weighting,
}

setters!(
    WeightedSumConfig:
    with_channels(channels: impl Into<Option<usize>>),
    with_weighting(weighting: Weighting),
);

impl Config for WeightedSumConfig {}

impl WeightedSumConfig {
    /// The sum of `maps` maps, with one weight a map.
    pub fn new(maps: usize) -> Self {
        Self {
            maps,
            channels: None,
            weighting: Weighting::fast(),
        }
    }

    /// How many weights each map has.
    fn weights_of_map(&self) -> usize {
        self.channels.unwrap_or(1)
    }

    /// Checks the options.
    ///
    /// # Errors
    /// When a number is zero, or epsilon is not positive.
    pub fn validate(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "maps", self.maps)?;
        check_positive(NAME, "channels", self.weights_of_map())?;
        match self.weighting {
            Weighting::Fast { epsilon } if !(epsilon > 0.0 && epsilon.is_finite()) => {
                Err(ShapeError::new(
                    NAME,
                    format!("epsilon is {epsilon}"),
                    "Choose a positive number, such as 1e-4",
                ))
            }
            _ => Ok(()),
        }
    }

    /// The shape of the output for maps of the given shapes: theirs.
    ///
    /// # Errors
    /// When there are more or fewer maps than weights, the maps differ, they have other channels than the weights,
    /// or an option is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<[usize; R], ShapeError> {
        self.validate()?;
        if inputs.len() != self.maps {
            return Err(ShapeError::new(
                NAME,
                format!("{} maps came, for weights of {}", inputs.len(), self.maps),
                format!(
                    "Give {} maps, or build the layer for {}",
                    self.maps,
                    inputs.len()
                ),
            ));
        }
        let output = Merge::Add.output_shape(inputs);
        let output = output.map_err(|e| e.with_layer(NAME))?;
        if let Some(channels) = self.channels {
            check_channels(NAME, output, channels)?;
        }
        Ok(output)
    }

    /// Records the layer.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[&Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
        let names: Vec<String> = (0..maps.len()).map(|n| format!("map {n}")).collect();
        let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        planner.merge_recorded(NAME, &names, maps, || {
            let record = Record::new(Op::WeightedSum(self.weighting), self.output_shape(&shapes)?);
            let weights = self.maps.saturating_mul(self.weights_of_map());
            Ok(record.with_parameter("weights", weights))
        })
    }

    /// The [plan](crate::plan) for maps of the given shapes.
    pub fn plan<const R: usize>(&self, inputs: &[[usize; R]]) -> Plan {
        Plan::of_maps(inputs, |planner, maps| {
            let maps: Vec<_> = maps.iter().collect();
            self.trace(planner, &maps).map(|map| vec![map])
        })
    }

    /// Builds the layer; all weights are one.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init(&self, device: &Device) -> WeightedSum {
        expect(self.validate());
        WeightedSum {
            weights: Initializer::Ones.init([self.maps * self.weights_of_map()], device),
            config: self.clone(),
        }
    }
}

/// The sum of maps of one shape, each times a learned weight: `y = sum_i n(w)_i x_i`, with the
/// [`Weighting`] `n`; EfficientDet (arXiv:1911.09070, section 3.3), effdet's `FpnCombine`.
///
/// It is [`Merge::Add`] with something to learn. A [`Merge`] is an option of a layer, without parameters; this is a
/// layer of its own, which takes maps that already fit. [`BiFpn`](crate::neck::BiFpn) merges by it.
///
/// # Shapes
/// - inputs: `[batch, channels, spatial...]`, all the same
/// - output: the same
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::fuse::{WeightedSum, WeightedSumConfig};
///
/// let device = Device::flex();
/// let sum: WeightedSum = WeightedSumConfig::new(3).init(&device);
/// let maps = [1.0, 2.0, 6.0].map(|value| Tensor::<4>::full([1, 8, 5, 5], value, &device));
/// let y = sum.forward(maps.to_vec());
/// assert_eq!(y.dims(), [1, 8, 5, 5]);
/// assert!((y.mean().into_scalar::<f32>() - 9.0 / 3.0001).abs() < 1e-6);
/// ```
#[derive(Module, Debug)]
pub struct WeightedSum {
    /// The learned numbers: one for each map or, where each channel has its own, those of all channels of the first
    /// map, then of the second, and so on.
    pub weights: Param<Tensor<1>>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: WeightedSumConfig,
}

impl WeightedSum {
    /// The factors of the maps, as [`Weighting`] makes them of the weights: `[maps, channels]`, with one channel
    /// where a map has one weight.
    pub fn factors(&self) -> Tensor<2> {
        let shape = [self.config.maps, self.config.weights_of_map()];
        let weights = self.weights.val().reshape(shape);
        match self.config.weighting {
            Weighting::Unbounded => weights,
            Weighting::Softmax => softmax(weights, 0),
            Weighting::Fast { epsilon } => {
                let positive = relu(weights);
                positive.clone() / (positive.sum_dim(0) + epsilon)
            }
        }
    }

    /// The shape of the output for maps of the given shapes: theirs.
    ///
    /// # Errors
    /// As [`WeightedSumConfig::output_shape`].
    pub fn output_shape<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<[usize; R], ShapeError> {
        self.config.output_shape(inputs)
    }

    /// Records the layer.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[&Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, maps)
    }

    /// The [plan](crate::plan) for maps of the given shapes.
    pub fn plan<const R: usize>(&self, inputs: &[[usize; R]]) -> Plan {
        self.config.plan(inputs)
    }

    /// Adds the maps.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward<const R: usize>(&self, maps: Vec<Tensor<R>>) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes));
        let factors = self.factors();
        let mut per_channel = [1; R];
        per_channel[1] = self.config.weights_of_map();
        let weighted = maps.into_iter().enumerate().map(|(index, map)| {
            let factor = factors.clone().narrow(0, index, 1);
            map * factor.reshape(per_channel)
        });
        Merge::Add.forward(weighted.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn sum(config: WeightedSumConfig, weights: &[f32]) -> Vec<f32> {
        let device = Device::flex();
        let mut layer = config.init(&device);
        layer.weights = Param::from_tensor(Tensor::from_floats(weights, &device));
        let maps = [[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]]
            .map(|values| Tensor::<3>::from_floats([values], &device));
        let y = layer.forward(maps.to_vec());
        y.to_data().try_to_vec().unwrap()
    }

    fn assert_near(actual: &[f32], expected: [f32; 4]) {
        let near = actual
            .iter()
            .zip(expected)
            .all(|(a, e)| (a - e).abs() < 1e-5 * e.abs());
        assert!(near, "{actual:?} is not {expected:?}");
    }

    #[test]
    fn one_weight_a_map() {
        let config = |weighting| WeightedSumConfig::new(2).with_weighting(weighting);
        let unbounded = sum(config(Weighting::Unbounded), &[2.0, -1.0]);
        assert_eq!(unbounded, [-8.0, -16.0, -24.0, -32.0]);
        // 1 / (1 + 3) and 3 / (1 + 3)
        let softmax = sum(config(Weighting::Softmax), &[0.0, 1.098_612_3]);
        assert_near(&softmax, [7.75, 15.5, 23.25, 31.0]);
        // 1 / (1 + 2 + 1) and 2 / (1 + 2 + 1)
        let fast = sum(config(Weighting::Fast { epsilon: 1.0 }), &[1.0, 2.0]);
        assert_near(&fast, [5.25, 10.5, 15.75, 21.0]);
        // What is negative counts nothing.
        let fast = sum(config(Weighting::Fast { epsilon: 1.0 }), &[1.0, -2.0]);
        assert_near(&fast, [0.5, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn a_weight_for_each_channel() {
        let config = WeightedSumConfig::new(2)
            .with_channels(2)
            .with_weighting(Weighting::Unbounded);
        let y = sum(config, &[1.0, 0.0, 0.5, 2.0]);
        assert_eq!(y, [6.0, 12.0, 60.0, 80.0]);
    }

    #[test]
    fn what_cannot_be_summed_is_refused() {
        let text = |config: WeightedSumConfig, shapes: &[[usize; 4]]| {
            config.output_shape(shapes).unwrap_err().to_string()
        };
        let two = WeightedSumConfig::new(2);
        assert_eq!(
            text(two.clone(), &[[1, 2, 4, 4]; 3]),
            "WeightedSum: 3 maps came, for weights of 2. Give 2 maps, or build the layer for 3."
        );
        assert_eq!(
            text(two.clone(), &[[1, 2, 4, 4], [1, 2, 8, 4]]),
            "WeightedSum: height differs: deep 4, skip 8. Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop) or upsample \
             deep by 2."
        );
        assert_eq!(
            text(two.clone().with_channels(3), &[[1, 2, 4, 4]; 2]),
            "WeightedSum: channels differ: expected 3, got 2. Build the layer for 2 input channels, or project the map \
             to 3 with a 1x1 convolution."
        );
        let text = |config: WeightedSumConfig| config.validate().unwrap_err().to_string();
        assert_eq!(
            text(WeightedSumConfig::new(0)),
            "WeightedSum: maps is 0. Set maps to 1 or more."
        );
        assert_eq!(
            text(two.with_weighting(Weighting::Fast { epsilon: 0.0 })),
            "WeightedSum: epsilon is 0. Choose a positive number, such as 1e-4."
        );
    }
}
