//! Norms, and factors of channels.

use crate::graph::NormKind;

use super::super::OnnxError;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::super::weights::path_of;
use super::Lowering;

/// The four norms. (ONNX's `GroupNormalization` changed between two versions of its operators: it is made of the instance
/// norm of the groups.)
pub(super) fn norm(
    lowering: &mut Lowering,
    leaf: &Leaf,
    kind: NormKind,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let epsilon = |epsilon| AttributeProto::float("epsilon", epsilon);
    match kind {
        NormKind::Batch { epsilon: value } => {
            let names = ["gamma", "beta", "running_mean", "running_var"];
            let mut inputs = vec![x];
            for name in names {
                inputs.push(tensor(lowering, leaf, name)?);
            }
            let inputs: Vec<&str> = inputs.iter().map(|input| &input[..]).collect();
            let node = lowering
                .builder
                .node("BatchNormalization", &inputs, vec![epsilon(value)]);
            Ok(node)
        }
        NormKind::Instance { epsilon: value } => {
            let channels = leaf.channels();
            let [gamma, beta] = match lowering.weights.find(leaf, "gamma")? {
                Some(_) => [
                    tensor(lowering, leaf, "gamma")?,
                    tensor(lowering, leaf, "beta")?,
                ],
                None => [1.0, 0.0]
                    .map(|value| lowering.builder.floats(&[channels], &vec![value; channels])),
            };
            let inputs = [&x[..], &gamma, &beta];
            Ok(lowering
                .builder
                .node("InstanceNormalization", &inputs, vec![epsilon(value)]))
        }
        NormKind::Group {
            groups,
            epsilon: value,
        } => {
            let shape = lowering.builder.shape(&x, 0..leaf.rank());
            let rows = lowering.builder.reshape(&x, &[0, groups as i64, -1]);
            let [ones, zeros] =
                [1.0, 0.0].map(|value| lowering.builder.floats(&[groups], &vec![value; groups]));
            let inputs = [&rows[..], &ones, &zeros];
            let y = lowering
                .builder
                .node("InstanceNormalization", &inputs, vec![epsilon(value)]);
            let y = lowering.builder.binary("Reshape", &y, &shape);
            let Some(gamma) = lowering.weights.find(leaf, "gamma")? else {
                return Ok(y);
            };
            let beta = lowering.weights.get(leaf, "beta")?;
            let gamma = lowering.per_channel(&path_of(leaf, "gamma"), &gamma.values, leaf.rank());
            let beta = lowering.per_channel(&path_of(leaf, "beta"), &beta.values, leaf.rank());
            let y = lowering.builder.binary("Mul", &y, &gamma);
            Ok(lowering.builder.binary("Add", &y, &beta))
        }
        NormKind::Layer { epsilon: value } => {
            let [gamma, beta] = [
                tensor(lowering, leaf, "gamma")?,
                tensor(lowering, leaf, "beta")?,
            ];
            let attributes = vec![AttributeProto::signed("axis", -1), epsilon(value)];
            let rank = leaf.rank();
            if rank == 2 {
                return Ok(lowering.builder.node(
                    "LayerNormalization",
                    &[&x, &gamma, &beta],
                    attributes,
                ));
            }
            // ONNX normalises the last axes.
            let last: Vec<usize> = core::iter::once(0).chain(2..rank).chain([1]).collect();
            let back: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            let x = lowering.builder.transpose(&x, &last);
            let y = lowering
                .builder
                .node("LayerNormalization", &[&x, &gamma, &beta], attributes);
            Ok(lowering.builder.transpose(&y, &back))
        }
    }
}

/// A factor for each channel, or one for all.
pub(super) fn scale(lowering: &mut Lowering, leaf: &Leaf) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    let Some(parameter) = leaf.node().parameters.first() else {
        return Err(leaf.unsupported("a scale without a parameter"));
    };
    let factors = lowering.weights.get(leaf, parameter.name)?;
    let path = path_of(leaf, parameter.name);
    let factors = lowering.per_channel(&path, &factors.values, leaf.rank());
    Ok(lowering.builder.binary("Mul", &x, &factors))
}

/// A parameter as it is in the module.
fn tensor(lowering: &mut Lowering, leaf: &Leaf, name: &str) -> Result<String, OnnxError> {
    let weight = lowering.weights.get(leaf, name)?;
    let path = path_of(leaf, name);
    Ok(lowering
        .builder
        .weight(&path, &weight.shape, &weight.values))
}
