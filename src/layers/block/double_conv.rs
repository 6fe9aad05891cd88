//! [`DoubleConv`]: two convolutions, the block of a U-Net.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{ConvNormAct, ConvNormActConfig};
use crate::cpu::LazyConcat;
use crate::graph::{Map, Planner};
use crate::layers::layer::Layer;
use crate::layers::style::ConvStyle;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, expect};

/// Configuration of [`DoubleConv`].
///
/// # Example
/// ```
/// use burn_skip::{block::DoubleConvConfig, Trace};
///
/// let config = DoubleConvConfig::new([3, 16]);
/// assert_eq!(config.plan([1, 3, 32, 32]).root.total_parameters(), 2_800);
/// let narrow = config.with_mid_channels(8); // between the two convolutions
/// assert_eq!(narrow.plan([1, 3, 32, 32]).root.total_parameters(), 1_416);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DoubleConvConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// The channels between the two convolutions. Default: the output channels.
    #[serde(default)]
    pub mid_channels: Option<usize>,
    /// The size of both kernels. Default: 3.
    #[serde(default = "crate::defaults::three")]
    pub kernel_size: PerAxis,
    /// Padding, norm, activation, their order, and the bias of both convolutions.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

setters!(
    DoubleConvConfig:
    with_mid_channels(mid_channels: impl Into<Option<usize>>),
    with_kernel_size(kernel_size: impl Into<PerAxis>),
    with_style(style: ConvStyle),
);

impl Config for DoubleConvConfig {}

impl DoubleConvConfig {
    /// Two 3x3 convolutions, the first from `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2]) -> Self {
        Self {
            channels,
            mid_channels: None,
            kernel_size: 3.into(),
            style: ConvStyle::new(),
        }
    }

    fn convs(&self) -> [ConvNormActConfig; 2] {
        let [input, output] = self.channels;
        let mid = self.mid_channels.unwrap_or(output);
        [[input, mid], [mid, output]].map(|channels| {
            ConvNormActConfig::new(channels, self.kernel_size.clone())
                .with_style(self.style.clone())
        })
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// As [`ConvNormActConfig::validate`].
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels[0]], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> DoubleConv<R> {
        expect(self.validate::<R>());
        let [first, second] = self.convs().map(|conv| conv.init(device));
        DoubleConv { first, second }
    }
}

impl<const R: usize> Trace<R> for DoubleConvConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let [first, second] = self.convs();
        trace_both(&first, &second, planner, x)
    }
}

/// Records both convolutions.
fn trace_both<const R: usize>(
    first: &impl Trace<R>,
    second: &impl Trace<R>,
    planner: &mut Planner,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    planner.node("DoubleConv", &[x], |planner| {
        let mid = first.trace(planner.at("first"), x)?;
        second.trace(planner.at("second"), &mid)
    })
}

/// Two [`ConvNormAct`], one after the other: the block of a U-Net (arXiv:1505.04597).
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, spatial...]`; the size is kept by [`Padding::Same`](crate::Padding::Same) and
///   shrinks by `2 (kernel - 1)` with [`Padding::Valid`](crate::Padding::Valid)
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, block::{DoubleConv, DoubleConvConfig}};
///
/// let device = Device::flex();
/// let block: DoubleConv<3> = DoubleConvConfig::new([3, 16]).init(&device);
/// assert_eq!(block.forward(Tensor::zeros([1, 3, 33], &device)).dims(), [1, 16, 33]);
/// ```
#[derive(Module, Debug)]
pub struct DoubleConv<const R: usize = 4> {
    /// From the input to the channels in between.
    pub first: ConvNormAct<R>,
    /// From the channels in between to the output.
    pub second: ConvNormAct<R>,
}

impl<const R: usize> Trace<R> for DoubleConv<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        trace_both(&self.first, &self.second, planner, x)
    }
}

impl<const R: usize> Layer<R> for DoubleConv<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        expect(self.output_shape(parts.dims()));
        self.second.forward_parts(self.first.forward_parts(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::norm::NormConfig;
    use alloc::string::ToString;

    #[test]
    fn groups_of_a_norm_that_do_not_divide_are_refused() {
        let config = DoubleConvConfig::new([3, 6])
            .with_style(ConvStyle::new().with_norm(NormConfig::group(4)));
        assert_eq!(
            config.validate::<4>().unwrap_err().to_string(),
            "first.norm.GroupNorm: groups (=4) do not divide the channels (=6). Choose groups that do."
        );
    }
}
