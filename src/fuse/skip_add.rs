//! [`SkipAdd`]: the residual connection.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::{Content, Module, ModuleDisplay, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::merge::{Side, disagreement};
use crate::graph::{Elementwise, Map, Op, Planner, Record};
use crate::layers::DropPath;
use crate::layers::activation::{Activation, ActivationConfig};
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::param::zero_last_norm;
use crate::layers::pool::{Pool, PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{
    PerAxis, ShapeError, axis_name, check_channels, check_positive, expect, with_channels,
};

const NAME: &str = "SkipAdd";

/// How the input is projected where the block changes its channels or its size.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::{Shortcut, SkipAdd, SkipAddConfig, block::ConvNormActConfig};
///
/// let has_pool = |shortcut| {
///     let block = ConvNormActConfig::new([8, 16], 3).with_stride(2).init::<4>(&Device::flex());
///     let config = SkipAddConfig::new([8, 16]).with_stride(2).with_shortcut(shortcut);
///     let residual: SkipAdd<_> = config.init(block, &Device::flex());
///     residual.shortcut.unwrap().0.is_some()
/// };
/// assert!(!has_pool(Shortcut::Conv)); // its 1x1 convolution reads one position of four
/// assert!(has_pool(Shortcut::PooledConv)); // it reads the mean of the four
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Shortcut {
    /// A 1x1 convolution with the block's stride (ResNet, option B).
    #[default]
    Conv,
    /// An average pool of the block's stride and a 1x1 convolution with stride 1, so that every
    /// position is read (ResNet-D, arXiv:1812.01187; `ceil_mode`, padding not counted, as timm).
    PooledConv,
}

/// Configuration of [`SkipAdd`].
///
/// # Example
/// ```
/// use burn_skip::SkipAddConfig;
///
/// // The shapes of the input and of the block's output.
/// let (input, block_output) = ([1, 16, 15, 15], [1, 32, 8, 8]);
/// let error = SkipAddConfig::new([16, 32]).output_shape(input, block_output).unwrap_err();
/// assert_eq!(error.problem, "height differs: block 8, shortcut 15");
/// let config = SkipAddConfig::new([16, 32]).with_stride(2);
/// assert_eq!(config.output_shape(input, block_output).unwrap(), [1, 32, 8, 8]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SkipAddConfig {
    /// Input and output channels of the block.
    pub channels: [usize; 2],
    /// The stride of the block. Default: 1.
    #[serde(default = "crate::defaults::one")]
    pub stride: PerAxis,
    /// The projection of the input, where channels or stride require one. Default: [`Shortcut::Conv`].
    #[serde(default)]
    pub shortcut: Shortcut,
    /// The norm of the projection, or none. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
    /// The activation of the sum, or none. Default: ReLU.
    #[serde(default = "ActivationConfig::some_default")]
    pub activation: Option<ActivationConfig>,
    /// The initial value of a learned scale for each channel of the block's output, or none. Default: none.
    #[serde(default)]
    pub layer_scale: Option<f64>,
    /// The probability that a sample takes the shortcut alone during training. Default: 0.
    #[serde(default)]
    pub drop_path: f64,
    /// Whether the scale of the block's last norm, in the order of its fields, starts at zero. Where that norm is
    /// the block's last operation, the layer starts as its shortcut. A block without a norm that has a scale is
    /// refused. Default: false.
    #[serde(default)]
    pub zero_init_last_norm: bool,
}

setters!(
    SkipAddConfig:
    with_stride(stride: impl Into<PerAxis>),
    with_shortcut(shortcut: Shortcut),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
    with_layer_scale(layer_scale: impl Into<Option<f64>>),
    with_drop_path(drop_path: f64),
    with_zero_init_last_norm(zero_init_last_norm: bool),
);

impl Config for SkipAddConfig {}

/// A pool or none, and a 1x1 convolution after it.
type Projection = (Option<PoolConfig>, ConvNormActConfig);

