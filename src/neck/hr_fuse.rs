//! [`HrFuse`]: maps of several resolutions, each of which gets the sum of all.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::extra::halving;
use super::frame::{BuiltNeck, NeckSpec, neck_methods};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::activation::{Activation, ActivationConfig};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect, spatial};

const NAME: &str = "HrFuse";

/// Configuration of [`HrFuse`]. The channels come from the maps.
///
/// # Example
/// ```
/// use burn_skip::neck::HrFuseConfig;
///
/// let maps = [[2, 18, 56, 40], [2, 36, 28, 20], [2, 72, 14, 10]];
/// assert_eq!(HrFuseConfig::new().output_shapes(&maps).unwrap(), maps);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HrFuseConfig {
    /// The norm of all convolutions, or none. Default: [`NormConfig::batch`].
    pub norm: Option<NormConfig>,
    /// The activation of the sums, and between two convolutions, or none. Default: ReLU.
    pub activation: Option<ActivationConfig>,
    /// How a coarser map is enlarged. Default: nearest.
    pub resize: ResizeMode,
}

setters!(
    HrFuseConfig:
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
    with_resize(resize: ResizeMode),
);

impl Config for HrFuseConfig {}

impl Default for HrFuseConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl HrFuseConfig {
    /// Batch norm, ReLU and nearest enlargement.
    pub fn new() -> Self {
        Self {
            norm: NormConfig::default_norm(),
            activation: ActivationConfig::some_default(),
            resize: ResizeMode::Nearest,
        }
    }

    /// The convolutions from the map `start` to the resolution of the map `end`.
    fn path(&self, channels: &[usize], [start, end]: [usize; 2]) -> Vec<ConvNormActConfig> {
        let bare = ConvStyle::new()
            .with_norm(self.norm.clone())
            .with_activation(None);
        let (from, to) = (channels[start], channels[end]);
        if start > end {
            return vec![ConvNormActConfig::new([from, to], 1).with_style(bare)];
        }
        let step = |step: usize| match step + 1 == end {
            true => halving([from, to], bare.clone()),
            false => halving([from, from], bare.clone().with_activation(self.activation)),
        };
        (start..end).map(step).collect()
    }

    /// How the map `start` is brought to the size of the map `end` after its convolutions: where a stride of 2
    /// misses that, by nearest resizing.
    fn fit(&self, [start, end]: [usize; 2]) -> Fit {
        match start > end {
            true => Fit::Resize(self.resize),
            false => Fit::Resize(ResizeMode::Nearest),
        }
    }

