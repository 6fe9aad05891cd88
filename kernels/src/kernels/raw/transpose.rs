//! Squares of values that are turned in registers: from rows of positions to rows of channels, and back.
#![allow(clippy::needless_range_loop)] // indices of registers: unrolled, and clearer so

use alloc::vec::Vec;
use core::any::Any;
use core::mem::transmute_copy;
use core::ops::Range;

use pulp::Simd;

use super::matrices::{Rows, RowsMut};
use super::simd::{load, prefetch, store};
use crate::policy::LANES;

/// The vectors that values become; as many as a vector has lanes at least.
pub(in super::super) struct Places {
    values: Vec<u32>,
    /// One more than the largest.
    end: usize,
}

impl Places {
    /// # Panics
    /// When there are fewer than [`LANES`].
    pub(in super::super) fn new(values: Vec<u32>) -> Self {
        assert!(values.len() >= LANES, "a square has {LANES} rows");
        let most = values.iter().fold(0, |most, &place| most.max(place));
        Self {
            values,
            end: most as usize + 1,
        }
    }

    pub(in super::super) fn len(&self) -> usize {
        self.values.len()
    }
}

/// Turns rows, one for each lane: their values become vectors of `into`, at these places.
///
/// # Panics
/// When a row or `into` is too short.
#[inline(always)]
pub(in super::super) fn rows_to_lanes<S: Simd>(
    simd: S,
    rows: &[&[f32]; LANES],
    places: &Places,
    into: &mut [f32],
) {
    let lanes = S::F32_LANES;
    let len = places.len();
    for row in &rows[..lanes] {
        assert!(len <= row.len(), "a square reads past its rows");
    }
    assert!(
        places.end.saturating_mul(lanes) <= into.len(),
        "a square is written past the end"
    );
    // (The last square overlaps the one before.)
    let mut start = 0;
    while start < len {
        let first = start.min(len - lanes);
        let places = &places.values[first..][..lanes];
        // (What is a loop here is unrolled. A closure that is called twice would be a function without these instructions.)
        let mut square = [simd.splat_f32s(0.0); LANES];
        for n in 0..lanes {
            prefetch(rows[n], first + AHEAD);
            // SAFETY: `first + lanes` is at most `len`, and no row is shorter.
            square[n] = unsafe { load::<S>(rows[n], first) };
        }
        square = turned(simd, square);
        for n in 0..lanes {
            // SAFETY: every place is less than `end`, and `into` has as many vectors.
            unsafe { store::<S>(into, places[n] as usize * lanes, square[n]) };
        }
        start += lanes;
    }
}

/// Values of a row between what is read and what is prefetched.
const AHEAD: usize = 64;

/// Turns vectors to rows, one for each lane, which are `step` values apart. Vectors follow up to a whole number of squares.
///
/// # Panics
/// When there are too few vectors, or `into` is too short.
#[inline(always)]
pub(in super::super) fn lanes_to_rows<S: Simd>(
    simd: S,
    vectors: &[f32],
    count: usize,
    into: &mut [f32],
    step: usize,
) {
    let lanes = S::F32_LANES;
    let len = count.next_multiple_of(lanes);
    assert!(
        len <= step && step.saturating_mul(lanes) <= into.len(),
        "a square is written past the end"
    );
    for start in (0..len).step_by(lanes) {
        let square = turned_at(simd, vectors, start);
        for n in 0..lanes {
            // SAFETY: `n < lanes` and `start + lanes <= step`; the assertion.
            unsafe { store::<S>(into, n * step + start, square[n]) };
        }
    }
}

/// The square of the vectors from `first` on, turned.
///
/// # Panics
/// When there are too few.
#[inline(always)]
pub(super) fn turned_at<S: Simd>(simd: S, vectors: &[f32], first: usize) -> [S::f32s; LANES] {
    let lanes = S::F32_LANES;
    turned_rows(simd, &vectors[first * lanes..], lanes)
}

/// The square of vectors that are `step` values apart, turned.
///
/// # Panics
/// When there are too few.
#[inline(always)]
pub(super) fn turned_rows<S: Simd>(simd: S, rows: &[f32], step: usize) -> [S::f32s; LANES] {
    let lanes = S::F32_LANES;
    let rows = &rows[..(lanes - 1) * step + lanes];
    let mut square = [simd.splat_f32s(0.0); LANES];
    for n in 0..lanes {
        // SAFETY: there are as many vectors as lanes.
        square[n] = unsafe { load::<S>(rows, n * step) };
    }
    turned(simd, square)
}

