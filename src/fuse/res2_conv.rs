//! [`Res2Conv`]: 3x3 convolutions of parts of the channels, each of which sees more than the one before it.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::merge::Merge;
use crate::graph::window::Padding;
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::pool::{Pool, PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_channels, check_positive, expect};

const NAME: &str = "Res2Conv";

/// What the convolutions of a [`Res2Conv`] read.
///
/// # Example
/// ```
/// use burn_skip::{Trace, fuse::{Res2ConvConfig, Res2Links}};
///
/// let config = Res2ConvConfig::new(8);
/// assert_eq!(config.output_shape([1, 8, 9, 7]).unwrap(), [1, 8, 9, 7]);
/// let strided = config.with_links(Res2Links::Pooled { stride: 2.into() });
/// assert_eq!(strided.output_shape([1, 8, 9, 7]).unwrap(), [1, 8, 5, 4]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Res2Links {
    /// Each reads its part plus what the one before it gives, and the last part is kept as it is.
    #[default]
    Chain,
    /// Each reads its part alone, with a stride, and the last part goes through a 3x3 mean pool that counts its padding:
    /// the first block of a stage.
    Pooled {
        /// The stride of the convolutions and of the pool.
        stride: PerAxis,
    },
}

/// Configuration of [`Res2Conv`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, fuse::Res2ConvConfig};
///
/// // Three of the four parts have a convolution.
/// let plan = Res2ConvConfig::new(104).plan([1, 104, 56, 56]);
/// assert_eq!(plan.root.total_parameters(), 3 * (26 * 26 * 9 + 2 * 26));
/// let error = Res2ConvConfig::new(104).with_scale(3).output_shape([1, 104, 56, 56]).unwrap_err();
/// assert_eq!(error.problem, "104 channels are not a multiple of the scale 3");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Res2ConvConfig {
    /// The channels of the input and of the output.
    pub channels: usize,
    /// Into how many parts the channels are split. Default: 4.
    #[serde(default = "four")]
    pub scale: usize,
    /// What the convolutions read. Default: a chain.
    #[serde(default)]
    pub links: Res2Links,
    /// The distance between the taps of the convolutions. Default: 1.
    #[serde(default = "crate::defaults::one")]
    pub dilation: PerAxis,
    /// The groups of each convolution (Res2NeXt). Default: 1.
    #[serde(default = "crate::defaults::groups")]
    pub groups: usize,
    /// Norm and activation of the convolutions. The padding is as wide as the dilation.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

const fn four() -> usize {
    4
}

setters!(
    Res2ConvConfig:
    with_scale(scale: usize),
    with_links(links: Res2Links),
    with_dilation(dilation: impl Into<PerAxis>),
    with_groups(groups: usize),
    with_style(style: ConvStyle),
);

impl Config for Res2ConvConfig {}

impl Res2ConvConfig {
    /// A chain over four parts of `channels` channels.
    pub fn new(channels: usize) -> Self {
        Self {
            channels,
            scale: four(),
            links: Res2Links::Chain,
            dilation: 1.into(),
            groups: 1,
            style: ConvStyle::new(),
        }
    }

    /// The channels of a part.
    fn width(&self) -> usize {
        self.channels.checked_div(self.scale).unwrap_or(0)
    }

    /// The convolution of each part but the last.
    fn conv(&self) -> ConvNormActConfig {
        let style = self.style.clone();
        let padding = Padding::explicit(self.dilation.clone());
        let conv = ConvNormActConfig::new([self.width(); 2], 3)
            .with_dilation(self.dilation.clone())
            .with_groups(self.groups)
            .with_style(style.with_padding(padding));
        match &self.links {
            Res2Links::Chain => conv,
            Res2Links::Pooled { stride } => conv.with_stride(stride.clone()),
        }
    }

    /// The pool of the last part.
    fn pool(&self) -> Option<PoolConfig> {
        match &self.links {
            Res2Links::Chain => None,
            Res2Links::Pooled { stride } => Some(
                PoolConfig::new(PoolKind::AvgWithPadding, 3)
                    .with_stride(stride.clone())
                    .with_padding(Padding::explicit(1)),
            ),
        }
    }

    /// Checks what no part checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "channels", self.channels)?;
        let (channels, scale) = (self.channels, self.scale);
        if scale < 2 {
            let remedy = "Set scale to 2 or more, or use one convolution";
            return Err(ShapeError::new(NAME, format!("scale is {scale}"), remedy));
        }
        if !channels.is_multiple_of(scale) {
            let problem = format!("{channels} channels are not a multiple of the scale {scale}");
            return Err(ShapeError::new(
                NAME,
                problem,
                "Choose a scale that divides the channels",
            ));
        }
        Ok(())
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, the scale is less than 2 or does not divide the channels, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Res2Conv<R> {
        expect(self.validate::<R>());
        let conv = self.conv();
        Res2Conv {
            convs: (1..self.scale).map(|_| conv.init(device)).collect(),
            pool: self.pool().map(|pool| pool.init()),
            config: self.clone(),
        }
    }
}

