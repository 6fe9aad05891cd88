//! The operations where gradients are recorded. A node keeps what it has read, and nothing that was made of it.

use alloc::vec::Vec;

use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

use super::forward::{self, Read, ReadNorm, dims_of, map_of};
use super::{
    ConvSpec, KernelBackend, NormSpec, PoolSpec, Slices, SourceSpec, Tensors, TransposedSpec,
};
use crate::cpu::kernels::norm::Cut;
use crate::cpu::kernels::{self, Epilogue, Source, Wanted, Weight};
use crate::cpu::policy::{self, MAX_TENSORS};

#[derive(Debug)]
struct ConvBackward;

impl<B: KernelBackend + Slices, const N: usize> Backward<B, N> for ConvBackward {
    type State = (Vec<FloatTensor<B>>, ConvSpec);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        let (tensors, spec) = ops.state;
        let (sources, weight) = (&tensors[..spec.sources_len()], &tensors[spec.sources_len()]);
        let (gradient, kernel) = (B::read(&gradient), B::read(weight));
        let outputs = weight.shape()[0];
        let read = Read::all::<B>(sources, &spec.sources);
        let firsts = spec.sources.iter().scan(0, |next, source| {
            let first = *next;
            *next += source.len();
            Some(first)
        });
        let firsts: Vec<usize> = firsts.collect();
        let is_wanted = |first: usize, source: &SourceSpec| {
            parents[first..first + source.len()]
                .iter()
                .any(Option::is_some)
        };
        let wanted = read
            .iter()
            .zip(&spec.sources)
            .zip(&firsts)
            .map(|((read, source), &first)| Wanted {
                channels: read.dims[1],
                size: [read.dims[2], read.dims[3]],
                up: read.factors,
                wanted: is_wanted(first, source),
            });
        let wanted: Vec<_> = wanted.collect();
        let batch = read[0].dims[0];
        let parts = kernels::input_gradient(
            &gradient,
            batch,
            (&kernel, outputs),
            &spec.geometry,
            &wanted,
        );
        for ((part, read), &first) in parts.into_iter().zip(&read).zip(&firsts) {
            let Some(part) = part else { continue };
            let parents = &parents[first..];
            let shape = sources[first].shape();
            match &read.norm {
                None => register::<B>(parents[0], Some(part), shape, grads),
                Some(norm) => {
                    let x = map_of(&read.values, &shape);
                    let cut = if norm.spec.relu {
                        Cut::Input
                    } else {
                        Cut::None
                    };
                    let found = kernels::norm::backward(x, &part, norm.norm(), cut, false);
                    register_norm::<B>(parents, found, shape, grads);
                }
            }
        }
        let parent = |n: usize| parents.get(spec.sources_len() + n).copied().flatten();
        let (to_weight, to_bias) = (parent(0), parent(1).filter(|_| spec.bias));
        if to_weight.is_some() {
            let sources: Vec<_> = read.iter().map(Read::source).collect();
            let values =
                kernels::weight_gradient(&sources, (&gradient, outputs), batch, &spec.geometry);
            register::<B>(to_weight, Some(values), weight.shape(), grads);
        }
        if to_bias.is_some() {
            let positions = spec.geometry.size[0] * spec.geometry.size[1];
            let values = kernels::bias_gradient(&gradient, outputs, positions);
            register::<B>(to_bias, Some(values), Shape::from([outputs]), grads);
        }
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

/// Registers the gradients to a map, and to the scale and the shift that follow it.
fn register_norm<B: Slices>(
    parents: &[Option<NodeId>],
    found: kernels::norm::Gradients,
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
        let gradient = grads.consume::<B>(&ops.node);
        let ([x, weight], spec) = ops.state;
        let [to_x, to_weight, to_bias] = ops.parents;
        let [batch, inputs, ..] = dims_of(&x.shape());
        let outputs = weight.shape()[1];
        let (gradient, values, kernel) = (B::read(&gradient), B::read(&x), B::read(&weight));
        let source = Source {
            values: &gradient,
            channels: outputs,
            size: spec.size,
            up: [1, 1],
            prologue: None,
        };
        if let Some(parent) = to_x {
            let weight = Weight::new(&kernel, inputs);
            let found = kernels::forward(
                &[source],
                batch,
                weight,
                &spec.geometry,
                Epilogue::default(),
            );
            grads.register::<B>(parent.id, B::write(found, x.shape()));
        }
        if let Some(parent) = to_weight {
            let found =
                kernels::weight_gradient(&[source], (&values, inputs), batch, &spec.geometry);
            grads.register::<B>(parent.id, B::write(found, weight.shape()));
        }
        if let Some(parent) = to_bias {
            let found = kernels::bias_gradient(&gradient, outputs, spec.size[0] * spec.size[1]);
            grads.register::<B>(parent.id, B::write(found, Shape::from([outputs])));
        }
    }
}

