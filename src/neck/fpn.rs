//! [`Fpn`]: the feature pyramid network.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::ExtraLevels;
use super::frame::{BuiltNeck, NeckSpec, check_any_map, neck_methods};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect, spatial};

const NAME: &str = "Fpn";

/// Configuration of [`Fpn`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::neck::FpnConfig;
///
/// let maps = [[2, 64, 56, 56], [2, 128, 28, 28], [2, 256, 14, 14]];
/// let shapes = FpnConfig::new(96).output_shapes(&maps).unwrap();
/// assert_eq!(shapes, [[2, 96, 56, 56], [2, 96, 28, 28], [2, 96, 14, 14]]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default = "FpnConfig::default_pyramid", deny_unknown_fields)]
pub struct FpnConfig {
    /// The channels of all outputs. Default: 256.
    pub channels: usize,
    /// How a coarser map is brought to the size of the finer. Default: nearest.
    pub resize: ResizeMode,
    /// How both become one: [`Merge::Add`] (the default), [`Merge::Mean`], or another that works value by value.
    pub merge: Merge,
    /// The 1x1 convolutions of the inputs. Default: with bias, without norm and activation.
    pub lateral: ConvStyle,
    /// The 3x3 convolutions of the outputs, or none. Default: with bias, without norm and activation.
    pub output: Option<ConvStyle>,
    /// Levels below the coarsest, or none. Default: none.
    pub extra: Option<ExtraLevels>,
}

setters!(
    FpnConfig:
    with_resize(resize: ResizeMode),
    with_merge(merge: Merge),
    with_lateral(lateral: ConvStyle),
    with_output(output: impl Into<Option<ConvStyle>>),
    with_extra(extra: impl Into<Option<ExtraLevels>>),
);

impl Config for FpnConfig {}

impl FpnConfig {
    /// A pyramid of maps of `channels` channels each.
    pub fn new(channels: usize) -> Self {
        Self {
            channels,
            resize: ResizeMode::Nearest,
            merge: Merge::Add,
            lateral: ConvStyle::bare(),
            output: Some(ConvStyle::bare()),
            extra: None,
        }
    }

    /// A pyramid of as many channels as a file has that does not say how many.
    pub(super) fn default_pyramid() -> Self {
        Self::new(crate::defaults::pyramid_channels())
    }

    fn lateral(&self, channels: usize) -> ConvNormActConfig {
        ConvNormActConfig::new([channels, self.channels], 1).with_style(self.lateral.clone())
    }

    fn output(&self) -> Option<ConvNormActConfig> {
        let style = self.output.clone()?;
        Some(ConvNormActConfig::new([self.channels; 2], 3).with_style(style))
    }

    fn check(&self, maps: usize) -> Result<(), ShapeError> {
        check_positive(NAME, "channels", self.channels)?;
        check_any_map(NAME, maps)?;
        match self.merge {
            Merge::Concat { .. } => Err(ShapeError::new(
                NAME,
                "the levels cannot be merged by concat",
                "Choose Merge::Add or Merge::Mean",
            )),
            _ => Ok(()),
        }
    }

    /// Builds the neck for maps with `channels` channels, the finest first.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> Fpn<R> {
        expect(self.validate::<R>(channels));
        let laterals = channels.iter();
        let outputs = self.output().map(|conv| {
            let convs = channels.iter().map(|_| conv.init(device));
            convs.collect()
        });
        let coarsest = channels[channels.len() - 1];
        let extra = self.extra.map(|extra| extra.convs(coarsest, self.channels));
        Fpn {
            laterals: laterals
                .map(|&channels| self.lateral(channels).init(device))
                .collect(),
            outputs: outputs.unwrap_or_default(),
            extra: extra
                .iter()
                .flatten()
                .map(|conv| conv.init(device))
                .collect(),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl NeckSpec for FpnConfig {
    const NAME: &'static str = NAME;

    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.check(maps.len())?;
        let mut levels: Vec<Map<R>> = Vec::with_capacity(maps.len());
        for (index, map) in maps.iter().enumerate().rev() {
            let lateral = self.lateral(map.shape[1]);
            let name = format!("laterals.{index}");
            let level = match levels.last() {
                None => lateral.trace(planner.at(name), map)?,
                Some(deep) => {
                    let fit = Fit::Resize(self.resize);
                    let deep = fit.trace(planner.at(""), deep, spatial(&map.shape))?;
                    planner.dispatched(|planner| {
                        let skip = lateral.trace(planner.at(name), map)?;
                        let names = ["deep", "skip"];
                        self.merge
                            .trace(planner.at(""), NAME, &[&deep, &skip], &names)
                    })?
                }
            };
            levels.push(level);
        }
        levels.reverse();
        let mut outputs = Vec::with_capacity(levels.len());
        for (index, level) in levels.iter().enumerate() {
            let output = match self.output() {
                Some(conv) => conv.trace(planner.at(format!("outputs.{index}")), level)?,
                None => level.clone(),
            };
            outputs.push(output);
        }
        let coarsest = [&maps[maps.len() - 1], &outputs[outputs.len() - 1]].map(Map::clone);
        if let Some(extra) = self.extra {
            outputs.extend(extra.trace(planner, self.channels, coarsest)?);
        }
        Ok(outputs)
    }
}

neck_methods!(FpnConfig);

/// The feature pyramid network (arXiv:1612.03144): each map is projected to one number of channels and added to the
/// coarser level, which is enlarged to its size.
///
/// `p_n = lateral_n(c_n)` for the coarsest of `n` maps, `p_i = lateral_i(c_i) + resize(p_(i+1))` for the others,
/// and the outputs are `output_i(p_i)`; torchvision's `FeaturePyramidNetwork`.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, channels, spatial...]` of the size of each of them, and of the extra levels
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::neck::{Fpn, FpnConfig, Neck};
/// use burn_skip::net::{Encoder, ResNetEncoderConfig};
///
/// let device = Device::flex();
/// let encoder = ResNetEncoderConfig::resnet18().with_width(8).init::<4>(&device);
/// let neck: Fpn = FpnConfig::new(16).init(&encoder.feature_channels(), &device);
/// let pyramid = neck.forward(encoder.features(Tensor::zeros([1, 3, 75, 64], &device)));
/// assert_eq!(pyramid[0].dims(), [1, 16, 38, 32]);
/// assert_eq!(pyramid[4].dims(), [1, 16, 3, 2]);
/// ```
#[derive(Module, Debug)]
pub struct Fpn<const R: usize = 4> {
    /// The 1x1 convolution of each map, the finest first.
    pub laterals: Vec<ConvNormAct<R>>,
    /// The 3x3 convolution of each level, the finest first; none where there are none.
    pub outputs: Vec<ConvNormAct<R>>,
    /// The convolutions of the extra levels.
    pub extra: Vec<ConvNormAct<R>>,
    /// The options that the neck was built with.
    #[module(skip)]
    pub config: FpnConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> Fpn<R> {
    /// The level of a map, merged with the coarser level.
    fn level(&self, index: usize, map: Tensor<R>, deep: Option<&Tensor<R>>) -> Tensor<R> {
        let lateral = &self.laterals[index];
        let Some(deep) = deep else {
            return lateral.forward(map);
        };
        let shape = map.dims();
        let deep = Fit::Resize(self.config.resize).forward(deep.clone(), spatial(&shape));
        match self.config.merge {
            // (In the pass that writes the projected map.)
            Merge::Add => lateral.forward_add(map.into(), deep, &None),
            ref merge => merge.forward(vec![deep, lateral.forward(map)]),
        }
    }
}

impl<const R: usize> BuiltNeck<R> for Fpn<R> {
    type Config = FpnConfig;

