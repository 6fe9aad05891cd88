//! The kernels as operations of Burn: on the plain backends that run on the CPU, and on autodiff, where
//! a node keeps the sources and nothing that was made of them.

use alloc::{borrow::Cow, vec::Vec};

use burn::backend::autodiff::{
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

use super::kernel::{self, Epilogue, Geometry, Source, Wanted};

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

/// What the tensors of a convolution are, in this order.
#[derive(Clone, Debug)]
pub struct ConvSpec {
    /// How many times each source is read along its axes.
    pub(crate) factors: Vec<[usize; 2]>,
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

/// What the tensors of a transposed convolution are: the map, the weight and, where said, a bias.
#[derive(Clone, Debug)]
pub struct TransposedSpec {
    pub(crate) bias: bool,
    /// Of the convolution that it turns round: from its output to its input.
    pub(crate) geometry: Geometry,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
}

/// What the tensors of a norm are: the map, scale, shift and, where said, a residual.
#[derive(Clone, Debug)]
pub struct NormSpec {
    pub(crate) residual: bool,
    pub(crate) relu: bool,
    pub(crate) epsilon: f64,
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

    /// Batch norm by the statistics of the batch: the output, the means and the variances.
    fn normalize(#[extension_type] inputs: Tensors<Self>, spec: NormSpec) -> Tensors<Self>;
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

/// The values of the sources, for as long as they are read.
struct Read<'a> {
    values: Vec<Cow<'a, [f32]>>,
    dims: Vec<[usize; 4]>,
    factors: &'a [[usize; 2]],
}

impl<'a> Read<'a> {
    fn new<B: Slices>(sources: &'a [FloatTensor<B>], factors: &'a [[usize; 2]]) -> Self {
        Self {
            values: sources.iter().map(B::read).collect(),
            dims: sources
                .iter()
                .map(|source| dims_of(&source.shape()))
                .collect(),
            factors,
        }
    }

    fn batch(&self) -> usize {
        self.dims[0][0]
    }

    fn sources(&self) -> Vec<Source<'_>> {
        let parts = self.values.iter().zip(&self.dims).zip(self.factors);
        parts
            .map(|((values, dims), &up)| Source {
                values,
                channels: dims[1],
                size: [dims[2], dims[3]],
                up,
                prologue: None,
            })
            .collect()
    }
}

fn convolve<B: Slices>(tensors: &[FloatTensor<B>], spec: &ConvSpec) -> FloatTensor<B> {
    let (sources, rest) = tensors.split_at(spec.factors.len());
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
    let read = Read::new::<B>(sources, &spec.factors);
    let values = kernel::forward(
        &read.sources(),
        read.batch(),
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

fn moments_and_output<B: Slices>(
    tensors: &[FloatTensor<B>],
    spec: &NormSpec,
) -> [FloatTensor<B>; 3] {
    let shape = tensors[0].shape();
    let values: Vec<_> = tensors.iter().map(B::read).collect();
    let x = map_of(&values[0], &shape);
    let (mean, variance) = kernel::norm::moments(x);
    let inverse_deviation = inverse_deviation(&variance, spec.epsilon);
    let (scale, shift) = kernel::norm::Norm {
        gamma: &values[1],
        beta: &values[2],
        mean: &mean,
        inverse_deviation: &inverse_deviation,
    }
    .affine();
    let residual = values.get(3).map(|residual| &residual[..]);
    let y = kernel::norm::affine(x, &scale, &shift, residual, spec.relu);
    let channels = Shape::from([mean.len()]);
    [
        B::write(y, shape),
        B::write(mean, channels.clone()),
        B::write(variance, channels),
    ]
}

fn inverse_deviation(variance: &[f32], epsilon: f64) -> Vec<f32> {
    let inverse = |variance: &f32| (1.0 / (f64::from(*variance) + epsilon).sqrt()) as f32;
    variance.iter().map(inverse).collect()
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

    fn normalize(inputs: Tensors<Self>, spec: NormSpec) -> Tensors<Self> {
        Tensors(moments_and_output::<Self>(&inputs.0, &spec).into())
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

    fn normalize(inputs: Tensors<Self>, spec: NormSpec) -> Tensors<Self> {
        Tensors(moments_and_output::<Self>(&inputs.0, &spec).into())
    }
}

/// Nodes that an operation has at most. An unused one stands for a constant.
pub(crate) const MAX_TENSORS: usize = 64;

#[derive(Debug)]
struct ConvBackward;

impl<B: KernelBackend + Slices, const N: usize> Backward<B, N> for ConvBackward {
    type State = (Vec<FloatTensor<B>>, ConvSpec);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (tensors, spec) = ops.state;
        let count = spec.factors.len();
        let (sources, weight) = (&tensors[..count], &tensors[count]);
        let (gradient, kernel) = (B::read(&gradient), B::read(weight));
        let outputs = weight.shape()[0];
        let read = Read::new::<B>(sources, &spec.factors);
        let wanted = read.dims.iter().zip(&spec.factors).zip(&ops.parents);
        let wanted: Vec<Wanted> = wanted
            .map(|((dims, &up), parent)| Wanted {
                channels: dims[1],
                size: [dims[2], dims[3]],
                up,
                wanted: parent.is_some(),
            })
            .collect();
        let batch = read.batch();
        let parts = kernel::input_gradient(
            &gradient,
            batch,
            (&kernel, outputs),
            &spec.geometry,
            &wanted,
        );
        for ((part, source), parent) in parts.into_iter().zip(sources).zip(&ops.parents) {
            if let (Some(values), Some(parent)) = (part, parent) {
                grads.register::<B>(parent.id, B::write(values, source.shape()));
            }
        }
        if let Some(parent) = &ops.parents[count] {
            let values = kernel::weight_gradient(
                &read.sources(),
                (&gradient, outputs),
                batch,
                &spec.geometry,
            );
            grads.register::<B>(parent.id, B::write(values, weight.shape()));
        }
        if let Some(parent) = ops.parents.get(count + 1).and_then(Option::as_ref) {
            let positions = spec.geometry.size[0] * spec.geometry.size[1];
            let values = kernel::bias_gradient(&gradient, outputs, positions);
            grads.register::<B>(parent.id, B::write(values, Shape::from([outputs])));
        }
    }
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

/// What the gradient of a norm needs: map, scale, shift, mean, variance and, behind a residual, the output.
#[derive(Debug, Clone)]
struct NormState<B: Backend> {
    tensors: Vec<FloatTensor<B>>,
    spec: NormSpec,
}

impl<B: KernelBackend + Slices> Backward<B, 4> for NormBackward {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        use kernel::norm::{Cut, Norm, backward};
        let gradient = grads.consume::<B>(&ops.node);
        let NormState { tensors, spec } = ops.state;
        let shape = tensors[0].shape();
        let values: Vec<_> = tensors.iter().map(B::read).collect();
        let inverse_deviation = inverse_deviation(&values[4], spec.epsilon);
        let norm = Norm {
            gamma: &values[1],
            beta: &values[2],
            mean: &values[3],
            inverse_deviation: &inverse_deviation,
        };
        let cut = match (spec.relu, values.get(5)) {
            (false, _) => Cut::None,
            (true, Some(output)) => Cut::Output(output),
            (true, None) => Cut::Input,
        };
        let [x, gamma, beta, residual] = ops.parents;
        let x_map = map_of(&values[0], &shape);
        let found = backward(x_map, &B::read(&gradient), norm, cut, residual.is_some());
        let channels = Shape::from([found.gamma.len()]);
        let found = [
            (x, Some(found.x), shape.clone()),
            (gamma, Some(found.gamma), channels.clone()),
            (beta, Some(found.beta), channels),
            (residual, found.residual, shape),
        ];
        for (parent, values, shape) in found {
            if let (Some(parent), Some(values)) = (parent, values) {
                grads.register::<B>(parent.id, B::write(values, shape));
            }
        }
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

    fn normalize(inputs: Tensors<Self>, spec: NormSpec) -> Tensors<Self> {
        let constant = Self::from_inner(inputs.0[1].primitive().clone());
        let node = |index: usize| inputs.0.get(index).unwrap_or(&constant).node();
        let nodes = [node(0), node(1), node(2), node(3)];
        let prepared = NormBackward.prepare::<C>(nodes).compute_bound().stateful();
        let mut tensors: Vec<_> = inputs
            .0
            .into_iter()
            .map(|tensor| tensor.into_primitive())
            .collect();
        let [y, mean, variance] = moments_and_output::<B>(&tensors, &spec);
        let output = match prepared {
            OpsKind::Tracked(prepared) => {
                tensors.truncate(3);
                tensors.extend([mean.clone(), variance.clone()]);
                if spec.relu && spec.residual {
                    tensors.push(y.clone());
                }
                prepared.finish(NormState { tensors, spec }, y)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        };
        Tensors(alloc::vec![
            output,
            Self::from_inner(mean),
            Self::from_inner(variance)
        ])
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
            tensors.truncate(spec.factors.len() + 1);
            prepared.finish((tensors, spec), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}
