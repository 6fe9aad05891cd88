//! Convolution on the CPU, in f32, over several sources that are never concatenated nor upsampled.
//!
//! Every thread takes some rows of the output. It lays out what their windows see ([`stage`]), so that a
//! tap of the kernel is one offset, multiplies ([`raw::simd`]) in an order that keeps values in the nearest
//! cache ([`direct`], [`winograd`]), and writes the result once ([`sink`]), with batch norm, residual and ReLU on the
//! way. The gradient to the sources is such a convolution of the gradient; that to the weight is a
//! product of both maps ([`weight_gradient`], [`winograd_gradient`]).
//!
//! Maps of one spatial axis are maps of one row.

mod direct;
mod fold;
mod gradient;
pub(crate) mod max_pool;
pub(crate) mod norm;
mod plan;
mod prepared;
mod raw;
mod sink;
mod stage;
mod threads;
mod weight_gradient;
mod winograd;
mod winograd_gradient;

#[cfg(test)]
mod tests;

pub(crate) use crate::cpu::policy::Geometry;

pub(crate) use gradient::{Wanted, input_gradient, transposed, weight_gradient};
pub(crate) use plan::{bias_gradient, forward};
pub(crate) use prepared::{Keep, Prepared, Weight};
pub(crate) use sink::Epilogue;
pub(crate) use stage::{Prologue, Source};
