//! Convolutions and transposed convolutions.

use burn::tensor::Tensor;

use super::Outcome;
use crate::cpu::PreparedWeight;
use crate::cpu::epilogue::Epilogue;
use crate::cpu::lazy_concat::{LazyConcat, Part};
use crate::graph::TransposedWindow;
use crate::graph::window::Window;

/// A convolution: its parameters and its window.
#[derive(Debug)]
#[cfg_attr(not(feature = "kernels"), allow(dead_code))]
pub(crate) struct Convolution<'a, const R: usize> {
    /// `[outputs, inputs / groups, kernel...]`
    pub(crate) weight: Tensor<R>,
    /// The layer's cache of what the kernels derive from the weight.
    pub(crate) prepared: &'a PreparedWeight,
    pub(crate) bias: Option<Tensor<1>>,
    pub(crate) window: &'a Window,
    /// The padding of each axis, before and after.
    pub(crate) pads: &'a [(usize, usize)],
    pub(crate) groups: usize,
}

/// What a convolution reads, and what follows it.
#[derive(Debug)]
pub(crate) struct ConvInputs<'a, const R: usize> {
    pub(crate) parts: LazyConcat<R>,
    pub(crate) epilogue: Epilogue<'a, R>,
}

/// A convolution over a lazy concatenation, and what follows it.
pub(crate) fn conv<'a, const R: usize>(
    convolution: &Convolution<R>,
    inputs: ConvInputs<'a, R>,
) -> Outcome<Part<R>, ConvInputs<'a, R>> {
    #[cfg(feature = "kernels")]
    if let Some(taken) = fused::taken(convolution, &inputs) {
        return Outcome::Fused(fused::conv(convolution, inputs, taken));
    }
    convolution.prepared.clear();
    Outcome::Declined(inputs)
}

/// A transposed convolution to the spatial size `target`.
#[derive(Debug)]
#[cfg_attr(not(feature = "kernels"), allow(dead_code))]
pub(crate) struct TransposedConvolution<'a, const R: usize> {
    /// `[inputs, outputs, kernel...]`
    pub(crate) weight: Tensor<R>,
    pub(crate) bias: Option<Tensor<1>>,
    pub(crate) window: &'a TransposedWindow,
    pub(crate) target: &'a [usize],
    /// How many leading positions of the window's full output are cut off on each axis.
    pub(crate) starts: &'a [usize],
}

/// A transposed convolution.
pub(crate) fn conv_transpose<const R: usize>(
    convolution: &TransposedConvolution<R>,
    x: Tensor<R>,
) -> Outcome<Tensor<R>, Tensor<R>> {
    #[cfg(feature = "kernels")]
    if let Some(shape) = fused::taken_transposed(convolution, &x) {
        return Outcome::Fused(fused::conv_transpose(convolution, x, shape));
    }
    let _ = convolution;
    Outcome::Declined(x)
}

/// `x W + b`, with a weight of `[inputs, outputs]`, where no gradients are recorded: a transposed convolution of maps with one
/// position.
pub(crate) fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Outcome<Tensor<2>, Tensor<2>> {
    #[cfg(feature = "kernels")]
    if let Some(shape) = fused::taken_linear(&x, &weight, &bias) {
        let window = TransposedWindow::pointwise(1);
        let convolution = TransposedConvolution {
            weight: weight.unsqueeze_dim::<3>(2),
            bias,
            window: &window,
            target: &[1],
            starts: &[0],
        };
        let y = fused::conv_transpose(&convolution, x.unsqueeze_dim::<3>(2), shape);
        return Outcome::Fused(y.squeeze_dim(2));
    }
    #[cfg(not(feature = "kernels"))]
    let _ = (weight, bias);
    Outcome::Declined(x)
}

#[cfg(feature = "kernels")]
mod fused {
    use alloc::{vec, vec::Vec};

    use burn::backend::Dispatch;
    use burn::tensor::DType;

    use super::super::has_kernels;
    use super::*;
    use crate::cpu::backend_ops::{
        ConvSpec, EpilogueSpec, KernelBackend, NormSpec, SourceSpec, Tensors, TransposedSpec,
    };
    use crate::cpu::deferred_norm::{DeferredNorm, NormVectors};
    use crate::cpu::policy::{
        self, Algorithm, Axes, AxisNumbers, ConvShape, Geometry, Piecewise, SourceShape,
        TransposedShape,
    };
    use crate::graph::AxisPadding;
    use crate::shape::{spatial, with_channels, with_spatial};

    /// A convolution that the kernels accept.
    pub(super) struct Taken<const R: usize> {
        shape: ConvShape,
        output: [usize; R],
    }

