//! Activations and their derivatives, on slices of f32.
//!
//! Everything here is without branches and calls, so that the compiler makes vectors of it. The polynomials were fitted
//! for this crate; each has its largest error beside it.

use alloc::vec::Vec;

use pulp::{Simd, WithSimd};

use super::raw::piece::Piece;
use super::raw::uninit_buffer::{Cuts, UninitBuffer};
use super::threads::{self, Scratch, Work};
use crate::policy::{Curved, FusedActivation, Piecewise};

/// The values that are computed at once: few enough to stay in the first-level cache.
pub(super) const BLOCK: usize = 1024;

impl Piecewise {
    /// The value at `x`.
    #[inline(always)]
    pub(super) fn value(self, x: f32) -> f32 {
        // (A factor of 0 would make NaN of an infinite value; `min` and `max` would hide a NaN.)
        let negative = match self.negative_slope == 0.0 {
            true => 0.0,
            false => self.negative_slope * x,
        };
        let y = if x < 0.0 { negative } else { x };
        if y > self.max { self.max } else { y }
    }

    /// The [values](Self::value) at each lane.
    #[inline(always)]
    pub(super) fn values<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        let negative = match self.negative_slope == 0.0 {
            true => zero,
            false => simd.mul_f32s(simd.splat_f32s(self.negative_slope), x),
        };
        let y = simd.select_f32s(simd.less_than_f32s(x, zero), negative, x);
        let max = simd.splat_f32s(self.max);
        simd.select_f32s(simd.greater_than_f32s(y, max), max, y)
    }

    /// The derivative at `x`. `x` may also be the value there, if the slope is not negative.
    #[inline(always)]
    pub(super) fn derivative(self, x: f32) -> f32 {
        let positive = match x >= self.max && self.max < f32::INFINITY {
            true => 0.0,
            false => 1.0,
        };
        if x > 0.0 {
            positive
        } else {
            self.negative_slope
        }
    }
}

impl Curved {
    /// Replaces each `x` by the value there.
    pub(super) fn apply(self, values: &mut [f32]) {
        self.apply_each(core::iter::once(values));
    }

    /// The same for all of some slices, which may be short.
    pub(super) fn apply_each<'v>(self, slices: impl Iterator<Item = &'v mut [f32]>) {
        struct Apply<I>(Curved, I);
        impl<'v, I: Iterator<Item = &'v mut [f32]>> WithSimd for Apply<I> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Self(activation, slices) = self;
                for values in slices {
                    activation.apply_inlined(values);
                }
            }
        }
        threads::instructions().dispatch(Apply(self, slices));
    }

    /// Replaces each `x` by the derivative there, times the gradient.
    pub(super) fn scale_gradient(self, values: &mut [f32], gradient: &[f32]) {
        struct Scale<'a>(Curved, &'a mut [f32], &'a [f32]);
        impl WithSimd for Scale<'_> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Self(activation, values, gradient) = self;
                activation.scale_gradient_inlined(values, gradient);
            }
        }
        threads::instructions().dispatch(Scale(self, values, gradient));
    }

    #[inline(always)]
    fn apply_inlined(self, values: &mut [f32]) {
        match self {
            Self::Gelu => map(values, |x| x * normal(x).below),
            Self::GeluApproximate => map(values, |x| x * sigmoid(2.0 * gelu_argument(x))),
            Self::Silu => map(values, |x| x * sigmoid(x)),
            Self::Mish => map(values, |x| x * tanh_of_softplus(x)[0]),
            Self::HardSwish => map(values, |x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5)),
            Self::HardSigmoid { alpha, beta } => map(values, |x| hard_sigmoid(x, alpha, beta)),
            Self::Sigmoid => map(values, sigmoid),
            Self::Tanh => map(values, tanh),
            Self::Elu {
                positive,
                negative,
                width,
            } => map(values, |x| {
                if x > 0.0 {
                    positive * x
                } else {
                    negative * exp_minus_1(x / width)
                }
            }),
        }
    }

    #[inline(always)]
    fn scale_gradient_inlined(self, values: &mut [f32], gradient: &[f32]) {
        match self {
            Self::Gelu => scale(values, gradient, |x| {
                let normal = normal(x);
                normal.below + x * normal.density
            }),
            // The derivative of x s(u(x)) with u = 2 sqrt(2 / pi) (x + c x^3).
            Self::GeluApproximate => scale(values, gradient, |x| {
                let s = sigmoid(2.0 * gelu_argument(x));
                s + x * s * (1.0 - s) * 2.0 * gelu_slope(x)
            }),
            Self::Silu => scale(values, gradient, |x| {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }),
            Self::Mish => scale(values, gradient, |x| {
                let [value, slope] = tanh_of_softplus(x);
                value + x * slope
            }),
            Self::HardSwish => scale(values, gradient, |x| {
                let inside = x / 3.0 + 0.5;
                if x <= -3.0 {
                    0.0
                } else if x >= 3.0 {
                    1.0
                } else {
                    inside
                }
            }),
            Self::HardSigmoid { alpha, beta } => scale(values, gradient, |x| {
                let y = alpha * x + beta;
                if y > 0.0 && y < 1.0 { alpha } else { 0.0 }
            }),
            Self::Sigmoid => scale(values, gradient, sigmoid_slope),
            // (tanh(x) = 2 sigmoid(2 x) - 1)
            Self::Tanh => scale(values, gradient, |x| 4.0 * sigmoid_slope(2.0 * x)),
            Self::Elu {
                positive,
                negative,
                width,
            } => scale(values, gradient, |x| {
                if x > 0.0 {
                    positive
                } else {
                    negative / width * exp(x / width)
                }
            }),
        }
    }
}

