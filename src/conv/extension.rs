//! The kernels as operations of Burn: on the plain backends that run on the CPU, and on autodiff, where
//! a node keeps the sources and nothing that was made of them.

use alloc::{borrow::Cow, vec::Vec};

use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, BackendTensor, Dispatch, DispatchAutodiffContext,
    DispatchTensor, DispatchTensorKind, ExtensionType, TensorMetadata, backend_extension,
};
use burn::tensor::{Shape, TensorData};

use super::kernel::norm::Cut;
use super::kernel::{self, Epilogue, Geometry, Prologue, Source, Wanted};

/// Several tensors, as what an operation takes or gives.
#[derive(Debug)]
pub struct Tensors<B: Backend>(pub(crate) Vec<FloatTensor<B>>);

impl<B: Backend> ExtensionType<B> for Tensors<B> {
    type Target = Tensors<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let tensors = self.0.into_iter().map(|tensor| DispatchTensor {
            kind: map_kind(BackendTensor::Float(tensor)),
            autodiff,
        });
        Tensors(tensors.collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Self(
            target
                .0
                .into_iter()
                .map(|tensor| unwrap_kind(tensor).float())
                .collect(),
        )
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        // Constants among the inputs have no part in autodiff, and do not choose it.
        let recorded =
            |tensor: &&DispatchTensor| tensor.autodiff != DispatchAutodiffContext::Disabled;
        target.0.iter().find(recorded).or_else(|| target.0.first())
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        Self::routing_tensor(target)
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        let contexts = target.0.iter().map(|tensor| tensor.autodiff);
        contexts.fold(
            DispatchAutodiffContext::Disabled,
            DispatchAutodiffContext::merge,
        )
    }
}

/// A batch norm, and perhaps ReLU, that a map is read or written through.
#[derive(Clone, Copy, Debug)]
pub struct NormSpec {
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
    /// Whether mean and variance are those of the map itself, which gradients go through.
    pub(crate) of_batch: bool,
}

/// How a source is read.
#[derive(Clone, Copy, Debug)]
pub struct SourceSpec {
    /// How many times along its axes.
    pub(crate) factors: [usize; 2],
    /// Through which norm. Its scale, shift, mean and variance follow the source.
    pub(crate) norm: Option<NormSpec>,
}

impl SourceSpec {
    /// The tensors of the source.
    fn len(&self) -> usize {
        if self.norm.is_some() { 5 } else { 1 }
    }
}

/// What the tensors of a convolution are, in this order.
#[derive(Clone, Debug)]
pub struct ConvSpec {
    pub(crate) sources: Vec<SourceSpec>,
    /// Whether a bias follows the sources and the weight.
    pub(crate) bias: bool,
    /// Whether scale and shift of each channel follow.
    pub(crate) affine: bool,
    /// Whether a residual follows.
    pub(crate) residual: bool,
    /// Whether ReLU is applied last.
    pub(crate) relu: bool,
    pub(crate) geometry: Geometry,
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
}

impl ConvSpec {
    /// The tensors of all sources.
    fn sources_len(&self) -> usize {
        self.sources.iter().map(SourceSpec::len).sum()
    }
}

/// What the tensors of a transposed convolution are: the map, the weight and, where said, a bias.
#[derive(Clone, Debug)]
pub struct TransposedSpec {
    /// Of the convolution that it turns round: from its output to its input.
    pub(crate) geometry: Geometry,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
}

