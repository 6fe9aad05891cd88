//! [`SelfAttention`]: each position of a map reads all others.

use alloc::format;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::module::attention;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::graph::window::Padding;
use crate::graph::{Map, Op, Planner, Record};
use crate::layers::activation::Activation;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::{Layer, check_residual};
use crate::layers::norm::{LayerNorm, LayerNormConfig};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect};

const NAME: &str = "SelfAttention";

/// Configuration of [`SelfAttention`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, attention::SelfAttentionConfig};
///
/// let config = SelfAttentionConfig::new(64, 2).with_reduction(4);
/// assert_eq!(config.output_shape([1, 64, 30, 40]).unwrap(), [1, 64, 30, 40]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SelfAttentionConfig {
    /// The channels of the map.
    pub channels: usize,
    /// The number of heads, each of which attends with its own share of the channels.
    pub heads: usize,
    /// By how much the map that gives keys and values is smaller along each axis. Default: 1, the map as it is.
    #[serde(default = "one")]
    pub reduction: usize,
}

const fn one() -> usize {
    1
}

setters!(
    SelfAttentionConfig:
    with_reduction(reduction: usize),
);

impl Config for SelfAttentionConfig {}

impl SelfAttentionConfig {
    /// Attention over all positions.
    pub fn new(channels: usize, heads: usize) -> Self {
        Self {
            channels,
            heads,
            reduction: one(),
        }
    }

    /// A linear layer at each position.
    fn linear(&self, outputs: usize) -> ConvNormActConfig {
        ConvNormActConfig::new([self.channels, outputs], 1).with_style(ConvStyle::bare())
    }

    fn key_value(&self) -> ConvNormActConfig {
        self.linear(self.channels.saturating_mul(2))
    }

    /// Patches that lie side by side, and a norm; none where the map is read as it is.
    fn reduce(&self) -> Option<(ConvNormActConfig, LayerNormConfig)> {
        let style = ConvStyle::bare().with_padding(Padding::Valid);
        let patches = ConvNormActConfig::new([self.channels; 2], self.reduction)
            .with_stride(self.reduction)
            .with_style(style);
        let norm = LayerNormConfig::new(self.channels);
        (self.reduction > 1).then_some((patches, norm))
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, or the heads do not divide the channels.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "channels", self.channels)?;
        check_positive(NAME, "heads", self.heads)?;
        check_positive(NAME, "reduction", self.reduction)?;
        if self.channels.is_multiple_of(self.heads) {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!(
                "heads (={}) do not divide the channels (={})",
                self.heads, self.channels
            ),
            "Choose a number of heads that divides the channels",
        ))
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> SelfAttention<R> {
        expect(self.validate::<R>());
        let reduce = self.reduce();
        SelfAttention {
            query: self.linear(self.channels).init(device),
            reduce: reduce.map(|(patches, norm)| (patches.init(device), norm.init(device))),
            key_value: self.key_value().init(device),
            project: self.linear(self.channels).init(device),
            config: self.clone(),
        }
    }
}

impl<const R: usize> Trace<R> for SelfAttentionConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.check()?;
            check_channels(NAME, x.shape, self.channels)?;
            let query = self.linear(self.channels).trace(planner.at("query"), x)?;
            let read = match self.reduce() {
                Some(reduce) => reduce.trace(planner.at("reduce"), x)?,
                None => x.clone(),
            };
            let key_value = self.key_value().trace(planner.at("key_value"), &read)?;
            let attended = planner.leaf("Attention", &[&query, &key_value], || {
                let op = Op::Attention { heads: self.heads };
                Ok(Record::new(op, query.shape).on_grid_of(&query))
            })?;
            self.linear(self.channels)
                .trace(planner.at("project"), &attended)
        })
    }
}

/// Multi-head self-attention (arXiv:1706.03762, section 3.2) over the positions of a map, with keys and values of a map
/// that is smaller by a factor (arXiv:2102.12122, section 3.3; arXiv:2105.15203, section 3.1).
///
/// `y = P concat(softmax(Q_h K_h^T / sqrt(d)) V_h for each head h)`, with `Q = W_q x`, `[K, V] = W_kv r(x)`, `d` the
/// channels of a head, and `r` patches of `reduction` positions along each axis, projected and normalised; as the
/// `Attention` of SegFormer's Mix Transformer. The attention itself is
/// [Burn's](burn::tensor::module::attention).
///
/// # Shapes
/// - input and output: `[batch, channels, spatial...]`
///
/// # Panics
/// When an axis has fewer positions than [`reduction`](SelfAttentionConfig::reduction).
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, attention::{SelfAttention, SelfAttentionConfig}};
///
/// let device = Device::flex();
/// let layer: SelfAttention = SelfAttentionConfig::new(8, 2).with_reduction(2).init(&device);
/// assert_eq!(layer.forward(Tensor::zeros([2, 8, 9, 7], &device)).dims(), [2, 8, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct SelfAttention<const R: usize = 4> {
    /// The queries of each position.
    pub query: ConvNormAct<R>,
    /// The patches and the norm of the map that gives keys and values; none where that is the map itself.
    pub reduce: Option<(ConvNormAct<R>, LayerNorm)>,
    /// The keys and the values, in this order.
    pub key_value: ConvNormAct<R>,
    /// The last linear layer.
    pub project: ConvNormAct<R>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: SelfAttentionConfig,
}

