//! The innermost loops, for the instruction set that `pulp` finds when the program runs: AVX-512, AVX2
//! with FMA, NEON, or one value at a time.
#![allow(clippy::needless_range_loop)] // indices of registers: unrolled, and clearer so

use pulp::Simd;

use super::matrices::{BLOCK, Left, Right, Rows, RowsMut};

/// Outputs that are computed at once: the rows of sums that fit into the registers.
pub(in super::super) const fn rows<S: Simd>() -> usize {
    if S::F32_LANES >= 16 { 8 } else { 4 }
}

/// Columns that are computed at once.
pub(in super::super) const fn panel<S: Simd>() -> usize {
    3 * S::F32_LANES
}

/// # Safety
/// `at + S::F32_LANES <= from.len()`.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(from: &[f32], at: usize) -> S::f32s {
    debug_assert!(at + S::F32_LANES <= from.len());
    // SAFETY: the caller has checked the bounds; the read is unaligned.
    unsafe { from.as_ptr().add(at).cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// `at + S::F32_LANES <= into.len()`.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(into: &mut [f32], at: usize, value: S::f32s) {
    debug_assert!(at + S::F32_LANES <= into.len());
    // SAFETY: as for `load`.
    unsafe {
        into.as_mut_ptr()
            .add(at)
            .cast::<S::f32s>()
            .write_unaligned(value)
    }
}

/// The vector of the values from `at` on.
#[inline(always)]
pub(in super::super) fn vector_at<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    let values = &values[at..][..S::F32_LANES];
    // SAFETY: the slice above has as many values as the vector has lanes.
    unsafe { load::<S>(values, 0) }
}

/// Floats of the left matrix that stay in the second-level cache while all panels use them.
const NEAR_ROWS: usize = 32 * 1024;

/// Prefetches the cache line of the value at `at`, which may be out of bounds.
#[inline(always)]
pub(in super::super) fn prefetch(values: &[f32], at: usize) {
    prefetch_line(values.as_ptr().wrapping_add(at));
}

/// Prefetches the cache line of a value, which may be anywhere.
#[inline(always)]
pub(in super::super) fn prefetch_line(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing; it has no effect if the address is invalid.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// A map that is read or written after a product, where the sums are: while a tile is computed, its part of the map is
/// prefetched.
#[derive(Clone, Copy)]
pub(in super::super) struct Ahead {
    first: *const f32,
    /// The distance from one row to the next.
    step: usize,
}

impl Ahead {
    /// A map with its first value at `first`. Nothing is read through the pointer.
    pub(in super::super) fn new(first: *const f32, step: usize) -> Self {
        Self { first, step }
    }

    #[inline(always)]
    fn prefetch(self, rows: core::ops::Range<usize>, column: usize) {
        for row in rows {
            prefetch_line(self.first.wrapping_add(row * self.step + column));
        }
    }
}

/// `M` rows and `N` vectors of columns of [`product`].
#[inline(always)]
fn product_tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    (a, left): (&[f32], impl Left),
    right: impl Right,
    add: bool,
    out: RowsMut,
) {
    let b = right.values();
    let RowsMut {
        values: out,
        step: out_step,
    } = out;
    let lanes = S::F32_LANES;
    let steps = right.steps();
    let row = left.row_step();
    assert!(left.has(steps), "a tile has more steps than its rows");
    let last = (M - 1).saturating_mul(row).saturating_add(left.end(steps));
    assert!(
        steps == 0 || last <= a.len(),
        "a tile reads past the weight"
    );
    assert!(
        (M - 1).saturating_mul(out_step).saturating_add(N * lanes) <= out.len(),
        "a tile writes past the sums"
    );
    assert!(
        right.end::<S>(N - 1).saturating_add(lanes) <= b.len().saturating_add(1),
        "a tile reads past what is packed"
    );
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    if add {
        for m in 0..M {
            for n in 0..N {
                // SAFETY: `m < M` and `n < N`; the third assertion.
                sums[m][n] = unsafe { load::<S>(out, m * out_step + n * lanes) };
            }
        }
    }
    // (A pointer for each row and vector: with one for all, the compiler computes all places anew in each step.)
    let factors: [*const f32; M] = core::array::from_fn(|m| a.as_ptr().wrapping_add(m * row));
    let starts: [*const f32; N] =
        core::array::from_fn(|n| b.as_ptr().wrapping_add(right.start::<S>(n)));
    for step in 0..steps {
        // SAFETY: `step < steps`.
        let offset = unsafe { right.offset::<S>(step) };
        let mut columns = [simd.splat_f32s(0.0); N];
        for n in 0..N {
            // SAFETY: `step < steps`, and the place is less than `end(N - 1)` by the promise of `Right`; the fourth assertion.
            columns[n] = unsafe { starts[n].add(offset).cast::<S::f32s>().read_unaligned() };
        }
        left.ask(a, M, step);
        // SAFETY: `step < steps`; the first assertion.
        let at = unsafe { left.offset(step) };
        for m in 0..M {
            // SAFETY: `m < M`, and the distance is less than `end(steps)` by the promise of `Left`; the second assertion.
            let factor = simd.splat_f32s(unsafe { *factors[m].add(at) });
            for n in 0..N {
                sums[m][n] = simd.mul_add_e_f32s(factor, columns[n], sums[m][n]);
            }
        }
    }
    for m in 0..M {
        for n in 0..N {
            // SAFETY: as for the loads.
            unsafe { store::<S>(out, m * out_step + n * lanes, sums[m][n]) };
        }
    }
}