impl SkipAddConfig {
    /// A residual connection around a block from `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2]) -> Self {
        Self {
            channels,
            stride: 1.into(),
            shortcut: Shortcut::Conv,
            norm: Some(NormConfig::batch()),
            activation: Some(ActivationConfig::Relu),
            layer_scale: None,
            drop_path: 0.0,
            zero_init_last_norm: false,
        }
    }

    /// The pool and the convolution of the projection, if there is one for maps of rank `R`.
    fn projection<const R: usize>(&self) -> Result<Option<Projection>, ShapeError> {
        let strides = self.stride.resolve_positive(R, NAME, "stride")?;
        let strided = strides.iter().any(|&stride| stride > 1);
        if self.channels[0] == self.channels[1] && !strided {
            return Ok(None);
        }
        let conv = ConvNormActConfig::new(self.channels, 1)
            .with_norm(self.norm.clone())
            .with_activation(None);
        Ok(Some(match self.shortcut {
            Shortcut::PooledConv if strided => {
                let pool = PoolConfig::new(PoolKind::Avg, self.stride.clone());
                (Some(pool.with_ceil_mode(true)), conv)
            }
            _ => (None, conv.with_stride(self.stride.clone())),
        }))
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, the probability is not in `[0, 1)`, or the projection is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels[0]], |planner, maps: &[Map<R>]| {
            self.trace_over(planner, &maps[0], |planner, x| {
                Ok(planner.map(with_channels(x.shape, self.channels[1]), None))
            })
        })
    }

    /// Checks the numbers that no part of the layer checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.channels[0])?;
        check_positive(NAME, "out_channels", self.channels[1])?;
        DropPath::validate(self.drop_path).map_err(|e| e.within("drop_path"))?;
        match self.layer_scale.filter(|scale| !scale.is_finite()) {
            Some(scale) => Err(ShapeError::new(
                NAME,
                format!("layer_scale is {scale}"),
                "Choose a finite number",
            )),
            None => Ok(()),
        }
    }

    /// The shape of the output for an input of shape `input`, of which the block makes a map of shape
    /// `block_output`.
    ///
    /// # Errors
    /// When the channels differ, the block gives another shape than the shortcut, or the
    /// configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
        block_output: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(&[input, block_output], |planner, maps| {
            self.trace_over(planner, &maps[0], |_, _| Ok(maps[1].clone()))
        })
    }

    /// Refuses a block whose output has another shape than the shortcut.
    fn check_same_shape<const R: usize>(
        input: [usize; R],
        block: [usize; R],
        shortcut: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let Some(axis) = (0..R).find(|&axis| block[axis] != shortcut[axis]) else {
            return Ok(block);
        };
        let remedy = if axis == 1 {
            format!("Set the channels to [{}, {}]", input[1], block[1])
        } else {
            let strides: Vec<_> = (2..R).map(|n| input[n].div_ceil(block[n].max(1))).collect();
            format!("Set the stride to {strides:?}, and let the block pad with Padding::Same")
        };
        let [block, shortcut] =
            [("block", block), ("shortcut", shortcut)].map(|(name, shape)| Side {
                name,
                size: shape[axis],
            });
        let problem = disagreement(axis_name(axis, R), block, shortcut);
        Err(ShapeError::new(NAME, problem, remedy))
    }

    /// Records the shortcut, the block, by `block`, and their sum, in the order in which they run.
    pub(crate) fn trace_over<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        block: impl FnOnce(&mut Planner, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.check_numbers()?;
            check_channels(NAME, x.shape, self.channels[0])?;
            let shortcut = match self.projection::<R>()? {
                Some(projection) => projection.trace(planner.at("shortcut"), x)?,
                None => x.clone(),
            };
            let y = block(planner.at("block"), x)?;
            let output = Self::check_same_shape(x.shape, y.shape, shortcut.shape)?;
            let sum = |planner: &mut Planner, y: &Map<R>| {
                let names = ["block", "shortcut"];
                let sum = planner.at("").elementwise(
                    Elementwise::Sum,
                    &names,
                    &[y, &shortcut],
                    Ok(output),
                )?;
                self.activation.trace(planner.at("activation"), &sum)
            };
            if self.adds_in_block() {
                return planner.dispatched(|planner| sum(planner, &y));
            }
            let y = self.trace_scale(planner, &y)?;
            sum(planner, &y)
        })
    }

    /// Whether nothing lies between the block and the sum, so that the block adds the shortcut itself, by
    /// [`Layer::forward_add`].
    fn adds_in_block(&self) -> bool {
        self.layer_scale.is_none() && self.drop_path == 0.0
    }

    /// Records the layer scale and the drop path of the block's output `y`.
    fn trace_scale<const R: usize>(
        &self,
        planner: &mut Planner,
        y: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let mut y = y.clone();
        if self.layer_scale.is_some() {
            y = planner.at("").leaf("Scale", &[&y], || {
                let record = Record::new(Op::Scale, y.shape).on_grid_of(&y);
                Ok(record.with_parameter("layer_scale", self.channels[1]))
            })?;
        }
        if self.drop_path > 0.0 {
            y = planner.at("drop_path").leaf("DropPath", &[&y], || {
                Ok(Record::new(Op::DropPath, y.shape).on_grid_of(&y))
            })?;
        }
        Ok(y)
    }

    /// Wraps `block`.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message, or
    /// [`zero_init_last_norm`](Self::zero_init_last_norm) is set and the block has no norm.
    pub fn init<const R: usize, M: Layer<R>>(&self, block: M, device: &Device) -> SkipAdd<M, R> {
        expect(self.validate::<R>());
        let projection = expect(self.projection::<R>());
        let channels = self.channels[1];
        let scale = |value| Initializer::Constant { value }.init([channels], device);
        let block = match self.zero_init_last_norm {
            true => expect(zero_last_norm(block).map_err(|e| e.within("block"))),
            false => block,
        };
        SkipAdd {
            block,
            shortcut: projection.map(|(pool, conv)| (pool.map(Pool::new), conv.init(device))),
            layer_scale: self.layer_scale.map(scale),
            drop_path: (self.drop_path > 0.0).then(|| DropPath::new(self.drop_path)),
            activation: self.activation.as_ref().map(|act| act.init(device)),
            config: self.clone(),
        }
    }
}

