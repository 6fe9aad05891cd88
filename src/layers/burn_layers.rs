//! [`Layer`] for the layers of `burn::nn`.

use alloc::vec::Vec;

use burn::module::{Module, Param};
use burn::nn::{
    BatchNorm, Dropout, Gelu, GroupNorm, Identity, InstanceNorm, LeakyRelu, PRelu, PaddingConfig1d,
    PaddingConfig2d, PaddingConfig3d, Relu, Sigmoid, Tanh,
    activation::{
        Activation as BurnActivation, Celu, Elu, HardShrink, HardSigmoid, HardSwish, LogSigmoid,
        Mish, Relu6, Selu, Shrink, SiLU, SoftShrink, Softplus, Softsign, ThresholdedRelu,
    },
    conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d},
    norm::Normalization,
    pool::{
        AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AvgPool1d, AvgPool2d, MaxPool1d,
        MaxPool2d,
    },
};
use burn::tensor::Tensor;

use super::layer::Layer;
use crate::cpu::{self, batch_norm, group_norm};
use crate::graph::window::{Padding, Window};
use crate::graph::{
    AdaptiveKind, AxisPadding, ConvOp, Map, NormKind, Op, Planner, PoolKind, Record,
    TransposedWindow, transposed_size,
};
use crate::layers::activation::{ActivationConfig, gelu};
use crate::layers::norm::{check_enough_values, norm_record};
use crate::plan::Trace;
use crate::shape::{
    PerAxis, ShapeError, check_channels, check_not_empty, expect, with_channels, with_spatial,
};

/// Burn's activations that keep the shape and take any number of channels, each with the function that it is.
macro_rules! activations {
    ($($layer:ident: $self:ident => $activation:expr),+ $(,)?) => {$(
        impl<const R: usize> Trace<R> for $layer {
            fn trace(&$self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
                planner.leaf(stringify!($layer), &[x], || {
                    Ok(Record::new(Op::Activation($activation), x.shape).on_grid_of(x))
                })
            }
        }

        impl<const R: usize> Layer<R> for $layer {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                <$layer>::forward(self, x)
            }
        }
    )+};
}

activations!(
    Identity: self => ActivationConfig::Identity,
    Relu: self => ActivationConfig::Relu,
    Relu6: self => ActivationConfig::Relu6,
    LeakyRelu: self => ActivationConfig::LeakyRelu { negative_slope: self.negative_slope },
    Elu: self => ActivationConfig::Elu { alpha: self.alpha },
    Celu: self => ActivationConfig::Celu { alpha: self.alpha },
    Selu: self => ActivationConfig::Selu,
    SiLU: self => ActivationConfig::Silu,
    Mish: self => ActivationConfig::Mish,
    Sigmoid: self => ActivationConfig::Sigmoid,
    Tanh: self => ActivationConfig::Tanh,
    HardSigmoid: self => ActivationConfig::HardSigmoid { alpha: self.alpha, beta: self.beta },
    HardSwish: self => ActivationConfig::HardSwish,
    HardShrink: self => ActivationConfig::HardShrink { lambda: self.lambda },
    SoftShrink: self => ActivationConfig::SoftShrink { lambda: self.lambda },
    Shrink: self => ActivationConfig::Shrink { lambda: self.lambda, bias: self.bias },
    Softplus: self => ActivationConfig::Softplus { beta: self.beta },
    Softsign: self => ActivationConfig::Softsign,
    LogSigmoid: self => ActivationConfig::LogSigmoid,
    ThresholdedRelu: self => ActivationConfig::ThresholdedRelu { alpha: self.alpha },
);

impl<const R: usize> Trace<R> for Dropout {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.leaf("Dropout", &[x], || {
            Ok(Record::new(Op::Dropout, x.shape).on_grid_of(x))
        })
    }
}

impl<const R: usize> Layer<R> for Dropout {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        Dropout::forward(self, x)
    }
}

impl<const R: usize> Trace<R> for Gelu {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let activation = match self.approximate {
            true => ActivationConfig::GeluApproximate,
            false => ActivationConfig::Gelu,
        };
        activation.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Gelu {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        match self.approximate {
            true => Gelu::forward(self, x),
            false => gelu(x),
        }
    }
}

impl<const R: usize> Trace<R> for PRelu {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.leaf("PRelu", &[x], || {
            let num_parameters = self.alpha.shape()[0];
            if num_parameters != 1 {
                check_channels("PRelu", x.shape, num_parameters)?;
            }
            let activation = ActivationConfig::PRelu {
                num_parameters,
                alpha: self.alpha_value,
            };
            let record = Record::new(Op::Activation(activation), x.shape).on_grid_of(x);
            Ok(record.with_parameter("alpha", num_parameters))
        })
    }
}

