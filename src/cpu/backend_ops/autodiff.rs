//! The operations under autodiff. A node saves the tensors that it has read, and nothing derived from them.

use alloc::{sync::Arc, vec::Vec};

use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

use super::forward;
use super::slices::reclaim;
use super::values::{
    NormValues, SourceValues, batch_and_channels, channel_map, layer_norm_of, plain_shape,
};
use super::{
    ActivationSpec, ConvSpec, KernelBackend, LayerNormSpec, NormSpec, NormalizeSpec, PoolSpec,
    ResampleSpec, Slices, Tensors, TransposedSpec,
};
use crate::cpu::kernels::norm::{self, ActivationGradient};
use crate::cpu::kernels::{self, EpilogueValues, GradientTarget, Source, Weight, activation};
use crate::cpu::policy::{self, FusedActivation, MAX_TENSORS};
use burn_skip_kernels::buffers;

/// The parents of a node; `None` for inputs that need no gradient.
type Parents<'a> = &'a [Option<NodeId>];

#[derive(Debug)]
struct ConvBackward;

impl<B: KernelBackend + Slices, const N: usize> Backward<B, N> for ConvBackward {
    type State = (Vec<FloatTensor<B>>, ConvSpec);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let from = grads.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        let (tensors, spec) = ops.state;
        let (sources, weight) = (&tensors[..spec.sources_len()], &tensors[spec.sources_len()]);
        let outputs = weight.shape()[0];
        let gradient = B::read(&from);
        let read = SourceValues::all::<B>(sources, &spec.sources);
        let work = ConvGradients {
            gradient: &gradient,
            samples: spec.shape[0],
            sources: &read,
            spec: &spec,
        };
        let kernel = B::read(weight);
        work.register_sources::<B>(Weight::new(&kernel, outputs), &parents, grads);
        let parent = |n: usize| parents.get(spec.sources_len() + n).copied().flatten();
        if let Some(parent) = parent(0) {
            let values = work.weight_gradient();
            grads.register::<B>(parent, B::write(values, weight.shape()));
        }
        if let Some(parent) = parent(1).filter(|_| spec.bias) {
            let positions = spec.geometry.positions();
            let values = kernels::bias_gradient(&gradient, outputs, positions);
            grads.register::<B>(parent, B::write(values, Shape::from([outputs])));
        }
        drop((gradient, kernel, read));
        reclaim::<B>(tensors.into_iter().chain([from]));
    }
}

/// The backward pass of a convolution.
struct ConvGradients<'a> {
    gradient: &'a [f32],
    samples: usize,
    sources: &'a [SourceValues<'a>],
    spec: &'a ConvSpec,
}

impl ConvGradients<'_> {
    /// Each source with the parents of its tensors.
    fn with_parents<'p>(
        &self,
        mut parents: Parents<'p>,
    ) -> impl Iterator<Item = (&SourceValues<'_>, Parents<'p>)> {
        self.sources.iter().map(move |source| {
            let (now, rest) = parents.split_at(source.spec.len());
            parents = rest;
            (source, now)
        })
    }

    /// Registers the gradients to the sources and to the norms that they are read through.
    fn register_sources<B: Slices>(&self, weight: Weight, parents: Parents, grads: &mut Gradients) {
        let wanted = self
            .with_parents(parents)
            .map(|(source, parents)| GradientTarget {
                shape: source.source().shape(),
                is_needed: parents.iter().any(Option::is_some),
            });
        let wanted: Vec<_> = wanted.collect();
        let geometry = &self.spec.geometry;
        let found = kernels::input_gradient(self.gradient, self.samples, weight, geometry, &wanted);
        for ((source, parents), found) in self.with_parents(parents).zip(found) {
            let Some(found) = found else { continue };
            let shape = source.shape.clone();
            match &source.norm {
                None => register::<B>(parents[0], Some(found), shape, grads),
                Some(norm) => {
                    let activation = FusedActivation::Piecewise(source.spec.activation);
                    let activation = ActivationGradient::AtInput(activation);
                    let x = channel_map(&source.values, &shape, 1);
                    let of_map = norm::backward(x, &found, norm.norm(), activation, false);
                    buffers::give(found);
                    register_norm::<B>(parents, of_map, shape, grads);
                }
            }
        }
    }

    fn weight_gradient(&self) -> Vec<f32> {
        let sources: Vec<_> = self.sources.iter().map(SourceValues::source).collect();
        let shape = Shape::from(self.spec.shape.clone());
        let gradient = Source::new(self.gradient, plain_shape(&shape));
        kernels::weight_gradient(&sources, gradient, self.samples, &self.spec.geometry)
    }
}