impl<const R: usize> SelfAttention<R> {
    /// What each position reads of all others, before the last linear layer.
    fn attend(&self, x: Tensor<R>) -> Tensor<R> {
        let shape = x.dims();
        let channels = self.config.channels;
        let query = self.query.forward(x.clone());
        let key_value = self.key_value.forward(self.reduce.forward(x));
        let key = key_value.clone().narrow(1, 0, channels);
        let value = key_value.narrow(1, channels, channels);
        let [query, key, value] = [query, key, value].map(|map| self.by_heads(map));
        let y = attention(query, key, value, None, None, Default::default());
        y.swap_dims(2, 3).reshape(shape)
    }

    /// `[batch, heads, positions, channels of a head]`
    fn by_heads(&self, x: Tensor<R>) -> Tensor<4> {
        let shape = x.dims();
        let heads = self.config.heads;
        let positions = shape[2..].iter().product();
        x.reshape([shape[0], heads, self.config.channels / heads, positions])
            .swap_dims(2, 3)
    }
}

impl<const R: usize> Trace<R> for SelfAttention<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for SelfAttention<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        self.project.forward(self.attend(x))
    }

    fn forward_add(
        &self,
        parts: LazyConcat<R>,
        residual: Tensor<R>,
        activation: &Option<Activation>,
    ) -> Tensor<R> {
        check_residual(self, &parts, &residual);
        let y = self.attend(parts.into_tensor());
        self.project.forward_add(y.into(), residual, activation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};
    use burn::module::Param;

    /// A layer of one head and one channel, whose queries and keys are `x` and whose values are `2 x`.
    fn twice() -> SelfAttention<3> {
        let device = Device::flex();
        let mut layer: SelfAttention<3> = SelfAttentionConfig::new(1, 1).init(&device);
        let weights = |values: &[f32]| {
            let weights = Tensor::<1>::from_floats(values, &device);
            Param::from_tensor(weights.reshape([values.len(), 1, 1]))
        };
        for (conv, values) in [
            (&mut layer.query.conv, &[1.0][..]),
            (&mut layer.key_value.conv, &[1.0, 2.0]),
            (&mut layer.project.conv, &[1.0]),
        ] {
            conv.weight = weights(values);
            conv.bias = Some(Param::from_tensor(Tensor::zeros([values.len()], &device)));
        }
        layer
    }

    #[test]
    fn each_position_reads_all_by_the_softmax_of_its_products() {
        let x = Tensor::<3>::from_floats([[[0.0, 1.0, -1.0]]], &Device::flex());
        let y: Vec<f32> = twice().forward(x).to_data().try_to_vec().unwrap();
        // Of the position 0 all products are 0; of the others they are 0, 1 and -1.
        let e = core::f32::consts::E;
        let of_1 = 2.0 * (e - 1.0 / e) / (1.0 + e + 1.0 / e);
        for (y, expected) in y.iter().zip([0.0, of_1, -of_1]) {
            assert!((y - expected).abs() < 1e-6, "{y}, expected {expected}");
        }
    }

    #[test]
    fn every_rank_at_odd_sizes() {
        let device = Device::flex();
        let config = SelfAttentionConfig::new(6, 3).with_reduction(2);
        let layer: SelfAttention<3> = config.init(&device);
        assert_eq!(
            layer.forward(Tensor::zeros([2, 6, 7], &device)).dims(),
            [2, 6, 7]
        );
        let layer: SelfAttention<5> = config.init(&device);
        let y = layer.forward(Tensor::zeros([1, 6, 3, 4, 5], &device));
        assert_eq!(y.dims(), [1, 6, 3, 4, 5]);
    }

    #[test]
    fn what_cannot_be_built_or_read_is_refused() {
        let text = |config: SelfAttentionConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(SelfAttentionConfig::new(6, 4)),
            "SelfAttention: heads (=4) do not divide the channels (=6). Choose a number of heads that divides the \
             channels."
        );
        assert_eq!(
            text(SelfAttentionConfig::new(6, 0)),
            "SelfAttention: heads is 0. Set heads to 1 or more."
        );
        let config = SelfAttentionConfig::new(6, 2).with_reduction(4);
        let error = config.output_shape([1, 6, 3, 9]).unwrap_err().to_string();
        assert!(error.starts_with("reduce.0.conv.Conv: height 3"), "{error}");
    }
}
