//! [`Layer`] for the layers of `burn::nn`.

use alloc::vec::Vec;

use burn::module::Module;
use burn::nn::{
    BatchNorm, Dropout, Gelu, GroupNorm, Identity, InstanceNorm, LeakyRelu, PRelu, PaddingConfig1d,
    PaddingConfig2d, PaddingConfig3d, Relu, Sigmoid, Tanh,
    activation::{
        Activation, Celu, Elu, HardShrink, HardSigmoid, HardSwish, LogSigmoid, Mish, Relu6, Selu,
        Shrink, SiLU, SoftShrink, Softplus, Softsign, ThresholdedRelu,
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
use crate::cpu::batch_norm;
use crate::graph::window::{Padding, Window};
use crate::graph::{Cost, Map, Planner, positions, weight_cost, word_of};
use crate::graph::{TransposedWindow, transposed_size};
use crate::layers::norm::{check_enough_values, scale_and_shift};
use crate::shape::{
    PerAxis, ShapeError, check_channels, check_not_empty, expect, with_channels, with_spatial,
};

/// Layers that keep the shape and take any number of channels.
macro_rules! elementwise_layers {
    ($($layer:ty),+ $(,)?) => {$(
        impl<const R: usize> Layer<R> for $layer {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                <$layer>::forward(self, x)
            }

            fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
                Ok(input)
            }

            fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
                planner.pointwise(stringify!($layer), x, Cost::default(), Ok(x.shape))
            }
        }
    )+};
}

elementwise_layers!(
    Identity,
    Dropout,
    Relu,
    Relu6,
    LeakyRelu,
    Elu,
    Celu,
    Selu,
    SiLU,
    Mish,
    Sigmoid,
    Tanh,
    HardSigmoid,
    HardSwish,
    HardShrink,
    SoftShrink,
    Shrink,
    Softplus,
    Softsign,
    LogSigmoid,
    ThresholdedRelu,
);

impl<const R: usize> Layer<R> for Gelu {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        match self.approximate || !x.device().is_autodiff() {
            true => Gelu::forward(self, x),
            // Burn 0.22 differentiates the exact function by a formula for the approximate one on
            // all backends but flex, which is off by up to 9e-4. That of `erf` is exact.
            false => x.clone() * (x * core::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0) * 0.5,
        }
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        Ok(input)
    }
}

impl<const R: usize> Layer<R> for PRelu {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        PRelu::forward(self, x)
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        match self.alpha.shape().dims() {
            [1] => Ok(input),
            [channels] => check_channels("PRelu", input, channels).map(|()| input),
        }
    }
}

impl<const R: usize> Layer<R> for Activation {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        match self {
            Activation::Gelu(gelu) => Layer::forward(gelu, x),
            _ => Activation::forward(self, x),
        }
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        match self {
            Activation::PRelu(prelu) => prelu.output_shape(input),
            Activation::SwiGlu(_) => Err(ShapeError::new(
                "Activation",
                "SwiGlu works on the last axis, which is spatial in a feature map",
                "Choose an activation that works on each element",
            )),
            _ => Ok(input),
        }
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let cost = weight_cost(self.num_params(), 0, x.shape[0]);
        planner.pointwise(&word_of(self), x, cost, self.output_shape(x.shape))
    }
}

/// Norms over the channels, each with its number of channels and what else a map must have.
macro_rules! channel_norms {
    ($($layer:ident: $self:ident => $channels:expr, $enough:ident, $learns:expr),+ $(,)?) => {$(
        impl<const R: usize> Layer<R> for $layer {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                expect(Layer::<R>::output_shape(self, x.dims()));
                $layer::forward(self, x)
            }

            fn output_shape(&$self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
                check_channels(stringify!($layer), input, $channels)?;
                $enough(stringify!($layer), input)?;
                Ok(input)
            }

            fn trace(&$self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
                let cost = scale_and_shift(x, $learns);
                let output = Layer::<R>::output_shape($self, x.shape);
                planner.pointwise(stringify!($layer), x, cost, output)
            }
        }
    )+};
}

channel_norms!(
    BatchNorm: self => self.gamma.shape()[0], check_not_empty, true,
    GroupNorm: self => self.num_channels, check_enough_values, self.gamma.is_some(),
    InstanceNorm: self => self.num_channels, check_enough_values, self.gamma.is_some(),
);

impl<const R: usize> Layer<R> for Normalization {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        match self {
            Self::Batch(norm) => batch_norm(norm, x, None, false),
            _ => Normalization::forward(self, x),
        }
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        match self {
            Self::Identity(_) => Ok(input),
            Self::Batch(norm) => norm.output_shape(input),
            Self::Group(norm) => norm.output_shape(input),
            Self::Instance(norm) => norm.output_shape(input),
            _ => Err(ShapeError::new(
                "Normalization",
                "layer and RMS norm work on the last axis, which is spatial in a feature map",
                "Choose batch, group or instance norm",
            )),
        }
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Identity(_) => Ok(x.clone()),
            Self::Batch(norm) => norm.trace(planner, x),
            Self::Group(norm) => norm.trace(planner, x),
            Self::Instance(norm) => norm.trace(planner, x),
            _ => planner.opaque("Normalization", x, 0, self.output_shape(x.shape)),
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

impl BurnWindow {
    fn output_shape<const R: usize>(
        &self,
        layer: &str,
        input: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let (window, pads) = self.resolve(layer, input)?;
        window.output_shape(layer, input, &pads)
    }