    /// The shape of the convolution, if the kernels accept it.
    pub(super) fn taken<const R: usize>(
        convolution: &Convolution<R>,
        inputs: &ConvInputs<R>,
    ) -> Option<Taken<R>> {
        let parts = inputs.parts.as_slice();
        let has_kernels = parts.iter().all(|part| has_kernels(&part.map));
        if !has_kernels || !has_right_tensors(convolution, inputs) {
            return None;
        }
        let Convolution { window, pads, .. } = convolution;
        let input = inputs.parts.dims();
        let padding = pads.iter().map(|&(start, end)| AxisPadding { start, end });
        let padding: Vec<_> = padding.collect();
        let output = window.output_shape("Conv", input, &padding).ok()?;
        let output = with_channels(output, convolution.weight.dims()[0]);
        let starts: Vec<usize> = pads.iter().map(|pad| pad.0).collect();
        let numbers = AxisNumbers {
            kernel_size: &window.kernel_size,
            stride: &window.stride,
            dilation: &window.dilation,
            pad_start: &starts,
        };
        let source = |part: &Part<R>| {
            let dims = part.map.dims();
            SourceShape::new(dims[1], spatial(&dims), &part.factors)
        };
        let shape = ConvShape {
            geometry: Geometry::new(numbers, convolution.groups, spatial(&output))?,
            batch: output[0],
            sources: parts.iter().map(source).collect::<Option<_>>()?,
            outputs: output[1],
        };
        shape.is_taken().then_some(Taken { shape, output })
    }

    /// Whether weight, bias and epilogue are f32 and have the expected shapes. (If not, Burn's operations report it.)
    fn has_right_tensors<const R: usize>(
        convolution: &Convolution<R>,
        inputs: &ConvInputs<R>,
    ) -> bool {
        let Convolution {
            weight,
            bias,
            window,
            groups,
            ..
        } = convolution;
        let Epilogue { norm, residual, .. } = &inputs.epilogue;
        let built = core::iter::once(inputs.parts.dims()[1] / groups)
            .chain(window.kernel_size.iter().copied());
        let outputs = weight.dims()[0];
        let is_vector =
            |vector: Tensor<1>| vector.dtype() == DType::F32 && vector.dims() == [outputs];
        let of_norm = norm
            .iter()
            .flat_map(|norm| [norm.gamma.val(), norm.beta.val()]);
        weight.dtype() == DType::F32
            && weight.dims()[1..].iter().copied().eq(built)
            && bias.iter().cloned().chain(of_norm).all(is_vector)
            && residual
                .iter()
                .all(|residual| residual.dtype() == DType::F32)
    }

    /// Whether gradients are recorded for the convolution or its epilogue.
    fn is_recorded<const R: usize>(convolution: &Convolution<R>, inputs: &ConvInputs<R>) -> bool {
        let Epilogue { norm, residual, .. } = &inputs.epilogue;
        let parts = inputs.parts.as_slice().iter();
        let maps = parts.map(|part| &part.map).chain([&convolution.weight]);
        let mut maps = maps.chain(residual).map(Tensor::device);
        let bias = convolution.bias.iter().map(Tensor::device);
        let of_norm = norm.iter().flat_map(|norm| [&norm.gamma, &norm.beta]);
        let mut vectors = bias.chain(of_norm.map(|vector| vector.val().device()));
        maps.any(|device| device.is_autodiff()) || vectors.any(|device| device.is_autodiff())
    }

    pub(super) fn conv<const R: usize>(
        convolution: &Convolution<R>,
        inputs: ConvInputs<R>,
        Taken { shape, output }: Taken<R>,
    ) -> Part<R> {
        let recorded = is_recorded(convolution, &inputs);
        let ConvInputs { parts, epilogue } = inputs;
        if recorded {
            convolution.prepared.clear();
        }
        let parts = parts.into_inner();
        let source = |(part, shape): (&Part<R>, &SourceShape)| SourceSpec {
            factors: Axes {
                depth: shape.slices.factor,
                plane: shape.factors,
            },
            norm: part.norm.as_ref().map(norm_spec),
            activation: part
                .norm
                .as_ref()
                .map_or(Piecewise::IDENTITY, |norm| norm.activation),
        };
        let mut spec = ConvSpec {
            sources: parts.iter().zip(&shape.sources).map(source).collect(),
            bias: convolution.bias.is_some(),
            epilogue: EpilogueSpec::default(),
            geometry: shape.geometry,
            shape: output.to_vec(),
            cache: (!recorded).then(|| convolution.prepared.cache.clone()),
        };
        let mut tensors = Vec::new();
        for part in parts {
            tensors.push(part.map.into_dispatch());
            if let Some(norm) = part.norm {
                tensors.extend(norm.vectors.into_array().map(Tensor::into_dispatch));
            }
        }
        tensors.push(convolution.weight.clone().into_dispatch());
        tensors.extend(convolution.bias.clone().map(Tensor::into_dispatch));
        let fused = epilogue.activation.fused();
        let fused = fused.filter(|_| policy::fuses_epilogue(recorded));
        if let Some(activation) = fused {
            let device = convolution.weight.device();
            spec.epilogue = EpilogueSpec {
                norm: epilogue.norm.map(|norm| NormSpec {
                    epsilon: norm.epsilon,
                    of_batch: false,
                    group: 1,
                }),
                residual: epilogue.residual.is_some(),
                activation,
            };
            if let Some(norm) = epilogue.norm {
                let vectors = NormVectors::running(norm, &device).into_array();
                tensors.extend(vectors.map(Tensor::into_dispatch));
            }
            tensors.extend(epilogue.residual.clone().map(Tensor::into_dispatch));
        }
        let y = <Dispatch as KernelBackend>::convolve(Tensors(tensors), spec);
        let y = Tensor::from_dispatch(y);
        match fused.is_some() || epilogue.is_nothing() {
            true => Part::new(y),
            false => epilogue.apply(y),
        }
    }

