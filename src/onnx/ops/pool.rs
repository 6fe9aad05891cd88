//! Pools and blurs.

use crate::graph::{AdaptiveKind, AxisPadding, Op, PadMode, PoolKind, WindowOp};

use super::super::OnnxError;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::Lowering;
use super::conv::Pads;
use super::{fit, resize};

/// `MaxPool`, `AveragePool`
pub(super) fn pool(
    lowering: &mut Lowering,
    leaf: &Leaf,
    kind: PoolKind,
    window: &WindowOp,
) -> Result<String, OnnxError> {
    let mut x = lowering.input(leaf, 0)?;
    let nodes = leaf.nodes().iter();
    let windows: Vec<&WindowOp> = nodes
        .filter_map(|node| match &node.op {
            Op::Pool { window, .. } => Some(window),
            _ => None,
        })
        .collect();
    let changes = windows
        .iter()
        .any(|other| other.kernel_size != window.kernel_size);
    let mut window = window.clone();
    if changes {
        window = largest_window(leaf, kind, &windows)?;
        x = at_least(lowering, &x, &window.kernel_size);
    }
    let paddings: Vec<&[AxisPadding]> = windows.iter().map(|window| &window.padding[..]).collect();
    let pads = Pads::of(leaf, &window.stride, &paddings)?;
    let ints = |name, values: &[usize]| AttributeProto::ints(name, values.iter().copied());
    let mut attributes = vec![
        ints("kernel_shape", &window.kernel_size),
        ints("strides", &window.stride),
        pads.attribute(),
        AttributeProto::int("ceil_mode", usize::from(window.ceil_mode)),
    ];
    let op_type = match kind {
        PoolKind::Max => {
            attributes.push(ints("dilations", &window.dilation));
            "MaxPool"
        }
        PoolKind::Avg | PoolKind::AvgWithPadding => {
            if window.dilation.iter().any(|&dilation| dilation != 1) {
                return Err(leaf.unsupported("ONNX's AveragePool has no dilation in this version"));
            }
            let counts = usize::from(kind == PoolKind::AvgWithPadding);
            attributes.push(AttributeProto::int("count_include_pad", counts));
            "AveragePool"
        }
    };
    Ok(lowering.builder.node(op_type, &[&x], attributes))
}

/// The window of a max pool whose windows lie side by side and are never larger than the map.
fn largest_window(
    leaf: &Leaf,
    kind: PoolKind,
    windows: &[&WindowOp],
) -> Result<WindowOp, OnnxError> {
    let mut largest = windows[0].clone();
    for window in windows {
        for (size, other) in largest.kernel_size.iter_mut().zip(&window.kernel_size) {
            *size = (*size).max(*other);
        }
    }
    largest.stride = largest.kernel_size.clone();
    let mut shapes = windows.iter().zip(leaf.input_shapes(0));
    let is_cut = shapes.all(|(window, shape)| {
        let sizes = shape[2..].iter().zip(&largest.kernel_size);
        let cut: Vec<usize> = sizes.map(|(size, kernel)| *size.min(kernel)).collect();
        window.kernel_size == cut && window.stride == cut
    });
    match is_cut && kind == PoolKind::Max {
        true => Ok(largest),
        false => Err(leaf.unsupported(
            "its window changes with the size of the input by no known rule. Export for one size (Sizes::Fixed, --fixed)",
        )),
    }
}

/// The map with the last positions repeated where an axis has fewer than these sizes.
fn at_least(lowering: &mut Lowering, x: &str, sizes: &[usize]) -> String {
    let axes: Vec<usize> = (2..2 + sizes.len()).collect();
    let least: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
    let builder = &mut lowering.builder;
    let (least, size) = (builder.ints(&least), builder.shape(x, 2..2 + sizes.len()));
    let more = builder.binary("Sub", &least, &size);
    let zero = builder.ints(&[0]);
    let more = builder.binary("Max", &more, &zero);
    let none = builder.ints(&vec![0; sizes.len()]);
    fit::pad(lowering, x, [&none, &more], &axes, PadMode::Edge)
}

/// The mean over all positions, with or without their axes.
pub(super) fn global_mean(lowering: &mut Lowering, leaf: &Leaf) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let mean = lowering.builder.unary("GlobalAveragePool", &x);
    match leaf.node().outputs[0].shape.len() == leaf.rank() {
        true => Ok(mean),
        false => lowering.reshape_to_output(leaf, &mean),
    }
}