    /// The output of a layer with this window and such a cost of each output's position.
    fn trace<const R: usize>(
        &self,
        layer: &str,
        planner: &mut Planner,
        x: &Map<R>,
        (output, weight, bias): (Result<[usize; R], ShapeError>, usize, usize),
    ) -> Result<Map<R>, ShapeError> {
        planner.node(layer, &[x], |planner| {
            let output = output?;
            let (window, pads) = self.resolve(layer, x.shape)?;
            planner.pay(weight_cost(weight, bias, positions(output)));
            Ok(planner.map(output, window.regrid(x, &pads)))
        })
    }

    /// The window, and the padding of each axis.
    fn resolve<const R: usize>(
        &self,
        layer: &str,
        input: [usize; R],
    ) -> Result<(Window, Vec<(usize, usize)>), ShapeError> {
        let mut window = Window {
            kernel_size: self.kernel_size.resolve_positive(R, layer, "kernel_size")?,
            stride: self.stride.resolve_positive(R, layer, "stride")?,
            dilation: alloc::vec![1; R - 2],
            ceil_mode: self.ceil_mode,
        };
        // Burn's `Same` does not count the dilation: take the padding of the undilated window.
        let pads = window.pads(layer, input, &self.padding)?;
        if self.pools {
            window.check_sees_the_map(layer, &pads)?;
        }
        window.dilation = self.dilation.resolve_positive(R, layer, "dilation")?;
        Ok((window, pads))
    }
}

/// Burn's convolutions, each with the rank of its maps.
macro_rules! convolutions {
    ($($layer:ident $rank:literal),+) => {$(
        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }

            fn output_shape(&self, input: [usize; $rank]) -> Result<[usize; $rank], ShapeError> {
                let layer = stringify!($layer);
                let weight = self.weight.shape();
                check_channels(layer, input, weight[1] * self.groups)?;
                let window = BurnWindow::from(self);
                Ok(with_channels(window.output_shape(layer, input)?, weight[0]))
            }

            fn trace(&self, planner: &mut Planner, x: &Map<$rank>) -> Result<Map<$rank>, ShapeError> {
                let weight = self.weight.shape().num_elements();
                let bias = self.bias.iter().map(|bias| bias.shape().num_elements()).sum();
                let window = BurnWindow::from(self);
                let output = self.output_shape(x.shape);
                window.trace(stringify!($layer), planner, x, (output, weight, bias))
            }
        }

        impl From<&$layer> for BurnWindow {
            fn from(layer: &$layer) -> Self {
                Self {
                    kernel_size: layer.kernel_size.into(),
                    stride: layer.stride.into(),
                    dilation: layer.dilation.into(),
                    ceil_mode: false,
                    padding: (&layer.padding).into(),
                    pools: false,
                }
            }
        }
    )+};
}

convolutions!(Conv1d 3, Conv2d 4, Conv3d 5);

/// Burn's transposed convolutions, each with the rank of its maps.
macro_rules! transposed_convolutions {
    ($($layer:ident $rank:literal),+) => {$(
        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }

            fn output_shape(&self, input: [usize; $rank]) -> Result<[usize; $rank], ShapeError> {
                let layer = stringify!($layer);
                let axes = |values: PerAxis, what| values.resolve($rank, layer, what);
                check_channels(layer, input, self.channels[0])?;
                let size = transposed_size(layer, input, &TransposedWindow {
                    kernel_size: axes(self.kernel_size.into(), "kernel_size")?,
                    stride: axes(self.stride.into(), "stride")?,
                    dilation: axes(self.dilation.into(), "dilation")?,
                    padding: axes(self.padding.into(), "padding")?,
                    output_padding: axes(self.padding_out.into(), "padding_out")?,
                })?;
                Ok(with_channels(with_spatial(input, &size), self.channels[1]))
            }
        }
    )+};
}

transposed_convolutions!(ConvTranspose1d 3, ConvTranspose2d 4, ConvTranspose3d 5);

/// Burn's pools, each with the rank of its maps and its dilation.
macro_rules! pools {
    ($($layer:ident $rank:literal: $self:ident => $dilation:expr),+ $(,)?) => {$(
        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }

            fn output_shape(&self, input: [usize; $rank]) -> Result<[usize; $rank], ShapeError> {
                BurnWindow::from(self).output_shape(stringify!($layer), input)
            }

            fn trace(&self, planner: &mut Planner, x: &Map<$rank>) -> Result<Map<$rank>, ShapeError> {
                let output = self.output_shape(x.shape);
                let window = BurnWindow::from(self);
                window.trace(stringify!($layer), planner, x, (output, 0, 0))
            }
        }

        impl From<&$layer> for BurnWindow {
            fn from($self: &$layer) -> Self {
                Self {
                    kernel_size: $self.kernel_size.into(),
                    stride: $self.stride.into(),
                    dilation: $dilation.into(),
                    ceil_mode: $self.ceil_mode,
                    padding: (&$self.padding).into(),
                    pools: true,
                }
            }
        }
    )+};
}

pools!(
    MaxPool1d 3: layer => layer.dilation,
    MaxPool2d 4: layer => layer.dilation,
    AvgPool1d 3: layer => 1,
    AvgPool2d 4: layer => 1,
);

/// Burn's adaptive pools, each with the rank of its maps.
macro_rules! adaptive_pools {
    ($($layer:ident $rank:literal),+) => {$(
        impl Layer<$rank> for $layer {
            fn forward(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }

            fn output_shape(&self, input: [usize; $rank]) -> Result<[usize; $rank], ShapeError> {
                let layer = stringify!($layer);
                check_not_empty(layer, input)?;
                let size = PerAxis::from(self.output_size).resolve_positive($rank, layer, "output_size")?;
                Ok(with_spatial(input, &size))
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
        assert!(text(Activation::SwiGlu(swiglu).output_shape([1, 3, 4, 4])).contains("last axis"));
    }
}