    fn norm_spec(norm: &DeferredNorm) -> NormSpec {
        NormSpec {
            epsilon: norm.epsilon,
            of_batch: norm.of_batch,
            group: 1,
        }
    }

    /// The shape of the transposed convolution, if the kernels accept it.
    pub(super) fn taken_transposed<const R: usize>(
        convolution: &TransposedConvolution<R>,
        x: &Tensor<R>,
    ) -> Option<TransposedShape> {
        let TransposedConvolution {
            weight,
            bias,
            window,
            target,
            starts,
        } = convolution;
        let input = x.dims();
        let outputs = weight.dims()[1];
        let is_vector = |bias: &Tensor<1>| bias.dtype() == DType::F32 && bias.dims() == [outputs];
        if !has_kernels(x)
            || weight.dtype() != DType::F32
            || weight.dims()[0] != input[1]
            || weight.dims()[2..] != window.kernel_size[..]
            || !bias.iter().all(is_vector)
        {
            return None;
        }
        let pads = window.padding.iter().zip(*starts);
        let pads: Vec<usize> = pads.map(|(&padding, &start)| padding + start).collect();
        let numbers = AxisNumbers {
            kernel_size: &window.kernel_size,
            stride: &window.stride,
            dilation: &window.dilation,
            pad_start: &pads,
        };
        let shape = TransposedShape {
            geometry: Geometry::new(numbers, 1, spatial(&input))?,
            batch: input[0],
            inputs: input[1],
            outputs,
            size: Axes::new(target, 1)?,
        };
        shape.is_taken().then_some(shape)
    }

    /// The shape of a linear layer as a transposed convolution of maps with one position, if the kernels read its weight
    /// where it is and no gradients are recorded.
    pub(super) fn taken_linear(
        x: &Tensor<2>,
        weight: &Tensor<2>,
        bias: &Option<Tensor<1>>,
    ) -> Option<TransposedShape> {
        let ([batch, inputs], [rows, outputs]) = (x.dims(), weight.dims());
        let devices = [x.device(), weight.device()].into_iter();
        let mut devices = devices.chain(bias.iter().map(Tensor::device));
        let is_f32 = weight.dtype() == DType::F32 && bias.iter().all(|b| b.dtype() == DType::F32);
        let fits = rows == inputs && bias.iter().all(|bias| bias.dims() == [outputs]);
        if !has_kernels(x) || !is_f32 || !fits || devices.any(|device| device.is_autodiff()) {
            return None;
        }
        let numbers = AxisNumbers {
            kernel_size: &[1],
            stride: &[1],
            dilation: &[1],
            pad_start: &[0],
        };
        let shape = TransposedShape {
            geometry: Geometry::new(numbers, 1, &[1])?,
            batch,
            inputs,
            outputs,
            size: Axes::new(&[1], 1)?,
        };
        let all = 0..outputs;
        let algorithm = shape.algorithm(core::slice::from_ref(&all));
        (algorithm == Algorithm::OutputsInLanes && shape.is_taken()).then_some(shape)
    }

    pub(super) fn conv_transpose<const R: usize>(
        convolution: &TransposedConvolution<R>,
        x: Tensor<R>,
        shape: TransposedShape,
    ) -> Tensor<R> {
        let output = with_channels(with_spatial(x.dims(), convolution.target), shape.outputs);
        let spec = TransposedSpec {
            geometry: shape.geometry,
            size: shape.size,
            shape: output.to_vec(),
        };
        let weight = convolution.weight.clone();
        let mut tensors = vec![x.into_dispatch(), weight.into_dispatch()];
        tensors.extend(convolution.bias.clone().map(Tensor::into_dispatch));
        let y = <Dispatch as KernelBackend>::convolve_transposed(Tensors(tensors), spec);
        Tensor::from_dispatch(y)
    }
}
