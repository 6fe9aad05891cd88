//! Sums over taps where the lanes of a vector are channels.

use pulp::Simd;

use super::simd::{load, store, vector_at};
use crate::policy::Piecewise;

/// The most outputs that are computed side by side.
const MOST: usize = 8;

/// Rows of outputs of the channels at the lanes: output `x` of row `y` is the sum of
/// `weight[tap] * packed[y * pitch + x + offsets[tap]]`, all of them vectors.
pub(in super::super) struct LaneSums<'a> {
    /// A vector for each tap.
    pub(in super::super) weight: &'a [f32],
    /// In vectors.
    pub(in super::super) offsets: &'a [u32],
    /// A vector for each position.
    pub(in super::super) packed: &'a [f32],
    /// In vectors.
    pub(in super::super) pitch: usize,
    /// Applied to the sums.
    pub(in super::super) finish: LaneFinish<'a>,
}

/// What follows the sums: `activation((v - center) scale + shift)`, with a number for each lane.
#[derive(Clone, Copy)]
pub(in super::super) struct LaneFinish<'a> {
    /// Center, scale and shift, a vector each; `None` leaves the sums as they are.
    pub(in super::super) numbers: Option<[&'a [f32]; 3]>,
    pub(in super::super) activation: Piecewise,
}

impl LaneFinish<'_> {
    #[inline(always)]
    fn apply<S: Simd, const N: usize>(&self, simd: S, sums: &mut [S::f32s; N]) {
        let Some([center, scale, shift]) = self.numbers else {
            return;
        };
        let [center, scale, shift] = [
            vector_at::<S>(center, 0),
            vector_at::<S>(scale, 0),
            vector_at::<S>(shift, 0),
        ];
        for sum in sums {
            let scaled = simd.mul_f32s(simd.sub_f32s(*sum, center), scale);
            *sum = self.activation.values(simd, simd.add_f32s(scaled, shift));
        }
    }
}

impl LaneSums<'_> {
    /// Writes `[rows, width]` vectors of outputs.
    ///
    /// # Panics
    /// When an output reads what is not there, or is written past the end.
    #[inline(always)]
    pub(in super::super) fn write<S: Simd>(
        &self,
        simd: S,
        [rows, width]: [usize; 2],
        into: &mut [f32],
    ) {
        if rows == 0 || width == 0 {
            return;
        }
        let far = self.offsets.iter().fold(0, |far, &offset| far.max(offset)) as usize;
        let end = ((rows - 1) * self.pitch + width + far).saturating_mul(S::F32_LANES);
        assert!(
            self.offsets.is_empty() || end <= self.packed.len(),
            "an output reads past what is packed"
        );
        assert!(
            self.offsets.len() * S::F32_LANES <= self.weight.len(),
            "a tap has no weight"
        );
        assert!(
            (rows * width).saturating_mul(S::F32_LANES) <= into.len(),
            "an output is written past the end"
        );
        // As many at once in each step; the last step computes some again where they do not fill it.
        let steps = width.div_ceil(MOST);
        let each = width.div_ceil(steps);
        for y in 0..rows {
            for step in 0..steps {
                let x = (step * each).min(width - each);
                let (from, to) = (y * self.pitch + x, y * width + x);
                // SAFETY: `x + each <= width`, and the outputs of a row from `x` on read and write what was checked.
                unsafe {
                    match each {
                        1 => self.some::<S, 1>(simd, from, to, into),
                        2 => self.some::<S, 2>(simd, from, to, into),
                        3 => self.some::<S, 3>(simd, from, to, into),
                        4 => self.some::<S, 4>(simd, from, to, into),
                        5 => self.some::<S, 5>(simd, from, to, into),
                        6 => self.some::<S, 6>(simd, from, to, into),
                        7 => self.some::<S, 7>(simd, from, to, into),
                        _ => self.some::<S, MOST>(simd, from, to, into),
                    }
                }
            }
        }
    }

    /// Writes `N` vectors of outputs from vector `to` on, which read from vector `from` on.
    ///
    /// # Safety
    /// All taps have weights, `packed` has `N` vectors from `from` and each offset on, and `into` from `to` on.
    #[inline(always)]
    unsafe fn some<S: Simd, const N: usize>(
        &self,
        simd: S,
        from: usize,
        to: usize,
        into: &mut [f32],
    ) {
        let lanes = S::F32_LANES;
        let mut sums = [simd.splat_f32s(0.0); N];
        for (tap, &offset) in self.offsets.iter().enumerate() {
            // SAFETY: this tap has a weight.
            let weight = unsafe { load::<S>(self.weight, tap * lanes) };
            let first = (from + offset as usize) * lanes;
            for (n, sum) in sums.iter_mut().enumerate() {
                // SAFETY: there are `N` vectors from `first` on.
                let value = unsafe { load::<S>(self.packed, first + n * lanes) };
                *sum = simd.mul_add_e_f32s(weight, value, *sum);
            }
        }
        self.finish.apply(simd, &mut sums);
        for (n, sum) in sums.into_iter().enumerate() {
            // SAFETY: there is room for `N` vectors.
            unsafe { store::<S>(into, (to + n) * lanes, sum) };
        }
    }
}
