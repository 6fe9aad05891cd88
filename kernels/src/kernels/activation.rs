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
    pub(super) fn apply<S: Simd>(self, simd: S, values: &mut [f32]) {
        self.apply_each(simd, core::iter::once(values));
    }

    /// The same for all of some slices, which may be short.
    pub(super) fn apply_each<'v, S: Simd>(
        self,
        simd: S,
        slices: impl Iterator<Item = &'v mut [f32]>,
    ) {
        struct Apply<I>(Curved, I);
        impl<'v, I: Iterator<Item = &'v mut [f32]>> WithSimd for Apply<I> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Self(activation, slices) = self;
                for values in slices {
                    match is_fused::<S>() {
                        true => activation.apply_inlined::<true>(values),
                        false => activation.apply_inlined::<false>(values),
                    }
                }
            }
        }
        simd.vectorize(Apply(self, slices));
    }

    /// Replaces each `x` by the derivative there, times the gradient.
    pub(super) fn scale_gradient<S: Simd>(self, simd: S, values: &mut [f32], gradient: &[f32]) {
        struct Scale<'a>(Curved, &'a mut [f32], &'a [f32]);
        impl WithSimd for Scale<'_> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) {
                let Self(activation, values, gradient) = self;
                match is_fused::<S>() {
                    true => activation.scale_gradient_inlined::<true>(values, gradient),
                    false => activation.scale_gradient_inlined::<false>(values, gradient),
                }
            }
        }
        simd.vectorize(Scale(self, values, gradient));
    }

    #[inline(always)]
    fn apply_inlined<const FUSED: bool>(self, values: &mut [f32]) {
        match self {
            Self::Gelu => map(values, |x| x * normal::<FUSED>(x).below),
            Self::GeluApproximate => map(values, |x| x * sigmoid::<FUSED>(2.0 * gelu_argument(x))),
            Self::Silu => map(values, |x| x * sigmoid::<FUSED>(x)),
            Self::Mish => map(values, |x| x * tanh_of_softplus::<FUSED>(x)[0]),
            Self::HardSwish => map(values, |x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5)),
            Self::HardSigmoid { alpha, beta } => map(values, |x| hard_sigmoid(x, alpha, beta)),
            Self::Sigmoid => map(values, sigmoid::<FUSED>),
            Self::Tanh => map(values, tanh::<FUSED>),
            Self::Elu {
                positive,
                negative,
                width,
            } => {
                let inverse = 1.0 / width;
                map(values, |x| {
                    if x > 0.0 {
                        positive * x
                    } else {
                        negative * exp_minus_1::<FUSED>(x * inverse)
                    }
                });
            }
        }
    }

    #[inline(always)]
    fn scale_gradient_inlined<const FUSED: bool>(self, values: &mut [f32], gradient: &[f32]) {
        match self {
            Self::Gelu => scale(values, gradient, |x| {
                let normal = normal::<FUSED>(x);
                normal.below + x * normal.density
            }),
            // The derivative of x s(u(x)) with u = 2 sqrt(2 / pi) (x + c x^3).
            Self::GeluApproximate => scale(values, gradient, |x| {
                let s = sigmoid::<FUSED>(2.0 * gelu_argument(x));
                s + x * s * (1.0 - s) * 2.0 * gelu_slope(x)
            }),
            Self::Silu => scale(values, gradient, |x| {
                let s = sigmoid::<FUSED>(x);
                s * (1.0 + x * (1.0 - s))
            }),
            Self::Mish => scale(values, gradient, |x| {
                let [value, slope] = tanh_of_softplus::<FUSED>(x);
                value + x * slope
            }),
            Self::HardSwish => scale(values, gradient, |x| {
                let inside = x * (1.0 / 3.0) + 0.5;
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
            Self::Sigmoid => scale(values, gradient, sigmoid_slope::<FUSED>),
            // (tanh(x) = 2 sigmoid(2 x) - 1)
            Self::Tanh => scale(values, gradient, |x| 4.0 * sigmoid_slope::<FUSED>(2.0 * x)),
            Self::Elu {
                positive,
                negative,
                width,
            } => {
                let (inverse, slope) = (1.0 / width, negative / width);
                scale(values, gradient, |x| {
                    if x > 0.0 {
                        positive
                    } else {
                        slope * exp::<FUSED>(x * inverse)
                    }
                });
            }
        }
    }
}

/// Whether a product and a sum are one instruction.
const fn is_fused<S: Simd>() -> bool {
    // (AVX2, of which FMA is a part here, and wider; NEON.)
    S::F32_LANES >= 8 || (cfg!(target_arch = "aarch64") && S::F32_LANES > 1)
}

/// `a * b + c`. (Without an instruction for it, `mul_add` is a function.)
#[inline(always)]
fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    match FUSED {
        true => a.mul_add(b, c),
        false => a * b + c,
    }
}