    fn built(&self) -> (&FpnConfig, &[usize]) {
        (&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let extra = self.config.extra;
        let coarsest = extra.and_then(|extra| extra.input_of(&maps));
        let mut levels: Vec<Tensor<R>> = Vec::with_capacity(maps.len());
        for (index, map) in maps.into_iter().enumerate().rev() {
            let level = self.level(index, map, levels.last());
            levels.push(level);
        }
        levels.reverse();
        let mut outputs = match self.outputs.is_empty() {
            true => levels,
            false => {
                let both = self.outputs.iter().zip(levels);
                both.map(|(conv, level)| conv.forward(level)).collect()
            }
        };
        if let Some(extra) = extra {
            let output = &outputs[outputs.len() - 1];
            outputs.extend(extra.forward(&self.extra, coarsest, output));
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neck::Neck;
    use alloc::{string::ToString, vec};

    #[test]
    fn values() {
        let device = Device::flex();
        let mut neck: Fpn<3> = FpnConfig::new(1).with_output(None).init(&[1, 1], &device);
        for (index, factor) in [2.0, 3.0].into_iter().enumerate() {
            let conv = &mut neck.laterals[index].conv;
            conv.weight =
                burn::module::Param::from_tensor(Tensor::full([1, 1, 1], factor, &device));
            conv.bias = None;
        }
        let maps = vec![
            Tensor::from_floats([[[1.0, 2.0, 3.0]]], &device),
            Tensor::from_floats([[[10.0, 20.0]]], &device),
        ];
        // 3 (10, 20), enlarged to (30, 30, 60), and 2 (1, 2, 3).
        let pyramid = neck.forward(maps);
        let values = |map: &Tensor<3>| map.to_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values(&pyramid[0]), [32.0, 34.0, 66.0]);
        assert_eq!(values(&pyramid[1]), [30.0, 60.0]);
    }

    #[test]
    fn extra_levels() {
        let maps = [[1, 4, 9, 9], [1, 8, 5, 5]];
        let shapes = |extra| {
            let config = FpnConfig::new(6).with_extra(extra);
            let neck: Fpn = config.init(&[4, 8], &Device::flex());
            let tensors = maps.map(|shape| Tensor::zeros(shape, &Device::flex()));
            let dims: Vec<_> = neck
                .forward(tensors.to_vec())
                .iter()
                .map(Tensor::dims)
                .collect();
            assert_eq!(config.output_shapes(&maps).unwrap(), dims);
            dims
        };
        assert_eq!(shapes(ExtraLevels::MaxPool)[2..], [[1, 6, 3, 3]]);
        for extra in [ExtraLevels::OfInput, ExtraLevels::OfOutput] {
            assert_eq!(shapes(extra)[2..], [[1, 6, 3, 3], [1, 6, 2, 2]]);
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: FpnConfig, channels: &[usize]| {
            config.validate::<4>(channels).unwrap_err().to_string()
        };
        assert_eq!(
            text(FpnConfig::new(4).with_merge(Merge::concat()), &[2, 3]),
            "Fpn: the levels cannot be merged by concat. Choose Merge::Add or Merge::Mean."
        );
        assert_eq!(
            text(FpnConfig::new(4), &[]),
            "Fpn: there are no maps. Give the maps of an encoder, the finest first."
        );
        assert_eq!(
            text(FpnConfig::new(0), &[2]),
            "Fpn: channels is 0. Set channels to 1 or more."
        );
        let neck: Fpn = FpnConfig::new(4).init(&[2, 3], &Device::flex());
        assert_eq!(
            neck.output_shapes(&[[1, 2, 8, 8]]).unwrap_err().to_string(),
            "Fpn: the maps have [2] channels, expected [2, 3]. Give the maps of the encoder that it was built for, the \
             finest first."
        );
    }
}
