//! [`Layer`]: what a block is to this crate, and the containers that are layers too.

use alloc::{format, vec::Vec};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::layers::activation::Activation;
use crate::layers::conv::LazyConcat;
use crate::plan::Trace;
use crate::shape::{ShapeError, axis_name, expect};

/// A module that takes one feature map and returns one.
///
/// `R` is the rank of the map: 3, 4 or 5 for maps of one, two or three spatial axes. Burn's own
/// convolutions, norms, activations, pools, dropout and identity are layers, and so are tuples,
/// arrays, `Vec` and `Option` of layers: they apply their members in order.
///
/// A layer of your own implements [`Trace`], which says what it does to the shape, and `forward`.
/// [`Planner::opaque`](crate::plan::Planner::opaque) records a layer of which only the shapes are known.
///
/// # Contract
/// `output_shape(x.dims())` is `Ok(y.dims())` where `y = forward(x)`, or `forward` panics with the
/// text of the error.
///
/// # Example
/// ```
/// use burn::nn::{BatchNormConfig, PaddingConfig2d, Relu, conv::Conv2dConfig, pool::MaxPool2dConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, Trace};
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
pub trait Layer<const R: usize = 4>: Module + ModuleDisplay + Trace<R> {
    /// Applies the layer.
    ///
    /// # Panics
    /// When [`output_shape`](Trace::output_shape) returns an error, with its message.
    fn forward(&self, x: Tensor<R>) -> Tensor<R>;

    /// Applies the layer to a concatenation that need not exist, and gives what may be one again.
    ///
    /// By default the concatenation is written. Layers that begin with a convolution read the parts where
    /// they are; those that end with a concatenation hand its parts on.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        self.forward(parts.into_tensor()).into()
    }

    /// Applies the layer, adds `residual` and applies `activation`: `y = activation(layer(x) + residual)`.
    ///
    /// Layers that end with a norm or a convolution do it in the same pass over the map.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and when the residual is not of the output's shape.
    fn forward_add(
        &self,
        parts: LazyConcat<R>,
        residual: Tensor<R>,
        activation: &Option<Activation>,
    ) -> Tensor<R> {
        check_residual(self, &parts, &residual);
        let y = self.forward_parts(parts).into_tensor();
        activation.forward(y + residual)
    }
}

/// Panics where the input does not fit the layer, or the residual its output.
pub(crate) fn check_residual<const R: usize>(
    layer: &impl Layer<R>,
    parts: &LazyConcat<R>,
    residual: &Tensor<R>,
) {
    let output = expect(layer.output_shape(parts.dims()));
    expect(check_same_shape(output, residual.dims()));
}

/// Refuses a residual that is not of the output's shape.
fn check_same_shape<const R: usize>(
    output: [usize; R],
    residual: [usize; R],
) -> Result<(), ShapeError> {
    let Some(axis) = (0..R).find(|&axis| output[axis] != residual[axis]) else {
        return Ok(());
    };
    Err(ShapeError::new(
        "Residual",
        format!(
            "{} differs: block {}, residual {}",
            axis_name(axis, R),
            output[axis],
            residual[axis]
        ),
        "Project or fit the residual to the shape of the block's output",
    ))
}

impl<const R: usize, L: Layer<R>> Layer<R> for Option<L> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        match self {
            Some(layer) => layer.forward(x),
            None => x,
        }
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        match self {
            Some(layer) => layer.forward_parts(parts),
            None => parts,
        }
    }
}

impl<const R: usize, L: Layer<R>> Layer<R> for Vec<L> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        expect(self.output_shape(parts.dims()));
        chain_forward(self, parts)
    }

    fn forward_add(
        &self,
        parts: LazyConcat<R>,
        residual: Tensor<R>,
        activation: &Option<Activation>,
    ) -> Tensor<R> {
        check_residual(self, &parts, &residual);
        match self.split_last() {
            Some((last, first)) => {
                last.forward_add(chain_forward(first, parts), residual, activation)
            }
            None => activation.forward(parts.into_tensor() + residual),
        }
    }
}

fn chain_forward<const R: usize, L: Layer<R>>(layers: &[L], parts: LazyConcat<R>) -> LazyConcat<R> {
    layers
        .iter()
        .fold(parts, |parts, layer| layer.forward_parts(parts))
}

impl<const R: usize, const N: usize, L: Layer<R>> Layer<R> for [L; N] {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        expect(self.output_shape(parts.dims()));
        chain_forward(self, parts)
    }
}

/// Implements [`Layer`] for tuples of layers, which apply their members from left to right.
macro_rules! layer_for_tuple {
    ($($layer:ident $index:tt),+; $last:tt) => {
        impl<const R: usize, $($layer: Layer<R>),+, Last: Layer<R>> Layer<R> for ($($layer,)+ Last) {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                self.forward_parts(x.into()).into_tensor()
            }

            fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
                expect(self.output_shape(parts.dims()));
                $(let parts = self.$index.forward_parts(parts);)+
                self.$last.forward_parts(parts)
            }

            fn forward_add(
                &self,
                parts: LazyConcat<R>,
                residual: Tensor<R>,
                activation: &Option<Activation>,
            ) -> Tensor<R> {
                expect(self.output_shape(parts.dims()));
                $(let parts = self.$index.forward_parts(parts);)+
                self.$last.forward_add(parts, residual, activation)
            }
        }
    };
}

layer_for_tuple!(L0 0; 1);
layer_for_tuple!(L0 0, L1 1; 2);
layer_for_tuple!(L0 0, L1 1, L2 2; 3);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3; 4);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4; 5);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5; 6);
layer_for_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5, L6 6; 7);