/// Adds the output of a block to its input: `y = act(M(x) + shortcut(x))`, ResNet
/// (arXiv:1512.03385).
///
/// The shortcut is the identity where the shapes allow it, and a [projection](Shortcut) where they
/// do not. Optional: layer scale (arXiv:2103.17239), drop path (arXiv:1603.09382), and the
/// zero-initialised last norm of arXiv:1706.02677.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, ceil(spatial / stride)...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, SkipAdd, SkipAddConfig, block::ConvNormActConfig};
///
/// let device = Device::flex();
/// let block = (
///     ConvNormActConfig::new([16, 32], 3).with_stride(2).init::<4>(&device),
///     ConvNormActConfig::new([32, 32], 3).with_activation(None).init::<4>(&device),
/// );
/// let residual: SkipAdd<_> = SkipAddConfig::new([16, 32]).with_stride(2).init(block, &device);
/// assert_eq!(residual.forward(Tensor::zeros([1, 16, 15, 15], &device)).dims(), [1, 32, 8, 8]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct SkipAdd<M, const R: usize = 4> {
    /// The block that the skip connection bypasses.
    pub block: M,
    /// The projection, or none where the shortcut is the identity.
    pub shortcut: Option<(Option<Pool>, ConvNormAct<R>)>,
    /// A factor for each channel of the block's output.
    pub layer_scale: Option<Param<Tensor<1>>>,
    /// Stochastic depth of the block's output.
    pub drop_path: Option<DropPath>,
    /// The activation of the sum.
    pub activation: Option<Activation>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: SkipAddConfig,
}