/// The operations of this crate that have kernels.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"))]
pub trait KernelBackend: Backend {
    /// Convolution over several sources: `act(scale (conv(cat(sources), weight) + bias) + shift + residual)`.
    fn convolve(#[extension_type] inputs: Tensors<Self>, spec: ConvSpec) -> FloatTensor<Self>;

    /// Transposed convolution: `conv_transpose(x, weight) + bias`.
    fn convolve_transposed(
        #[extension_type] inputs: Tensors<Self>,
        spec: TransposedSpec,
    ) -> FloatTensor<Self>;

    /// Mean and biased variance of each channel. No gradient goes through them here: the norms that use
    /// them know what they depend on.
    fn moments(x: FloatTensor<Self>) -> Tensors<Self>;

    /// `act(norm(x) + residual)`, of the map, scale, shift, mean, variance and, if there is one, a residual.
    fn normalize(#[extension_type] inputs: Tensors<Self>, spec: NormSpec) -> FloatTensor<Self>;
}

/// A backend whose tensors of f32 are slices.
pub trait Slices: Backend {
    /// The values, in order.
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]>;

    /// A tensor of these values.
    fn write(values: Vec<f32>, shape: Shape) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl Slices for burn::backend::Flex {
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]> {
        match tensor.as_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(
                tensor.to_contiguous().storage()[..tensor.shape().num_elements()].to_vec(),
            ),
        }
    }

    fn write(values: Vec<f32>, shape: Shape) -> FloatTensor<Self> {
        burn::backend::flex::FlexTensor::from_data(TensorData::new(values, shape))
    }
}

#[cfg(feature = "ndarray")]
impl Slices for burn::backend::NdArray {
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]> {
        let burn::backend::ndarray::NdArrayTensor::F32(storage) = tensor else {
            unreachable!("the kernels are asked for f32 only")
        };
        match storage.view().to_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(storage.view().iter().copied().collect()),
        }
    }

    fn write(values: Vec<f32>, shape: Shape) -> FloatTensor<Self> {
        burn::backend::ndarray::NdArrayTensor::from_data(TensorData::new(values, shape))
    }
}

/// `[batch, channels, height, width]`; a map of one axis is of one row.
fn dims_of(shape: &Shape) -> [usize; 4] {
    let dims: Vec<usize> = shape.iter().copied().collect();
    match dims[..] {
        [batch, channels, width] => [batch, channels, 1, width],
        [batch, channels, height, width] => [batch, channels, height, width],
        // Batch norm does not look at how the positions lie.
        [batch, channels, ref more @ ..] => [batch, channels, 1, more.iter().product()],
        _ => unreachable!("a feature map has a batch and channels"),
    }
}

/// A batch norm, read.
struct ReadNorm<'a> {
    numbers: [Cow<'a, [f32]>; 3],
    inverse_deviation: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    spec: NormSpec,
}

impl<'a> ReadNorm<'a> {
    /// Of scale, shift, mean and variance.
    fn new<B: Slices>(tensors: &'a [FloatTensor<B>], spec: NormSpec) -> Self {
        let numbers = [0, 1, 2].map(|n| B::read(&tensors[n]));
        let inverse = |variance: &f32| (1.0 / (f64::from(*variance) + spec.epsilon).sqrt()) as f32;
        let mut read = Self {
            numbers,
            inverse_deviation: B::read(&tensors[3]).iter().map(inverse).collect(),
            scale: Vec::new(),
            shift: Vec::new(),
            spec,
        };
        (read.scale, read.shift) = read.norm().affine();
        read
    }

    fn norm(&self) -> kernel::norm::Norm<'_> {
        let [gamma, beta, mean] = &self.numbers;
        kernel::norm::Norm {
            gamma,
            beta,
            mean,
            inverse_deviation: &self.inverse_deviation,
            of_batch: self.spec.of_batch,
        }
    }
}

/// A source, read.
struct Read<'a> {
    values: Cow<'a, [f32]>,
    dims: [usize; 4],
    factors: [usize; 2],
    norm: Option<ReadNorm<'a>>,
}

impl<'a> Read<'a> {
    fn all<B: Slices>(mut tensors: &'a [FloatTensor<B>], specs: &[SourceSpec]) -> Vec<Self> {
        let read = |spec: &SourceSpec| {
            let (now, rest) = tensors.split_at(spec.len());
            tensors = rest;
            Self {
                values: B::read(&now[0]),
                dims: dims_of(&now[0].shape()),
                factors: spec.factors,
                norm: spec.norm.map(|norm| ReadNorm::new::<B>(&now[1..], norm)),
            }
        };
        specs.iter().map(read).collect()
    }

