//! Resizes, with PyTorch's coordinates.

use crate::graph::{ResizeMode, Sampling};

use super::super::OnnxError;
use super::super::dims::Size;
use super::super::probes::Leaf;
use super::super::proto::{AttributeProto, DataType};
use super::Lowering;

/// A resize to the size of the output. Linear and cubic modes are ONNX's `Resize`. Nearest modes are one where each
/// position is repeated so many times, and otherwise a `Gather` of the positions that PyTorch takes: it rounds in f32, and
/// `Resize` takes another position where a rounding decides. Area resizes are products with a matrix for each axis.
pub(super) fn resize(
    lowering: &mut Lowering,
    leaf: &Leaf,
    mode: ResizeMode,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    if leaf.keeps_shape() {
        return Ok(x);
    }
    let sizes = lowering.output_spatial(leaf)?;
    match mode {
        ResizeMode::Nearest | ResizeMode::NearestExact => match factors(leaf) {
            Some(factors) => Ok(repeat(lowering, &x, &factors)),
            None => Ok(each_axis(
                lowering,
                leaf,
                x,
                &sizes,
                |lowering, x, axis, size| gather(lowering, x, axis, size, mode),
            )),
        },
        ResizeMode::Area => {
            let is_one = |shape: &&[usize]| shape[2..].iter().all(|&size| size == 1);
            if leaf.output_shapes().iter().all(is_one) {
                return Ok(lowering.builder.unary("GlobalAveragePool", &x));
            }
            Ok(each_axis(
                lowering,
                leaf,
                x,
                &sizes,
                |lowering, x, axis, size| mean_of_bins(lowering, x, (axis, leaf.rank()), size),
            ))
        }
        ResizeMode::Linear(sampling) => Ok(interpolate(
            lowering,
            leaf,
            &x,
            &sizes,
            ("linear", sampling),
        )),
        ResizeMode::Cubic(sampling) => {
            Ok(interpolate(lowering, leaf, &x, &sizes, ("cubic", sampling)))
        }
    }
}

/// By which whole number each axis grows, for all sizes of the input.
fn factors(leaf: &Leaf) -> Option<Vec<usize>> {
    let (inputs, outputs) = (leaf.input_shapes(0), leaf.output_shapes());
    let factor = |axis: usize| {
        let factor = outputs[0][axis] / inputs[0][axis];
        let mut sizes = inputs.iter().zip(&outputs);
        sizes
            .all(|(input, output)| input[axis] * factor == output[axis])
            .then_some(factor)
    };
    (2..leaf.rank()).map(factor).collect()
}

/// Each position so many times.
fn repeat(lowering: &mut Lowering, x: &str, factors: &[usize]) -> String {
    let scales = [1.0, 1.0]
        .into_iter()
        .chain(factors.iter().map(|&factor| factor as f32));
    let scales: Vec<f32> = scales.collect();
    let scales = lowering.builder.floats(&[scales.len()], &scales);
    let attributes = vec![
        AttributeProto::string("mode", "nearest"),
        AttributeProto::string("coordinate_transformation_mode", "asymmetric"),
        AttributeProto::string("nearest_mode", "floor"),
    ];
    lowering
        .builder
        .node("Resize", &[x, "", &scales], attributes)
}

/// Resizes the axes whose size changes, one after the other.
fn each_axis(
    lowering: &mut Lowering,
    leaf: &Leaf,
    x: String,
    sizes: &[Size],
    resize: impl Fn(&mut Lowering, &str, usize, &str) -> String,
) -> String {
    let (inputs, outputs) = (leaf.input_shapes(0), leaf.output_shapes());
    let changes = |axis: usize| inputs.iter().zip(&outputs).any(|(x, y)| x[axis] != y[axis]);
    let axes = (2..leaf.rank()).filter(|&axis| changes(axis));
    axes.fold(x, |x, axis| {
        let size = lowering.size(sizes[axis - 2]);
        resize(lowering, &x, axis, &size)
    })
}

/// `0, 1, ...` up to a size.
fn range(lowering: &mut Lowering, size: &str) -> String {
    let builder = &mut lowering.builder;
    let scalar = builder.ints(&[]);
    let size = builder.binary("Reshape", size, &scalar);
    let [zero, one] = [0, 1].map(|value| builder.int(value));
    builder.node("Range", &[&zero, &size, &one], vec![])
}

/// The positions that a nearest mode takes of an axis.
fn gather(lowering: &mut Lowering, x: &str, axis: usize, size: &str, mode: ResizeMode) -> String {
    let positions = range(lowering, size);
    let builder = &mut lowering.builder;
    let length = builder.shape(x, axis..axis + 1);
    let [input, output] = [&length[..], size].map(|size| builder.cast(size, DataType::Float));
    let step = builder.binary("Div", &input, &output);
    let source = match mode {
        ResizeMode::NearestExact => {
            // One rounding of both operations, as PyTorch's kernels fuse them.
            let [step, at] = [&step, &positions].map(|value| builder.cast(value, DataType::Double));
            let half = builder.float(0.5);
            let exact_half = builder.cast(&half, DataType::Double);
            let at = builder.binary("Add", &at, &exact_half);
            let at = builder.binary("Mul", &at, &step);
            let at = builder.binary("Sub", &at, &exact_half);
            let at = builder.cast(&at, DataType::Float);
            builder.binary("Add", &at, &half)
        }
        _ => {
            let at = builder.cast(&positions, DataType::Float);
            builder.binary("Mul", &at, &step)
        }
    };
    let source = builder.unary("Floor", &source);
    let source = builder.cast(&source, DataType::Int64);
    let one = builder.ints(&[1]);
    let last = builder.binary("Sub", &length, &one);
    let source = builder.binary("Min", &source, &last);
    let axis = AttributeProto::int("axis", axis);
    builder.node("Gather", &[x, &source], vec![axis])
}

