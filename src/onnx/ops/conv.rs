//! Convolutions, and transposed ones.

use crate::graph::{AxisPadding, ConvOp, Op, PadMode};

use super::super::OnnxError;
use super::super::fold::{FoldedNorm, Parameters};
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::super::weights::path_of;
use super::Lowering;

/// The padding of a window, for all sizes of the input.
pub(super) enum Pads {
    /// These.
    Known(Vec<AxisPadding>),
    /// TensorFlow's rule: `ceil(size / stride)` windows, the odd position is added at the end.
    Same,
}

impl Pads {
    /// The padding that a window has at each of the planned sizes.
    pub fn of(
        leaf: &Leaf,
        stride: &[usize],
        paddings: &[&[AxisPadding]],
    ) -> Result<Self, OnnxError> {
        if paddings.iter().all(|padding| *padding == paddings[0]) {
            return Ok(Self::Known(paddings[0].to_vec()));
        }
        let (inputs, outputs) = (leaf.input_shapes(0), leaf.output_shapes());
        let shapes = inputs.iter().zip(&outputs).zip(paddings);
        let mut axes = shapes.flat_map(|((input, output), padding)| {
            let axes = input[2..].iter().zip(&output[2..]);
            axes.zip(stride).zip(*padding)
        });
        let is_same = axes.all(|(((input, output), stride), padding)| {
            *output == input.div_ceil(*stride) && padding.start == (padding.start + padding.end) / 2
        });
        match is_same {
            true => Ok(Self::Same),
            false => Err(leaf.unsupported(
                "its padding changes with the size of the input by no rule that ONNX has. Export for one size \
                 (Sizes::Fixed, --fixed)",
            )),
        }
    }

    /// The padding as an attribute.
    pub fn attribute(&self) -> AttributeProto {
        match self {
            Self::Same => AttributeProto::string("auto_pad", "SAME_UPPER"),
            Self::Known(pads) => {
                let (starts, ends) = (pads.iter().map(|p| p.start), pads.iter().map(|p| p.end));
                AttributeProto::ints("pads", starts.chain(ends))
            }
        }
    }
}

/// `Conv`
pub(super) fn conv(
    lowering: &mut Lowering,
    leaf: &Leaf,
    op: &ConvOp,
    norm: Option<FoldedNorm>,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let paddings: Vec<&[AxisPadding]> = ops_of(leaf).map(|op| &op.padding[..]).collect();
    let mut pads = Pads::of(leaf, &op.stride, &paddings)?;
    let is_dilated = op.dilation.iter().any(|&dilation| dilation != 1);
    let x = match (&pads, is_dilated) {
        // (ONNX Runtime has the rule without dilations.)
        (Pads::Same, true) => {
            pads = Pads::Known(vec![AxisPadding::default(); op.stride.len()]);
            pad_same(lowering, &x, op)
        }
        _ => x,
    };
    let mut inputs = vec![x];
    inputs.extend(parameters(lowering, leaf, (0, 1), norm)?);
    let inputs: Vec<&str> = inputs.iter().map(|input| &input[..]).collect();
    let mut attributes = window(op);
    attributes.push(pads.attribute());
    Ok(lowering.builder.node("Conv", &inputs, attributes))
}