    /// Builds the neck for maps with `channels` channels, the finest first.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> HrFuse<R> {
        expect(self.validate::<R>(channels));
        let maps = 0..channels.len();
        let path = |ends| {
            let convs = self.path(channels, ends).into_iter();
            convs.map(|conv| conv.init(device)).collect()
        };
        let paths = |end| maps.clone().map(|start| path([start, end])).collect();
        HrFuse {
            paths: maps.clone().map(paths).collect(),
            activation: self.activation.as_ref().map(|act| act.init(device)),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl NeckSpec for HrFuseConfig {
    const NAME: &'static str = NAME;

    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        if maps.is_empty() {
            let remedy = "Give maps of several resolutions, the finest first";
            return Err(ShapeError::new(NAME, "there are no maps", remedy));
        }
        let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
        for &channels in &channels {
            check_positive(NAME, "channels", channels)?;
        }
        let mut sums = Vec::with_capacity(maps.len());
        for (end, like) in maps.iter().enumerate() {
            let mut fitted = Vec::with_capacity(maps.len());
            for (start, map) in maps.iter().enumerate() {
                let path = self.path(&channels, [start, end]);
                let mut map = map.clone();
                if !path.is_empty() {
                    let at = planner.at(format!("paths.{end}.{start}"));
                    map = at.sequence(&path, &map, ConvNormActConfig::trace)?;
                }
                let fit = self.fit([start, end]);
                fitted.push(fit.trace(planner.at(""), &map, spatial(&like.shape))?);
            }
            let name = |n| format!("map {n}");
            let sum = Merge::Add.trace_named(planner.at(""), NAME, &fitted, name)?;
            sums.push(self.activation.trace(planner.at("activation"), &sum)?);
        }
        Ok(sums)
    }
}

neck_methods!(HrFuseConfig);

/// Maps of several resolutions, each of which gets the sum of all: the fuse layer of HRNet (arXiv:1908.07919,
/// section 3.2).
///
/// `y_i = act(sum_j f_ij(x_j))`, where `f_ii` is the identity; a coarser map goes through a 1x1 convolution with norm
/// and is enlarged; a finer map goes through a 3x3 convolution of stride 2 for each halving, with norm, and with an
/// activation between two. Where a stride of 2 does not meet the size of a map, nearest resizing does.
///
/// # Shapes
/// - input: `[batch, channels_i, spatial_i...]`, the finest first, each about half the size of the one before it
/// - output: the same
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::neck::{HrFuse, HrFuseConfig, Neck};
///
/// let device = Device::flex();
/// let fuse: HrFuse = HrFuseConfig::new().init(&[4, 8, 16], &device);
/// let maps = [[1, 4, 17, 11], [1, 8, 9, 6], [1, 16, 5, 3]].map(|shape| Tensor::zeros(shape, &device));
/// let dims: Vec<_> = fuse.forward(maps.to_vec()).iter().map(Tensor::dims).collect();
/// assert_eq!(dims, maps.map(|map| map.dims()));
/// ```
#[derive(Module, Debug)]
pub struct HrFuse<const R: usize = 4> {
    /// The convolutions to each map, from each map: none where both are one.
    pub paths: Vec<Vec<Vec<ConvNormAct<R>>>>,
    /// The activation of the sums.
    pub activation: Option<Activation>,
    /// The options that the neck was built with.
    #[module(skip)]
    pub config: HrFuseConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> BuiltNeck<R> for HrFuse<R> {
    type Config = HrFuseConfig;

    fn built(&self) -> (&HrFuseConfig, &[usize]) {
        (&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        let sum = |(end, paths): (usize, &Vec<Vec<ConvNormAct<R>>>)| {
            let fitted = maps
                .iter()
                .zip(paths)
                .enumerate()
                .map(|(start, (map, path))| {
                    let fit = self.config.fit([start, end]);
                    fit.forward(path.forward(map.clone()), spatial(&shapes[end]))
                });
            self.activation
                .forward(Merge::Add.forward(fitted.collect()))
        };
        self.paths.iter().enumerate().map(sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neck::Neck;
    use alloc::string::ToString;
    use burn::module::Param;

    #[test]
    fn values() {
        let device = Device::flex();
        let config = HrFuseConfig::new().with_norm(None).with_activation(None);
        let mut fuse: HrFuse<3> = config.init(&[1, 1], &device);
        let set = |conv: &mut ConvNormAct<3>, weights: &[f32]| {
            let weight = Tensor::<1>::from_floats(weights, &device);
            conv.conv.weight = Param::from_tensor(weight.reshape([1, 1, weights.len()]));
            conv.conv.bias = None;
        };
        set(&mut fuse.paths[0][1][0], &[2.0]);
        set(&mut fuse.paths[1][0][0], &[1.0, 0.0, 3.0]);
        let maps = vec![
            Tensor::from_floats([[[1.0, 2.0, 3.0]]], &device),
            Tensor::from_floats([[[10.0, 20.0]]], &device),
        ];
        let sums = fuse.forward(maps);
        let values = |map: &Tensor<3>| map.to_data().try_to_vec::<f32>().unwrap();
        // (1, 2, 3) + 2 (10, 10, 20), and (10, 20) + (3 * 2, 2).
        assert_eq!(values(&sums[0]), [21.0, 22.0, 43.0]);
        assert_eq!(values(&sums[1]), [16.0, 22.0]);
    }

    #[test]
    fn two_halvings_are_two_convolutions() {
        let fuse: HrFuse<5> = HrFuseConfig::new().init(&[2, 3, 4], &Device::flex());
        let channels = |end: usize, start: usize| {
            let convs = fuse.paths[end][start].iter();
            convs
                .map(|conv| conv.conv.config.channels)
                .collect::<Vec<_>>()
        };
        assert_eq!(channels(2, 0), [[2, 2], [2, 4]]);
        assert_eq!(channels(0, 2), [[4, 2]]);
        assert!(channels(1, 1).is_empty());
        assert!(
            fuse.paths[2][0][0].activation.is_some() && fuse.paths[2][0][1].activation.is_none()
        );
        let shapes = [[1, 2, 9, 6, 5], [1, 3, 4, 3, 3], [1, 4, 3, 1, 1]];
        let maps = shapes.map(|shape| Tensor::zeros(shape, &Device::flex()));
        let dims: Vec<_> = fuse
            .forward(maps.to_vec())
            .iter()
            .map(Tensor::dims)
            .collect();
        assert_eq!(dims, shapes);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |channels: &[usize]| {
            let config = HrFuseConfig::new();
            config.validate::<4>(channels).unwrap_err().to_string()
        };
        assert_eq!(
            text(&[]),
            "HrFuse: there are no maps. Give maps of several resolutions, the finest first."
        );
        assert_eq!(
            text(&[2, 0]),
            "HrFuse: channels is 0. Set channels to 1 or more."
        );
        let fuse: HrFuse = HrFuseConfig::new().init(&[2, 3], &Device::flex());
        assert_eq!(
            fuse.output_shapes(&[[1, 2, 8, 8]]).unwrap_err().to_string(),
            "HrFuse: the maps have [2] channels, expected [2, 3]. Give the maps of the encoder that it was built for, \
             the finest first."
        );
    }
}
