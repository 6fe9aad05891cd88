//! Attention, and the softmax of channels.

use super::super::OnnxError;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::Lowering;

/// `softmax(q k / sqrt(channels of a head)) v`, each head by itself. The first input is `q`, the second holds `k` and `v`.
pub(super) fn attention(
    lowering: &mut Lowering,
    leaf: &Leaf,
    heads: usize,
) -> Result<String, OnnxError> {
    let [query, key_value] = [lowering.input(leaf, 0)?, lowering.input(leaf, 1)?];
    let of_head = leaf.channels() / heads;
    let builder = &mut lowering.builder;
    let shape = builder.shape(&query, 0..leaf.rank());
    let halves = vec![
        AttributeProto::int("axis", 1),
        AttributeProto::int("num_outputs", 2),
    ];
    let halves = builder.node_of("Split", &[&key_value], halves, 2);
    let [query, key, value] = [&query, &halves[0], &halves[1]]
        .map(|map| builder.reshape(map, &[0, heads as i64, of_head as i64, -1]));
    let query = builder.transpose(&query, &[0, 1, 3, 2]);
    let scores = builder.binary("MatMul", &query, &key);
    let scale = builder.float(1.0 / (of_head as f64).sqrt());
    let scores = builder.binary("Mul", &scores, &scale);
    let weights = builder.node(
        "Softmax",
        &[&scores],
        vec![AttributeProto::signed("axis", -1)],
    );
    let weights = builder.transpose(&weights, &[0, 1, 3, 2]);
    let y = builder.binary("MatMul", &value, &weights);
    Ok(builder.binary("Reshape", &y, &shape))
}

/// `softmax(q k) v`, with the softmax over all pairs of positions. The output has the positions before the channels in
/// memory, as [`Pab`](crate::fuse::Pab) says.
pub(super) fn over_positions(lowering: &mut Lowering, leaf: &Leaf) -> Result<String, OnnxError> {
    let maps = [
        lowering.input(leaf, 0)?,
        lowering.input(leaf, 1)?,
        lowering.input(leaf, 2)?,
    ];
    let rank = leaf.rank();
    let builder = &mut lowering.builder;
    let shape = builder.shape(&maps[2], 0..rank);
    let [query, key, value] = maps.map(|map| {
        let rows = builder.shape(&map, 0..2);
        let rest = builder.ints(&[-1]);
        let rows = builder.join(&[&rows, &rest]);
        builder.binary("Reshape", &map, &rows)
    });
    let query = builder.transpose(&query, &[0, 2, 1]);
    let value = builder.transpose(&value, &[0, 2, 1]);
    let scores = builder.binary("MatMul", &query, &key);
    let pairs = builder.shape(&scores, 0..3);
    let row = builder.reshape(&scores, &[0, -1]);
    let row = builder.node("Softmax", &[&row], vec![AttributeProto::signed("axis", -1)]);
    let weights = builder.binary("Reshape", &row, &pairs);
    let y = builder.binary("MatMul", &weights, &value);
    Ok(builder.binary("Reshape", &y, &shape))
}

/// Channels become positive numbers of which `channels` sum to one.
pub(super) fn softmax(
    lowering: &mut Lowering,
    leaf: &Leaf,
    channels: usize,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let rank = leaf.rank();
    let builder = &mut lowering.builder;
    let axis = vec![AttributeProto::int("axis", 1)];
    if channels == leaf.channels() {
        return Ok(builder.node("Softmax", &[&x], axis));
    }
    let shape = builder.shape(&x, 0..rank);
    let rows = builder.reshape(&x, &[0, channels as i64, -1]);
    let rows = builder.node("Softmax", &[&rows], axis);
    Ok(builder.binary("Reshape", &rows, &shape))
}
