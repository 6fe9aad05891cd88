//! The stages of [inverted bottlenecks](super::InvertedBottleneck) of an [`InvertedEncoder`](super::InvertedEncoder), with
//! their final numbers.

use alloc::{format, vec::Vec};

use burn::tensor::{Device, Tensor};

use super::block::{InvertedConfig, InvertedResidual};
use super::stage::InvertedStage;
use crate::fuse::SkipAddConfig;
use crate::fuse::gate::{GateConfig, SeConfig};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::DropPath;
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::net::encoder::{check_depths, check_output_stride, dilation_at};
use crate::plan::Trace;
use crate::shape::{ShapeError, check_positive};

/// Stages of inverted bottlenecks between two convolutions, with their final numbers.
pub(super) struct InvertedNet {
    pub in_channels: usize,
    /// The channels of the first convolution, which halves the map.
    pub width: usize,
    pub stages: Vec<InvertedStage>,
    /// The channels of the last convolution, if there is one.
    pub last_channels: Option<usize>,
    /// By how much the input channels of a block are divided in its gate, if it has one.
    pub squeeze: Option<usize>,
    pub norm: Option<NormConfig>,
    pub activation: ActivationConfig,
    /// The block `i` of `n` is left out with the probability `i / n` times this.
    pub drop_path: f64,
    pub output_stride: Option<usize>,
    /// Whether the output of the first convolution is the finest map, and not the last map of its size.
    pub stem_is_map: bool,
}

impl InvertedNet {
    /// A convolution outside of the stages.
    fn conv(&self, channels: [usize; 2], kernel: usize) -> ConvNormActConfig {
        self.conv_with(self.activation, channels, kernel)
    }

    fn conv_with(
        &self,
        activation: ActivationConfig,
        channels: [usize; 2],
        kernel: usize,
    ) -> ConvNormActConfig {
        ConvNormActConfig::new(channels, kernel)
            .with_padding(Padding::explicit(kernel / 2))
            .with_norm(self.norm.clone())
            .with_activation(activation)
    }

    fn stem(&self) -> ConvNormActConfig {
        self.conv([self.in_channels, self.width], 3).with_stride(2)
    }

    /// The 1x1 convolution after the last stage.
    fn last(&self) -> Option<ConvNormActConfig> {
        let input = self
            .stages
            .last()
            .map_or(self.width, |stage| stage.channels);
        self.last_channels
            .map(|channels| self.conv([input, channels], 1))
    }

    /// Where each stage lies in the network.
    fn places(&self) -> Vec<Place> {
        let mut input = self.width;
        let mut stride = 2_usize;
        let mut blocks_before = 0_usize;
        let stem_is_map = self.stem_is_map();
        let place = |(index, stage): (usize, &InvertedStage)| {
            let next = self.stages.get(index + 1);
            stride = stride.saturating_mul(stage.stride);
            let dilation = dilation_at(stride, self.output_stride);
            let place = Place {
                stage: stage.clone(),
                input,
                dilation,
                blocks_before,
                is_map: match next {
                    Some(next) => next.stride > 1 && !(stem_is_map && stride == 2),
                    None => true,
                },
            };
            input = stage.channels;
            blocks_before = blocks_before.saturating_add(stage.depth);
            place
        };
        self.stages.iter().enumerate().map(place).collect()
    }

    /// Whether the output of the first convolution is a map.
    fn stem_is_map(&self) -> bool {
        self.stem_is_map || self.stages.first().is_some_and(|stage| stage.stride > 1)
    }

    /// The block `index` of a stage.
    fn block(&self, place: &Place, index: usize) -> InvertedConfig {
        let stage = &place.stage;
        let (input, stride) = match index {
            0 => (place.input, stage.stride),
            _ => (stage.channels, 1),
        };
        let wide = stage.inner(input);
        let activation = stage.activation.unwrap_or(self.activation);
        let conv = |channels, kernel| self.conv_with(activation, channels, kernel);
        let depthwise = conv([wide, wide], stage.kernel_size)
            .with_groups(wide)
            .with_stride(if place.dilation > 1 { 1 } else { stride })
            .with_dilation(place.dilation)
            .with_padding(Padding::explicit(
                (stage.kernel_size / 2).saturating_mul(place.dilation),
            ));
        let gate = |squeeze: usize| {
            // (At least one channel is left.)
            let reduction = (squeeze as f64 * stage.expansion) as usize;
            let config = SeConfig::new(reduction.clamp(1, wide.max(1)));
            GateConfig::Se(config.with_activation(activation))
        };
        let before = place.blocks_before.saturating_add(index);
        let depths = self.stages.iter().map(|stage| stage.depth);
        let blocks = depths.fold(0, usize::saturating_add).max(1);
        let connection = SkipAddConfig::new([input, stage.channels])
            .with_activation(None)
            .with_drop_path(self.drop_path * before as f64 / blocks as f64);
        InvertedConfig {
            channels: wide,
            expand: stage.expands().then(|| conv([input, wide], 1)),
            depthwise,
            gate: stage.gate.clone().or_else(|| self.squeeze.map(gate)),
            project: conv([wide, stage.channels], 1).with_activation(None),
            connection: (stride == 1 && input == stage.channels).then_some(connection),
        }
    }

    fn blocks(&self, place: &Place) -> impl Iterator<Item = InvertedConfig> {
        (0..place.stage.depth).map(|index| self.block(place, index))
    }

