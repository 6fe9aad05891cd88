//! Fits without values of their own: positions are added, or cut off.

use crate::graph::{AxisPadding, Op, PadMode};

use super::super::OnnxError;
use super::super::dims::Size;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::Lowering;

/// What is added to an axis at one of the planned sizes; less than nothing is cut off.
struct Change {
    start: isize,
    end: isize,
}

/// What a fit does to an axis, for all sizes of the input.
enum Rule {
    /// So many positions are added before the first and after the last; less than none are cut off.
    Known(Change),
    /// The axis gets the size of the output; at the start changes this part of it.
    ToSize(Anchor),
}

#[derive(Clone, Copy)]
enum Anchor {
    /// Nothing.
    Start,
    /// Half of it, rounded towards nothing.
    Center,
    /// All of it.
    End,
}

/// `Pad` and `Slice`. Zeros are added and positions cut in one `Pad`, where a negative number cuts.
pub(super) fn fit(lowering: &mut Lowering, leaf: &Leaf) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    if leaf.keeps_shape() {
        return Ok(x);
    }
    let (mut starts, mut ends, mut axes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut adds, mut cuts) = (false, false);
    for axis in 1..leaf.rank() {
        let changes = changes(leaf, axis);
        if changes
            .iter()
            .all(|change| (change.start, change.end) == (0, 0))
        {
            continue;
        }
        adds |= changes
            .iter()
            .any(|change| change.start.max(change.end) > 0);
        cuts |= changes
            .iter()
            .any(|change| change.start.min(change.end) < 0);
        let [start, end] = match rule(leaf, &changes)? {
            Rule::Known(Change { start, end }) => {
                [start, end].map(|number| lowering.builder.ints(&[number as i64]))
            }
            Rule::ToSize(anchor) => {
                let size = lowering.output_size(leaf, axis)?;
                to_size(lowering, &x, axis, size, anchor)
            }
        };
        starts.push(start);
        ends.push(end);
        axes.push(axis);
    }
    let mode = mode(leaf);
    let [starts, ends] = [starts, ends].map(|parts| {
        let parts: Vec<&str> = parts.iter().map(|part| &part[..]).collect();
        lowering.builder.join(&parts)
    });
    match mode {
        PadMode::Zero => Ok(pad(lowering, &x, [&starts, &ends], &axes, mode)),
        PadMode::Edge | PadMode::Reflect => {
            // What is added is read of what is left.
            let cut = match cuts {
                true => pad_by(
                    lowering,
                    &x,
                    [&starts, &ends],
                    &axes,
                    ("Min", PadMode::Zero),
                ),
                false => x,
            };
            Ok(match adds {
                true => pad_by(lowering, &cut, [&starts, &ends], &axes, ("Max", mode)),
                false => cut,
            })
        }
    }
}

/// `Pad` by what of the numbers is more than nothing (`Max`), or less (`Min`).
fn pad_by(
    lowering: &mut Lowering,
    x: &str,
    numbers: [&str; 2],
    axes: &[usize],
    (side, mode): (&str, PadMode),
) -> String {
    let zero = lowering.builder.ints(&[0]);
    let [starts, ends] = numbers.map(|numbers| lowering.builder.binary(side, numbers, &zero));
    pad(lowering, x, [&starts, &ends], axes, mode)
}

/// `Pad` of some axes.
pub(super) fn pad(
    lowering: &mut Lowering,
    x: &str,
    [starts, ends]: [&str; 2],
    axes: &[usize],
    mode: PadMode,
) -> String {
    let builder = &mut lowering.builder;
    let pads = builder.join(&[starts, ends]);
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let axes = builder.ints(&axes);
    let name = match mode {
        PadMode::Zero => "constant",
        PadMode::Edge => "edge",
        PadMode::Reflect => "reflect",
    };
    let mode = AttributeProto::string("mode", name);
    builder.node("Pad", &[x, &pads, "", &axes], vec![mode])
}

/// What is added at the start and at the end of an axis so that it gets a size.
fn to_size(
    lowering: &mut Lowering,
    x: &str,
    axis: usize,
    size: Size,
    anchor: Anchor,
) -> [String; 2] {
    let size = lowering.size(size);
    let builder = &mut lowering.builder;
    let length = builder.shape(x, axis..axis + 1);
    let more = builder.binary("Sub", &size, &length);
    let zero = builder.ints(&[0]);
    match anchor {
        Anchor::Start => [zero, more],
        Anchor::End => [more, zero],
        Anchor::Center => {
            // (ONNX divides towards nothing.)
            let two = builder.ints(&[2]);
            let start = builder.binary("Div", &more, &two);
            let end = builder.binary("Sub", &more, &start);
            [start, end]
        }
    }
}

/// What the new positions hold, if any are added.
fn mode(leaf: &Leaf) -> PadMode {
    let mut modes = leaf.nodes().iter().filter_map(|node| match &node.op {
        Op::Pad { mode, .. } | Op::PadOrSlice { mode, .. } => Some(*mode),
        _ => None,
    });
    modes.next_back().unwrap_or(PadMode::Zero)
}

/// What is added to an axis at each of the planned sizes.
fn changes(leaf: &Leaf, axis: usize) -> Vec<Change> {
    let at = |axes: &[AxisPadding]| axes.get(axis - 1).copied().unwrap_or_default();
    let change = |added: AxisPadding, cut: AxisPadding| Change {
        start: added.start as isize - cut.start as isize,
        end: added.end as isize - cut.end as isize,
    };
    let nothing = AxisPadding::default();
    let of = |op: &Op| match op {
        Op::Pad { added, .. } => change(at(added), nothing),
        Op::Slice { cut } => change(nothing, at(cut)),
        Op::PadOrSlice { added, cut, .. } => change(at(added), at(cut)),
        _ => change(nothing, nothing),
    };
    leaf.nodes().iter().map(|node| of(&node.op)).collect()
}

/// The rule that the changes follow.
fn rule(leaf: &Leaf, changes: &[Change]) -> Result<Rule, OnnxError> {
    let first = &changes[0];
    let is_known = |change: &Change| (change.start, change.end) == (first.start, first.end);
    if changes.iter().all(is_known) {
        return Ok(Rule::Known(Change { ..*first }));
    }
    let is = |anchor: Anchor| {
        changes.iter().all(|change| {
            let total = change.start + change.end;
            change.start
                == match anchor {
                    Anchor::Start => 0,
                    Anchor::Center => total / 2,
                    Anchor::End => total,
                }
        })
    };
    // (Where one position is the most that changes, it is at the end in the middle, too.)
    let anchors = [Anchor::Center, Anchor::Start, Anchor::End];
    let anchor = anchors.into_iter().find(|&anchor| is(anchor));
    anchor.map(Rule::ToSize).ok_or_else(|| {
        leaf.unsupported(
            "where positions are added or cut changes with the size of the input by no known rule. Export for one \
             size (Sizes::Fixed, --fixed)",
        )
    })
}