/// `1 / x` for `x` from 1 to 2^126: a first guess by the bits of `x`, with a relative error of 0.051 at most, and three steps
/// of Newton's, where a product and a sum are one instruction. (Relative error: 6e-8.)
#[inline(always)]
fn reciprocal<const FUSED: bool>(x: f32) -> f32 {
    if !FUSED {
        return 1.0 / x;
    }
    // (The logarithm of a number is about its bits, less those of 1, in units of 2^23.)
    let mut y = f32::from_bits(0x7ef3_11c3_u32.wrapping_sub(x.to_bits()));
    for _ in 0..3 {
        let error = mul_add::<FUSED>(-x, y, 1.0);
        y = mul_add::<FUSED>(y, error, y);
    }
    y
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
fn polynomial<const FUSED: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for n in (0..N - 1).rev() {
        sum = mul_add::<FUSED>(sum, x, coefficients[n]);
    }
    sum
}

/// The arguments whose exponentials are from the smallest normal number to near the largest.
const RANGE: [f32; 2] = [-87.3, 88.3];

/// `exp(x)`; 0 below [`RANGE`], and infinity above.
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    let y = exp_within::<FUSED>(x);
    let y = if x < RANGE[0] { 0.0 } else { y };
    if x > RANGE[1] { f32::INFINITY } else { y }
}

/// `exp(x)` for `x` cut to [`RANGE`]: `2^n exp(r)` with `|r| <= ln(2) / 2`. (Relative error of the polynomial: 4e-9.)
#[inline(always)]
fn exp_within<const FUSED: bool>(x: f32) -> f32 {
    // ln(2) in two parts, of which the first has few digits, so that `n` times it is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // To add it rounds to a whole number, which is then the last bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // (`clamp` is not made of vectors where it keeps a NaN.)
    let cut = if x > RANGE[1] { RANGE[1] } else { x };
    let cut = if cut < RANGE[0] { RANGE[0] } else { cut };
    let rounded = mul_add::<FUSED>(cut, core::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = mul_add::<FUSED>(-n, LN_2[0], cut);
    let r = mul_add::<FUSED>(-n, LN_2[1], r);
    let tail = polynomial::<FUSED, _>(
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
    (1.0 + mul_add::<FUSED>(r * r, tail, r)) * power
}

/// `exp(x) - 1`, also near 0. (Relative error of the polynomial: 2e-8.)
#[inline(always)]
fn exp_minus_1<const FUSED: bool>(x: f32) -> f32 {
    let tail = polynomial::<FUSED, _>(
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
        exp::<FUSED>(x) - 1.0
    }
}

#[inline(always)]
fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    let y = reciprocal::<FUSED>(1.0 + exp_within::<FUSED>(-x));
    // (Below, the sum is too large for the reciprocal, which is no normal number any more.)
    if x < -87.0 { 0.0 } else { y }
}

/// The derivative of [`sigmoid`], `s (1 - s)` without the difference.
#[inline(always)]
fn sigmoid_slope<const FUSED: bool>(x: f32) -> f32 {
    let e = exp::<FUSED>(-x.abs());
    e * reciprocal::<FUSED>((1.0 + e) * (1.0 + e))
}

/// Near 0 by a polynomial. (Relative error: 1.2e-8.)
#[inline(always)]
fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let square = x * x;
    let tail = polynomial::<FUSED, _>(
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
        // (From 20 on it is 1.)
        let e = exp_within::<FUSED>(if x > 20.0 { 40.0 } else { 2.0 * x });
        1.0 - 2.0 * reciprocal::<FUSED>(e + 1.0)
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
fn tanh_of_softplus<const FUSED: bool>(x: f32) -> [f32; 2] {
    // (From 20 on it is 1, and exp(x)^2 stays finite.)
    let e = exp::<FUSED>(if x > 20.0 { 20.0 } else { x });
    let n = e * (e + 2.0);
    let inverse = reciprocal::<FUSED>(n + 2.0);
    let slope = 4.0 * (n + 1.0) * inverse * inverse * (e * reciprocal::<FUSED>(1.0 + e));
    let slope = if x > 20.0 { 0.0 } else { slope };
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
fn normal<const FUSED: bool>(x: f32) -> Normal {
    // (From 14 on, the smaller tail is 0.)
    let far = x.abs();
    let far = if far > 14.0 { 14.0 } else { far };
    let t = reciprocal::<FUSED>(mul_add::<FUSED>(0.282_842_7, far, 1.0));
    let e = exp::<FUSED>(-0.5 * x * x);
    let tail = t * polynomial::<FUSED, _>(
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
    fn run<S: Simd>(&self, simd: S, blocks: Blocks, _: &mut Scratch) {
        for (place, block) in blocks {
            let x = &self.x[place..];
            match self.activation {
                FusedActivation::Piecewise(piecewise) => {
                    block.fill(x.iter().map(|x| piecewise.value(*x)));
                }
                FusedActivation::Curved(curved) => {
                    curved.apply(simd, block.fill(x.iter().copied()));
                }
            }
        }
    }
}

impl Work<Blocks<'_>> for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, blocks: Blocks, _: &mut Scratch) {
        for (place, block) in blocks {
            let (saved, gradient) = (&self.saved[place..], &self.gradient[place..]);
            match self.activation {
                FusedActivation::Piecewise(piecewise) => {
                    let both = saved.iter().zip(gradient);
                    block.fill(both.map(|(x, g)| g * piecewise.derivative(*x)));
                }
                FusedActivation::Curved(curved) => {
                    let into = block.fill(saved.iter().copied());
                    curved.scale_gradient(simd, into, gradient);
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