    /// The channels of the feature maps, the finest first.
    pub fn feature_channels(&self) -> Vec<usize> {
        let stem = self.stem_is_map().then_some(self.width);
        let stages = self.places().into_iter().filter(|place| place.is_map);
        let stages = stages.map(|place| place.stage.channels);
        let mut channels: Vec<usize> = stem.into_iter().chain(stages).collect();
        if let (Some(deepest), Some(last)) = (channels.last_mut(), self.last_channels) {
            *deepest = last;
        }
        channels
    }

    /// Checks what no part checks.
    fn check(&self, layer: &str) -> Result<(), ShapeError> {
        check_positive(layer, "in_channels", self.in_channels)?;
        check_positive(layer, "width", self.width)?;
        let depths: Vec<usize> = self.stages.iter().map(|stage| stage.depth).collect();
        check_depths(layer, &depths)?;
        for (index, stage) in self.stages.iter().enumerate() {
            let at = |error: ShapeError| error.within(format!("stages.{index}"));
            stage.check(layer).map_err(at)?;
            if let (Some(_), Some(squeeze)) = (&stage.gate, self.squeeze) {
                let problem = format!("the stage has a gate, and squeeze is {squeeze}");
                let remedy = "Leave out one of them";
                return Err(at(ShapeError::new(layer, problem, remedy)));
            }
        }
        if let Some(squeeze) = self.squeeze {
            check_positive(layer, "squeeze", squeeze)?;
        }
        if let Some(channels) = self.last_channels {
            check_positive(layer, "last_channels", channels)?;
        }
        DropPath::validate(self.drop_path).map_err(|e| e.within("drop_path"))?;
        check_output_stride(layer, self.output_stride)
    }

    /// Records every part of the encoder `layer`, and returns the feature maps.
    pub fn trace<const R: usize>(
        &self,
        layer: &str,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes(layer, &[x], |planner| {
            self.check(layer)?;
            let mut x = self.stem().trace(planner.at("stem"), x)?;
            let mut maps = Vec::new();
            if self.stem_is_map() {
                maps.push(x.clone());
            }
            for (index, place) in self.places().iter().enumerate() {
                let name = format!("stages.{index}");
                x = planner
                    .at(name)
                    .sequence(self.blocks(place), &x, |block, planner, x| {
                        block.trace(planner, x)
                    })?;
                if index + 1 == self.stages.len() {
                    x = self.last().trace(planner.at("last"), &x)?;
                }
                if place.is_map {
                    maps.push(x.clone());
                }
            }
            Ok(maps)
        })
    }

    /// Builds the parts.
    pub fn init<const R: usize>(&self, device: &Device) -> InvertedParts<R> {
        let places = self.places();
        let stage = |place| {
            let blocks = self.blocks(place);
            blocks.map(|block| block.init(device)).collect()
        };
        InvertedParts {
            stem: self.stem().init(device),
            stages: places.iter().map(stage).collect(),
            last: self.last().map(|last| last.init(device)),
        }
    }

    /// Computes the feature maps.
    pub fn features<const R: usize>(
        &self,
        stem: &ConvNormAct<R>,
        stages: &[Vec<InvertedResidual<R>>],
        last: &Option<ConvNormAct<R>>,
        x: Tensor<R>,
    ) -> Vec<Tensor<R>> {
        let mut maps = Vec::new();
        let mut x = stem.forward_parts(x.into());
        if self.stem_is_map() {
            let map = x.into_tensor();
            maps.push(map.clone());
            x = map.into();
        }
        for (index, (stage, place)) in stages.iter().zip(self.places()).enumerate() {
            x = stage.forward_parts(x);
            if index + 1 == stages.len() {
                x = last.forward_parts(x);
            }
            if place.is_map {
                let map = x.into_tensor();
                maps.push(map.clone());
                x = map.into();
            }
        }
        maps
    }
}

/// The parts of an encoder.
pub(super) struct InvertedParts<const R: usize> {
    pub stem: ConvNormAct<R>,
    pub stages: Vec<Vec<InvertedResidual<R>>>,
    pub last: Option<ConvNormAct<R>>,
}

/// Where a stage lies in the network.
struct Place {
    stage: InvertedStage,
    /// The input channels.
    input: usize,
    /// The dilation of the depthwise convolutions.
    dilation: usize,
    /// How many blocks all stages before it have.
    blocks_before: usize,
    /// Whether its output is a feature map.
    is_map: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_of_the_map_decides_the_rank_of_the_convolutions() {
        let device = Device::flex();
        let net = InvertedNet {
            in_channels: 2,
            width: 4,
            stages: [
                InvertedStage::new(2, 4, 2, 1),
                InvertedStage::new(3, 6, 1, 2),
            ]
            .into(),
            last_channels: None,
            squeeze: Some(4),
            norm: Some(NormConfig::batch()),
            activation: ActivationConfig::Silu,
            drop_path: 0.0,
            output_stride: None,
            stem_is_map: false,
        };
        let InvertedParts { stem, stages, last } = net.init::<3>(&device);
        let maps = net.features(&stem, &stages, &last, Tensor::ones([2, 2, 21], &device));
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, [[2, 4, 11], [2, 6, 6]]);
        let planned = Planner::output_shapes([2, 2, 21], |planner, x| net.trace("Net", planner, x));
        assert_eq!(planned.unwrap(), shapes);
    }
}