fn register<B: Slices>(
    parent: Option<NodeId>,
    values: Option<Vec<f32>>,
    shape: Shape,
    grads: &mut Gradients,
) {
    if let (Some(parent), Some(values)) = (parent, values) {
        grads.register::<B>(parent, B::write(values, shape));
    }
}

/// Registers the gradients of a map, and of the scale and the shift of the norm that follows it.
fn register_norm<B: Slices>(
    parents: Parents,
    found: norm::Gradients,
    shape: Shape,
    grads: &mut Gradients,
) {
    let channels = Shape::from([found.gamma.len()]);
    register::<B>(parents[0], Some(found.x), shape, grads);
    register::<B>(parents[1], Some(found.gamma), channels.clone(), grads);
    register::<B>(parents[2], Some(found.beta), channels, grads);
}

#[derive(Debug)]
struct TransposedBackward;

impl<B: KernelBackend + Slices> Backward<B, 3> for TransposedBackward {
    type State = ([FloatTensor<B>; 2], TransposedSpec);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let from = grads.consume::<B>(&ops.node);
        let ([x, weight], spec) = ops.state;
        let [to_x, to_weight, to_bias] = ops.parents;
        let [samples, inputs] = batch_and_channels(&x.shape());
        let outputs = weight.shape()[1];
        let output = from.shape();
        let (gradient, values, kernel) = (B::read(&from), B::read(&x), B::read(&weight));
        let source = Source::new(&gradient, plain_shape(&output));
        if let Some(parent) = to_x {
            let weight = Weight::new(&kernel, inputs);
            let none = EpilogueValues::default();
            let found = kernels::forward(&[source], samples, weight, &spec.geometry, none);
            grads.register::<B>(parent.id, B::write(found, x.shape()));
        }
        if let Some(parent) = to_weight {
            let x = Source::new(&values, plain_shape(&x.shape()));
            let found = kernels::weight_gradient(&[source], x, samples, &spec.geometry);
            grads.register::<B>(parent.id, B::write(found, weight.shape()));
        }
        if let Some(parent) = to_bias {
            let positions = output.iter().skip(2).product();
            let found = kernels::bias_gradient(&gradient, outputs, positions);
            grads.register::<B>(parent.id, B::write(found, Shape::from([outputs])));
        }
        drop((gradient, values));
        reclaim::<B>([x, from]);
    }
}

#[derive(Debug)]
struct NormBackward;

impl<B: KernelBackend + Slices> Backward<B, 6> for NormBackward {
    /// Map, scale, shift, mean, variance and, if a residual and an activation follow the norm, the output.
    type State = (Vec<FloatTensor<B>>, NormalizeSpec);

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let from = grads.consume::<B>(&ops.node);
        let (tensors, spec) = ops.state;
        let shape = tensors[0].shape();
        let values = B::read(&tensors[0]);
        let (vectors, output) = tensors[1..].split_at(NormSpec::LEN);
        let values_of_norm = NormValues::new::<B>(vectors, spec.norm);
        let output = output.first().map(B::read);
        let activation = match (spec.activation, &output) {
            (FusedActivation::Piecewise(piecewise), Some(output)) => {
                ActivationGradient::AtOutput(piecewise, output)
            }
            (activation, _) => ActivationGradient::AtInput(activation),
        };
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        let residual = parents[5];
        let x = channel_map(&values, &shape, spec.norm.group);
        let norm = values_of_norm.norm();
        let wants_residual = residual.is_some();
        let mut found = norm::backward(x, &B::read(&from), norm, activation, wants_residual);
        register::<B>(residual, found.residual.take(), shape.clone(), grads);
        register_norm::<B>(&parents, found, shape, grads);
        drop((values, output, values_of_norm));
        reclaim::<B>(tensors.into_iter().chain([from]));
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl<B: KernelBackend + Slices> Backward<B, 3> for LayerNormBackward {
    /// Map and scale.
    type State = (Vec<FloatTensor<B>>, LayerNormSpec);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let from = grads.consume::<B>(&ops.node);
        let (tensors, spec) = ops.state;
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        let shape = tensors[0].shape();
        let [values, gamma] = [0, 1].map(|index| B::read(&tensors[index]));
        let norm = layer_norm_of(&values, &shape, &gamma, spec);
        let found = kernels::layer_norm::backward(norm, &B::read(&from));
        let channels = Shape::from([shape[1]]);
        register::<B>(parents[0], Some(found.x), shape, grads);
        register::<B>(parents[1], Some(found.gamma), channels.clone(), grads);
        register::<B>(parents[2], Some(found.beta), channels, grads);
        drop((values, gamma));
        reclaim::<B>(tensors.into_iter().chain([from]));
    }
}

