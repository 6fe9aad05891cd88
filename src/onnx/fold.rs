//! [`FoldedNorm`]: a batch norm with running statistics, folded into the convolution before it.

use std::collections::BTreeMap;

use crate::graph::{NormKind, Op};

use super::OnnxError;
use super::probes::Leaf;
use super::weights::{Weight, Weights};

/// A batch norm with running statistics as a factor and a shift of each channel.
pub(super) struct FoldedNorm<'a> {
    leaf: &'a Leaf<'a>,
    epsilon: f64,
}

/// The weight and the bias of a convolution.
pub(super) struct Parameters {
    pub weight: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

/// For the index of each convolution whose output is read by a batch norm and by nothing else, the index of that norm.
pub(super) fn folded(leaves: &[Leaf], outputs: &[usize]) -> BTreeMap<usize, usize> {
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, leaf) in leaves.iter().enumerate() {
        for input in &leaf.node().inputs {
            readers.entry(input.id).or_default().push(index);
        }
    }
    let norm_after = |leaf: &Leaf| {
        let output = leaf.node().outputs.first()?.id;
        let (Op::Conv(_) | Op::ConvTranspose(_), false) =
            (&leaf.node().op, outputs.contains(&output))
        else {
            return None;
        };
        match &readers.get(&output)?[..] {
            [norm] => FoldedNorm::new(&leaves[*norm]).map(|_| *norm),
            _ => None,
        }
    };
    let found = leaves.iter().enumerate();
    found
        .filter_map(|(index, leaf)| Some((index, norm_after(leaf)?)))
        .collect()
}

impl<'a> FoldedNorm<'a> {
    /// The batch norm of a leaf, if it is one.
    pub fn new(leaf: &'a Leaf<'a>) -> Option<Self> {
        match leaf.node().op {
            Op::Norm(NormKind::Batch { epsilon }) => Some(Self { leaf, epsilon }),
            _ => None,
        }
    }

    /// The parameters of the convolution with the norm: its output channels are the axis `axis` of its weight, in each of
    /// `groups`.
    pub fn fold(
        &self,
        weights: &Weights,
        weight: &Weight,
        bias: Option<&[f32]>,
        (axis, groups): (usize, usize),
    ) -> Result<Parameters, OnnxError> {
        let of = |name| weights.get(self.leaf, name).map(|weight| &weight.values);
        let [gamma, beta] = [of("gamma")?, of("beta")?];
        let [mean, variance] = [of("running_mean")?, of("running_var")?];
        let factor = |channel: usize| {
            f64::from(gamma[channel]) / (f64::from(variance[channel]) + self.epsilon).sqrt()
        };
        let factors: Vec<f64> = (0..gamma.len()).map(factor).collect();
        let shift = |channel: usize| {
            let bias = bias.map_or(0.0, |bias| f64::from(bias[channel]));
            (bias - f64::from(mean[channel])) * factors[channel] + f64::from(beta[channel])
        };
        let inner: usize = weight.shape[axis + 1..].iter().product();
        let outer = weight.shape[..axis].iter().product::<usize>().max(1) / groups;
        let size = weight.shape[axis];
        let channel = |index: usize| {
            // (Where the inputs are the first axis, those of a group have channels of their own.)
            let group = index / (inner * size * outer);
            let offset = if axis == 0 { 0 } else { group * size };
            index / inner % size + offset
        };
        let numbers = weight.values.iter().enumerate();
        Ok(Parameters {
            weight: numbers
                .map(|(index, &value)| (f64::from(value) * factors[channel(index)]) as f32)
                .collect(),
            bias: Some(
                (0..gamma.len())
                    .map(|channel| shift(channel) as f32)
                    .collect(),
            ),
        })
    }
}
