//! Rows of a map with one output for each group: few products for each value that is read, so that the sums stay in
//! registers until they are written.
#![allow(clippy::needless_range_loop)] // indices of registers: unrolled, and clearer so

use pulp::Simd;

use super::simd::{Gathered, load};
use super::uninit_buffer::RowVectors;

/// Rows of sums of packed values: `sum_i weight[i] packed[row pitch + offset_i + column]`.
#[derive(Clone, Copy)]
pub(in super::super) struct TapRows<'a> {
    pub(in super::super) weight: &'a [f32],
    pub(in super::super) packed: Gathered<'a>,
    /// The distance from one row to the next.
    pub(in super::super) pitch: usize,
}

impl TapRows<'_> {
    /// The starts of `N` rows, counted from the first.
    #[inline(always)]
    fn row_starts<const N: usize>(&self) -> [usize; N] {
        let mut starts = [0; N];
        for n in 0..N {
            starts[n] = n * self.pitch;
        }
        starts
    }

    /// The place of the first packed value of a row, after a check that all values are packed that vectors from each of
    /// `starts` on read.
    #[inline(always)]
    fn checked_row<S: Simd, const N: usize>(&self, row: usize, starts: [usize; N]) -> usize {
        let mut far = 0;
        for start in starts {
            far = far.max(start);
        }
        let first = row.saturating_mul(self.pitch);
        let end = first
            .saturating_add(far)
            .saturating_add(self.packed.offsets.end);
        assert!(
            end.saturating_add(S::F32_LANES) <= self.packed.values.len().saturating_add(1),
            "a row reads past what is packed"
        );
        first
    }
}

impl<S: Simd> RowVectors<S> for TapRows<'_> {
    #[inline(always)]
    fn vectors<const N: usize>(&self, simd: S, row: usize, starts: [usize; N]) -> [S::f32s; N] {
        let first = self.checked_row::<S, N>(row, starts);
        let mut sums = [simd.splat_f32s(0.0); N];
        for (factor, &offset) in self.weight.iter().zip(&self.packed.offsets.values) {
            let factor = simd.splat_f32s(*factor);
            for (sum, start) in sums.iter_mut().zip(starts) {
                let at = first + start + offset as usize;
                // SAFETY: no start is larger and no offset as large as what was checked.
                let column = unsafe { load::<S>(self.packed.values, at) };
                *sum = simd.mul_add_e_f32s(factor, column, *sum);
            }
        }
        sums
    }

    #[inline(always)]
    fn short_rows<const N: usize>(&self, simd: S, row: usize, _: usize) -> [S::f32s; N] {
        self.vectors(simd, row, self.row_starts())
    }
}

/// The same with a constant number of taps, whose weights stay in registers.
pub(in super::super) struct FewTapRows<'a, S: Simd, const TAPS: usize> {
    rows: TapRows<'a>,
    weight: [S::f32s; TAPS],
    offsets: [usize; TAPS],
}

impl<'a, S: Simd, const TAPS: usize> FewTapRows<'a, S, TAPS> {
    /// `None` if it is another number of taps.
    #[inline(always)]
    pub(in super::super) fn new(simd: S, rows: TapRows<'a>) -> Option<Self> {
        let of_taps: &[u32; TAPS] = rows.packed.offsets.values[..].try_into().ok()?;
        let values: &[f32; TAPS] = rows.weight.try_into().ok()?;
        let mut weight = [simd.splat_f32s(0.0); TAPS];
        let mut offsets = [0; TAPS];
        for tap in 0..TAPS {
            weight[tap] = simd.splat_f32s(values[tap]);
            offsets[tap] = of_taps[tap] as usize;
        }
        Some(Self {
            rows,
            weight,
            offsets,
        })
    }
}

impl<S: Simd, const TAPS: usize> RowVectors<S> for FewTapRows<'_, S, TAPS> {
    #[inline(always)]
    fn vectors<const N: usize>(&self, simd: S, row: usize, starts: [usize; N]) -> [S::f32s; N] {
        let first = self.rows.checked_row::<S, N>(row, starts);
        let mut sums = [simd.splat_f32s(0.0); N];
        for tap in 0..TAPS {
            for n in 0..N {
                let at = first + starts[n] + self.offsets[tap];
                // SAFETY: no start is larger and no offset as large as what was checked.
                let column = unsafe { load::<S>(self.rows.packed.values, at) };
                sums[n] = simd.mul_add_e_f32s(self.weight[tap], column, sums[n]);
            }
        }
        sums
    }

    #[inline(always)]
    fn short_rows<const N: usize>(&self, simd: S, row: usize, _: usize) -> [S::f32s; N] {
        self.vectors(simd, row, self.rows.row_starts())
    }
}