/// The map padded by TensorFlow's rule: `max((ceil(n / stride) - 1) stride + extent - n, 0)` zeros, the odd one at the end.
fn pad_same(lowering: &mut Lowering, x: &str, op: &ConvOp) -> String {
    let axes: Vec<usize> = (2..2 + op.stride.len()).collect();
    let builder = &mut lowering.builder;
    let list = |number: &dyn Fn(usize) -> usize| -> Vec<i64> {
        (0..op.stride.len()).map(|n| number(n) as i64).collect()
    };
    let [stride, most, extent] = [
        list(&|n| op.stride[n]),
        list(&|n| op.stride[n] - 1),
        list(&|n| extent(op, n)),
    ]
    .map(|numbers| builder.ints(&numbers));
    let size = builder.shape(x, 2..2 + axes.len());
    let windows = builder.binary("Add", &size, &most);
    let windows = builder.binary("Div", &windows, &stride);
    let reach = builder.binary("Mul", &windows, &stride);
    let reach = builder.binary("Sub", &reach, &stride);
    let reach = builder.binary("Add", &reach, &extent);
    let total = builder.binary("Sub", &reach, &size);
    let [zero, two] = [0, 2].map(|number| builder.ints(&[number]));
    let total = builder.binary("Max", &total, &zero);
    let start = builder.binary("Div", &total, &two);
    let end = builder.binary("Sub", &total, &start);
    super::fit::pad(lowering, x, [&start, &end], &axes, PadMode::Zero)
}

/// `ConvTranspose`. What is cut of the full output is an attribute, if it is the same for all sizes; otherwise the
/// output is as long as the layer can make it, and a slice cuts it.
pub(super) fn transposed(
    lowering: &mut Lowering,
    leaf: &Leaf,
    op: &ConvOp,
    norm: Option<FoldedNorm>,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let axes = op.stride.len();
    let cuts = (0..axes)
        .map(|n| Cut::of(leaf, op, n))
        .collect::<Result<Vec<_>, _>>()?;
    let mut inputs = vec![x.clone()];
    inputs.extend(parameters(lowering, leaf, (1, op.groups), norm)?);
    let inputs: Vec<&str> = inputs.iter().map(|input| &input[..]).collect();
    let (mut starts, mut ends, mut more) = (vec![0; axes], vec![0; axes], vec![0; axes]);
    for (n, cut) in cuts.iter().enumerate() {
        match *cut {
            Cut::Known { start, end } => {
                (starts[n], ends[n]) = (start, end.max(0) as usize);
                more[n] = (-end).max(0) as usize;
            }
            Cut::ToSize { .. } => more[n] = op.stride[n] - 1,
        }
    }
    let mut attributes = window(op);
    attributes.push(AttributeProto::ints("pads", starts.into_iter().chain(ends)));
    attributes.push(AttributeProto::ints("output_padding", more));
    let full = lowering.builder.node("ConvTranspose", &inputs, attributes);
    let mut sliced = Vec::new();
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for (n, cut) in cuts.into_iter().enumerate() {
        let Cut::ToSize { start } = cut else { continue };
        let size = lowering.output_size(leaf, 2 + n)?;
        let size = lowering.size(size);
        let builder = &mut lowering.builder;
        let start = match start {
            Start::Known(start) => builder.ints(&[start as i64]),
            Start::Half { odd } => {
                // The full size is `(n - 1) stride + extent`.
                let length = builder.shape(&x, 2 + n..3 + n);
                let stride = builder.ints(&[op.stride[n] as i64]);
                let rest = builder.ints(&[extent(op, n) as i64 - op.stride[n] as i64 + odd]);
                let full = builder.binary("Mul", &length, &stride);
                let full = builder.binary("Add", &full, &rest);
                let cut = builder.binary("Sub", &full, &size);
                let (two, zero) = (builder.ints(&[2]), builder.ints(&[0]));
                let half = builder.binary("Div", &cut, &two);
                builder.binary("Max", &half, &zero)
            }
        };
        to.push(builder.binary("Add", &start, &size));
        from.push(start);
        sliced.push(2 + n);
    }
    if sliced.is_empty() {
        return Ok(full);
    }
    let [from, to] = [from, to].map(|parts: Vec<String>| {
        let parts: Vec<&str> = parts.iter().map(|part| &part[..]).collect();
        lowering.builder.join(&parts)
    });
    Ok(lowering.builder.slice(&full, &from, &to, &sliced))
}

/// What is cut of the full output of a transposed convolution along an axis.
enum Cut {
    /// So many positions before the first and after the last; less than none are added.
    Known { start: usize, end: isize },
    /// All before the start, and all that is more than the size of the output.
    ToSize { start: Start },
}