    fn source(&self) -> Source<'_> {
        Source {
            values: &self.values,
            channels: self.dims[1],
            size: [self.dims[2], self.dims[3]],
            up: self.factors,
            prologue: self.norm.as_ref().map(|norm| Prologue {
                scale: &norm.scale,
                shift: &norm.shift,
                relu: norm.spec.relu,
            }),
        }
    }
}

fn convolve<B: Slices>(tensors: &[FloatTensor<B>], spec: &ConvSpec) -> FloatTensor<B> {
    let (sources, rest) = tensors.split_at(spec.sources_len());
    let outputs = rest[0].shape()[0];
    let mut rest = rest.iter().map(B::read);
    let mut next = |wanted: bool| if wanted { rest.next() } else { None };
    let weight = next(true).unwrap_or_default();
    let bias = next(spec.bias);
    let (scale, shift) = (next(spec.affine), next(spec.affine));
    let residual = next(spec.residual);
    // scale (y + bias) + shift
    let shift = match (&bias, &scale, &shift) {
        (Some(bias), Some(scale), Some(shift)) => {
            let numbers = bias.iter().zip(scale.iter()).zip(shift.iter());
            Some(Cow::Owned(
                numbers
                    .map(|((bias, scale), shift)| bias * scale + shift)
                    .collect(),
            ))
        }
        (Some(bias), _, _) => Some(Cow::Borrowed(&bias[..])),
        _ => shift.as_ref().map(|shift| Cow::Borrowed(&shift[..])),
    };
    let epilogue = Epilogue {
        scale: scale.as_deref(),
        shift: shift.as_deref(),
        residual: residual.as_deref(),
        relu: spec.relu,
    };
    let read = Read::all::<B>(sources, &spec.sources);
    let sources: Vec<_> = read.iter().map(Read::source).collect();
    let batch = read[0].dims[0];
    let values = kernel::forward(
        &sources,
        batch,
        (&weight, outputs),
        &spec.geometry,
        epilogue,
    );
    B::write(values, Shape::from(spec.shape.clone()))
}

fn convolve_transposed<B: Slices>(
    tensors: &[FloatTensor<B>],
    spec: &TransposedSpec,
) -> FloatTensor<B> {
    let [batch, inputs, ..] = dims_of(&tensors[0].shape());
    let outputs = tensors[1].shape()[1];
    let (x, weight) = (B::read(&tensors[0]), B::read(&tensors[1]));
    let bias = tensors.get(2).map(B::read);
    let epilogue = Epilogue {
        shift: bias.as_deref(),
        ..Epilogue::default()
    };
    let values = kernel::transposed(
        &x,
        batch,
        (&weight, inputs),
        &spec.geometry,
        (outputs, spec.size),
        epilogue,
    );
    B::write(values, Shape::from(spec.shape.clone()))
}

fn moments<B: Slices>(x: &FloatTensor<B>) -> Tensors<B> {
    let values = B::read(x);
    let (mean, variance) = kernel::norm::moments(map_of(&values, &x.shape()));
    let channels = Shape::from([mean.len()]);
    Tensors(alloc::vec![
        B::write(mean, channels.clone()),
        B::write(variance, channels)
    ])
}

fn normalize<B: Slices>(tensors: &[FloatTensor<B>], spec: NormSpec) -> FloatTensor<B> {
    let shape = tensors[0].shape();
    let values = B::read(&tensors[0]);
    let norm = ReadNorm::new::<B>(&tensors[1..5], spec);
    let residual = tensors.get(5).map(B::read);
    let x = map_of(&values, &shape);
    let y = kernel::norm::affine(x, &norm.scale, &norm.shift, residual.as_deref(), spec.relu);
    B::write(y, shape)
}

fn map_of<'a>(values: &'a [f32], shape: &Shape) -> kernel::norm::Map<'a> {
    let [_, channels, height, width] = dims_of(shape);
    kernel::norm::Map {
        values,
        channels,
        positions: height * width,
    }
}

#[cfg(feature = "flex")]
impl KernelBackend for burn::backend::Flex {
    fn convolve(inputs: Tensors<Self>, spec: ConvSpec) -> FloatTensor<Self> {
        convolve::<Self>(&inputs.0, &spec)
    }

