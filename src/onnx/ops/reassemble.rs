//! CARAFE's sums of neighbourhoods.

use super::super::OnnxError;
use super::super::builder::END;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::Lowering;

/// `y[c m + s] = sum_k x_k[c] w[k m + s]` with `m` sums of a channel, where `x_k` is the map shifted to the neighbour `k`
/// (the last axis varies fastest), with zeros around it.
pub(super) fn reassemble(
    lowering: &mut Lowering,
    leaf: &Leaf,
    kernel_size: &[usize],
) -> Result<String, OnnxError> {
    let [x, weights] = [lowering.input(leaf, 0)?, lowering.input(leaf, 1)?];
    let channels = leaf.channels();
    let sums = leaf.node().outputs[0].shape[1] / channels;
    let axes: Vec<usize> = (2..leaf.rank()).collect();
    let neighbours: usize = kernel_size.iter().product();
    let half: Vec<i64> = kernel_size.iter().map(|size| (size / 2) as i64).collect();
    let half = lowering.builder.ints(&half);
    let padded = super::fit::pad(lowering, &x, [&half, &half], &axes, Default::default());
    let builder = &mut lowering.builder;
    let size = builder.shape(&x, 2..leaf.rank());
    let weights = builder.reshape(&weights, &[0, neighbours as i64, sums as i64, -1]);
    let split = vec![
        AttributeProto::int("axis", 1),
        AttributeProto::int("num_outputs", neighbours),
    ];
    let weights = match neighbours {
        1 => vec![weights],
        _ => builder.node_of("Split", &[&weights], split, neighbours),
    };
    let mut sum: Option<String> = None;
    for (neighbour, weight) in weights.iter().enumerate() {
        let mut rest = neighbour;
        let (mut starts, mut ends) = (vec![0; axes.len()], vec![END; axes.len()]);
        for (n, &kernel) in kernel_size.iter().enumerate().rev() {
            let start = rest % kernel;
            rest /= kernel;
            starts[n] = start as i64;
            if start + 1 < kernel {
                ends[n] = (start + 1) as i64 - kernel as i64;
            }
        }
        let [starts, ends] = [starts, ends].map(|numbers| builder.ints(&numbers));
        let shifted = builder.slice(&padded, &starts, &ends, &axes);
        let shifted = builder.reshape(&shifted, &[0, channels as i64, 1, -1]);
        let product = builder.binary("Mul", &shifted, weight);
        sum = Some(match sum {
            Some(sum) => builder.binary("Add", &sum, &product),
            None => product,
        });
    }
    let sum = sum.ok_or_else(|| leaf.unsupported("a neighbourhood of no positions"))?;
    let channels = builder.ints(&[0, (channels * sums) as i64]);
    let shape = builder.join(&[&channels, &size]);
    Ok(builder.binary("Reshape", &sum, &shape))
}