impl<const R: usize, M: Trace<R>> Trace<R> for SkipAdd<M, R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config
            .trace_over(planner, x, |planner, x| self.block.trace(planner, x))
    }
}

impl<const R: usize, M: Layer<R>> Layer<R> for SkipAdd<M, R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        let shortcut = self.shortcut.forward(x.clone());
        if self.layer_scale.is_none() && self.drop_path.is_none() {
            return self.block.forward_add(x.into(), shortcut, &self.activation);
        }
        let mut y = self.block.forward(x);
        if let Some(scale) = &self.layer_scale {
            let mut per_channel = [1; R];
            per_channel[1] = self.config.channels[1];
            y = y * scale.val().reshape(per_channel);
        }
        let sum = self.drop_path.forward(y) + shortcut;
        self.activation.forward(sum)
    }
}

impl<M: Module + ModuleDisplay, const R: usize> ModuleDisplay for SkipAdd<M, R> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        let mut content = content.add("block", &self.block);
        content = match &self.shortcut {
            Some(shortcut) => content.add("shortcut", shortcut),
            None => content.add("shortcut", "identity"),
        };
        if let Some(start) = self.config.layer_scale {
            content = content.add("layer_scale", &start);
        }
        if let Some(drop_path) = &self.drop_path {
            content = content.add("drop_path", drop_path);
        }
        match &self.activation {
            Some(activation) => content.add("activation", activation).optional(),
            None => content.optional(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::nn::{Identity, pool::MaxPool2dConfig};
    use burn::tensor::TensorData;

    fn init<M: Layer<4>>(config: &SkipAddConfig, block: M) -> SkipAdd<M> {
        config.init(block, &Device::flex())
    }

    #[test]
    fn the_identity_adds_the_map_to_itself() {
        let x = Tensor::from_floats([[[[-1.0, 2.0]]]], &Device::flex());
        let y = init(&SkipAddConfig::new([1, 1]), Identity::new()).forward(x);
        y.to_data()
            .assert_eq(&TensorData::from([[[[0.0f32, 4.0]]]]), true);
    }

    #[test]
    fn the_shapes_choose_the_shortcut() {
        let params = |config: SkipAddConfig| init(&config, Identity::new()).num_params();
        assert_eq!(params(SkipAddConfig::new([4, 4])), 0);
        // A 1x1 convolution and a batch norm with its two statistics.
        assert_eq!(params(SkipAddConfig::new([4, 6])), 4 * 6 + 4 * 6);
        assert_eq!(
            params(SkipAddConfig::new([4, 4]).with_stride(2)),
            4 * 4 + 4 * 4
        );
    }

    #[test]
    fn a_block_of_another_shape_is_refused() {
        let pooled = init(
            &SkipAddConfig::new([4, 4]),
            MaxPool2dConfig::new([2, 2]).init(),
        );
        assert_eq!(
            pooled.output_shape([1, 4, 8, 8]).unwrap_err().to_string(),
            "SkipAdd: height differs: block 4, shortcut 8. \
             Set the stride to [2, 2], and let the block pad with Padding::Same."
        );
        let wide = init(&SkipAddConfig::new([4, 6]), Identity::new());
        assert_eq!(
            wide.output_shape([1, 4, 8, 8]).unwrap_err().to_string(),
            "SkipAdd: channels differ: block 4, shortcut 6. Set the channels to [4, 4]."
        );
    }

    #[test]
    fn display() {
        let config = SkipAddConfig::new([4, 4])
            .with_layer_scale(1e-4)
            .with_drop_path(0.1);
        let expected = "\
SkipAdd {
  block: Identity
  shortcut: identity
  layer_scale: 0.0001
  drop_path: DropPath {prob: 0.1}
  activation: Activation {kind: Relu}
  params: 4
}";
        assert_eq!(init(&config, Identity::new()).to_string(), expected);
    }
}