/// Where the output of a transposed convolution starts on its full output.
enum Start {
    Known(usize),
    /// In the middle; `odd` is 1 where the odd position is cut at the start.
    Half {
        odd: i64,
    },
}

impl Cut {
    fn of(leaf: &Leaf, op: &ConvOp, n: usize) -> Result<Self, OnnxError> {
        let (inputs, outputs) = (leaf.input_shapes(0), leaf.output_shapes());
        let sizes = inputs.iter().zip(outputs);
        let cuts: Vec<isize> = sizes
            .map(|(input, output)| {
                let full = (input[2 + n] - 1) * op.stride[n] + extent(op, n);
                full as isize - output[2 + n] as isize
            })
            .collect();
        let starts: Vec<usize> = ops_of(leaf).map(|op| op.padding[n].start).collect();
        let start_is = |rule: &dyn Fn(usize) -> usize| {
            let mut pairs = starts.iter().zip(&cuts);
            pairs.all(|(start, cut)| *start == rule((*cut).max(0) as usize))
        };
        let start = starts[0];
        if start_is(&|_| start) {
            return Ok(match cuts.iter().all(|cut| *cut == cuts[0]) {
                true => Self::Known {
                    start,
                    end: cuts[0] - start as isize,
                },
                false => Self::ToSize {
                    start: Start::Known(start),
                },
            });
        }
        let odd = match (start_is(&|cut| cut.div_ceil(2)), start_is(&|cut| cut / 2)) {
            (true, _) => 1,
            (false, true) => 0,
            (false, false) => {
                return Err(leaf.unsupported(
                    "what is cut of its output changes with the size of the input by no known rule. Export for one \
                     size (Sizes::Fixed, --fixed)",
                ));
            }
        };
        Ok(Self::ToSize {
            start: Start::Half { odd },
        })
    }
}

/// How many positions the kernel sees of an axis.
fn extent(op: &ConvOp, n: usize) -> usize {
    op.dilation[n] * (op.kernel_size[n] - 1) + 1
}

/// The convolution of a leaf at each of the planned sizes.
fn ops_of<'a>(leaf: &Leaf<'a>) -> impl Iterator<Item = &'a ConvOp> {
    leaf.nodes()
        .to_vec()
        .into_iter()
        .filter_map(|node| match &node.op {
            Op::Conv(op) | Op::ConvTranspose(op) => Some(op),
            _ => None,
        })
}

/// The attributes of a window.
fn window(op: &ConvOp) -> Vec<AttributeProto> {
    let ints = |name, values: &[usize]| AttributeProto::ints(name, values.iter().copied());
    vec![
        ints("kernel_shape", &op.kernel_size),
        ints("strides", &op.stride),
        ints("dilations", &op.dilation),
        AttributeProto::int("group", op.groups),
    ]
}

/// The weight and, if there is one, the bias, with the norm that follows, if there is one, folded into them. The output
/// channels are the axis `axes.0` of the weight, in each of `axes.1` groups.
fn parameters(
    lowering: &mut Lowering,
    leaf: &Leaf,
    axes: (usize, usize),
    norm: Option<FoldedNorm>,
) -> Result<Vec<String>, OnnxError> {
    let weight = lowering.weights.get(leaf, "weight")?;
    let bias = lowering.weights.find(leaf, "bias")?;
    let bias = bias.map(|bias| &bias.values[..]);
    let parameters = match norm {
        Some(norm) => norm.fold(lowering.weights, weight, bias, axes)?,
        None => Parameters {
            weight: weight.values.clone(),
            bias: bias.map(<[f32]>::to_vec),
        },
    };
    let builder = &mut lowering.builder;
    let mut names =
        vec![builder.weight(&path_of(leaf, "weight"), &weight.shape, &parameters.weight)];
    if let Some(bias) = parameters.bias {
        names.push(builder.weight(&path_of(leaf, "bias"), &[bias.len()], &bias));
    }
    Ok(names)
}
