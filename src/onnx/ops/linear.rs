//! Fully connected layers.

use super::super::OnnxError;
use super::super::probes::Leaf;
use super::super::weights::path_of;
use super::Lowering;

/// `Gemm` of rows, with the weight as Burn has it: `[inputs, outputs]`.
pub(super) fn linear(
    lowering: &mut Lowering,
    leaf: &Leaf,
    bias: bool,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    if leaf.rank() != 2 {
        return Err(leaf.unsupported("a linear layer reads rows: [batch, features]"));
    }
    let weight = lowering.weights.get(leaf, "weight")?;
    let mut inputs = vec![x];
    let path = path_of(leaf, "weight");
    inputs.push(
        lowering
            .builder
            .weight(&path, &weight.shape, &weight.values),
    );
    if bias {
        let bias = lowering.weights.get(leaf, "bias")?;
        let path = path_of(leaf, "bias");
        inputs.push(lowering.builder.weight(&path, &bias.shape, &bias.values));
    }
    let inputs: Vec<&str> = inputs.iter().map(|input| &input[..]).collect();
    Ok(lowering.builder.node("Gemm", &inputs, vec![]))
}