impl<const R: usize> Trace<R> for Res2ConvConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.check_numbers()?;
            check_channels(NAME, x.shape, self.channels)?;
            let width = self.width();
            let part = |planner: &mut Planner, index: usize| {
                let start = index.saturating_mul(width);
                planner.at("").slice_of_channels(x, start, width)
            };
            let conv = self.conv();
            let mut maps: Vec<Map<R>> = Vec::with_capacity(self.scale);
            for index in 0..self.scale - 1 {
                let mut read = part(planner, index)?;
                if let (Res2Links::Chain, Some(before)) = (&self.links, maps.last()) {
                    let (names, maps) = (["part", "before"], [&read, before]);
                    let (sum, shape) = (Elementwise::Sum, read.shape);
                    read = planner.elementwise(sum, &names, &maps, Ok(shape))?;
                }
                maps.push(conv.trace(planner.at(format!("convs.{index}")), &read)?);
            }
            let last = part(planner, self.scale - 1)?;
            maps.push(self.pool().trace(planner.at("pool"), &last)?);
            let names = vec!["part"; maps.len()];
            let maps: Vec<&Map<R>> = maps.iter().collect();
            planner.dispatched(|planner| Merge::concat().trace(planner.at(""), NAME, &maps, &names))
        })
    }
}

/// The multi-scale convolution of Res2Net (arXiv:1904.01169, section 3.1): the channels are split into parts `x_i`, of
/// which each but the last has a 3x3 convolution with norm and activation, `K_i`.
///
/// `y = concat([y_1, ..., y_s])`, with `y_1 = K_1(x_1)`, `y_i = K_i(x_i + y_{i-1})` and `y_s = x_s`; or with
/// [`Res2Links::Pooled`] `y_i = K_i(x_i)` and `y_s = pool(x_s)`. As the authors' code and timm's `Bottle2neck`; the formula of
/// the paper leaves out the convolution of the first part instead. The concatenation is not materialised: what follows
/// reads its parts.
///
/// # Shapes
/// - input: `[batch, channels, spatial...]`
/// - output: `[batch, channels, spatial / stride...]`, sizes rounded up
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, fuse::{Res2Conv, Res2ConvConfig}};
///
/// let device = Device::flex();
/// let layer: Res2Conv = Res2ConvConfig::new(16).init(&device);
/// assert_eq!(layer.convs.len(), 3);
/// assert_eq!(layer.forward(Tensor::zeros([1, 16, 9, 7], &device)).dims(), [1, 16, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct Res2Conv<const R: usize = 4> {
    /// The convolution of each part but the last.
    pub convs: Vec<ConvNormAct<R>>,
    /// The pool of the last part.
    pub pool: Option<Pool>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: Res2ConvConfig,
}

impl<const R: usize> Trace<R> for Res2Conv<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Res2Conv<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        expect(self.output_shape(parts.dims()));
        let x = parts.into_tensor();
        let width = self.config.width();
        let part = |index: usize| x.clone().narrow(1, index * width, width);
        let mut before: Option<Tensor<R>> = None;
        let mut parts: Vec<Part<R>> = Vec::with_capacity(self.config.scale);
        for (index, conv) in self.convs.iter().enumerate() {
            let read = match before.take() {
                Some(before) => part(index) + before,
                None => part(index),
            };
            let y = conv.forward_parts(read.into());
            // (What the next one reads is written.)
            let is_read = self.config.links == Res2Links::Chain && index + 1 < self.convs.len();
            match is_read {
                true => {
                    let y = y.into_tensor();
                    before = Some(y.clone());
                    parts.push(Part::new(y));
                }
                false => parts.extend(y.into_inner()),
            }
        }
        let last = part(self.convs.len());
        parts.extend(self.pool.forward_parts(last.into()).into_inner());
        LazyConcat::new(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::nn::Initializer;
    use burn::tensor::TensorData;

    /// Each convolution sums three positions.
    fn summing(links: Res2Links) -> Res2Conv<3> {
        let style = ConvStyle::bare()
            .with_bias(false)
            .with_initializer(Initializer::Ones);
        let config = Res2ConvConfig::new(3).with_scale(3).with_style(style);
        config.with_links(links).init(&Device::flex())
    }

    fn run(layer: &Res2Conv<3>) -> TensorData {
        let x = [[[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [3.0, 6.0, 9.0]]];
        let x = Tensor::from_floats(x, &Device::flex());
        layer.forward(x).into_data()
    }

    #[test]
    fn each_part_reads_what_the_one_before_it_gives() {
        let expected = [[[3.0f32, 6.0, 5.0], [39.0, 74.0, 61.0], [3.0, 6.0, 9.0]]];
        run(&summing(Res2Links::Chain)).assert_eq(&TensorData::from(expected), true);
    }

    #[test]
    fn a_stride_reads_each_part_alone_and_pools_the_last() {
        let pooled = |stride: usize| {
            summing(Res2Links::Pooled {
                stride: stride.into(),
            })
        };
        // (The padding of the pool counts.)
        let expected = [[[3.0f32, 5.0], [30.0, 50.0], [3.0, 5.0]]];
        run(&pooled(2)).assert_eq(&TensorData::from(expected), true);
        let expected = [[[3.0f32, 6.0, 5.0], [30.0, 60.0, 50.0], [3.0, 6.0, 5.0]]];
        run(&pooled(1)).assert_eq(&TensorData::from(expected), true);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: Res2ConvConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(Res2ConvConfig::new(0)),
            "Res2Conv: channels is 0. Set channels to 1 or more."
        );
        for scale in [0, 1] {
            assert_eq!(
                text(Res2ConvConfig::new(8).with_scale(scale)),
                format!(
                    "Res2Conv: scale is {scale}. Set scale to 2 or more, or use one convolution."
                )
            );
        }
        assert_eq!(
            text(Res2ConvConfig::new(8).with_scale(3)),
            "Res2Conv: 8 channels are not a multiple of the scale 3. Choose a scale that divides the channels."
        );
        assert_eq!(
            text(Res2ConvConfig::new(8).with_groups(3)),
            "convs.0.conv.Conv: groups (=3) do not divide in_channels (=2). Choose groups that divide both channel counts."
        );
    }
}