/// The mean or the largest of all channels.
pub(super) fn over_channels(
    lowering: &mut Lowering,
    leaf: &Leaf,
    kind: AdaptiveKind,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let op_type = match kind {
        AdaptiveKind::Avg => "ReduceMean",
        AdaptiveKind::Max => "ReduceMax",
    };
    let axes = lowering.builder.ints(&[1]);
    let keep = AttributeProto::int("keepdims", 1);
    Ok(lowering.builder.node(op_type, &[&x, &axes], vec![keep]))
}

/// The largest value of each bin, axis by axis: what lies outside of a bin is less than anything.
pub(super) fn adaptive_max(lowering: &mut Lowering, leaf: &Leaf) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    if leaf.keeps_shape() {
        return Ok(x);
    }
    let is_one = |shape: &&[usize]| shape[2..].iter().all(|&size| size == 1);
    if leaf.output_shapes().iter().all(is_one) {
        return Ok(lowering.builder.unary("GlobalMaxPool", &x));
    }
    (2..leaf.rank()).try_fold(x, |x, axis| {
        let size = lowering.output_size(leaf, axis)?;
        let size = lowering.size(size);
        let is_in_bin = resize::bins(lowering, &x, axis, &size);
        let builder = &mut lowering.builder;
        // The axis comes last, and before it another for the bins.
        let mut order: Vec<usize> = (0..leaf.rank()).filter(|&other| other != axis).collect();
        order.push(axis);
        let rows = builder.transpose(&x, &order);
        let at = builder.ints(&[leaf.rank() as i64 - 1]);
        let rows = builder.binary("Unsqueeze", &rows, &at);
        let least = builder.float(f64::from(f32::MIN));
        let rows = builder.node("Where", &[&is_in_bin, &rows, &least], vec![]);
        let last = builder.ints(&[-1]);
        let keep = AttributeProto::int("keepdims", 0);
        let rows = builder.node("ReduceMax", &[&rows, &last], vec![keep]);
        let mut back = vec![0; leaf.rank()];
        for (from, &to) in order.iter().enumerate() {
            back[to] = from;
        }
        Ok(builder.transpose(&rows, &back))
    })
}

/// A convolution of each channel with binomial coefficients.
pub(super) fn blur(
    lowering: &mut Lowering,
    leaf: &Leaf,
    window: &WindowOp,
    padding: PadMode,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let (channels, axes) = (leaf.channels(), window.kernel_size.len());
    let ends = |end: fn(&AxisPadding) -> usize| -> Vec<i64> {
        window.padding.iter().map(|pad| end(pad) as i64).collect()
    };
    let [starts, ends] = [ends(|pad| pad.start), ends(|pad| pad.end)];
    let [starts, ends] = [starts, ends].map(|numbers| lowering.builder.ints(&numbers));
    let padded_axes: Vec<usize> = (2..2 + axes).collect();
    let x = fit::pad(lowering, &x, [&starts, &ends], &padded_axes, padding);
    let filter = window
        .kernel_size
        .iter()
        .fold(vec![1.0], |filter: Vec<f64>, &taps| {
            let row = binomial(taps);
            let products = filter
                .iter()
                .flat_map(|weight| row.iter().map(move |tap| weight * tap));
            products.collect()
        });
    let filter: Vec<f32> = filter.into_iter().map(|weight| weight as f32).collect();
    let mut dims = vec![channels, 1];
    dims.extend(&window.kernel_size);
    let weight = lowering.builder.floats(&dims, &filter.repeat(channels));
    let attributes = vec![
        AttributeProto::ints("kernel_shape", window.kernel_size.iter().copied()),
        AttributeProto::ints("strides", window.stride.iter().copied()),
        AttributeProto::int("group", channels),
    ];
    Ok(lowering.builder.node("Conv", &[&x, &weight], attributes))
}

/// The row of Pascal's triangle with so many numbers, scaled to the sum 1.
fn binomial(taps: usize) -> Vec<f64> {
    let mut row = vec![1.0];
    for n in 1..taps {
        let next = row[n - 1] * (taps - n) as f64 / n as f64;
        row.push(next);
    }
    let sum: f64 = row.iter().sum();
    row.iter().map(|value| value / sum).collect()
}
