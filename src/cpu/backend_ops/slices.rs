//! [`Slices`]: reads tensors as slices of f32 and writes them back.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use burn::backend::{Backend, tensor::FloatTensor};
use burn::tensor::{Shape, TensorData};

/// A backend whose f32 tensors can be read as slices.
pub trait Slices: Backend {
    /// The values in row-major order; copied if the tensor is not contiguous.
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]>;

    /// A tensor with these values.
    fn write(values: Vec<f32>, shape: Shape) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl Slices for burn::backend::Flex {
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]> {
        match tensor.as_slice() {
            Some(values) => Cow::Borrowed(values),
            None => {
                let contiguous = tensor.to_contiguous();
                let values = contiguous
                    .as_slice()
                    .unwrap_or_else(|| unreachable!("the kernels are asked for f32 only"));
                Cow::Owned(values.to_vec())
            }
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
