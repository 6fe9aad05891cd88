//! [`PaFpn`]: the feature pyramid network with a second path, from the finest level down.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::extra::halving;
use super::frame::{BuiltNeck, NeckSpec, neck_methods};
use super::{ExtraLevels, Fpn, FpnConfig, Neck};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect, spatial};

const NAME: &str = "PaFpn";

/// Configuration of [`PaFpn`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::neck::{ExtraLevels, PaFpnConfig};
///
/// let maps = [[2, 64, 56, 56], [2, 128, 28, 28]];
/// let config = PaFpnConfig::new(96).with_extra(ExtraLevels::MaxPool);
/// let shapes = config.output_shapes(&maps).unwrap();
/// assert_eq!(shapes, [[2, 96, 56, 56], [2, 96, 28, 28], [2, 96, 14, 14]]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PaFpnConfig {
    /// The path from the coarsest level up. Its extra levels are made of the outputs of both paths. Default: as
    /// [`FpnConfig::new`] with 256 channels.
    #[serde(default = "FpnConfig::default_pyramid")]
    pub pyramid: FpnConfig,
    /// The 3x3 convolutions of the second path, two a level: one to half the size, one of the sum. The padding is
    /// that which keeps the size, or halves it. Default: with bias, without norm and activation.
    #[serde(default = "ConvStyle::bare")]
    pub style: ConvStyle,
}

setters!(
    PaFpnConfig:
    with_pyramid(pyramid: FpnConfig),
    with_style(style: ConvStyle),
);

impl Config for PaFpnConfig {}

impl PaFpnConfig {
    /// A pyramid of maps of `channels` channels each.
    pub fn new(channels: usize) -> Self {
        Self {
            pyramid: FpnConfig::new(channels),
            style: ConvStyle::bare(),
        }
    }

    /// Sets the levels below the coarsest, in the [pyramid](Self::pyramid).
    pub fn with_extra(mut self, extra: impl Into<Option<ExtraLevels>>) -> Self {
        self.pyramid.extra = extra.into();
        self
    }

    /// The first path: the extra levels come after the second.
    fn first_path(&self) -> FpnConfig {
        self.pyramid.clone().with_extra(None)
    }

    /// The convolution to half the size.
    fn down(&self) -> ConvNormActConfig {
        halving([self.pyramid.channels; 2], self.style.clone())
    }

    fn output(&self) -> ConvNormActConfig {
        ConvNormActConfig::new([self.pyramid.channels; 2], 3).with_style(self.style.clone())
    }

