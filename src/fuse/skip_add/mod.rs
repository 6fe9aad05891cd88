//! [`SkipAdd`]: the residual connection.

mod config;
mod layer_scale;
mod pre_activation;
mod shortcut;

pub use config::SkipAddConfig;
pub use layer_scale::LayerScale;
pub use pre_activation::{PreActivation, PreActivationConfig};
pub use shortcut::Shortcut;

use alloc::vec;

use burn::module::{Content, Module, ModuleDisplay, Param};
use burn::tensor::Tensor;

use crate::fuse::gate::{AnyGate, Gate};
use crate::graph::{Map, Planner};
use crate::layers::DropPath;
use crate::layers::activation::Activation;
use crate::layers::block::ConvNormAct;
use crate::layers::layer::Layer;
use crate::layers::pool::Pool;
use crate::plan::Trace;
use crate::shape::{ShapeError, expect};
use layer_scale::scaled;
use shortcut::Path;

const NAME: &str = "SkipAdd";

/// Adds the output of a block to its input: `y = act(M(x) + shortcut(x))`, ResNet
/// (arXiv:1512.03385); with a gate `y = act(gate(M(x)) + shortcut(x))`, SE-ResNet (arXiv:1709.01507).
///
/// The shortcut is the identity where the shapes allow it, and a [projection](Shortcut) where they
/// do not. Optional: a learned [scale](LayerScale) of the block's output, for each channel (arXiv:2103.17239) or one
/// (arXiv:2003.04887); drop path (arXiv:1603.09382); the zero-initialised last norm of arXiv:1706.02677.
///
/// With a [pre-activation](PreActivation), `y = act(M(a) + shortcut(x))` of `a = act_0(norm_0(x))`
/// (arXiv:1603.05027); a projection then reads `a` too.
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
    /// The norm and the activation before the block.
    pub pre_activation: Option<PreActivation>,
    /// The block that the skip connection bypasses.
    pub block: M,
    /// The projection, or none where the shortcut is the identity, [`Shortcut::Pad`] or [`Shortcut::Repeat`].
    pub shortcut: Option<(Option<Pool>, ConvNormAct<R>)>,
    /// Weighs the block's output.
    pub gate: Option<AnyGate<R>>,
    /// The factor of each channel of the block's output, or one factor.
    pub layer_scale: Option<Param<Tensor<1>>>,
    /// Stochastic depth of the block's output.
    pub drop_path: Option<DropPath>,
    /// The activation of the sum.
    pub activation: Option<Activation>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: SkipAddConfig,
}

impl<M, const R: usize> SkipAdd<M, R> {
    /// The shortcut of `x`, and what the block reads.
    fn both_ways(&self, x: Tensor<R>) -> (Tensor<R>, Tensor<R>) {
        match &self.shortcut {
            Some(projection) => {
                let x = self.pre_activation.forward(x);
                (projection.forward(x.clone()), x)
            }
            None => match expect(self.config.path::<R>()) {
                Path::Pad(pad) => (pad.forward(x.clone()), self.pre_activation.forward(x)),
                Path::Repeat(repeats) => {
                    let repeated = Tensor::cat(vec![x.clone(); repeats], 1);
                    (repeated, self.pre_activation.forward(x))
                }
                Path::Identity | Path::Project(..) => (x.clone(), self.pre_activation.forward(x)),
            },
        }
    }
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
        let (shortcut, x) = self.both_ways(x);
        if self.gate.is_none() && self.layer_scale.is_none() && self.drop_path.is_none() {
            return self.block.forward_add(x.into(), shortcut, &self.activation);
        }
        let mut y = self.block.forward(x);
        if let Some(gate) = &self.gate {
            y = gate.forward(y.clone(), y);
        }
        if let Some(factors) = &self.layer_scale {
            y = scaled(y, factors);
        }
        let sum = self.drop_path.forward(y) + shortcut;
        self.activation.forward(sum)
    }
}