/// Values that are computed side by side; the last of a slice are padded with zeros to so many. (One at a time they would
/// take longer than all others of a small map.)
const CHUNK: usize = 32;

#[inline(always)]
fn map(values: &mut [f32], value: impl Fn(f32) -> f32) {
    let (whole, last) = values.as_chunks_mut::<CHUNK>();
    let mut filled = padded(last);
    let rest = (!last.is_empty()).then_some(&mut filled);
    for some in whole.iter_mut().chain(rest) {
        for x in some {
            *x = value(*x);
        }
    }
    last.copy_from_slice(&filled[..last.len()]);
}

#[inline(always)]
fn scale(values: &mut [f32], gradient: &[f32], derivative: impl Fn(f32) -> f32) {
    let (whole, last) = values.as_chunks_mut::<CHUNK>();
    let (gradients, last_gradients) = gradient.as_chunks::<CHUNK>();
    let (mut filled, padded_gradients) = (padded(last), padded(last_gradients));
    let rest = (!last.is_empty()).then_some(&mut filled);
    let values = whole.iter_mut().chain(rest);
    let gradients = gradients.iter().chain(Some(&padded_gradients));
    for (some, gradients) in values.zip(gradients) {
        for (x, gradient) in some.iter_mut().zip(gradients) {
            *x = gradient * derivative(*x);
        }
    }
    last.copy_from_slice(&filled[..last.len()]);
}

/// The values, and zeros.
#[inline(always)]
fn padded(values: &[f32]) -> [f32; CHUNK] {
    let mut filled = [0.0; CHUNK];
    filled[..values.len()].copy_from_slice(values);
    filled
}

/// The polynomial with these coefficients, the constant first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for n in (0..N - 1).rev() {
        sum = sum * x + coefficients[n];
    }
    sum
}

/// `exp(x)`: `2^n exp(r)` with `|r| <= ln(2) / 2`; infinity from 88.3 on. (Relative error of the polynomial: 4e-9.)
#[inline(always)]
fn exp(x: f32) -> f32 {
    // From the smallest normal number to near the largest.
    const RANGE: [f32; 2] = [-87.3, 88.3];
    // ln(2) in two parts, of which the first has few digits, so that `n` times it is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // To add it rounds to a whole number, which is then the last bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // (`clamp` is not made of vectors where it keeps a NaN.)
    let cut = if x > RANGE[1] { RANGE[1] } else { x };
    let cut = if cut < RANGE[0] { RANGE[0] } else { cut };
    let rounded = cut * core::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (cut - n * LN_2[0]) - n * LN_2[1];
    let tail = polynomial(
        r,
        [
            0.499_999_94,
            0.166_665_21,
            0.041_668_39,
            0.008_368_735,
            0.001_381_456,
        ],
    );
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let y = (1.0 + (r + r * r * tail)) * power;
    let y = if x < RANGE[0] { 0.0 } else { y };
    if x > RANGE[1] { f32::INFINITY } else { y }
}

/// `exp(x) - 1`, also near 0. (Relative error of the polynomial: 2e-8.)
#[inline(always)]
fn exp_minus_1(x: f32) -> f32 {
    let tail = polynomial(
        x,
        [
            0.499_999_97,
            0.166_665_24,
            0.041_667_286,
            0.008_369_135,
            0.001_388_202_5,
        ],
    );
    if x > -0.36 && x < 0.36 {
        x + x * x * tail
    } else {
        exp(x) - 1.0
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The derivative of [`sigmoid`], `s (1 - s)` without the difference.
#[inline(always)]
fn sigmoid_slope(x: f32) -> f32 {
    let e = exp(-x.abs());
    e / ((1.0 + e) * (1.0 + e))
}

/// Near 0 by a polynomial. (Relative error: 1.2e-8.)
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let square = x * x;
    let tail = polynomial(
        square,
        [
            -0.333_332_8,
            0.133_314_42,
            -0.053_739_71,
            0.020_639_08,
            -0.005_704_98,
        ],
    );
    if x > -0.625 && x < 0.625 {
        x + x * square * tail
    } else {
        1.0 - 2.0 / (exp(2.0 * x) + 1.0)
    }
}

#[inline(always)]
fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    let y = alpha * x + beta;
    let y = if y < 0.0 { 0.0 } else { y };
    if y > 1.0 { 1.0 } else { y }
}

