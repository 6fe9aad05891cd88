//! The transforms of Winograd's F(2x2, 3x3), for a vector of tiles, or of channels of one tile.
#![allow(clippy::needless_range_loop)] // indices of registers: unrolled, and clearer so

use pulp::Simd;

use super::matrices::{Rows, RowsMut};
use super::simd::{load, store};

/// `B^T d B` of a tile `d` whose 16 values are at `places`. The components are written `step` values apart.
#[inline(always)]
pub(in super::super) fn components_of_tiles<S: Simd>(
    simd: S,
    from: &[f32],
    places: &[[usize; 4]; 4],
    into: &mut [f32],
    step: usize,
) {
    let lanes = S::F32_LANES;
    let far = places
        .as_flattened()
        .iter()
        .fold(0, |far, &place| far.max(place));
    assert!(
        far.saturating_add(lanes) <= from.len(),
        "a tile reads past what is packed"
    );
    assert!(
        step.saturating_mul(15).saturating_add(lanes) <= into.len(),
        "a tile writes past the components"
    );
    let mut rows = [[simd.splat_f32s(0.0); 4]; 4];
    for (row, places) in rows.iter_mut().zip(places) {
        // SAFETY: `place <= far`; the first assertion.
        let d = places.map(|place| unsafe { load::<S>(from, place) });
        *row = [
            simd.sub_f32s(d[0], d[2]),
            simd.add_f32s(d[1], d[2]),
            simd.sub_f32s(d[2], d[1]),
            simd.sub_f32s(d[1], d[3]),
        ];
    }
    for n in 0..4 {
        let d = [rows[0][n], rows[1][n], rows[2][n], rows[3][n]];
        let components = [
            simd.sub_f32s(d[0], d[2]),
            simd.add_f32s(d[1], d[2]),
            simd.sub_f32s(d[2], d[1]),
            simd.sub_f32s(d[1], d[3]),
        ];
        for (m, component) in components.into_iter().enumerate() {
            // SAFETY: `4 m + n <= 15`; the second assertion.
            unsafe { store::<S>(into, (4 * m + n) * step, component) };
        }
    }
}

/// `A g A^T`: the components of the gradient of a tile's four outputs, which are at `cells`. The components are written
/// `step` values apart.
#[inline(always)]
pub(in super::super) fn components_of_outputs<S: Simd>(
    simd: S,
    from: &[f32],
    cells: &[usize; 4],
    into: &mut [f32],
    step: usize,
) {
    let lanes = S::F32_LANES;
    let far = cells.iter().fold(0, |far, &cell| far.max(cell));
    assert!(
        far.saturating_add(lanes) <= from.len(),
        "a tile reads past what is packed"
    );
    assert!(
        step.saturating_mul(15).saturating_add(lanes) <= into.len(),
        "a tile writes past the components"
    );
    let four = |[a, b]: [S::f32s; 2]| {
        let negative = simd.sub_f32s(simd.splat_f32s(0.0), b);
        [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), negative]
    };
    // SAFETY: `cell <= far`; the first assertion.
    let g = cells.map(|cell| unsafe { load::<S>(from, cell) });
    let rows = [four([g[0], g[1]]), four([g[2], g[3]])];
    for n in 0..4 {
        for (m, component) in four([rows[0][n], rows[1][n]]).into_iter().enumerate() {
            // SAFETY: `4 m + n <= 15`; the second assertion.
            unsafe { store::<S>(into, (4 * m + n) * step, component) };
        }
    }
}

/// `A^T m A`: from the components of each tile to its four outputs.
#[inline(always)]
pub(in super::super) fn tiles_of_components<S: Simd>(simd: S, from: Rows, into: RowsMut) {
    back(simd, from, into, |m| {
        [
            simd.add_f32s(simd.add_f32s(m[0], m[1]), m[2]),
            simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3]),
        ]
    });
}

/// `G^T m G`: from the components of each kernel to its nine taps.
#[inline(always)]
pub(in super::super) fn taps_of_components<S: Simd>(simd: S, from: Rows, into: RowsMut) {
    let half = simd.splat_f32s(0.5);
    back(simd, from, into, |m| {
        let sum = simd.mul_f32s(half, simd.add_f32s(m[1], m[2]));
        let difference = simd.mul_f32s(half, simd.sub_f32s(m[1], m[2]));
        [
            simd.add_f32s(m[0], sum),
            difference,
            simd.add_f32s(sum, m[3]),
        ]
    });
}

/// From 16 components, one row each, to `N x N` values, one row each: `line` maps four values to `N`, first along the
/// rows and then along the columns.
#[inline(always)]
fn back<S: Simd, const N: usize>(
    simd: S,
    from: Rows,
    into: RowsMut,
    line: impl Fn([S::f32s; 4]) -> [S::f32s; N],
) {
    let Rows { values: from, step } = from;
    let RowsMut {
        values: into,
        step: into_step,
    } = into;
    let lanes = S::F32_LANES;
    assert!(
        step.saturating_mul(15).saturating_add(lanes) <= from.len(),
        "a tile reads past the components"
    );
    assert!(
        into_step.saturating_mul(N * N - 1).saturating_add(lanes) <= into.len(),
        "a tile writes past the results"
    );
    let mut columns = [[simd.splat_f32s(0.0); N]; 4];
    for (n, column) in columns.iter_mut().enumerate() {
        // SAFETY: `4 m + n <= 15`; the first assertion.
        *column = line([0, 1, 2, 3].map(|m| unsafe { load::<S>(from, (4 * m + n) * step) }));
    }
    for m in 0..N {
        let values = line(columns.map(|column| column[m]));
        for (n, value) in values.into_iter().enumerate() {
            // SAFETY: `N m + n <= N N - 1`; the second assertion.
            unsafe { store::<S>(into, (N * m + n) * into_step, value) };
        }
    }
}