/// Whether a position of an axis lies in a bin, `[bins, positions]`: from `floor(bin positions / bins)` to
/// `ceil((bin + 1) positions / bins)`.
pub(super) fn bins(lowering: &mut Lowering, x: &str, axis: usize, size: &str) -> String {
    let length = lowering.builder.shape(x, axis..axis + 1);
    let (bins, positions) = (range(lowering, size), range(lowering, &length));
    let builder = &mut lowering.builder;
    let one = builder.ints(&[1]);
    let bins = builder.binary("Unsqueeze", &bins, &one);
    let start = builder.binary("Mul", &bins, &length);
    // The end, rounded up: what is before the next start times `size`.
    let end = builder.binary("Add", &start, &length);
    let start = builder.binary("Div", &start, size);
    let last = builder.binary("Sub", &end, &one);
    let last = builder.binary("Div", &last, size);
    let begun = builder.binary("GreaterOrEqual", &positions, &start);
    let open = builder.binary("LessOrEqual", &positions, &last);
    builder.binary("And", &begun, &open)
}

/// The mean of each bin of an axis: a product with a matrix.
fn mean_of_bins(
    lowering: &mut Lowering,
    x: &str,
    (axis, rank): (usize, usize),
    size: &str,
) -> String {
    let is_in_bin = bins(lowering, x, axis, size);
    let builder = &mut lowering.builder;
    let ones = builder.cast(&is_in_bin, DataType::Float);
    let axes = builder.ints(&[1]);
    let keep = AttributeProto::int("keepdims", 1);
    let counts = builder.node("ReduceSum", &[&ones, &axes], vec![keep]);
    let matrix = builder.binary("Div", &ones, &counts);
    let swap: Vec<usize> = match axis == rank - 1 {
        true => Vec::new(),
        false => {
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(axis, rank - 1);
            order
        }
    };
    let matrix = builder.transpose(&matrix, &[1, 0]);
    if swap.is_empty() {
        return builder.binary("MatMul", x, &matrix);
    }
    let rows = builder.transpose(x, &swap);
    let rows = builder.binary("MatMul", &rows, &matrix);
    builder.transpose(&rows, &swap)
}

/// `Resize`, two axes at a time: no more are read by all programs.
fn interpolate(
    lowering: &mut Lowering,
    leaf: &Leaf,
    x: &str,
    sizes: &[Size],
    (mode, sampling): (&str, Sampling),
) -> String {
    let planes = |lowering: &mut Lowering, x: &str, sizes: &str| {
        let coordinates = match sampling {
            Sampling::AlignCorners => "align_corners",
            Sampling::HalfPixel | Sampling::Antialias => "half_pixel",
        };
        let mut attributes = vec![
            AttributeProto::string("mode", mode),
            AttributeProto::string("coordinate_transformation_mode", coordinates),
        ];
        if sampling == Sampling::Antialias {
            // As PIL: the weights outside of the map do not count.
            attributes.push(AttributeProto::int("antialias", 1));
            attributes.push(AttributeProto::int("exclude_outside", 1));
        }
        if mode == "cubic" {
            // PyTorch's factors.
            let factor = match sampling {
                Sampling::Antialias => -0.5,
                Sampling::HalfPixel | Sampling::AlignCorners => -0.75,
            };
            attributes.push(AttributeProto::float("cubic_coeff_a", factor));
        }
        let rows = lowering.builder.shape(x, 0..2);
        let sizes = lowering.builder.join(&[&rows, sizes]);
        lowering
            .builder
            .node("Resize", &[x, "", "", &sizes], attributes)
    };
    let rank = leaf.rank();
    let spatial = lowering.sizes(sizes);
    if rank == 4 {
        return planes(lowering, x, &spatial);
    }
    // [batch, channels, 1, length]; [batch, channels depth, height, width], and then [batch, channels, depth, height width].
    let one = lowering.builder.ints(&[1]);
    if rank == 3 {
        let axis = lowering.builder.ints(&[2]);
        let row = lowering.builder.binary("Unsqueeze", x, &axis);
        let sizes = lowering.builder.join(&[&one, &spatial]);
        let row = planes(lowering, &row, &sizes);
        return lowering.builder.binary("Squeeze", &row, &axis);
    }
    let plane = lowering.sizes(&sizes[1..]);
    let depth = lowering.size(sizes[0]);
    let builder = &mut lowering.builder;
    let any = builder.ints(&[-1]);
    let rows = builder.shape(x, 0..1);
    let (from, plane_from) = (builder.shape(x, 1..3), builder.shape(x, 3..5));
    let shape = builder.join(&[&rows, &any, &plane_from]);
    let y = builder.binary("Reshape", x, &shape);
    let y = planes(lowering, &y, &plane);
    let builder = &mut lowering.builder;
    let shape = builder.join(&[&rows, &from, &any]);
    let y = builder.binary("Reshape", &y, &shape);
    let last = builder.shape(&y, 3..4);
    let columns = builder.join(&[&depth, &last]);
    let y = planes(lowering, &y, &columns);
    let builder = &mut lowering.builder;
    let first = builder.shape(x, 0..2);
    let shape = builder.join(&[&first, &spatial]);
    builder.binary("Reshape", &y, &shape)
}
