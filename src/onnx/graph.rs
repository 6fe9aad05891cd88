//! The graph of a network: its layers in their order, its input and its outputs.

use std::collections::BTreeMap;

use crate::shape::axis_name;

use super::builder::Builder;
use super::dims::{Dims, MapAxis, Size};
use super::fold::{FoldedNorm, folded};
use super::ops::Lowering;
use super::probes::Probes;
use super::proto::{Dimension, GraphProto, ValueInfoProto};
use super::weights::Weights;
use super::{OnnxError, Sizes};

/// The graph of the planned network.
pub(super) fn lower(
    probes: &Probes,
    weights: &Weights,
    sizes: Sizes,
) -> Result<GraphProto, OnnxError> {
    let mut lowering = Lowering {
        builder: Builder::default(),
        weights,
        dims: Dims::default(),
        values: BTreeMap::new(),
    };
    let (input, shapes) = probes.input();
    let name = lowering.builder.unique(INPUT);
    lowering.values.insert(input, name);
    lowering.dims.insert(input, &shapes);
    lower_layers(&mut lowering, probes)?;
    let axes = Axes {
        input,
        sizes,
        dims: &lowering.dims,
    };
    let input = ValueInfoProto::map(INPUT, axes.of(INPUT, &shapes));
    let outputs = probes.outputs();
    let names: Vec<String> = match outputs.len() {
        1 => vec!["output".into()],
        count => (0..count).map(|n| format!("output_{n}")).collect(),
    };
    let named = names.iter().zip(&outputs);
    let output: Vec<_> = named
        .map(|(name, (_, shapes))| ValueInfoProto::map(name, axes.of(name, shapes)))
        .collect();
    let ids: Vec<usize> = outputs.iter().map(|(id, _)| *id).collect();
    name_outputs(&mut lowering, &names, &ids)?;
    Ok(GraphProto {
        name: "burn-skip".into(),
        input: vec![input],
        output,
        ..lowering.builder.finish()
    })
}

/// The name of the input.
const INPUT: &str = "input";

/// Writes all layers, in the order in which they run.
fn lower_layers(lowering: &mut Lowering, probes: &Probes) -> Result<(), OnnxError> {
    let leaves = probes.leaves();
    let outputs: Vec<usize> = probes.outputs().iter().map(|(id, _)| *id).collect();
    let folded = folded(&leaves, &outputs);
    for (index, leaf) in leaves.iter().enumerate() {
        let norm = folded.get(&index).map(|&norm| &leaves[norm]);
        let norm = norm.and_then(FoldedNorm::new);
        let is_folded = folded.values().any(|&norm| norm == index);
        let value = match is_folded {
            true => lowering.input(leaf, 0)?,
            false => lowering.lower(leaf, norm)?,
        };
        let output = leaf.node().outputs[0].id;
        lowering.values.insert(output, value);
        lowering.dims.insert(output, &leaf.output_shapes());
    }
    Ok(())
}

/// Gives the outputs their names. Two may be one value, and one may be the input.
fn name_outputs(lowering: &mut Lowering, names: &[String], ids: &[usize]) -> Result<(), OnnxError> {
    lowering.builder.enter("");
    for (name, id) in names.iter().zip(ids) {
        let Some(value) = lowering.values.get(id).cloned() else {
            let reason = "no layer computes this output".into();
            let path = name.clone();
            return Err(OnnxError::Weight { path, reason });
        };
        if value == INPUT || names.contains(&value) {
            lowering.builder.identity(&value, name);
            continue;
        }
        lowering.builder.rename(&value, name);
        let renamed = lowering
            .values
            .values_mut()
            .filter(|other| **other == value);
        renamed.for_each(|value| *value = name.clone());
    }
    Ok(())
}

/// How the axes of the input and of the outputs are called.
struct Axes<'a> {
    /// The number of the input.
    input: usize,
    sizes: Sizes,
    dims: &'a Dims,
}

impl Axes<'_> {
    /// The sizes of the axes of a value: numbers, the names of the input's axes, or names of its own.
    fn of(&self, value: &str, shapes: &[&[usize]]) -> Vec<Dimension> {
        let rank = shapes[0].len();
        (0..rank)
            .map(|axis| match (axis, self.sizes) {
                (0, Sizes::Dynamic) => Dimension::Name(axis_name(0, rank).into()),
                _ => self.axis(value, axis, shapes),
            })
            .collect()
    }

    fn axis(&self, value: &str, axis: usize, shapes: &[&[usize]]) -> Dimension {
        let wanted: Vec<usize> = shapes.iter().map(|shape| shape[axis]).collect();
        let map = self.input;
        let rank = shapes[0].len();
        match self.dims.size(&wanted, MapAxis { map, axis }) {
            Some(Size::Known(size)) => Dimension::Value(size as i64),
            Some(Size::Of { axis, times: 1 }) if axis.map == self.input => {
                Dimension::Name(axis_name(axis.axis, rank).into())
            }
            _ => Dimension::Name(format!("{value}_{}", axis_name(axis, rank))),
        }
    }
}
