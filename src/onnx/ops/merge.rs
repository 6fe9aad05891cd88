//! Merges of maps, and maps in another shape.

use crate::graph::{Elementwise, Weighting};
use crate::shape::Axis;

use super::super::OnnxError;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::super::weights::path_of;
use super::Lowering;

/// `Concat`
pub(super) fn concat(
    lowering: &mut Lowering,
    leaf: &Leaf,
    axis: Axis,
    reversed: bool,
) -> Result<String, OnnxError> {
    let mut maps = lowering.inputs(leaf)?;
    if reversed {
        maps.reverse();
    }
    let maps: Vec<&str> = maps.iter().map(|map| &map[..]).collect();
    let axis = AttributeProto::int("axis", axis.index());
    Ok(lowering.builder.node("Concat", &maps, vec![axis]))
}

/// Value by value. A map of one position, or of one channel, is read for all.
pub(super) fn elementwise(
    lowering: &mut Lowering,
    leaf: &Leaf,
    op: Elementwise,
) -> Result<String, OnnxError> {
    let maps = lowering.inputs(leaf)?;
    let names: Vec<&str> = maps.iter().map(|map| &map[..]).collect();
    let builder = &mut lowering.builder;
    let mut fold = |op_type| {
        let mut maps = names.iter();
        let first = maps.next().map_or("", |map| *map).to_string();
        maps.fold(first, |merged, map| builder.binary(op_type, &merged, map))
    };
    Ok(match op {
        Elementwise::Sum => fold("Add"),
        Elementwise::Product => fold("Mul"),
        Elementwise::Difference => fold("Sub"),
        Elementwise::Mean => builder.node("Mean", &names, vec![]),
        Elementwise::Max => builder.node("Max", &names, vec![]),
        Elementwise::Min => builder.node("Min", &names, vec![]),
    })
}

/// The sum of maps, each times its factors, which are numbers here.
pub(super) fn weighted_sum(
    lowering: &mut Lowering,
    leaf: &Leaf,
    weighting: Weighting,
) -> Result<String, OnnxError> {
    let maps = lowering.inputs(leaf)?;
    let weights = lowering.weights.get(leaf, "weights")?.values.clone();
    let count = maps.len();
    let each = weights.len() / count;
    let path = path_of(leaf, "weights");
    let mut sum: Option<String> = None;
    for (index, map) in maps.iter().enumerate() {
        let factors: Vec<f32> = (0..each)
            .map(|channel| {
                let of_maps: Vec<f64> = (0..count)
                    .map(|map| f64::from(weights[map * each + channel]))
                    .collect();
                factor(weighting, &of_maps, index) as f32
            })
            .collect();
        let factors = lowering.per_channel(&format!("{path}.{index}"), &factors, leaf.rank());
        let product = lowering.builder.binary("Mul", map, &factors);
        sum = Some(match sum {
            Some(sum) => lowering.builder.binary("Add", &sum, &product),
            None => product,
        });
    }
    sum.ok_or_else(|| leaf.unsupported("a sum of no maps"))
}

/// The factor of the map `index`, of the learned numbers of all.
fn factor(weighting: Weighting, weights: &[f64], index: usize) -> f64 {
    match weighting {
        Weighting::Unbounded => weights[index],
        Weighting::Softmax => {
            let largest = weights.iter().copied().fold(f64::MIN, f64::max);
            let exponential = |weight: &f64| (weight - largest).exp();
            exponential(&weights[index]) / weights.iter().map(exponential).sum::<f64>()
        }
        Weighting::Fast { epsilon } => {
            let positive = weights.iter().map(|weight| weight.max(0.0));
            weights[index].max(0.0) / (positive.sum::<f64>() + epsilon)
        }
    }
}

/// Each map in its own block of a map of zeros: padded by the sizes of the maps before and after it.
pub(super) fn direct_sum(lowering: &mut Lowering, leaf: &Leaf) -> Result<String, OnnxError> {
    let maps = lowering.inputs(leaf)?;
    let rank = leaf.rank();
    let builder = &mut lowering.builder;
    let sizes: Vec<String> = maps.iter().map(|map| builder.shape(map, 2..rank)).collect();
    let zeros = builder.ints(&vec![0; rank - 2]);
    let axes: Vec<i64> = (2..rank as i64).collect();
    let axes = builder.ints(&axes);
    let mut placed = Vec::new();
    for (index, map) in maps.iter().enumerate() {
        let sides = [&sizes[..index], &sizes[index + 1..]];
        let [before, after] = sides.map(|sizes| {
            let add = |sum: String, size: &String| builder.binary("Add", &sum, size);
            sizes.iter().fold(zeros.clone(), add)
        });
        let pads = builder.join(&[&before, &after]);
        placed.push(builder.node("Pad", &[map, &pads, "", &axes], vec![]));
    }
    let mut placed = placed.into_iter();
    let first = placed.next().unwrap_or_default();
    Ok(placed.fold(first, |sum, map| builder.binary("Add", &sum, &map)))
}

/// The same values in another shape; of several maps, the positions of one after those of the other, and zeros after them.
pub(super) fn reshape(lowering: &mut Lowering, leaf: &Leaf) -> Result<String, OnnxError> {
    let maps = lowering.inputs(leaf)?;
    if let [map] = &maps[..] {
        return lowering.reshape_to_output(leaf, map);
    }
    let room = lowering.output_spatial(leaf)?;
    let room = lowering.sizes(&room);
    let builder = &mut lowering.builder;
    let keep = AttributeProto::int("keepdims", 1);
    let room = builder.node("ReduceProd", &[&room], vec![keep]);
    let rows: Vec<String> = maps
        .iter()
        .map(|map| builder.reshape(map, &[0, 0, -1]))
        .collect();
    let rows: Vec<&str> = rows.iter().map(|row| &row[..]).collect();
    let row = builder.node("Concat", &rows, vec![AttributeProto::int("axis", 2)]);
    let length = builder.shape(&row, 2..3);
    let after = builder.binary("Sub", &room, &length);
    let before = builder.ints(&[0]);
    let pads = builder.join(&[&before, &after]);
    let axes = builder.ints(&[2]);
    let row = builder.node("Pad", &[&row, &pads, "", &axes], vec![]);
    lowering.reshape_to_output(leaf, &row)
}