impl<const R: usize> Layer<R> for PRelu {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        PRelu::forward(self, x)
    }
}

impl<const R: usize> Trace<R> for BurnActivation {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Identity(_) => Ok(x.clone()),
            Self::Gelu(layer) => layer.trace(planner, x),
            Self::PRelu(layer) => layer.trace(planner, x),
            Self::Relu(layer) => layer.trace(planner, x),
            Self::LeakyRelu(layer) => layer.trace(planner, x),
            Self::Selu(layer) => layer.trace(planner, x),
            Self::Sigmoid(layer) => layer.trace(planner, x),
            Self::Tanh(layer) => layer.trace(planner, x),
            Self::HardSigmoid(layer) => layer.trace(planner, x),
            Self::HardSwish(layer) => layer.trace(planner, x),
            Self::Softplus(layer) => layer.trace(planner, x),
            Self::Softsign(layer) => layer.trace(planner, x),
            Self::Elu(layer) => layer.trace(planner, x),
            Self::Celu(layer) => layer.trace(planner, x),
            Self::ThresholdedRelu(layer) => layer.trace(planner, x),
            Self::HardShrink(layer) => layer.trace(planner, x),
            Self::SoftShrink(layer) => layer.trace(planner, x),
            Self::Shrink(layer) => layer.trace(planner, x),
            Self::SwiGlu(_) => {
                let refused = ShapeError::new(
                    "Activation",
                    "SwiGlu works on the last axis, which is spatial in a feature map",
                    "Choose an activation that works on each element",
                );
                planner.opaque("Activation", x, 0, Err(refused))
            }
            _ => planner.opaque("Activation", x, self.num_params(), Ok(x.shape)),
        }
    }
}

impl<const R: usize> Layer<R> for BurnActivation {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        match self {
            Self::Gelu(gelu) => Layer::forward(gelu, x),
            _ => BurnActivation::forward(self, x),
        }
    }
}

/// Norms over the channels, each with its kind, its number of channels and what else a map must have.
macro_rules! channel_norms {
    ($($layer:ident: $self:ident => $kind:expr, $channels:expr, $check:ident, $affine:expr),+ $(,)?) => {$(
        impl<const R: usize> Trace<R> for $layer {
            fn trace(&$self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
                planner.leaf(stringify!($layer), &[x], || {
                    check_channels(stringify!($layer), x.shape, $channels)?;
                    $check(stringify!($layer), x.shape)?;
                    Ok(norm_record($kind, x, $affine))
                })
            }
        }

        impl<const R: usize> Layer<R> for $layer {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }
        }
    )+};
}

channel_norms!(
    BatchNorm: self => NormKind::Batch, self.gamma.shape()[0], check_not_empty, true,
    GroupNorm: self => NormKind::Group { groups: self.num_groups },
        self.num_channels, check_enough_values, self.gamma.is_some(),
    InstanceNorm: self => NormKind::Instance,
        self.num_channels, check_enough_values, self.gamma.is_some(),
);

impl<const R: usize> Trace<R> for Normalization {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Identity(_) => Ok(x.clone()),
            // (They go through the dispatch, which has kernels for them.)
            Self::Batch(norm) => planner.dispatched(|planner| norm.trace(planner, x)),
            Self::Group(norm) => planner.dispatched(|planner| norm.trace(planner, x)),
            Self::Instance(norm) => planner.dispatched(|planner| norm.trace(planner, x)),
            _ => {
                let refused = ShapeError::new(
                    "Normalization",
                    "layer and RMS norm work on the last axis, which is spatial in a feature map",
                    "Choose batch, group or instance norm",
                );
                planner.opaque("Normalization", x, 0, Err(refused))
            }
        }
    }
}

/// The norm of groups of channels with this scale and shift.
fn of_groups(
    groups: usize,
    [gamma, beta]: [&Option<Param<Tensor<1>>>; 2],
    epsilon: f64,
) -> cpu::GroupNorm {
    cpu::GroupNorm {
        groups,
        gamma: gamma.as_ref().map(Param::val),
        beta: beta.as_ref().map(Param::val),
        epsilon,
    }
}

