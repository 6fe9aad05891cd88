//! [`Asff`]: maps of several sizes become one, with weights that differ from position to position.

use alloc::{format, string::String, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::align::Alignment;
use crate::fuse::fit::{Fit, Target};
use crate::fuse::merge::Merge;
use crate::graph::{Elementwise, Map, Op, Planner, Record};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::{Conv, ConvConfig, LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect};

const NAME: &str = "Asff";

/// Configuration of [`Asff`].
///
/// # Example
/// ```
/// use burn_skip::fuse::AsffConfig;
///
/// let config = AsffConfig::new(3, 64);
/// let maps = [[1, 64, 4, 4], [1, 64, 8, 8], [1, 64, 15, 16]]; // the skip last
/// assert_eq!(config.output_shape(&maps).unwrap(), [1, 64, 15, 16]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AsffConfig {
    /// The number of maps.
    pub maps: usize,
    /// The channels of all maps.
    pub channels: usize,
    /// The channels that the weights are computed from, of each map. Default: 16.
    #[serde(default = "crate::defaults::asff_channels")]
    pub hidden_channels: usize,
    /// How the maps are brought to one size. Default: nearest resizing.
    #[serde(default = "nearest")]
    pub fit: Fit,
    /// Which size that is. Default: that of the skip, the last map.
    #[serde(default = "Target::skip")]
    pub target: Target,
    /// Norm and activation of the 1x1 convolutions to the hidden channels. Default: [`ConvStyle::new`].
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

const fn nearest() -> Fit {
    Fit::Resize(ResizeMode::Nearest)
}

setters!(
    AsffConfig:
    with_hidden_channels(hidden_channels: usize),
    with_fit(fit: Fit),
    with_target(target: Target),
    with_style(style: ConvStyle),
);

impl Config for AsffConfig {}

impl AsffConfig {
    /// The fusion of `maps` maps with `channels` channels each.
    pub fn new(maps: usize, channels: usize) -> Self {
        Self {
            maps,
            channels,
            hidden_channels: crate::defaults::asff_channels(),
            fit: nearest(),
            target: Target::Skip,
            style: ConvStyle::new(),
        }
    }

    fn alignment(&self) -> Alignment<'_> {
        Alignment {
            fits: vec![&self.fit; self.maps],
            target: &self.target,
            merge: Merge::Add,
        }
    }

    /// The 1x1 convolution of each map to the hidden channels.
    fn squeeze(&self) -> ConvNormActConfig {
        ConvNormActConfig::new([self.channels, self.hidden_channels], 1)
            .with_style(self.style.clone())
    }

    /// The 1x1 convolution of these to one number for each map.
    fn weigh(&self) -> ConvConfig {
        let hidden = self.maps.saturating_mul(self.hidden_channels);
        ConvConfig::new([hidden, self.maps], 1)
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, or an option of a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        self.check_numbers()?;
        let channels = vec![self.channels; self.maps];
        Planner::check_options(&channels, |planner, maps: &[Map<R>]| {
            self.trace(planner, maps)
        })
    }

    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "maps", self.maps)?;
        check_positive(NAME, "channels", self.channels)?;
        check_positive(NAME, "hidden_channels", self.hidden_channels)
    }

    /// The shape of the output for maps of the given shapes.
    ///
    /// # Errors
    /// When there are more or fewer maps than expected, their channels or batches differ, or the fit cannot bring them
    /// to one size.
    pub fn output_shape<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(inputs, |planner, maps| self.trace(planner, maps))
    }

    /// Records the fusion of `maps`, from the deepest to the skip.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| {
            self.check_numbers()?;
            if maps.len() != self.maps {
                let (came, expected) = (maps.len(), self.maps);
                return Err(ShapeError::new(
                    NAME,
                    format!("{came} maps came, expected {expected}"),
                    format!("Give {expected} maps, or build the layer for {came}"),
                ));
            }
            for map in maps {
                check_channels(NAME, map.shape, self.channels)?;
            }
            let fitted = self
                .alignment()
                .trace_fits(planner, &inputs, |_| "".into())?;
            let weights = self.trace_weights(planner, &fitted)?;
            let weighted = fitted.iter().enumerate().map(|(index, map)| {
                let one = planner.at("").slice_of_channels(&weights, index, 1)?;
                let (names, maps) = (["map", "weight"], [map, &one]);
                let product = Elementwise::Product;
                planner.elementwise(product, &names, &maps, Ok(map.shape))
            });
            let weighted = weighted.collect::<Result<Vec<_>, _>>()?;
            Merge::Add.trace_named(planner.at(""), NAME, &weighted, map_name)
        })
    }

    /// Records the weights of the maps, a channel for each.
    fn trace_weights<const R: usize>(
        &self,
        planner: &mut Planner,
        fitted: &[Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        let squeeze = self.squeeze();
        let mut hidden = Vec::with_capacity(fitted.len());
        for (index, map) in fitted.iter().enumerate() {
            hidden.push(squeeze.trace(planner.at(format!("squeezes.{index}")), map)?);
        }
        let concat = planner.dispatched(|planner| {
            Merge::concat().trace_named(planner.at(""), NAME, &hidden, map_name)
        })?;
        let weights = self.weigh().trace(planner.at("weigh"), &concat)?;
        let op = Op::Softmax {
            channels: self.maps,
        };
        planner.at("").leaf("Softmax", &[&weights], || {
            Ok(Record::new(op, weights.shape).on_grid_of(&weights))
        })
    }

    /// The [plan](crate::plan) for maps of the given shapes.
    pub fn plan<const R: usize>(&self, inputs: &[[usize; R]]) -> Plan {
        Plan::of_maps(inputs, |planner, maps| {
            self.trace(planner, maps).map(|map| vec![map])
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Asff<R> {
        expect(self.validate::<R>());
        let squeeze = self.squeeze();
        Asff {
            squeezes: (0..self.maps).map(|_| squeeze.init(device)).collect(),
            weigh: self.weigh().init(device),
            config: self.clone(),
        }
    }
}

/// What errors call the maps.
fn map_name(index: usize) -> String {
    format!("map {index}")
}

/// Adaptively spatial feature fusion (arXiv:1911.09516, section 3.2): a sum of maps with weights of each position.
///
/// `y = sum_i w_i fit(x_i)`, with `w = softmax(weigh(concat([squeeze_i(fit(x_i)) ...])))` over the maps: at each
/// position the weights are positive and sum to one. `squeeze_i` are 1x1 convolutions with norm and activation, `weigh` is a 1x1
/// convolution. (The paper brings maps to one size by convolutions of a detector's channels; here all have the same
/// channels, and a [`Fit`] does.) The concatenation is not materialised.
///
/// [`WeightedSum`](super::WeightedSum) has one weight for all positions.
///
/// # Shapes
/// - inputs: `[batch, channels, spatial_i...]`, from the deepest map to the skip
/// - output: `[batch, channels, target...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::fuse::{Asff, AsffConfig};
///
/// let device = Device::flex();
/// let fuse: Asff = AsffConfig::new(2, 8).init(&device);
/// let maps = [5, 9].map(|n| Tensor::<4>::ones([1, 8, n, n], &device));
/// let y = fuse.forward(maps.to_vec());
/// assert_eq!(y.dims(), [1, 8, 9, 9]);
/// assert!((y.mean().into_scalar::<f32>() - 1.0).abs() < 1e-5); // the weights sum to one
/// ```
#[derive(Module, Debug)]
pub struct Asff<const R: usize = 4> {
    /// The 1x1 convolution of each map to the hidden channels.
    pub squeezes: Vec<ConvNormAct<R>>,
    /// The 1x1 convolution of these to one number for each map.
    pub weigh: Conv<R>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: AsffConfig,
}

impl<const R: usize> Asff<R> {
    /// The shape of the output for maps of the given shapes.
    ///
    /// # Errors
    /// As [`AsffConfig::output_shape`].
    pub fn output_shape(&self, inputs: &[[usize; R]]) -> Result<[usize; R], ShapeError> {
        self.config.output_shape(inputs)
    }

    /// Records the fusion of `maps`, from the deepest to the skip.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace(&self, planner: &mut Planner, maps: &[Map<R>]) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, maps)
    }

    /// The [plan](crate::plan) for maps of the given shapes.
    pub fn plan(&self, inputs: &[[usize; R]]) -> Plan {
        self.config.plan(inputs)
    }

    /// Fuses the maps, from the deepest to the skip.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward(&self, maps: Vec<Tensor<R>>) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes));
        let fitted = self.config.alignment().fit(maps);
        let hidden = fitted.iter().zip(&self.squeezes);
        let hidden = hidden.map(|(map, squeeze)| Part::new(squeeze.forward(map.clone())));
        let concat = LazyConcat::new(hidden.collect());
        let weights = softmax(self.weigh.forward_parts(concat).into_tensor(), 1);
        let weighted = fitted.into_iter().enumerate();
        let weighted = weighted.map(|(index, map)| map * weights.clone().narrow(1, index, 1));
        Merge::Add.forward(weighted.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::module::Param;

    #[test]
    fn values() {
        let device = Device::flex();
        let config = AsffConfig::new(2, 1)
            .with_hidden_channels(1)
            .with_style(ConvStyle::bare());
        let mut fuse: Asff<3> = config.init(&device);
        for squeeze in &mut fuse.squeezes {
            squeeze.conv.weight = Param::from_tensor(Tensor::ones([1, 1, 1], &device));
            squeeze.conv.bias = None;
        }
        // The numbers are 0 for the deep map and the value of the skip for the skip.
        let weigh = Tensor::from_floats([[[0.0], [0.0]], [[0.0], [1.0]]], &device);
        fuse.weigh.weight = Param::from_tensor(weigh);
        fuse.weigh.bias = None;
        let ln3 = 1.098_612_3;
        let maps = vec![
            Tensor::from_floats([[[8.0, 16.0]]], &device),
            Tensor::from_floats([[[0.0, ln3, 0.0, ln3]]], &device),
        ];
        let y: Vec<f32> = fuse.forward(maps).to_data().try_to_vec().unwrap();
        let expected = [4.0, 2.0 + 0.75 * ln3, 8.0, 4.0 + 0.75 * ln3];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-5, "{y} is not {expected}");
        }
    }

    #[test]
    fn every_rank() {
        let config = AsffConfig::new(3, 4).with_target(Target::Deep);
        let fuse: Asff<5> = config.init(&Device::flex());
        let shapes = [[2, 4, 3, 2, 2], [2, 4, 5, 4, 3], [2, 4, 9, 8, 6]];
        let maps = shapes.map(|shape| Tensor::zeros(shape, &Device::flex()));
        assert_eq!(fuse.forward(maps.to_vec()).dims(), shapes[0]);
    }

    #[test]
    fn what_cannot_be_fused_is_refused() {
        let config = AsffConfig::new(2, 4);
        let text = |shapes: &[[usize; 4]]| config.output_shape(shapes).unwrap_err().to_string();
        assert_eq!(
            text(&[[1, 4, 5, 5]]),
            "Asff: 1 maps came, expected 2. Give 2 maps, or build the layer for 1."
        );
        assert_eq!(
            text(&[[1, 3, 5, 5], [1, 4, 9, 9]]),
            "Asff: channels differ: expected 4, got 3. Build the layer for 3 input channels, or project the map to 4 \
             with a 1x1 convolution."
        );
        assert_eq!(
            text(&[[2, 4, 5, 5], [1, 4, 9, 9]]),
            "Asff: batch differs: deep 2, skip 1. Give all maps the same batch."
        );
        let error = AsffConfig::new(0, 4).validate::<4>().unwrap_err();
        assert_eq!(error.to_string(), "Asff: maps is 0. Set maps to 1 or more.");
    }
}
