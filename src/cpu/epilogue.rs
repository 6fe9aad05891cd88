//! [`Epilogue`]: what follows a convolution.

use burn::nn::BatchNorm;
use burn::tensor::{Tensor, activation::relu};

use super::lazy_concat::Part;
use super::{dispatch, policy};

/// What follows a convolution: `relu(norm(y) + residual)`, of which each step is optional.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epilogue<'a, const R: usize> {
    pub(crate) norm: Option<&'a BatchNorm>,
    pub(crate) residual: Option<Tensor<R>>,
    pub(crate) relu: bool,
}

impl<const R: usize> Epilogue<'_, R> {
    #[cfg(feature = "kernels")]
    pub(super) fn is_nothing(&self) -> bool {
        self.norm.is_none() && self.residual.is_none() && !self.relu
    }

    /// Applies it to the output of a convolution that did not fuse it. The norm is deferred if possible.
    pub(crate) fn apply(self, y: Tensor<R>) -> Part<R> {
        let Some(norm) = self.norm else {
            return Part::new(add_relu(y, self.residual, self.relu));
        };
        if policy::defers_norm(self.residual.is_some(), self.relu)
            && let Some(norm) = dispatch::deferred_norm(norm, &y, self.relu)
        {
            return Part::normed(y, norm);
        }
        Part::new(dispatch::batch_norm(norm, y, self.residual, self.relu))
    }
}

/// `relu(y + residual)`, by Burn's operations.
pub(super) fn add_relu<const R: usize>(
    y: Tensor<R>,
    residual: Option<Tensor<R>>,
    is_cut: bool,
) -> Tensor<R> {
    let y = match residual {
        Some(residual) => y + residual,
        None => y,
    };
    match is_cut {
        true => relu(y),
        false => y,
    }
}
