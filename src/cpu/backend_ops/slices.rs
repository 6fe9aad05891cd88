//! [`Slices`]: reads tensors as slices of f32 and writes them back.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use burn::backend::{Backend, TensorMetadata, tensor::FloatTensor};
use burn::tensor::{Shape, TensorData};

use burn_skip_kernels::buffers;

/// A backend whose f32 tensors can be read as slices.
pub trait Slices: Backend {
    /// The values in row-major order; copied if the tensor is not contiguous.
    fn read(tensor: &FloatTensor<Self>) -> Cow<'_, [f32]>;

    /// A tensor with these values.
    fn write(values: Vec<f32>, shape: Shape) -> FloatTensor<Self>;

    /// The memory of a tensor, if nothing else holds it.
    fn reclaim(tensor: FloatTensor<Self>) -> Option<Vec<f32>>;
}

/// Keeps the memory of tensors that are not needed any more, where nothing else holds it.
pub(super) fn reclaim<B: Slices>(tensors: impl IntoIterator<Item = FloatTensor<B>>) {
    let large = |tensor: &FloatTensor<B>| buffers::is_large(tensor.shape().num_elements());
    let tensors = tensors.into_iter().filter(large);
    tensors.filter_map(B::reclaim).for_each(buffers::give);
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

    fn reclaim(tensor: FloatTensor<Self>) -> Option<Vec<f32>> {
        let is_whole = tensor.is_unique()
            && tensor
                .as_slice::<f32>()
                .is_some_and(|values| size_of_val(values) == tensor.bytes().len());
        if !is_whole {
            return None;
        }
        // (That of the data would copy what was not allocated for values of this type.)
        let (bytes, ..) = tensor.into_data().into_parts();
        bytes.try_into_vec().ok()
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

    fn reclaim(tensor: FloatTensor<Self>) -> Option<Vec<f32>> {
        match tensor {
            burn::backend::ndarray::NdArrayTensor::F32(storage) if storage.is_unique() => {
                let array = storage.into_owned().try_into_owned_nocopy().ok()?;
                Some(array.into_raw_vec_and_offset().0)
            }
            _ => None,
        }
    }
}