#[derive(Debug)]
struct ActivationBackward;

impl<B: KernelBackend + Slices> Backward<B, 1> for ActivationBackward {
    /// The input, or the output if that is enough.
    type State = (FloatTensor<B>, ActivationSpec);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (saved, spec) = ops.state;
        let [parent] = ops.parents.map(|parent| parent.map(|parent| parent.id));
        let found = activation::backward(&B::read(&saved), &B::read(&gradient), spec.0);
        register::<B>(parent, Some(found), saved.shape(), grads);
        reclaim::<B>([saved, gradient]);
    }
}

#[derive(Debug)]
struct PoolBackward;

impl<B: KernelBackend + Slices> Backward<B, 1> for PoolBackward {
    type State = (FloatTensor<B>, PoolSpec);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (x, spec) = ops.state;
        let [parent] = ops.parents.map(|parent| parent.map(|parent| parent.id));
        let found = kernels::max_pool::backward(&B::read(&x), &B::read(&gradient), &spec.0);
        register::<B>(parent, Some(found), x.shape(), grads);
        reclaim::<B>([x, gradient]);
    }
}

#[derive(Debug)]
struct ResampleBackward;

impl<B: KernelBackend + Slices> Backward<B, 1> for ResampleBackward {
    type State = ResampleSpec;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let transposed = ResampleSpec(Arc::new(ops.state.0.transposed()));
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            let found = forward::resample::<B>(&gradient, &transposed);
            grads.register::<B>(parent.id, found);
        }
        reclaim::<B>([gradient]);
    }
}

impl<B: KernelBackend + Slices, C: CheckpointStrategy> KernelBackend for Autodiff<B, C> {
    fn convolve(inputs: Tensors<Self>, spec: ConvSpec) -> FloatTensor<Self> {
        if inputs.0.len() <= 8 {
            convolve_recorded::<B, C, 8>(inputs.0, spec)
        } else {
            convolve_recorded::<B, C, MAX_TENSORS>(inputs.0, spec)
        }
    }

