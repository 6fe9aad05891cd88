//! What follows a convolution: norm, bias, residual and activation, applied to the sums as they are written.

use pulp::Simd;

use super::raw::simd::vector_at;
use super::raw::uninit_buffer::RowVectors;
use crate::policy::{FusedActivation, Piecewise};

/// What follows a convolution, as slices: `activation((v - center) scale + shift + residual)`.
#[derive(Clone, Copy, Default)]
pub struct EpilogueValues<'a> {
    /// One number per channel, as for scale and shift.
    pub center: Option<&'a [f32]>,
    /// A factor for each channel.
    pub scale: Option<&'a [f32]>,
    /// A summand for each channel.
    pub shift: Option<&'a [f32]>,
    /// Has the shape of the output.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: FusedActivation,
}

/// What is applied where a map is put back: `activation(v + residual)`.
#[derive(Clone, Copy)]
pub(super) struct ResidualSum<'a> {
    pub(super) residual: &'a [f32],
    pub(super) activation: FusedActivation,
}

impl<'a> EpilogueValues<'a> {
    /// The numbers of one channel.
    #[inline(always)]
    pub(super) fn of_channel(&self, channel: usize) -> Finish {
        let number = |numbers: Option<&[f32]>, none| numbers.map_or(none, |n| n[channel]);
        Finish {
            center: number(self.center, 0.0),
            scale: number(self.scale, 1.0),
            shift: number(self.shift, 0.0),
            activation: self.activation.parts().0,
        }
    }

    /// What comes before the residual, and the rest; all, if there is none.
    pub(super) fn at_residual(self) -> (Self, Option<ResidualSum<'a>>) {
        let Some(residual) = self.residual else {
            return (self, None);
        };
        let before = Self {
            residual: None,
            activation: FusedActivation::IDENTITY,
            ..self
        };
        let activation = self.activation;
        let after = ResidualSum {
            residual,
            activation,
        };
        (before, Some(after))
    }
}

/// What follows the sums of one channel, but for curved activations.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    pub(super) center: f32,
    pub(super) scale: f32,
    pub(super) shift: f32,
    activation: Piecewise,
}

impl Finish {
    #[inline(always)]
    pub(super) fn value(self, sum: f32, residual: f32) -> f32 {
        let scaled = (sum - self.center) * self.scale + self.shift;
        self.activation.value(scaled + residual)
    }

    /// The [values](Self::value) at each lane.
    #[inline(always)]
    pub(super) fn values<S: Simd>(
        self,
        simd: S,
        sums: S::f32s,
        residual: Option<S::f32s>,
    ) -> S::f32s {
        let centered = simd.sub_f32s(sums, simd.splat_f32s(self.center));
        let scaled = simd.mul_f32s(centered, simd.splat_f32s(self.scale));
        let mut values = simd.add_f32s(scaled, simd.splat_f32s(self.shift));
        if let Some(residual) = residual {
            values = simd.add_f32s(values, residual);
        }
        self.activation.values(simd, values)
    }
}

/// Rows of sums with what follows them.
pub(super) struct Finished<'a, R> {
    pub(super) sums: R,
    pub(super) residual: Option<&'a [f32]>,
    /// The distance from one row of the residual to the next.
    pub(super) width: usize,
    pub(super) finish: Finish,
}

impl<S: Simd, R: RowVectors<S>> RowVectors<S> for Finished<'_, R> {
    #[inline(always)]
    fn vectors<const N: usize>(&self, simd: S, row: usize, starts: [usize; N]) -> [S::f32s; N] {
        let mut vectors = self.sums.vectors(simd, row, starts);
        for (vector, start) in vectors.iter_mut().zip(starts) {
            let residual = self.residual;
            let residual = residual.map(|all| vector_at::<S>(all, row * self.width + start));
            *vector = self.finish.values(simd, *vector, residual);
        }
        vectors
    }

    #[inline(always)]
    fn part(&self, simd: S, row: usize, count: usize) -> S::f32s {
        let sums = self.sums.part(simd, row, count);
        let residual = self
            .residual
            .map(|all| simd.partial_load_f32s(&all[row * self.width..][..count]));
        self.finish.values(simd, sums, residual)
    }
}

/// Rows of sums in memory.
pub(super) struct Sums<'a> {
    pub(super) values: &'a [f32],
    /// The distance from one row to the next.
    pub(super) step: usize,
}

impl<S: Simd> RowVectors<S> for Sums<'_> {
    #[inline(always)]
    fn vectors<const N: usize>(&self, simd: S, row: usize, starts: [usize; N]) -> [S::f32s; N] {
        // (`map` of an array is a function of its own, without these instructions.)
        let mut vectors = [simd.splat_f32s(0.0); N];
        for (vector, start) in vectors.iter_mut().zip(starts) {
            *vector = vector_at::<S>(self.values, row * self.step + start);
        }
        vectors
    }

    #[inline(always)]
    fn part(&self, simd: S, row: usize, count: usize) -> S::f32s {
        simd.partial_load_f32s(&self.values[row * self.step..][..count])
    }
}

impl ResidualSum<'_> {
    /// Applies it to the values from `first` on.
    #[inline(always)]
    pub(super) fn apply(&self, first: usize, values: &mut [f32]) {
        let (piecewise, curved) = self.activation.parts();
        let residual = &self.residual[first..][..values.len()];
        for (value, residual) in values.iter_mut().zip(residual) {
            *value = piecewise.value(*value + residual);
        }
        if let Some(curved) = curved {
            curved.apply(values);
        }
    }
}