#[inline(always)]
fn product_rows<S: Simd, const M: usize>(
    simd: S,
    a: (&[f32], impl Left),
    b: impl Right,
    add: bool,
    out: RowsMut,
    columns: usize,
) {
    match columns / S::F32_LANES {
        1 => product_tile::<S, M, 1>(simd, a, b, add, out),
        2 => product_tile::<S, M, 2>(simd, a, b, add, out),
        3 => product_tile::<S, M, 3>(simd, a, b, add, out),
        _ => unreachable!("a panel has one to three vectors"),
    }
}

/// A tile of as many rows as there are a loop for, `some` at most: returns how many. If `ODD`, there are loops for seven and
/// three, too.
#[inline(always)]
fn tile<S: Simd, const ODD: bool>(
    simd: S,
    some: usize,
    a: (&[f32], impl Left),
    b: impl Right,
    add: bool,
    out: RowsMut,
    columns: usize,
) -> usize {
    if some >= 8 {
        product_rows::<S, 8>(simd, a, b, add, out, columns);
        return 8;
    }
    if ODD && some == 7 {
        product_rows::<S, 7>(simd, a, b, add, out, columns);
        return 7;
    }
    if some >= 4 {
        product_rows::<S, 4>(simd, a, b, add, out, columns);
        return 4;
    }
    if ODD && some == 3 {
        product_rows::<S, 3>(simd, a, b, add, out, columns);
        return 3;
    }
    if some >= 2 {
        product_rows::<S, 2>(simd, a, b, add, out, columns);
        return 2;
    }
    product_rows::<S, 1>(simd, a, b, add, out, columns);
    1
}

/// The one row of a product, by as many vectors as keep all units busy.
#[inline(always)]
pub(in super::super) fn single_row<S: Simd>(
    simd: S,
    columns: usize,
    a: impl Left,
    b: impl Right,
    add: bool,
    mut out: RowsMut,
) {
    let mut first = 0;
    while first < columns {
        let vectors = (columns - first) / S::F32_LANES;
        let (a, b) = ((a.at_row(0), a), b.starting_at(first));
        let out = out.starting_at(first);
        let done = match vectors {
            8.. => {
                product_tile::<S, 1, 8>(simd, a, b, add, out);
                8
            }
            4.. => {
                product_tile::<S, 1, 4>(simd, a, b, add, out);
                4
            }
            2.. => {
                product_tile::<S, 1, 2>(simd, a, b, add, out);
                2
            }
            _ => {
                product_tile::<S, 1, 1>(simd, a, b, add, out);
                1
            }
        };
        first += done * S::F32_LANES;
    }
}

/// `out[m][p] = sum_i a[m][i] b[i][p]` for `count` rows and `columns` columns, a multiple of the lanes. If `add`, the
/// sums are added to `out`.
#[inline(always)]
pub(in super::super) fn product<S: Simd>(
    simd: S,
    size: [usize; 2],
    a: impl Left,
    b: impl Right,
    add: bool,
    out: RowsMut,
) {
    let into = Target {
        sums: out,
        add,
        ahead: &[],
    };
    product_into(simd, size, a, b, into);
}

/// Where a product goes.
pub(in super::super) struct Target<'a> {
    pub(in super::super) sums: RowsMut<'a>,
    /// Whether the products are added to the sums.
    pub(in super::super) add: bool,
    /// Maps that are read or written next, in the places of the sums.
    pub(in super::super) ahead: &'a [Ahead],
}