#[derive(Debug)]
struct NormBackward;

impl<B: KernelBackend + Slices> Backward<B, 6> for NormBackward {
    /// Map, scale, shift, mean, variance and, behind a residual and ReLU, the output.
    type State = (Vec<FloatTensor<B>>, NormSpec);

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (tensors, spec) = ops.state;
        let shape = tensors[0].shape();
        let values = B::read(&tensors[0]);
        let norm = ReadNorm::new::<B>(&tensors[1..5], spec);
        let output = tensors.get(5).map(B::read);
        let cut = match (spec.relu, &output) {
            (false, _) => Cut::None,
            (true, Some(output)) => Cut::Output(output),
            (true, None) => Cut::Input,
        };
        let parents = ops.parents.map(|parent| parent.map(|parent| parent.id));
        let residual = parents[5];
        let x = map_of(&values, &shape);
        let gradient = B::read(&gradient);
        let mut found = kernels::norm::backward(x, &gradient, norm.norm(), cut, residual.is_some());
        register::<B>(residual, found.residual.take(), shape.clone(), grads);
        register_norm::<B>(&parents, found, shape, grads);
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
        let tensors: Vec<_> = inputs
            .0
            .into_iter()
            .map(|tensor| tensor.into_primitive())
            .collect();
        let output = forward::convolve_transposed::<B>(&tensors, &spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                let state = [tensors[0].clone(), tensors[1].clone()];
                prepared.finish((state, spec), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn moments(x: FloatTensor<Self>) -> Tensors<Self> {
        let found = forward::moments::<B>(x.primitive());
        Tensors(found.0.into_iter().map(Self::from_inner).collect())
    }

    fn normalize(inputs: Tensors<Self>, spec: NormSpec) -> FloatTensor<Self> {
        let constant = Self::from_inner(inputs.0[1].primitive().clone());
        let nodes = core::array::from_fn(|index| inputs.0.get(index).unwrap_or(&constant).node());
        let prepared = NormBackward.prepare::<C>(nodes).compute_bound().stateful();
        let mut tensors: Vec<_> = inputs
            .0
            .into_iter()
            .map(|tensor| tensor.into_primitive())
            .collect();
        let output = forward::normalize::<B>(&tensors, spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                // Behind a residual, only the output says what ReLU has cut.
                let residual = tensors.len() > 5;
                tensors.truncate(5);
                if policy::norm_saves_output(residual, spec.relu) {
                    tensors.push(output.clone());
                }
                prepared.finish((tensors, spec), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
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
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// Where gradients are recorded there is no epilogue but the bias: norm and activation are operations of
/// their own then.
fn convolve_recorded<B: KernelBackend + Slices, C: CheckpointStrategy, const N: usize>(
    inputs: Vec<FloatTensor<Autodiff<B, C>>>,
    spec: ConvSpec,
) -> FloatTensor<Autodiff<B, C>> {
    let constant = <Autodiff<B, C> as AutodiffBackend>::from_inner(inputs[0].primitive().clone());
    debug_assert!(!spec.affine && !spec.residual && !spec.relu);
    let nodes = core::array::from_fn(|index| inputs.get(index).unwrap_or(&constant).node());
    let prepared = Backward::<B, N>::prepare::<C>(ConvBackward, nodes)
        .compute_bound()
        .stateful();
    let mut tensors: Vec<_> = inputs
        .into_iter()
        .map(|tensor| tensor.into_primitive())
        .collect();
    let output = forward::convolve::<B>(&tensors, &spec);
    match prepared {
        OpsKind::Tracked(prepared) => {
            tensors.truncate(spec.sources_len() + 1);
            prepared.finish((tensors, spec), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}