    fn convolve_transposed(inputs: Tensors<Self>, spec: TransposedSpec) -> FloatTensor<Self> {
        let constant = Self::from_inner(inputs.0[1].primitive().clone());
        let node = |index: usize| inputs.0.get(index).unwrap_or(&constant).node();
        let nodes = [node(0), node(1), node(2)];
        let prepared = TransposedBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful();
        let tensors = into_primitives::<B, C>(inputs.0);
        let output = forward::convolve_transposed::<B>(&tensors, &spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                let state = [tensors[0].clone(), tensors[1].clone()];
                prepared.finish((state, spec), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn moments(x: FloatTensor<Self>, group: usize) -> Tensors<Self> {
        let found = forward::moments::<B>(x.primitive(), group);
        Tensors(found.0.into_iter().map(Self::from_inner).collect())
    }

    fn normalize(inputs: Tensors<Self>, spec: NormalizeSpec) -> FloatTensor<Self> {
        let constant = Self::from_inner(inputs.0[1].primitive().clone());
        let nodes = core::array::from_fn(|index| inputs.0.get(index).unwrap_or(&constant).node());
        let prepared = NormBackward.prepare::<C>(nodes).compute_bound().stateful();
        let mut tensors = into_primitives::<B, C>(inputs.0);
        let output = forward::normalize::<B>(&tensors, spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                let has_residual = tensors.len() > 1 + NormSpec::LEN;
                tensors.truncate(1 + NormSpec::LEN);
                if policy::norm_saves_output(has_residual, spec.activation) {
                    tensors.push(output.clone());
                }
                prepared.finish((tensors, spec), output)
            }
            OpsKind::UnTracked(prepared) => {
                reclaim::<B>(tensors);
                prepared.finish(output)
            }
        }
    }

    fn layer_norm(inputs: Tensors<Self>, spec: LayerNormSpec) -> FloatTensor<Self> {
        let nodes = core::array::from_fn(|index| inputs.0[index].node());
        let prepared = LayerNormBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful();
        let mut tensors = into_primitives::<B, C>(inputs.0);
        let output = forward::layer_norm::<B>(&tensors, spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                tensors.truncate(2);
                prepared.finish((tensors, spec), output)
            }
            OpsKind::UnTracked(prepared) => {
                reclaim::<B>(tensors);
                prepared.finish(output)
            }
        }
    }

    fn activate(x: FloatTensor<Self>, spec: ActivationSpec) -> FloatTensor<Self> {
        let prepared = ActivationBackward
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful();
        let x = x.into_primitive();
        let output = forward::activate::<B>(&x, spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                let saved = match spec.0.is_told_by_output() {
                    true => {
                        reclaim::<B>([x]);
                        output.clone()
                    }
                    false => x,
                };
                prepared.finish((saved, spec), output)
            }
            OpsKind::UnTracked(prepared) => {
                reclaim::<B>([x]);
                prepared.finish(output)
            }
        }
    }

    fn max_pool(x: FloatTensor<Self>, spec: PoolSpec) -> FloatTensor<Self> {
        let prepared = PoolBackward
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful();
        let x = x.into_primitive();
        let output = forward::max_pool::<B>(&x, &spec);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((x, spec), output),
            OpsKind::UnTracked(prepared) => {
                reclaim::<B>([x]);
                prepared.finish(output)
            }
        }
    }

    fn resample(x: FloatTensor<Self>, spec: ResampleSpec) -> FloatTensor<Self> {
        let prepared = ResampleBackward
            .prepare::<C>([x.node()])
            .compute_bound()
            .stateful();
        let x = x.into_primitive();
        let output = forward::resample::<B>(&x, &spec);
        reclaim::<B>([x]);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(spec, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

fn into_primitives<B: KernelBackend + Slices, C: CheckpointStrategy>(
    tensors: Vec<FloatTensor<Autodiff<B, C>>>,
) -> Vec<FloatTensor<B>> {
    let tensors = tensors.into_iter();
    tensors.map(|tensor| tensor.into_primitive()).collect()
}

/// A convolution that records gradients. It has no epilogue except the bias: norm and activation are operations of
/// their own here. Unused entries of the node array are filled with a constant.
fn convolve_recorded<B: KernelBackend + Slices, C: CheckpointStrategy, const N: usize>(
    inputs: Vec<FloatTensor<Autodiff<B, C>>>,
    spec: ConvSpec,
) -> FloatTensor<Autodiff<B, C>> {
    let constant = <Autodiff<B, C> as AutodiffBackend>::from_inner(inputs[0].primitive().clone());
    debug_assert!(spec.epilogue.norm.is_none() && !spec.epilogue.residual);
    let nodes = core::array::from_fn(|index| inputs.get(index).unwrap_or(&constant).node());
    let prepared = Backward::<B, N>::prepare::<C>(ConvBackward, nodes)
        .compute_bound()
        .stateful();
    let mut tensors = into_primitives::<B, C>(inputs);
    let output = forward::convolve::<B>(&tensors, &spec);
    match prepared {
        OpsKind::Tracked(prepared) => {
            tensors.truncate(spec.sources_len() + 1);
            prepared.finish((tensors, spec), output)
        }
        OpsKind::UnTracked(prepared) => {
            reclaim::<B>(tensors);
            prepared.finish(output)
        }
    }
}