/// `tanh(ln(1 + exp(x)))` and its derivative. With `e = exp(x)` and `n = e (e + 2)` the first is `n / (n + 2)`.
#[inline(always)]
fn tanh_of_softplus(x: f32) -> [f32; 2] {
    // (From 20 on it is 1, and exp(x)^2 stays finite.)
    let e = exp(if x > 20.0 { 20.0 } else { x });
    let n = e * (e + 2.0);
    let inverse = 1.0 / (n + 2.0);
    let slope = 4.0 * (n + 1.0) * inverse * inverse * (e / (1.0 + e));
    [n * inverse, slope]
}

/// The argument of `tanh` in the approximation of GELU, `sqrt(2 / pi) (x + 0.044715 x^3)`.
#[inline(always)]
fn gelu_argument(x: f32) -> f32 {
    0.797_884_6 * x * (1.0 + 0.044_715 * x * x)
}

/// The derivative of [`gelu_argument`].
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    0.797_884_6 * (1.0 + 3.0 * 0.044_715 * x * x)
}

/// The standard normal distribution.
struct Normal {
    /// The probability of what is smaller.
    below: f32,
    density: f32,
}

/// With `t = 1 / (1 + 0.4 |x| / sqrt(2))`, the smaller tail is `exp(-x^2 / 2)` times a polynomial of `t` (the form of
/// Hastings, Approximations for Digital Computers, 1955). (Relative error: 1.2e-7.)
#[inline(always)]
fn normal(x: f32) -> Normal {
    let t = 1.0 / (1.0 + 0.282_842_7 * x.abs());
    let e = exp(-0.5 * x * x);
    let tail = t * polynomial(
        t,
        [
            0.112_813_15,
            0.113_287_86,
            0.100_479_29,
            0.098_481_52,
            0.035_754_137,
            0.049_864_814,
            0.036_921_054,
            -0.067_735_54,
            0.020_133_747,
        ],
    );
    let tail = e * tail;
    Normal {
        below: if x < 0.0 { tail } else { 1.0 - tail },
        density: 0.398_942_3 * e,
    }
}

/// `activation(x)`
pub fn forward(x: &[f32], activation: FusedActivation) -> Vec<f32> {
    in_blocks(&Forward { x, activation }, x.len())
}

/// The gradient of the input. `saved` is the input, or the output if that [is enough](FusedActivation::is_told_by_output).
pub fn backward(saved: &[f32], gradient: &[f32], activation: FusedActivation) -> Vec<f32> {
    let work = Backward {
        saved,
        gradient,
        activation,
    };
    in_blocks(&work, saved.len())
}

struct Forward<'a> {
    x: &'a [f32],
    activation: FusedActivation,
}

struct Backward<'a> {
    saved: &'a [f32],
    gradient: &'a [f32],
    activation: FusedActivation,
}

/// Some blocks, each with the place at which it starts.
type Blocks<'a> = Vec<(usize, Piece<'a>)>;

impl Work<Blocks<'_>> for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, blocks: Blocks, _: &mut Scratch) {
        for (place, block) in blocks {
            let x = &self.x[place..];
            match self.activation {
                FusedActivation::Piecewise(piecewise) => {
                    block.fill(x.iter().map(|x| piecewise.value(*x)));
                }
                FusedActivation::Curved(curved) => curved.apply(block.fill(x.iter().copied())),
            }
        }
    }
}

impl Work<Blocks<'_>> for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, blocks: Blocks, _: &mut Scratch) {
        for (place, block) in blocks {
            let (saved, gradient) = (&self.saved[place..], &self.gradient[place..]);
            match self.activation {
                FusedActivation::Piecewise(piecewise) => {
                    let both = saved.iter().zip(gradient);
                    block.fill(both.map(|(x, g)| g * piecewise.derivative(*x)));
                }
                FusedActivation::Curved(curved) => {
                    let into = block.fill(saved.iter().copied());
                    curved.scale_gradient(into, gradient);
                }
            }
        }
    }
}

/// `len` values that `work` writes block by block.
fn in_blocks(work: &impl for<'a> Work<Blocks<'a>>, len: usize) -> Vec<f32> {
    let mut values = UninitBuffer::new(len);
    let cuts = Cuts {
        plane: len,
        block: BLOCK,
        width: BLOCK,
        step: 1,
    };
    let mut pieces = values.pieces(cuts);
    let some = len.div_ceil(BLOCK).div_ceil(threads::parts());
    let tasks = core::iter::from_fn(|| {
        let task = pieces.by_ref().take(some);
        let task: Blocks = task
            .map(|piece| (piece.block * BLOCK, piece.piece))
            .collect();
        (!task.is_empty()).then_some(task)
    });
    let tasks = tasks.collect();
    drop(pieces);
    threads::run(work, tasks);
    values.finish()
}