impl<const R: usize> Layer<R> for Normalization {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        match self {
            Self::Batch(norm) => batch_norm(norm, x, None, false),
            Self::Group(norm) => {
                let GroupNorm { gamma, beta, .. } = norm;
                let of_groups = of_groups(norm.num_groups, [gamma, beta], norm.epsilon);
                group_norm(of_groups, x).or_else(|x| norm.forward(x))
            }
            Self::Instance(norm) => {
                let InstanceNorm { gamma, beta, .. } = norm;
                let of_groups = of_groups(norm.num_channels, [gamma, beta], norm.epsilon);
                group_norm(of_groups, x).or_else(|x| norm.forward(x))
            }
            _ => Normalization::forward(self, x),
        }
    }
}

impl From<&PaddingConfig1d> for Padding {
    fn from(padding: &PaddingConfig1d) -> Self {
        match *padding {
            PaddingConfig1d::Same => Self::Same,
            PaddingConfig1d::Valid => Self::Valid,
            PaddingConfig1d::Explicit(start, end) => Self::Explicit {
                start: start.into(),
                end: end.into(),
            },
        }
    }
}

impl From<&PaddingConfig2d> for Padding {
    fn from(padding: &PaddingConfig2d) -> Self {
        match *padding {
            PaddingConfig2d::Same => Self::Same,
            PaddingConfig2d::Valid => Self::Valid,
            PaddingConfig2d::Explicit(top, left, bottom, right) => Self::Explicit {
                start: [top, left].into(),
                end: [bottom, right].into(),
            },
        }
    }
}

impl From<&PaddingConfig3d> for Padding {
    fn from(padding: &PaddingConfig3d) -> Self {
        match *padding {
            PaddingConfig3d::Same => Self::Same,
            PaddingConfig3d::Valid => Self::Valid,
            PaddingConfig3d::Explicit(depth, height, width) => {
                Self::explicit([depth, height, width])
            }
        }
    }
}

/// The sliding window of one of Burn's layers.
struct BurnWindow {
    kernel_size: PerAxis,
    stride: PerAxis,
    dilation: PerAxis,
    ceil_mode: bool,
    padding: Padding,
    /// Whether each window has to see a position of the map.
    pools: bool,
}

/// A window, and its padding of each axis.
struct PaddedWindow {
    window: Window,
    padding: Vec<AxisPadding>,
}

impl BurnWindow {
    fn resolve<const R: usize>(
        &self,
        layer: &str,
        input: [usize; R],
    ) -> Result<PaddedWindow, ShapeError> {
        let mut window = Window {
            kernel_size: self.kernel_size.resolve_positive(R, layer, "kernel_size")?,
            stride: self.stride.resolve_positive(R, layer, "stride")?,
            dilation: alloc::vec![1; R - 2],
            ceil_mode: self.ceil_mode,
        };
        // Burn's `Same` does not count the dilation: take the padding of the undilated window.
        let padding = window.pads(layer, input, &self.padding)?;
        if self.pools {
            window.check_sees_the_map(layer, &padding)?;
        }
        window.dilation = self.dilation.resolve_positive(R, layer, "dilation")?;
        Ok(PaddedWindow { window, padding })
    }
}

/// Burn's convolutions, each with the rank of its maps.
macro_rules! convolutions {
    ($($layer:ident $rank:literal),+) => {$(
        impl Trace<$rank> for $layer {
            fn trace(&self, planner: &mut Planner, x: &Map<$rank>) -> Result<Map<$rank>, ShapeError> {
                let layer = stringify!($layer);
                planner.leaf(layer, &[x], || {
                    let weight = self.weight.shape();
                    let channels = [weight[1] * self.groups, weight[0]];
                    check_channels(layer, x.shape, channels[0])?;
                    let burn = BurnWindow {
                        kernel_size: self.kernel_size.into(),
                        stride: self.stride.into(),
                        dilation: self.dilation.into(),
                        ceil_mode: false,
                        padding: (&self.padding).into(),
                        pools: false,
                    };
                    let PaddedWindow { window, padding } = burn.resolve(layer, x.shape)?;
                    let output = window.output_shape(layer, x.shape, &padding)?;
                    let grid = window.regrid(x, &padding);
                    let op = Op::Conv(ConvOp {
                        channels,
                        kernel_size: window.kernel_size,
                        stride: window.stride,
                        dilation: window.dilation,
                        padding,
                        groups: self.groups,
                        bias: self.bias.is_some(),
                    });
                    Ok(Record::new(op, with_channels(output, channels[1]))
                        .on_grid(grid)
                        .with_parameter("weight", weight.num_elements())
                        .with_parameter("bias", if self.bias.is_some() { channels[1] } else { 0 }))
                })
            }
        }

        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }
        }
    )+};
}