/// Columns `columns` of a matrix, as rows of `into`: those of its first `count` rows are at the lanes. (The other lanes
/// repeat the last.)
///
/// # Panics
/// When there are no such columns, or `into` is too short.
#[inline(always)]
pub(in super::super) fn columns_to_lanes<S: Simd>(
    simd: S,
    matrix: Rows,
    count: usize,
    columns: Range<usize>,
    into: RowsMut,
) {
    let (lanes, len) = (S::F32_LANES, columns.len());
    let values = &matrix.values[columns.start..(count - 1) * matrix.step + columns.end];
    let rows: [usize; LANES] = core::array::from_fn(|n| n.min(count - 1) * matrix.step);
    let into_len = len.saturating_sub(1) * into.step + lanes;
    let into = RowsMut {
        values: &mut into.values[..into_len],
        step: into.step,
    };
    for start in (0..len).step_by(lanes) {
        // (The last square overlaps the one before, if there is one.)
        let start = start.min(len.saturating_sub(lanes));
        let some = lanes.min(len - start);
        let mut square = [simd.splat_f32s(0.0); LANES];
        for n in 0..lanes {
            square[n] = match some == lanes {
                // SAFETY: the row has `len` values in `values`, at least `start + lanes`.
                true => unsafe { load::<S>(values, rows[n] + start) },
                false => simd.partial_load_f32s(&values[rows[n] + start..][..some]),
            };
            prefetch(values, rows[n] + start + AHEAD);
        }
        square = turned(simd, square);
        for n in 0..lanes {
            if n < some {
                // SAFETY: `start + n < len`, and `into` has as many rows.
                unsafe { store::<S>(into.values, (start + n) * into.step, square[n]) };
            }
        }
    }
}

/// Lane `m` of vector `n` becomes lane `n` of vector `m`, for as many vectors as one has lanes.
#[inline(always)]
fn turned<S: Simd>(simd: S, square: [S::f32s; LANES]) -> [S::f32s; LANES] {
    #[cfg(target_arch = "x86_64")]
    {
        let any: &dyn Any = &simd;
        if let Some(&v4) = any.downcast_ref::<pulp::x86::V4>() {
            // SAFETY: `S` is `V4`, whose vectors are those of AVX-512; any numbers are values of both types.
            return unsafe { transmute_copy(&x86::of_16(v4, transmute_copy(&square))) };
        }
        if let Some(&v3) = any.downcast_ref::<pulp::x86::V3>() {
            let mut found = square;
            // SAFETY: `S` is `V3`, whose vectors are those of AVX2, and `square` has eight of them and more; any numbers
            // are values of both types.
            let eight = unsafe { x86::of_8(v3, transmute_copy(&square)) };
            for n in 0..eight.len() {
                // SAFETY: as above.
                found[n] = unsafe { transmute_copy(&eight[n]) };
            }
            return found;
        }
    }
    // (NEON has four lanes.)
    let lanes = S::F32_LANES;
    let (mut from, mut into) = ([0.0; LANES * LANES], [0.0; LANES * LANES]);
    for n in 0..lanes {
        // SAFETY: there is room for as many vectors.
        unsafe { store::<S>(&mut from, n * lanes, square[n]) };
    }
    for n in 0..lanes {
        for m in 0..lanes {
            into[m * lanes + n] = from[n * lanes + m];
        }
    }
    let mut found = square;
    for n in 0..lanes {
        // SAFETY: there are as many vectors.
        found[n] = unsafe { load::<S>(&into, n * lanes) };
    }
    found
}

