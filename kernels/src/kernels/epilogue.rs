//! What follows a convolution: norm, bias, residual and activation, applied to the sums as they are written.

use pulp::Simd;

use super::raw::piece::Finishing;
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
    pub(super) activation: Piecewise,
}

impl Finish {
    #[inline(always)]
    pub(super) fn value(self, sum: f32, residual: f32) -> f32 {
        let scaled = (sum - self.center) * self.scale + self.shift;
        self.activation.value(scaled + residual)
    }

    /// The numbers at each lane, with an activation that the compiler knows.
    #[inline(always)]
    pub(super) fn lanes<S: Simd, A>(self, simd: S, activation: A) -> FinishLanes<S, A> {
        let [center, scale, shift] = [self.center, self.scale, self.shift];
        FinishLanes {
            center: simd.splat_f32s(center),
            scale: simd.splat_f32s(scale),
            shift: simd.splat_f32s(shift),
            activation,
        }
    }
}

/// [`Finish`] at each lane, with an activation that the compiler knows.
#[derive(Clone, Copy)]
pub(super) struct FinishLanes<S: Simd, A> {
    center: S::f32s,
    scale: S::f32s,
    shift: S::f32s,
    activation: A,
}

/// No activation.
#[derive(Clone, Copy)]
pub(super) struct Linear;

/// `max(x, 0)`
#[derive(Clone, Copy)]
pub(super) struct Rectified;

/// An activation at each lane.
pub(super) trait LaneActivation: Copy {
    fn at_lanes<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s;
}

impl LaneActivation for Linear {
    #[inline(always)]
    fn at_lanes<S: Simd>(self, _: S, x: S::f32s) -> S::f32s {
        x
    }
}

impl LaneActivation for Rectified {
    #[inline(always)]
    fn at_lanes<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        // (`max` would hide a NaN.)
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
    }
}

impl LaneActivation for Piecewise {
    #[inline(always)]
    fn at_lanes<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        self.values(simd, x)
    }
}

impl<S: Simd, A: LaneActivation> Finishing<S> for FinishLanes<S, A> {
    #[inline(always)]
    fn finish(self, simd: S, sums: S::f32s, residual: S::f32s) -> S::f32s {
        let centered = simd.sub_f32s(sums, self.center);
        let scaled = simd.mul_f32s(centered, self.scale);
        let values = simd.add_f32s(simd.add_f32s(scaled, self.shift), residual);
        self.activation.at_lanes(simd, values)
    }
}

impl ResidualSum<'_> {
    /// Applies it to the values from `first` on.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(&self, simd: S, first: usize, values: &mut [f32]) {
        let (piecewise, curved) = self.activation.parts();
        let residual = &self.residual[first..][..values.len()];
        for (value, residual) in values.iter_mut().zip(residual) {
            *value = piecewise.value(*value + residual);
        }
        if let Some(curved) = curved {
            curved.apply(simd, values);
        }
    }
}