convolutions!(Conv1d 3, Conv2d 4, Conv3d 5);

/// Burn's transposed convolutions, each with the rank of its maps.
macro_rules! transposed_convolutions {
    ($($layer:ident $rank:literal),+) => {$(
        impl Trace<$rank> for $layer {
            fn trace(&self, planner: &mut Planner, x: &Map<$rank>) -> Result<Map<$rank>, ShapeError> {
                let layer = stringify!($layer);
                planner.leaf(layer, &[x], || {
                    let axes = |values: PerAxis, what| values.resolve($rank, layer, what);
                    check_channels(layer, x.shape, self.channels[0])?;
                    let window = TransposedWindow {
                        kernel_size: axes(self.kernel_size.into(), "kernel_size")?,
                        stride: axes(self.stride.into(), "stride")?,
                        dilation: axes(self.dilation.into(), "dilation")?,
                        padding: axes(self.padding.into(), "padding")?,
                        output_padding: axes(self.padding_out.into(), "padding_out")?,
                    };
                    let size = transposed_size(layer, x.shape, &window)?;
                    let output = with_channels(with_spatial(x.shape, &size), self.channels[1]);
                    let grid = window.regrid(x, &window.padding);
                    let bias = self.bias.is_some();
                    Ok(Record::new(Op::ConvTranspose(window.op(self.channels, self.groups, bias)), output)
                        .on_grid(grid)
                        .with_parameter("weight", self.weight.shape().num_elements())
                        .with_parameter("bias", if bias { self.channels[1] } else { 0 }))
                })
            }
        }

        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }
        }
    )+};
}

transposed_convolutions!(ConvTranspose1d 3, ConvTranspose2d 4, ConvTranspose3d 5);

/// Burn's pools, each with the rank of its maps, its kind and its dilation.
macro_rules! pools {
    ($($layer:ident $rank:literal: $self:ident => $kind:expr, $dilation:expr),+ $(,)?) => {$(
        impl Trace<$rank> for $layer {
            fn trace(&$self, planner: &mut Planner, x: &Map<$rank>) -> Result<Map<$rank>, ShapeError> {
                let layer = stringify!($layer);
                planner.leaf(layer, &[x], || {
                    let burn = BurnWindow {
                        kernel_size: $self.kernel_size.into(),
                        stride: $self.stride.into(),
                        dilation: $dilation.into(),
                        ceil_mode: $self.ceil_mode,
                        padding: (&$self.padding).into(),
                        pools: true,
                    };
                    let PaddedWindow { window, padding } = burn.resolve(layer, x.shape)?;
                    let output = window.output_shape(layer, x.shape, &padding)?;
                    let grid = window.regrid(x, &padding);
                    let op = Op::Pool { kind: $kind, window: window.op(padding) };
                    Ok(Record::new(op, output).on_grid(grid))
                })
            }
        }

        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }
        }
    )+};
}

pools!(
    MaxPool1d 3: self => PoolKind::Max, self.dilation,
    MaxPool2d 4: self => PoolKind::Max, self.dilation,
    AvgPool1d 3: self => avg_kind(self.count_include_pad), 1,
    AvgPool2d 4: self => avg_kind(self.count_include_pad), 1,
);

fn avg_kind(counts_padding: bool) -> PoolKind {
    match counts_padding {
        true => PoolKind::AvgWithPadding,
        false => PoolKind::Avg,
    }
}

/// Burn's adaptive pools, each with the rank of its maps.
macro_rules! adaptive_pools {
    ($($layer:ident $rank:literal),+) => {$(
        impl Trace<$rank> for $layer {
            fn trace(&self, planner: &mut Planner, x: &Map<$rank>) -> Result<Map<$rank>, ShapeError> {
                let layer = stringify!($layer);
                planner.leaf(layer, &[x], || {
                    check_not_empty(layer, x.shape)?;
                    let size = PerAxis::from(self.output_size).resolve_positive($rank, layer, "output_size")?;
                    Ok(Record::new(Op::AdaptivePool(AdaptiveKind::Avg), with_spatial(x.shape, &size)))
                })
            }
        }

        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }
        }
    )+};
}