    /// Builds the neck for maps with `channels` channels, the finest first.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> PaFpn<R> {
        expect(self.validate::<R>(channels));
        let each = |conv: ConvNormActConfig| channels[1..].iter().map(move |_| conv.init(device));
        let coarsest = channels[channels.len() - 1];
        let extra = self.pyramid.extra.map_or_else(Vec::new, |extra| {
            extra.convs(coarsest, self.pyramid.channels)
        });
        PaFpn {
            pyramid: self.first_path().init(channels, device),
            downs: each(self.down()).collect(),
            outputs: each(self.output()).collect(),
            extra: extra.iter().map(|conv| conv.init(device)).collect(),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl NeckSpec for PaFpnConfig {
    const NAME: &'static str = NAME;

    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        let levels = self.first_path().trace(planner.at("pyramid"), maps)?;
        let mut levels = levels.into_iter();
        let mut paths: Vec<Map<R>> = levels.next().into_iter().collect();
        for (index, level) in levels.enumerate() {
            let fine = &paths[index];
            let down = trace_added(
                planner,
                (&self.down(), format!("downs.{index}")),
                fine,
                &level,
            )?;
            paths.push(down);
        }
        let mut outputs = Vec::with_capacity(paths.len());
        for (index, path) in paths.into_iter().enumerate() {
            outputs.push(match index.checked_sub(1) {
                None => path,
                Some(n) => self
                    .output()
                    .trace(planner.at(format!("outputs.{n}")), &path)?,
            });
        }
        if let Some(extra) = self.pyramid.extra {
            let coarsest = [&maps[maps.len() - 1], &outputs[outputs.len() - 1]].map(Map::clone);
            let channels = self.pyramid.channels;
            outputs.extend(extra.trace(planner, channels, coarsest)?);
        }
        Ok(outputs)
    }
}

neck_methods!(PaFpnConfig);

/// How a map is brought to the size of a coarser one where a stride of two misses it.
const FIT: Fit = Fit::Resize(ResizeMode::Nearest);

/// Records `level + fit(conv(fine))`.
fn trace_added<const R: usize>(
    planner: &mut Planner,
    (conv, name): (&ConvNormActConfig, alloc::string::String),
    fine: &Map<R>,
    level: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    let names = ["fine", "level"];
    let is_any_size = planner.is_any_size();
    let halved = conv.output_shape(fine.shape);
    let fits = halved.is_ok_and(|halved| spatial(&halved) == spatial(&level.shape));
    if is_any_size || fits && !planner.records_every_fit() {
        return planner.dispatched(|planner| {
            let down = conv.trace(planner.at(name), fine)?;
            Merge::Add.trace(planner.at(""), NAME, &[&down, level], &names)
        });
    }
    let down = conv.trace(planner.at(name), fine)?;
    let down = FIT.trace(planner.at(""), &down, spatial(&level.shape))?;
    Merge::Add.trace(planner.at(""), NAME, &[&down, level], &names)
}

/// `level + fit(conv(fine))`
fn added<const R: usize>(conv: &ConvNormAct<R>, fine: Tensor<R>, level: Tensor<R>) -> Tensor<R> {
    let shape = level.dims();
    if expect(conv.output_shape(fine.dims())) == shape {
        // (In the pass that writes the convolved map.)
        return conv.forward_add(fine.into(), level, &None);
    }
    level + FIT.forward(conv.forward(fine), spatial(&shape))
}

/// The feature pyramid network with a second path, from the finest level down (PANet, arXiv:1803.01534,
/// section 3.1): each level also hears of the finest map on a short way.
///
/// `p_i` are the outputs of an [`Fpn`]; `n_1 = p_1` and `n_i = p_i + down_i(n_(i-1))`, with 3x3 convolutions of
/// stride 2; the outputs are `n_1` and `output_i(n_i)`, with 3x3 convolutions: mmdetection's `PAFPN`. Where a stride of 2
/// does not meet the size of the next map, nearest resizing does.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, channels, spatial...]` of the size of each of them, and of the extra levels
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::neck::{Neck, PaFpn, PaFpnConfig};
///
/// let device = Device::flex();
/// let neck: PaFpn = PaFpnConfig::new(16).init(&[8, 32], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 32, 8, 6], &device)];
/// let dims: Vec<_> = neck.forward(maps).iter().map(Tensor::dims).collect();
/// assert_eq!(dims, [[1, 16, 17, 11], [1, 16, 8, 6]]);
/// ```
#[derive(Module, Debug)]
pub struct PaFpn<const R: usize = 4> {
    /// The first path, from the coarsest level up.
    pub pyramid: Fpn<R>,
    /// The convolutions to half the size, that of the finest level first.
    pub downs: Vec<ConvNormAct<R>>,
    /// The convolutions of the sums, of all levels but the finest.
    pub outputs: Vec<ConvNormAct<R>>,
    /// The convolutions of the extra levels.
    pub extra: Vec<ConvNormAct<R>>,
    /// The options that the neck was built with.
    #[module(skip)]
    pub config: PaFpnConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> BuiltNeck<R> for PaFpn<R> {
    type Config = PaFpnConfig;

    fn built(&self) -> (&PaFpnConfig, &[usize]) {
        (&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let extra = self.config.pyramid.extra;
        let input = extra.and_then(|extra| extra.input_of(&maps));
        let mut levels = self.pyramid.forward(maps).into_iter();
        let mut paths: Vec<Tensor<R>> = levels.next().into_iter().collect();
        for (index, (level, down)) in levels.zip(&self.downs).enumerate() {
            let path = added(down, paths[index].clone(), level);
            paths.push(path);
        }
        let mut paths = paths.into_iter();
        let mut outputs: Vec<Tensor<R>> = paths.next().into_iter().collect();
        let refined = paths
            .zip(&self.outputs)
            .map(|(path, conv)| conv.forward(path));
        outputs.extend(refined);
        if let Some(extra) = extra {
            let output = &outputs[outputs.len() - 1];
            outputs.extend(extra.forward(&self.extra, input, output));
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::module::Param;

    #[test]
    fn values() {
        let device = Device::flex();
        let config = PaFpnConfig::new(1).with_extra(ExtraLevels::MaxPool);
        let config = config
            .clone()
            .with_pyramid(config.pyramid.with_output(None));
        let mut neck: PaFpn<3> = config.init(&[1, 1], &device);
        let set = |conv: &mut ConvNormAct<3>, weights: &[f32]| {
            let weight = Tensor::<1>::from_floats(weights, &device);
            conv.conv.weight = Param::from_tensor(weight.reshape([1, 1, weights.len()]));
            conv.conv.bias = None;
        };
        set(&mut neck.pyramid.laterals[0], &[1.0]);
        set(&mut neck.pyramid.laterals[1], &[1.0]);
        set(&mut neck.downs[0], &[1.0, 1.0, 0.0]);
        set(&mut neck.outputs[0], &[0.0, 2.0, 0.0]);
        let maps = vec![
            Tensor::from_floats([[[1.0, 2.0, 3.0]]], &device),
            Tensor::from_floats([[[10.0, 20.0]]], &device),
        ];
        // The first path: (11, 12, 23) and (10, 20). The sums of the position before each second one and of that:
        // (0 + 11, 12 + 23).
        let pyramid = neck.forward(maps);
        let values = |map: &Tensor<3>| map.to_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values(&pyramid[0]), [11.0, 12.0, 23.0]);
        assert_eq!(values(&pyramid[1]), [2.0 * 21.0, 2.0 * 55.0]);
        assert_eq!(values(&pyramid[2]), [42.0]);
    }

    #[test]
    fn sizes_that_a_stride_of_two_does_not_meet() {
        let config = PaFpnConfig::new(6).with_extra(ExtraLevels::OfInput);
        let neck: PaFpn<5> = config.init(&[2, 3, 4], &Device::flex());
        let shapes = [[1, 2, 9, 6, 5], [1, 3, 4, 3, 2], [1, 4, 3, 1, 1]];
        let maps = shapes.map(|shape| Tensor::zeros(shape, &Device::flex()));
        let dims: Vec<_> = neck
            .forward(maps.to_vec())
            .iter()
            .map(Tensor::dims)
            .collect();
        assert_eq!(
            dims[..3],
            shapes.map(|shape| crate::shape::with_channels(shape, 6))
        );
        assert_eq!(dims[3..], [[1, 6, 2, 1, 1], [1, 6, 1, 1, 1]]);
        assert_eq!(config.output_shapes(&shapes).unwrap(), dims);
        assert_eq!(neck.output_shapes(&shapes).unwrap(), dims);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: PaFpnConfig, channels: &[usize]| {
            config.validate::<4>(channels).unwrap_err().to_string()
        };
        assert_eq!(
            text(PaFpnConfig::new(4), &[]),
            "pyramid.Fpn: there are no maps. Give the maps of an encoder, the finest first."
        );
        assert_eq!(
            text(PaFpnConfig::new(0), &[2]),
            "pyramid.Fpn: channels is 0. Set channels to 1 or more."
        );
        let neck: PaFpn = PaFpnConfig::new(4).init(&[2, 3], &Device::flex());
        assert_eq!(
            neck.output_shapes(&[[1, 2, 8, 8]]).unwrap_err().to_string(),
            "PaFpn: the maps have [2] channels, expected [2, 3]. Give the maps of the encoder that it was built for, \
             the finest first."
        );
    }
}
