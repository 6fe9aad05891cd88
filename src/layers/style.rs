//! [`ConvStyle`]: what the convolutions of a network have in common.

use burn::nn::Initializer;
use serde::{Deserialize, Serialize};

use crate::graph::window::Padding;
use crate::layers::activation::ActivationConfig;
use crate::layers::conv::default_initializer;
use crate::layers::norm::NormConfig;
use crate::setters::setters;

/// In which order convolution, norm and activation follow each other.
///
/// # Example
/// ```
/// use burn::{nn::Initializer, tensor::{Device, Tensor}};
/// use burn_skip::{Layer, block::{ConvNormActConfig, ConvStyle, LayerOrder}};
///
/// let run = |order| { // the sum of three positions and 1, and ReLU
///     let style = ConvStyle::new().with_norm(None).with_initializer(Initializer::Ones).with_order(order);
///     let block = ConvNormActConfig::new([1, 1], 3).with_style(style).init::<3>(&Device::flex());
///     let y = block.forward(Tensor::from_floats([[[-3.0, 1.0, 1.0]]], &Device::flex()));
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(run(LayerOrder::ConvNormAct), [0.0, 0.0, 3.0]);
/// assert_eq!(run(LayerOrder::NormActConv), [2.0, 3.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LayerOrder {
    /// As in ResNet (arXiv:1512.03385) and most U-Nets.
    #[default]
    ConvNormAct,
    /// Activation before the norm.
    ConvActNorm,
    /// Pre-activation, as in ResNet v2 (arXiv:1603.05027) and DenseNet (arXiv:1608.06993).
    NormActConv,
}

/// What the convolutions of a network have in common.
///
/// # Example
/// ```
/// use burn_skip::{Padding, block::{ConvStyle, DoubleConvConfig}, Trace};
///
/// let block = |style| DoubleConvConfig::new([3, 16]).with_style(style).plan([1, 3, 32, 32]).root;
/// assert_eq!(block(ConvStyle::new()).total_parameters(), 2_800); // norms, and so no bias
/// assert_eq!(block(ConvStyle::bare()).total_parameters(), 2_768); // no norm, and so a bias
/// let unpadded = block(ConvStyle::new().with_padding(Padding::Valid));
/// assert_eq!(unpadded.outputs[0].shape, [1, 16, 28, 28]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConvStyle {
    /// The padding. Default: [`Padding::Same`].
    #[serde(default)]
    pub padding: Padding,
    /// The norm, or none. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
    /// The activation, or none. Default: ReLU.
    #[serde(default = "ActivationConfig::some_default")]
    pub activation: Option<ActivationConfig>,
    /// The order of the three. Default: [`LayerOrder::ConvNormAct`].
    #[serde(default)]
    pub order: LayerOrder,
    /// Whether the convolution has a bias. Default: it has one where there is no norm.
    #[serde(default)]
    pub bias: Option<bool>,
    /// How the weights start. Default: uniform within `±1 / sqrt(fan_in)`, as in PyTorch.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "crate::layers::schema::Initializer")
    )]
    #[serde(default = "crate::layers::conv::default_initializer")]
    pub initializer: Initializer,
}

setters!(
    ConvStyle:
    with_padding(padding: Padding),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
    with_order(order: LayerOrder),
    with_bias(bias: impl Into<Option<bool>>),
    with_initializer(initializer: Initializer),
);

impl Default for ConvStyle {
    fn default() -> Self {
        Self {
            padding: Padding::Same,
            norm: Some(NormConfig::batch()),
            activation: Some(ActivationConfig::Relu),
            order: LayerOrder::ConvNormAct,
            bias: None,
            initializer: default_initializer(),
        }
    }
}

impl ConvStyle {
    /// `same` padding, batch norm, ReLU.
    pub fn new() -> Self {
        Self::default()
    }

    /// A bare convolution: neither norm nor activation.
    pub fn bare() -> Self {
        Self::new().with_norm(None).with_activation(None)
    }
}
