//! [`StagedEncoder`]: an encoder whose levels are given one by one, each with its kernel, its stride and its blocks.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::Encoder;
use super::any::{EncoderSpec, check_encoder};
use crate::graph::{Map, Planner};
use crate::layers::layer::Layer;
use crate::net::stage::{Stage, StageConfig};
use crate::plan::Trace;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "StagedEncoder";

/// Configuration of [`StagedEncoder`].
///
/// # Example
/// ```
/// use burn_skip::net::{EncoderConfig, StageConfig, StagedEncoderConfig};
///
/// // Slices that lie far apart are halved along the other axes alone at first, as nnU-Net does.
/// let stages = vec![
///     StageConfig::new(8).with_kernel_size([1, 3, 3]),
///     StageConfig::new(16).with_kernel_size([1, 3, 3]).with_stride([1, 2, 2]),
///     StageConfig::new(32).with_stride(2),
/// ];
/// let encoder = EncoderConfig::Staged(StagedEncoderConfig::new(1, stages));
/// let shapes = encoder.feature_shapes([1, 1, 12, 64, 64]).unwrap();
/// assert_eq!(shapes[1..], [[1, 16, 12, 32, 32], [1, 32, 6, 16, 16]]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StagedEncoderConfig {
    /// The channels of the image.
    pub in_channels: usize,
    /// The levels, the finest first. The output of each is a feature map.
    pub stages: Vec<StageConfig>,
}

impl Config for StagedEncoderConfig {}

impl StagedEncoderConfig {
    /// An encoder for images of `in_channels` channels.
    pub fn new(in_channels: usize, stages: Vec<StageConfig>) -> Self {
        Self {
            in_channels,
            stages,
        }
    }

    /// The channels of the feature maps, the finest first.
    pub fn feature_channels(&self) -> Vec<usize> {
        self.stages.iter().map(|stage| stage.width).collect()
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.in_channels)?;
        if self.stages.is_empty() {
            return Err(ShapeError::new(
                NAME,
                "there are no stages",
                "Give one for each level",
            ));
        }
        Ok(())
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When an option is invalid, with the message of
    /// [`EncoderConfig::validate`](super::EncoderConfig::validate).
    pub fn init<const R: usize>(&self, device: &Device) -> StagedEncoder<R> {
        expect(check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        }));
        let before = self.stages.iter().map(|stage| stage.width);
        let inputs = core::iter::once(self.in_channels).chain(before);
        let stages = self.stages.iter().zip(inputs);
        StagedEncoder {
            stages: stages
                .map(|(stage, input)| stage.init(input, device))
                .collect(),
            config: self.clone(),
        }
    }
}

/// Records the stages one after another, and returns the output of each.
fn trace_stages<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    stages: &[impl Trace<R>],
) -> Result<Vec<Map<R>>, ShapeError> {
    let mut maps: Vec<Map<R>> = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let input = maps.last().unwrap_or(x);
        let map = stage.trace(planner.at(format!("stages.{index}")), input)?;
        maps.push(map);
    }
    Ok(maps)
}

impl<const R: usize> EncoderSpec<R> for StagedEncoderConfig {
    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes(NAME, &[x], |planner| {
            self.check()?;
            crate::shape::check_channels(NAME, x.shape, self.in_channels)?;
            trace_stages(planner, x, &self.stages)
        })
    }
}

/// A chain of [`Stage`]s, each with a feature map: the encoder of nnU-Net (arXiv:1809.10486) and of other networks whose
/// convolutions have strides in place of pools.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: `[batch, stages[i].width, spatial / (stride_0 ... stride_i)...]`, the finest first
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, StageConfig, StagedEncoder, StagedEncoderConfig};
///
/// let device = Device::flex();
/// let stages = vec![StageConfig::new(8), StageConfig::new(16).with_stride(2)];
/// let encoder: StagedEncoder = StagedEncoderConfig::new(3, stages).init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 33, 20], &device));
/// assert_eq!([maps[0].dims(), maps[1].dims()], [[1, 8, 33, 20], [1, 16, 17, 10]]);
/// ```
#[derive(Module, Debug)]
pub struct StagedEncoder<const R: usize = 4> {
    /// The levels, the finest first.
    pub stages: Vec<Stage<R>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: StagedEncoderConfig,
}

impl<const R: usize> Encoder<R> for StagedEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let mut maps = Vec::with_capacity(self.stages.len());
        let mut input = x;
        for stage in &self.stages {
            input = stage.forward(input);
            maps.push(input.clone());
        }
        maps
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.config.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        EncoderSpec::trace(&self.config, planner, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::EncoderConfig;
    use alloc::{string::ToString, vec};

    #[test]
    fn errors() {
        let text = |config: StagedEncoderConfig| {
            let config = EncoderConfig::Staged(config);
            config.validate::<4>().unwrap_err().to_string()
        };
        assert_eq!(
            text(StagedEncoderConfig::new(1, vec![])),
            "StagedEncoder: there are no stages. Give one for each level."
        );
        assert_eq!(
            text(StagedEncoderConfig::new(0, vec![StageConfig::new(4)])),
            "StagedEncoder: in_channels is 0. Set in_channels to 1 or more."
        );
        let stages = vec![StageConfig::new(4), StageConfig::new(0)];
        assert_eq!(
            text(StagedEncoderConfig::new(1, stages)),
            "stages.1.Stage: width is 0. Set width to 1 or more."
        );
        let stages = vec![StageConfig::new(4).with_stride([2, 2, 2])];
        assert!(
            text(StagedEncoderConfig::new(1, stages)).starts_with("stages.0.convs.0.conv.Conv:")
        );
    }
}
