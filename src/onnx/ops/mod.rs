//! Each operation of a plan as nodes of ONNX.

mod activation;
mod attention;
mod conv;
mod fit;
mod linear;
mod merge;
mod norm;
mod pool;
mod reassemble;
mod resize;
mod shuffle;

use std::collections::BTreeMap;

use crate::graph::{AdaptiveKind, Op, ResizeMode};

use super::OnnxError;
use super::builder::Builder;
use super::dims::{Dims, MapAxis, Size};
use super::fold::FoldedNorm;
use super::probes::Leaf;
use super::weights::Weights;

/// What the operations write to and read from.
pub(super) struct Lowering<'a> {
    pub builder: Builder,
    pub weights: &'a Weights,
    pub dims: Dims,
    /// The value of each map that has been written.
    pub values: BTreeMap<usize, String>,
}

impl Lowering<'_> {
    /// The value of the input `n` of a layer.
    pub fn input(&self, leaf: &Leaf, n: usize) -> Result<String, OnnxError> {
        let value = self.values.get(&leaf.input(n)).cloned();
        value.ok_or_else(|| leaf.unsupported("it reads a map that no layer before it computes"))
    }

    /// The values of all inputs of a layer.
    fn inputs(&self, leaf: &Leaf) -> Result<Vec<String>, OnnxError> {
        let inputs = 0..leaf.node().inputs.len();
        inputs.map(|n| self.input(leaf, n)).collect()
    }

    /// The size of an axis of the output of a layer.
    fn output_size(&self, leaf: &Leaf, axis: usize) -> Result<Size, OnnxError> {
        let sizes: Vec<usize> = leaf
            .output_shapes()
            .iter()
            .map(|shape| shape[axis])
            .collect();
        let map = leaf.input(0);
        let size = self.dims.size(&sizes, MapAxis { map, axis });
        size.ok_or_else(|| OnnxError::Size {
            path: leaf.path.clone(),
            label: leaf.node().label.clone(),
            sizes,
        })
    }

    /// A list of one size.
    fn size(&mut self, size: Size) -> String {
        let of =
            |lowering: &mut Self, MapAxis { map, axis }: MapAxis| match lowering.values.get(&map) {
                Some(value) => {
                    let value = value.clone();
                    lowering.builder.shape(&value, axis..axis + 1)
                }
                None => unreachable!("sizes are those of maps that have been written"),
            };
        match size {
            Size::Known(size) => self.builder.ints(&[size as i64]),
            Size::Of { axis, times: 1 } => of(self, axis),
            Size::Of { axis, times } => {
                let (size, times) = (of(self, axis), self.builder.ints(&[times as i64]));
                self.builder.binary("Mul", &size, &times)
            }
            Size::Divided {
                axis,
                by,
                rounds_up,
            } => {
                let size = of(self, axis);
                let more = if rounds_up { by as i64 - 1 } else { 0 };
                let [more, by] = [more, by as i64].map(|number| self.builder.ints(&[number]));
                let size = self.builder.binary("Add", &size, &more);
                self.builder.binary("Div", &size, &by)
            }
            Size::Max(axes) => {
                let [a, b] = axes.map(|axis| of(self, axis));
                self.builder.binary("Max", &a, &b)
            }
            Size::Min(axes) => {
                let [a, b] = axes.map(|axis| of(self, axis));
                self.builder.binary("Min", &a, &b)
            }
        }
    }

    /// A list of sizes: one constant, the shape of one map, or one after the other.
    fn sizes(&mut self, sizes: &[Size]) -> String {
        let known: Option<Vec<i64>> = sizes
            .iter()
            .map(|size| match size {
                Size::Known(size) => Some(*size as i64),
                _ => None,
            })
            .collect();
        if let Some(known) = known {
            return self.builder.ints(&known);
        }
        if let Size::Of {
            axis: first,
            times: 1,
        } = sizes[0]
        {
            let follows = |(n, size): (usize, &Size)| {
                let axis = MapAxis {
                    axis: first.axis + n,
                    ..first
                };
                *size == Size::Of { axis, times: 1 }
            };
            if let Some(value) = self.values.get(&first.map).cloned()
                && sizes.iter().enumerate().all(follows)
            {
                let axes = first.axis..first.axis + sizes.len();
                return self.builder.shape(&value, axes);
            }
        }
        let parts: Vec<String> = sizes.iter().map(|&size| self.size(size)).collect();
        let parts: Vec<&str> = parts.iter().map(|part| &part[..]).collect();
        self.builder.join(&parts)
    }

    /// The spatial sizes of the output of a layer.
    fn output_spatial(&self, leaf: &Leaf) -> Result<Vec<Size>, OnnxError> {
        let rank = leaf.node().outputs[0].shape.len();
        (2..rank).map(|axis| self.output_size(leaf, axis)).collect()
    }

    /// The values of `x` in the shape of the output of a layer, whose batch is that of `x`.
    fn reshape_to_output(&mut self, leaf: &Leaf, x: &str) -> Result<String, OnnxError> {
        let rank = leaf.node().outputs[0].shape.len();
        let sizes = (1..rank).map(|axis| self.output_size(leaf, axis));
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
        let (batch, sizes) = (self.builder.ints(&[0]), self.sizes(&sizes));
        let shape = self.builder.join(&[&batch, &sizes]);
        Ok(self.builder.node("Reshape", &[x, &shape], vec![]))
    }

    /// A tensor of channels in a shape that is multiplied with maps of this rank.
    fn per_channel(&mut self, path: &str, values: &[f32], rank: usize) -> String {
        let mut dims = vec![1; rank - 1];
        dims[0] = values.len();
        self.builder.weight(path, &dims, values)
    }

    /// Writes the operation of a layer, a convolution with the norm that is folded into it, and returns the value of its
    /// output.
    ///
    /// # Errors
    /// When the operation cannot be written.
    pub fn lower(&mut self, leaf: &Leaf, norm: Option<FoldedNorm>) -> Result<String, OnnxError> {
        self.builder.enter(&leaf.path);
        if leaf.node().inputs.is_empty() || leaf.node().outputs.len() != 1 {
            return Err(leaf.unsupported("a layer has an input at least, and one output"));
        }
        match &leaf.node().op {
            Op::Opaque => Err(OnnxError::Opaque {
                path: leaf.path.clone(),
                label: leaf.node().label.clone(),
            }),
            Op::Conv(op) => conv::conv(self, leaf, op, norm),
            Op::ConvTranspose(op) => conv::transposed(self, leaf, op, norm),
            Op::Norm(kind) => norm::norm(self, leaf, *kind),
            Op::Activation(config) => activation::activation(self, leaf, config),
            Op::Linear { bias, .. } => linear::linear(self, leaf, *bias),
            Op::Attention { heads } => attention::attention(self, leaf, *heads),
            Op::PositionAttention => attention::over_positions(self, leaf),
            Op::Resize(mode) => resize::resize(self, leaf, *mode),
            Op::Pool { kind, window } => pool::pool(self, leaf, *kind, window),
            Op::AdaptivePool(AdaptiveKind::Avg) => resize::resize(self, leaf, ResizeMode::Area),
            Op::AdaptivePool(AdaptiveKind::Max) => pool::adaptive_max(self, leaf),
            Op::GlobalMean => pool::global_mean(self, leaf),
            Op::ChannelPool(kind) => pool::over_channels(self, leaf, *kind),
            Op::Blur { window, padding } => pool::blur(self, leaf, window, *padding),
            Op::PixelShuffle { scale, order } => shuffle::shuffle(self, leaf, scale, *order),
            Op::PixelUnshuffle { scale, order } => shuffle::unshuffle(self, leaf, scale, *order),
            Op::Reassemble { kernel_size } => reassemble::reassemble(self, leaf, kernel_size),
            Op::Softmax { channels } => attention::softmax(self, leaf, *channels),
            Op::Concat { axis, reversed } => merge::concat(self, leaf, *axis, *reversed),
            Op::Elementwise(op) => merge::elementwise(self, leaf, *op),
            Op::WeightedSum(weighting) => merge::weighted_sum(self, leaf, *weighting),
            Op::DirectSum => merge::direct_sum(self, leaf),
            Op::Scale => norm::scale(self, leaf),
            Op::Pad { .. } | Op::Slice { .. } | Op::PadOrSlice { .. } => fit::fit(self, leaf),
            Op::Reshape => merge::reshape(self, leaf),
            // (In training only.) What is made of its children is written by them.
            Op::Dropout | Op::ChannelDropout | Op::DropPath | Op::Composite => self.input(leaf, 0),
        }
    }
}
