//! [`Layer`]: what a block is to this crate, and the containers that are layers too.

mod burn_layers;

use alloc::vec::Vec;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::shape::{ShapeError, expect};

/// A module that takes one feature map and returns one, and that knows the shape of its output
/// before it has seen its input.
///
/// `R` is the rank of the map: 3, 4 or 5 for maps of one, two or three spatial axes. Burn's own
/// convolutions, norms, activations, pools, dropout and identity are layers, and so are tuples,
/// arrays, `Vec` and `Option` of layers: they apply their members in order.
///
/// # The law
/// `output_shape(x.dims())` is `Ok(y.dims())` where `y = forward(x)`, or `forward` panics with the
/// text of the error.
///
/// # Example
/// ```
/// use burn::nn::{BatchNormConfig, PaddingConfig2d, Relu, conv::Conv2dConfig, pool::MaxPool2dConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::Layer;
///
/// let device = Device::flex();
/// let block = (
///     Conv2dConfig::new([3, 32], [3, 3]).init(&device),
///     BatchNormConfig::new(32).init(&device),
///     Relu::new(),
///     MaxPool2dConfig::new([2, 2]).init(),
/// );
/// assert_eq!(block.output_shape([1, 3, 32, 32]).unwrap(), [1, 32, 15, 15]);
/// assert_eq!(block.forward(Tensor::<4>::zeros([1, 3, 32, 32], &device)).dims(), [1, 32, 15, 15]);
/// ```
pub trait Layer<const R: usize = 4>: Module + ModuleDisplay {
    /// Applies the layer.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    fn forward(&self, x: Tensor<R>) -> Tensor<R>;

    /// The shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// When such an input does not fit the layer.
    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError>;
}

impl<const R: usize, L: Layer<R>> Layer<R> for Option<L> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        match self {
            Some(layer) => layer.forward(x),
            None => x,
        }
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        match self {
            Some(layer) => layer.output_shape(input),
            None => Ok(input),
        }
    }
}

fn chain_forward<const R: usize, L: Layer<R>>(layers: &[L], x: Tensor<R>) -> Tensor<R> {
    layers.iter().fold(x, |x, layer| layer.forward(x))
}

fn chain_shape<const R: usize, L: Layer<R>>(
    layers: &[L],
    input: [usize; R],
) -> Result<[usize; R], ShapeError> {
    layers
        .iter()
        .enumerate()
        .try_fold(input, |shape, (index, layer)| {
            layer.output_shape(shape).map_err(|e| e.within(index))
        })
}

impl<const R: usize, L: Layer<R>> Layer<R> for Vec<L> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        chain_forward(self, x)
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        chain_shape(self, input)
    }
}

impl<const R: usize, const N: usize, L: Layer<R>> Layer<R> for [L; N] {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        chain_forward(self, x)
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        chain_shape(self, input)
    }
}

/// Implements [`Layer`] for tuples of layers, which apply their members from left to right.
macro_rules! layer_for_tuple {
    ($($layer:ident $index:tt),+) => {
        impl<const R: usize, $($layer: Layer<R>),+> Layer<R> for ($($layer,)+) {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                expect(self.output_shape(x.dims()));
                $(let x = self.$index.forward(x);)+
                x
            }

            fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
                $(let input = self.$index.output_shape(input).map_err(|e| e.within($index))?;)+
                Ok(input)
            }
        }
    };
}

layer_for_tuple!(L0 0, L1 1);
layer_for_tuple!(L0 0, L1 1, L2 2);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5, L6 6);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5, L6 6, L7 7);
