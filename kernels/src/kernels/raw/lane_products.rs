//! Products over positions where the lanes of a vector are channels.

use core::ops::Range;

use pulp::Simd;

use super::simd::{load, store};

/// The most taps whose sums are in registers at once: AVX2 has 16.
const MOST: usize = 9;

/// Positions that are summed before their sum is added to the others: many more in one sum would cost digits.
const POSITIONS: usize = 256;

/// The gradients of the outputs of the channels at the lanes, and what their taps have read.
pub(in super::super) struct LaneProducts<'a> {
    /// A vector for each output, row after row.
    pub(in super::super) gradient: &'a [f32],
    /// The rows and columns of outputs.
    pub(in super::super) size: [usize; 2],
    /// A vector for each position.
    pub(in super::super) packed: &'a [f32],
    /// The distance from what a row of outputs reads to what the next does, in vectors.
    pub(in super::super) pitch: usize,
    /// In vectors.
    pub(in super::super) offsets: &'a [u32],
}

impl LaneProducts<'_> {
    /// Adds to the vector of each tap the sum of `gradient[y, x] * packed[y * pitch + x + offset]` over all outputs.
    ///
    /// # Panics
    /// When there are too few values, or too few sums.
    #[inline(always)]
    pub(in super::super) fn add<S: Simd>(&self, simd: S, sums: &mut [f32]) {
        let [rows, width] = self.size;
        let taps = self.offsets.len();
        if rows == 0 || width == 0 || taps == 0 {
            return;
        }
        let far = self.offsets.iter().fold(0, |far, &offset| far.max(offset)) as usize;
        let end = ((rows - 1) * self.pitch + width + far).saturating_mul(S::F32_LANES);
        assert!(end <= self.packed.len(), "a tap reads past what is packed");
        assert!(
            (rows * width).saturating_mul(S::F32_LANES) <= self.gradient.len(),
            "an output has no gradient"
        );
        assert!(
            taps.saturating_mul(S::F32_LANES) <= sums.len(),
            "a tap has no sum"
        );
        let each = taps.div_ceil(taps.div_ceil(MOST));
        let some_rows = (POSITIONS / width).clamp(1, rows);
        for start in (0..rows).step_by(some_rows) {
            let rows = start..rows.min(start + some_rows);
            for first in (0..taps).step_by(each) {
                // SAFETY: the outputs of these rows read what was checked.
                unsafe {
                    match each.min(taps - first) {
                        1 => self.some::<S, 1>(simd, rows.clone(), first, sums),
                        2 => self.some::<S, 2>(simd, rows.clone(), first, sums),
                        3 => self.some::<S, 3>(simd, rows.clone(), first, sums),
                        4 => self.some::<S, 4>(simd, rows.clone(), first, sums),
                        5 => self.some::<S, 5>(simd, rows.clone(), first, sums),
                        6 => self.some::<S, 6>(simd, rows.clone(), first, sums),
                        7 => self.some::<S, 7>(simd, rows.clone(), first, sums),
                        8 => self.some::<S, 8>(simd, rows.clone(), first, sums),
                        _ => self.some::<S, MOST>(simd, rows.clone(), first, sums),
                    }
                }
            }
        }
    }

    /// The same for the outputs of some rows and `N` taps from `first` on.
    ///
    /// # Safety
    /// There are as many taps and sums, the gradients of these rows, and what is read through the taps.
    #[inline(always)]
    unsafe fn some<S: Simd, const N: usize>(
        &self,
        simd: S,
        rows: Range<usize>,
        first: usize,
        sums: &mut [f32],
    ) {
        let lanes = S::F32_LANES;
        let mut offsets = [0; N];
        for (n, offset) in offsets.iter_mut().enumerate() {
            *offset = self.offsets[first + n] as usize * lanes;
        }
        let mut found = [simd.splat_f32s(0.0); N];
        for y in rows {
            for x in 0..self.size[1] {
                // SAFETY: this output has a gradient.
                let gradient = unsafe { load::<S>(self.gradient, (y * self.size[1] + x) * lanes) };
                let from = (y * self.pitch + x) * lanes;
                for (sum, offset) in found.iter_mut().zip(offsets) {
                    // SAFETY: what the output reads through this tap is there.
                    let value = unsafe { load::<S>(self.packed, from + offset) };
                    *sum = simd.mul_add_e_f32s(gradient, value, *sum);
                }
            }
        }
        for (n, found) in found.into_iter().enumerate() {
            let at = (first + n) * lanes;
            // SAFETY: this tap has a sum.
            unsafe {
                let sum = simd.add_f32s(load::<S>(sums, at), found);
                store::<S>(sums, at, sum);
            }
        }
    }
}