adaptive_pools!(AdaptiveAvgPool1d 3, AdaptiveAvgPool2d 4, AdaptiveAvgPool3d 5);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::nn::conv::{
        Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    };
    use burn::nn::pool::{
        AdaptiveAvgPool2dConfig, AvgPool1dConfig, MaxPool1dConfig, MaxPool2dConfig,
    };
    use burn::nn::{BatchNormConfig, GroupNormConfig, PReluConfig};
    use burn::tensor::Device;

    /// Where the law gives a shape, Burn gives the same.
    fn assert_law<const R: usize>(layer: &impl Layer<R>, input: [usize; R]) {
        if let Ok(shape) = layer.output_shape(input) {
            let y = layer.forward(Tensor::ones(input, &Device::flex()));
            assert_eq!(y.dims(), shape, "{layer:?} of {input:?}");
        }
    }

    #[test]
    fn windows_of_every_kind() {
        let device = Device::flex();
        for kernel in 1..4 {
            for stride in 1..4 {
                for dilation in 1..3 {
                    for padding in [
                        PaddingConfig1d::Valid,
                        PaddingConfig1d::Same,
                        PaddingConfig1d::Explicit(1, 1),
                        PaddingConfig1d::Explicit(0, 2),
                    ] {
                        let conv = Conv1dConfig::new(2, 3, kernel)
                            .with_stride(stride)
                            .with_dilation(dilation)
                            .with_padding(padding.clone())
                            .init(&device);
                        let pool = |ceil_mode| {
                            MaxPool1dConfig::new(kernel)
                                .with_stride(stride)
                                .with_dilation(dilation)
                                .with_padding(padding.clone())
                                .with_ceil_mode(ceil_mode)
                                .init()
                        };
                        for length in 1..9 {
                            assert_law(&conv, [1, 2, length]);
                            assert_law(&pool(false), [1, 2, length]);
                            assert_law(&pool(true), [1, 2, length]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn layers_of_other_ranks() {
        let device = Device::flex();
        let same = PaddingConfig2d::Same;
        assert_law(
            &Conv2dConfig::new([2, 4], [3, 2])
                .with_padding(same)
                .with_stride([2, 3])
                .init(&device),
            [1, 2, 7, 8],
        );
        assert_law(
            &Conv3dConfig::new([2, 4], [3, 2, 1])
                .with_stride([2, 1, 1])
                .init(&device),
            [1, 2, 7, 5, 3],
        );
        assert_law(
            &ConvTranspose1dConfig::new([2, 3], 4)
                .with_stride(2)
                .with_padding(1)
                .with_padding_out(1)
                .init(&device),
            [1, 2, 5],
        );
        assert_law(
            &ConvTranspose2dConfig::new([2, 3], [3, 2])
                .with_stride([3, 2])
                .with_dilation([2, 1])
                .init(&device),
            [1, 2, 4, 5],
        );
        assert_law(
            &MaxPool2dConfig::new([2, 3]).with_ceil_mode(true).init(),
            [1, 2, 7, 8],
        );
        assert_law(
            &AvgPool1dConfig::new(2)
                .with_padding(PaddingConfig1d::Explicit(1, 0))
                .init(),
            [1, 2, 7],
        );
        assert_law(&AdaptiveAvgPool2dConfig::new([3, 2]).init(), [1, 2, 7, 8]);
    }

    #[test]
    fn misfits_are_told_before_burn_panics() {
        let device = Device::flex();
        let text = |result: Result<[usize; 4], ShapeError>| result.unwrap_err().to_string();
        let conv = Conv2dConfig::new([3, 8], [5, 5]).init(&device);
        assert_eq!(
            text(conv.output_shape([1, 4, 9, 9])),
            "Conv2d: channels differ: expected 3, got 4. Build the layer for 4 input channels, or project the map to 3 with a 1x1 convolution."
        );
        assert!(
            text(conv.output_shape([1, 3, 4, 9]))
                .starts_with("Conv2d: height 4 with padding 0 + 0 is smaller")
        );
        let batch = BatchNormConfig::new(4).init(&device);
        assert!(text(batch.output_shape([1, 3, 4, 4])).starts_with("BatchNorm: channels differ"));
        let group = GroupNormConfig::new(2, 4).init(&device);
        assert!(text(group.output_shape([1, 3, 4, 4])).starts_with("GroupNorm: channels differ"));
        let prelu = PReluConfig::new().with_num_parameters(4).init(&device);
        assert!(text(prelu.output_shape([1, 3, 4, 4])).starts_with("PRelu: channels differ"));
        let swiglu = burn::nn::SwiGluConfig::new(4, 4).init(&device);
        assert!(
            text(BurnActivation::SwiGlu(swiglu).output_shape([1, 3, 4, 4])).contains("last axis")
        );
    }
}