/// The turns by shuffles: pairs of values, then fours, within parts of 128 bits; then these parts.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{__m256, __m512};

    use pulp::x86::{V3, V4};

    /// Masks of a shuffle: the first two values of both vectors, or the last two.
    const FIRST: i32 = 0b01_00_01_00;
    const LAST: i32 = 0b11_10_11_10;

    /// Masks of a shuffle: the values 0 and 2 of both vectors, or 1 and 3.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;

    #[inline(always)]
    pub(super) fn of_16(simd: V4, rows: [__m512; 16]) -> [__m512; 16] {
        let avx = simd.avx512f;
        // Column `4 m + n` of the rows `4 k` to `4 k + 3` becomes part `m` of vector `4 k + n`.
        let mut fours = rows;
        for k in [0, 4, 8, 12] {
            let [a, b, c, d] = [rows[k], rows[k + 1], rows[k + 2], rows[k + 3]];
            let [ab, cd] = [avx._mm512_unpacklo_ps(a, b), avx._mm512_unpacklo_ps(c, d)];
            let high_ab = avx._mm512_unpackhi_ps(a, b);
            let high_cd = avx._mm512_unpackhi_ps(c, d);
            fours[k] = avx._mm512_shuffle_ps::<FIRST>(ab, cd);
            fours[k + 1] = avx._mm512_shuffle_ps::<LAST>(ab, cd);
            fours[k + 2] = avx._mm512_shuffle_ps::<FIRST>(high_ab, high_cd);
            fours[k + 3] = avx._mm512_shuffle_ps::<LAST>(high_ab, high_cd);
        }
        let mut found = fours;
        for n in 0..4 {
            let [a, b, c, d] = [fours[n], fours[n + 4], fours[n + 8], fours[n + 12]];
            let even_ab = avx._mm512_shuffle_f32x4::<EVEN>(a, b);
            let even_cd = avx._mm512_shuffle_f32x4::<EVEN>(c, d);
            let odd_ab = avx._mm512_shuffle_f32x4::<ODD>(a, b);
            let odd_cd = avx._mm512_shuffle_f32x4::<ODD>(c, d);
            found[n] = avx._mm512_shuffle_f32x4::<EVEN>(even_ab, even_cd);
            found[n + 4] = avx._mm512_shuffle_f32x4::<EVEN>(odd_ab, odd_cd);
            found[n + 8] = avx._mm512_shuffle_f32x4::<ODD>(even_ab, even_cd);
            found[n + 12] = avx._mm512_shuffle_f32x4::<ODD>(odd_ab, odd_cd);
        }
        found
    }

    #[inline(always)]
    pub(super) fn of_8(simd: V3, rows: [__m256; 8]) -> [__m256; 8] {
        let avx = simd.avx;
        let mut fours = rows;
        for k in [0, 4] {
            let [a, b, c, d] = [rows[k], rows[k + 1], rows[k + 2], rows[k + 3]];
            let [ab, cd] = [avx._mm256_unpacklo_ps(a, b), avx._mm256_unpacklo_ps(c, d)];
            let high_ab = avx._mm256_unpackhi_ps(a, b);
            let high_cd = avx._mm256_unpackhi_ps(c, d);
            fours[k] = avx._mm256_shuffle_ps::<FIRST>(ab, cd);
            fours[k + 1] = avx._mm256_shuffle_ps::<LAST>(ab, cd);
            fours[k + 2] = avx._mm256_shuffle_ps::<FIRST>(high_ab, high_cd);
            fours[k + 3] = avx._mm256_shuffle_ps::<LAST>(high_ab, high_cd);
        }
        let mut found = fours;
        for n in 0..4 {
            // (The first parts of both; the second parts.)
            found[n] = avx._mm256_permute2f128_ps::<0x20>(fours[n], fours[n + 4]);
            found[n + 4] = avx._mm256_permute2f128_ps::<0x31>(fours[n], fours[n + 4]);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::threads::instructions_of;
    use pulp::WithSimd;

    struct Turn;

    impl WithSimd for Turn {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            const LEN: usize = LANES + 3;
            let (lanes, value) = (S::F32_LANES, |row: usize, at: usize| {
                (100 * row + at) as f32
            });
            let values: Vec<Vec<f32>> = (0..LANES)
                .map(|row| (0..LEN).map(|at| value(row, at)).collect())
                .collect();
            let rows: [&[f32]; LANES] = core::array::from_fn(|row| &values[row][..]);
            // In reverse order, after one vector that stays.
            let places = Places::new((1..=LEN as u32).rev().collect());
            let mut vectors = vec![-1.0; (LEN + 1 + LANES) * lanes];
            rows_to_lanes(simd, &rows, &places, &mut vectors);
            for at in 0..LEN {
                for (row, found) in vectors[(LEN - at) * lanes..][..lanes].iter().enumerate() {
                    assert_eq!(*found, value(row, at));
                }
            }
            assert!(vectors[..lanes].iter().all(|value| *value == -1.0));
            let step = LEN.next_multiple_of(lanes) + 1;
            let mut back = vec![0.0; step * lanes];
            lanes_to_rows(simd, &vectors[lanes..], LEN, &mut back, step);
            for (row, back) in back.chunks_exact(step).enumerate() {
                let found: Vec<f32> = back[..LEN].iter().rev().copied().collect();
                assert_eq!(found, values[row]);
            }
        }
    }

    #[test]
    fn squares_are_turned_by_all_instructions() {
        for bits in [512, 256, 128, 0] {
            instructions_of(bits).dispatch(Turn);
        }
    }

    /// Columns of the first rows of a matrix.
    struct Columns {
        count: usize,
        columns: Range<usize>,
    }

    impl WithSimd for Columns {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            const STEP: usize = 41;
            let Self { count, columns } = self;
            let value = |row: usize, column: usize| (100 * row + column) as f32;
            let values: Vec<f32> = (0..count * STEP)
                .map(|n| value(n / STEP, n % STEP))
                .collect();
            let matrix = Rows {
                values: &values,
                step: STEP,
            };
            let step = S::F32_LANES + 3;
            let mut into = vec![-1.0; columns.len() * step];
            let rows = RowsMut {
                values: &mut into,
                step,
            };
            columns_to_lanes(simd, matrix, count, columns.clone(), rows);
            for (row, column) in into.chunks_exact(step).zip(columns) {
                for (lane, found) in row[..S::F32_LANES].iter().enumerate() {
                    assert_eq!(*found, value(lane.min(count - 1), column));
                }
                assert_eq!(row[S::F32_LANES..], [-1.0; 3]);
            }
        }
    }

    #[test]
    fn columns_become_rows_of_lanes() {
        for bits in [512, 256, 128, 0] {
            let arch = instructions_of(bits);
            let lanes = arch.dispatch(Lanes);
            for count in [1, lanes.div_ceil(2), lanes] {
                for columns in [2..5, 0..16, 7..24, 0..41] {
                    arch.dispatch(Columns { count, columns });
                }
            }
        }
    }

    struct Lanes;

    impl WithSimd for Lanes {
        type Output = usize;

        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
}
