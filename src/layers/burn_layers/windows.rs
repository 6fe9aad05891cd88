//! Burn's convolutions and pools.

use alloc::vec::Vec;

use burn::nn::conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use burn::nn::pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AvgPool1d, AvgPool2d, MaxPool1d,
    MaxPool2d,
};
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
use burn::tensor::Tensor;

use crate::graph::window::{Padding, Window};
use crate::graph::{
    AdaptiveKind, AxisPadding, ConvOp, Map, Op, Planner, PoolKind, Record, TransposedWindow,
    transposed_size,
};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::{
    PerAxis, ShapeError, check_channels, check_not_empty, expect, with_channels, with_spatial,
};

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