/// The same for a target.
#[inline(always)]
pub(in super::super) fn product_into<S: Simd>(
    simd: S,
    [count, columns]: [usize; 2],
    a: impl Left,
    b: impl Right,
    into: Target,
) {
    let Target {
        sums: mut out,
        add,
        ahead,
    } = into;
    if count == 1 {
        return single_row(simd, columns, a, b, add, out);
    }
    // All panels use some rows of the left matrix before the next are read.
    let near = (NEAR_ROWS / b.steps().max(1))
        .max(1)
        .next_multiple_of(BLOCK);
    let mut start = 0;
    while start < count {
        let end = match count - start > 2 * near {
            true => start + near,
            false => count,
        };
        let mut first = 0;
        while first < columns {
            let left = columns - first;
            // (Two panels of two vectors are faster than three vectors and one.)
            let width = match left / S::F32_LANES {
                4 => 2 * S::F32_LANES,
                _ => panel::<S>().min(left),
            };
            // One vector needs more rows to keep all units busy.
            let most = match width / S::F32_LANES {
                1 => BLOCK,
                _ => rows::<S>(),
            };
            let b = b.starting_at(first);
            let mut row = start;
            while row < end {
                let a = (a.at_row(row), a);
                let out = out.starting_at(row * out.step + first);
                for map in ahead {
                    map.prefetch(row..row + most.min(end - row), first);
                }
                let some = most.min(end - row);
                row += tile::<S, false>(simd, some, a, b, add, out, width);
            }
            first += width;
        }
        start = end;
    }
}

/// The same for a few vectors of columns and a left matrix whose rows are positions, in tiles of about as many rows each.
#[inline(always)]
pub(in super::super) fn product_of_positions<S: Simd>(
    simd: S,
    [count, columns]: [usize; 2],
    a: impl Left,
    b: Rows,
    add: bool,
    mut out: RowsMut,
) {
    let most = rows::<S>();
    let mut row = 0;
    while row < count {
        let left = count - row;
        // (49 positions are seven tiles of seven; of eight, one would be left. And seven are four and three.)
        let tiles = left.div_ceil(most);
        let some = match left >= (most - 1) * tiles || most < 8 {
            true => left.div_ceil(tiles),
            false => most.min(left),
        };
        let a = (a.at_row(row), a);
        let out = out.starting_at(row * out.step);
        row += tile::<S, true>(simd, some, a, b, add, out, columns);
    }
}

/// `M` rows and `N` offsets of [`inner_products`].
#[inline(always)]
fn inner_tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    a: Rows,
    b: &[f32],
    offsets: [u32; N],
    len: usize,
    out: RowsMut,
) {
    let lanes = S::F32_LANES;
    let far = offsets
        .iter()
        .fold(0, |far, &offset| far.max(offset as usize));
    assert!(
        (M - 1).saturating_mul(a.step).saturating_add(len) <= a.values.len(),
        "a tile reads past the gradient"
    );
    assert!(
        far.saturating_add(len) <= b.len(),
        "a tile reads past what is packed"
    );
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    let mut p = 0;
    while p + lanes <= len {
        let mut left = [simd.splat_f32s(0.0); M];
        for (m, left) in left.iter_mut().enumerate() {
            // SAFETY: `m < M` and `p + lanes <= len`; the first assertion.
            *left = unsafe { load::<S>(a.values, m * a.step + p) };
        }
        for n in 0..N {
            // SAFETY: `offset <= far` and `p + lanes <= len`; the second assertion.
            let right = unsafe { load::<S>(b, offsets[n] as usize + p) };
            for m in 0..M {
                sums[m][n] = simd.mul_add_e_f32s(left[m], right, sums[m][n]);
            }
        }
        p += lanes;
    }
    for m in 0..M {
        for n in 0..N {
            out.values[m * out.step + n] += simd.reduce_sum_f32s(sums[m][n]);
        }
    }
}

#[inline(always)]
fn inner_rows<S: Simd, const M: usize>(
    simd: S,
    a: Rows,
    (b, offsets): (&[f32], &[u32]),
    len: usize,
    mut out: RowsMut,
) {
    let mut tiles = offsets.chunks_exact(6);
    let mut first = 0;
    for tile in &mut tiles {
        let offsets = [tile[0], tile[1], tile[2], tile[3], tile[4], tile[5]];
        inner_tile::<S, M, 6>(simd, a, b, offsets, len, out.starting_at(first));
        first += 6;
    }
    for &offset in tiles.remainder() {
        inner_tile::<S, M, 1>(simd, a, b, [offset], len, out.starting_at(first));
        first += 1;
    }
}

/// `out[m][i] += sum_p a[m][p] b[offset_i + p]` over `len` values, a multiple of the lanes.
#[inline(always)]
pub(in super::super) fn inner_products<S: Simd>(
    simd: S,
    count: usize,
    a: Rows,
    b: (&[f32], &[u32]),
    len: usize,
    mut out: RowsMut,
) {
    let mut row = 0;
    while row < count {
        let some = if S::F32_LANES >= 16 { 4 } else { 2 }.min(count - row);
        let a = Rows {
            values: &a.values[row * a.step..],
            ..a
        };
        let out = out.starting_at(row * out.step);
        match some {
            4 => inner_rows::<S, 4>(simd, a, b, len, out),
            3 => inner_rows::<S, 3>(simd, a, b, len, out),
            2 => inner_rows::<S, 2>(simd, a, b, len, out),
            _ => inner_rows::<S, 1>(simd, a, b, len, out),
        }
        row += some;
    }
}