    fn convolve_transposed(inputs: Tensors<Self>, spec: TransposedSpec) -> FloatTensor<Self> {
        convolve_transposed::<Self>(&inputs.0, &spec)
    }

    fn moments(x: FloatTensor<Self>) -> Tensors<Self> {
        moments::<Self>(&x)
    }

    fn normalize(inputs: Tensors<Self>, spec: NormSpec) -> FloatTensor<Self> {
        normalize::<Self>(&inputs.0, spec)
    }
}

#[cfg(feature = "ndarray")]
impl KernelBackend for burn::backend::NdArray {
    fn convolve(inputs: Tensors<Self>, spec: ConvSpec) -> FloatTensor<Self> {
        convolve::<Self>(&inputs.0, &spec)
    }

    fn convolve_transposed(inputs: Tensors<Self>, spec: TransposedSpec) -> FloatTensor<Self> {
        convolve_transposed::<Self>(&inputs.0, &spec)
    }

    fn moments(x: FloatTensor<Self>) -> Tensors<Self> {
        moments::<Self>(&x)
    }

    fn normalize(inputs: Tensors<Self>, spec: NormSpec) -> FloatTensor<Self> {
        normalize::<Self>(&inputs.0, spec)
    }
}

/// Nodes that an operation has at most. An unused one stands for a constant.
pub(crate) const MAX_TENSORS: usize = 192;

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
        let parts = kernel::input_gradient(
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
                    let found = kernel::norm::backward(x, &part, norm.norm(), cut, false);
                    register_norm::<B>(parents, found, shape, grads);
                }
            }
        }
        let [to_weight, to_bias] =
            [0, 1].map(|n| parents.get(spec.sources_len() + n).copied().flatten());
        if to_weight.is_some() {
            let sources: Vec<_> = read.iter().map(Read::source).collect();
            let values =
                kernel::weight_gradient(&sources, (&gradient, outputs), batch, &spec.geometry);
            register::<B>(to_weight, Some(values), weight.shape(), grads);
        }
        if to_bias.is_some() {
            let positions = spec.geometry.size[0] * spec.geometry.size[1];
            let values = kernel::bias_gradient(&gradient, outputs, positions);
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
    found: kernel::norm::Gradients,
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
            let weight = (&kernel[..], inputs);
            let found = kernel::forward(
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
                kernel::weight_gradient(&[source], (&values, inputs), batch, &spec.geometry);
            grads.register::<B>(parent.id, B::write(found, weight.shape()));
        }
        if let Some(parent) = to_bias {
            let found = kernel::bias_gradient(&gradient, outputs, spec.size[0] * spec.size[1]);
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
        let mut found = kernel::norm::backward(x, &gradient, norm.norm(), cut, residual.is_some());
        register::<B>(residual, found.residual.take(), shape.clone(), grads);
        register_norm::<B>(&parents, found, shape, grads);
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
        let output = convolve_transposed::<B>(&tensors, &spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                let state = [tensors[0].clone(), tensors[1].clone()];
                prepared.finish((state, spec), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn moments(x: FloatTensor<Self>) -> Tensors<Self> {
        let found = moments::<B>(x.primitive());
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
        let output = normalize::<B>(&tensors, spec);
        match prepared {
            OpsKind::Tracked(prepared) => {
                // Behind a residual, only the output says what ReLU has cut.
                let residual = tensors.len() > 5;
                tensors.truncate(5);
                if residual && spec.relu {
                    tensors.push(output.clone());
                }
                prepared.finish((tensors, spec), output)
            }
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
    let nodes = core::array::from_fn(|index| inputs.get(index).unwrap_or(&constant).node());
    let prepared = Backward::<B, N>::prepare::<C>(ConvBackward, nodes)
        .compute_bound()
        .stateful();
    let mut tensors: Vec<_> = inputs
        .into_iter()
        .map(|tensor| tensor.into_primitive())
        .collect();
    let output = convolve::<B>(&tensors, &spec);
    match prepared {
        OpsKind::Tracked(prepared) => {
            tensors.truncate(spec.sources_len() + 1);
            prepared.finish((tensors, spec), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}