impl<M: Module + ModuleDisplay, const R: usize> ModuleDisplay for SkipAdd<M, R> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        let mut content = match &self.pre_activation {
            Some(before) => content.add("pre_activation", before),
            None => content,
        };
        content = content.add("block", &self.block);
        content = match &self.shortcut {
            Some(shortcut) => content.add("shortcut", shortcut),
            None => match self.config.path::<R>() {
                Ok(Path::Pad(_)) => content.add("shortcut", "zero channels"),
                Ok(Path::Repeat(_)) => content.add("shortcut", "repeated channels"),
                _ => content.add("shortcut", "identity"),
            },
        };
        if let Some(gate) = &self.gate {
            content = content.add("gate", gate);
        }
        match self.config.layer_scale {
            Some(LayerScale::Channels(start)) => content = content.add("layer_scale", &start),
            Some(LayerScale::Scalar { scalar }) => content = content.add("skip_init", &scalar),
            None => {}
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
    use crate::fuse::gate::GateConfig;
    use crate::layers::block::ConvNormActConfig;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use burn::nn::{Identity, Initializer, pool::MaxPool2dConfig};
    use burn::tensor::{Device, TensorData};

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
    fn zero_channels_are_appended_to_every_second_position() {
        let device = Device::flex();
        let config = SkipAddConfig::new([1, 2])
            .with_stride(2)
            .with_shortcut(Shortcut::Pad)
            .with_activation(None);
        let block = ConvNormActConfig::new([1, 2], 1)
            .with_stride(2)
            .with_norm(None)
            .init::<3>(&device);
        let mut layer: SkipAdd<_, 3> = config.init(block, &device);
        layer.block.conv.weight = Param::from_tensor(Tensor::zeros([2, 1, 1], &device));
        layer.block.conv.bias = None;
        let x = Tensor::<3>::from_floats([[[1.0, 2.0, 3.0, 4.0, 5.0]]], &device);
        let y: Vec<f32> = layer.forward(x).to_data().try_to_vec().unwrap();
        assert_eq!(y, [1.0, 3.0, 5.0, 0.0, 0.0, 0.0]);
        let wide = SkipAddConfig::new([4, 2]).with_shortcut(Shortcut::Pad);
        assert_eq!(
            wide.validate::<4>().unwrap_err().to_string(),
            "SkipAdd: Shortcut::Pad cannot make 2 channels of 4. Choose Shortcut::Conv or Shortcut::PooledConv."
        );
    }

    #[test]
    fn one_factor_starts_at_zero() {
        let x = Tensor::from_floats([[[[-1.0, 2.0]], [[3.0, 4.0]]]], &Device::flex());
        let config = SkipAddConfig::new([2, 2])
            .with_skip_init()
            .with_activation(None);
        let mut layer = init(&config, Identity::new());
        let y = layer.forward(x.clone()).to_data();
        y.assert_eq(&x.to_data(), true);
        layer.layer_scale = Some(Param::from_tensor(Tensor::from_floats([0.5], &x.device())));
        let y = layer.forward(x.clone()).to_data();
        y.assert_eq(&(x * 1.5).to_data(), true);
    }

    #[test]
    fn the_block_and_a_projection_read_the_activated_map() {
        let x = Tensor::from_floats([[[[-1.0, 2.0]]]], &Device::flex());
        let before = PreActivationConfig::new().with_norm(None);
        let config = SkipAddConfig::pre_activated([1, 1]).with_pre_activation(before);
        let y = init(&config, Identity::new()).forward(x.clone()).to_data();
        y.assert_eq(&TensorData::from([[[[-1.0f32, 4.0]]]]), true);
        // max(-1, 0), read twice.
        let strided = config.with_stride([1, 2]);
        let block = ConvNormActConfig::new([1, 1], 1).with_stride([1, 2]);
        let block = block
            .with_norm(None)
            .with_bias(false)
            .init::<4>(&Device::flex());
        let y = init(&strided, block).forward(x).to_data();
        y.assert_eq(&TensorData::from([[[[0.0f32]]]]), true);
    }

    #[test]
    fn files_of_both_scales() {
        let read = |text: &str| serde_json::from_str::<SkipAddConfig>(text);
        let config = read(r#"{"channels": [4, 4], "layer_scale": 1e-4}"#).unwrap();
        assert_eq!(config.layer_scale, Some(LayerScale::Channels(1e-4)));
        let config = read(r#"{"channels": [4, 4], "layer_scale": {"scalar": 0}}"#).unwrap();
        assert_eq!(config.layer_scale, Some(LayerScale::Scalar { scalar: 0.0 }));
        let error = read(r#"{"channels": [4, 4], "layer_scale": {"scale": 0}}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected a number, or {\"scalar\": a number}")
        );
        let infinite = SkipAddConfig::new([4, 4]).with_layer_scale(f64::INFINITY);
        assert_eq!(
            infinite.validate::<4>().unwrap_err().to_string(),
            "SkipAdd: layer_scale is inf. Choose a finite number."
        );
    }

    #[test]
    fn a_gate_weighs_the_block_and_not_the_shortcut() {
        let device = Device::flex();
        let config = SkipAddConfig::new([1, 1]).with_gate(GateConfig::se(1));
        let mut layer = init(&config, Identity::new());
        let Some(AnyGate::Se(gate)) = &mut layer.gate else {
            unreachable!()
        };
        for conv in [&mut gate.squeeze, &mut gate.excite] {
            conv.conv.weight = Param::from_tensor(Tensor::zeros([1, 1, 1, 1], &device));
            conv.conv.bias = Some(Param::from_tensor(Tensor::zeros([1], &device)));
        }
        // The weight is sigmoid(0): y = x / 2 + x.
        let x = Tensor::from_floats([[[[-1.0, 2.0]]]], &device);
        let y = layer.forward(x).to_data();
        y.assert_eq(&TensorData::from([[[[0.0f32, 3.0]]]]), true);
        let plan = layer.plan([1, 1, 1, 2]);
        assert!(plan.nodes().iter().any(|(path, _)| path == "gate.squeeze"));
        let error = SkipAddConfig::new([4, 4]).with_gate(GateConfig::se(8));
        assert_eq!(
            error.validate::<4>().unwrap_err().to_string(),
            "gate.Gate: reduction 8 leaves none of 4 channels. Choose a reduction of 4 or less."
        );
    }

    #[test]
    fn repeated_channels_are_added() {
        let config = SkipAddConfig::new([1, 2])
            .with_shortcut(Shortcut::Repeat)
            .with_activation(None);
        let block = ConvNormActConfig::new([1, 2], 1)
            .with_norm(None)
            .with_activation(None);
        let style = block.style.clone().with_initializer(Initializer::Zeros);
        let device = Device::flex();
        let block = block.with_style(style).init::<4>(&device);
        let sum = init(&config, block);
        assert!(sum.shortcut.is_none());
        assert!(sum.to_string().contains("  shortcut: repeated channels\n"));
        let x = Tensor::from_floats([[[[3.0, 5.0]]]], &device);
        let y = sum.forward(x);
        y.to_data()
            .assert_eq(&TensorData::from([[[[3.0f32, 5.0]], [[3.0, 5.0]]]]), true);
        let text = |config: SkipAddConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(SkipAddConfig::new([2, 3]).with_shortcut(Shortcut::Repeat)),
            "SkipAdd: 2 channels cannot be repeated to 3. Choose a multiple, or another shortcut."
        );
        assert_eq!(
            text(config.with_stride(2)),
            "SkipAdd: the stride is 2, and Shortcut::Repeat keeps the size. Set the stride to 1, or choose another \
             shortcut."
        );
    }

    #[test]
    fn a_wide_shortcut_is_pointwise_where_the_block_keeps_the_size() {
        let wide = Shortcut::WideConv { kernel_size: 3 };
        let weights = |config: SkipAddConfig| {
            let config = config.with_shortcut(wide).with_norm(None);
            let (_, conv) = init(&config, Identity::new()).shortcut.unwrap();
            conv.conv.weight.val().dims()
        };
        assert_eq!(weights(SkipAddConfig::new([4, 6])), [6, 4, 1, 1]);
        let strided = SkipAddConfig::new([4, 4]).with_stride(2);
        assert_eq!(weights(strided), [4, 4, 3, 3]);
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
        let config = SkipAddConfig::pre_activated([4, 6])
            .with_shortcut(Shortcut::Pad)
            .with_skip_init();
        let text = init(&config, Identity::new()).to_string();
        for line in [
            "  shortcut: zero channels\n",
            "  skip_init: 0\n",
            "  params: 17\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("  pre_activation: PreActivation {"), "{text}");
    }
}
