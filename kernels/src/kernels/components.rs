//! Winograd's components of a weight.

use alloc::vec::Vec;

use pulp::Simd;

use super::raw::matrices::{Gathered, Offsets, Rows, RowsMut};
use super::raw::piece::Piece;
use super::raw::simd;
use super::raw::uninit_buffer::{Cuts, UninitBuffer};
use super::tap_sums::Kernels;
use super::threads::{self, Scratch, Work, grow};
use crate::policy::{BLOCK, COMPONENTS};

/// Winograd's components of every kernel, in blocks of rows: `[component, outer block, inner, BLOCK]`. The last block is
/// padded with zeros.
pub(super) fn components(kernels: Kernels) -> Vec<f32> {
    let Kernels {
        values, outer, row, ..
    } = kernels;
    let grid = KernelGrid {
        values,
        places: kernels.inner.map(|inner| inner * TAPS).collect(),
        apart: row * TAPS,
        rows: outer,
        is_turned: false,
    };
    grid.components()
}

/// Winograd's components of the kernels turned by 180 degrees, with both axes swapped: `[component, inner block,
/// (outer, slice), BLOCK]`. Each kernel has `depth` slices of 3x3 taps, of which `slices` are taken.
pub(super) fn transposed_components(kernels: Kernels, depth: usize, slices: &[usize]) -> Vec<f32> {
    let Kernels {
        values,
        outer,
        row,
        inner,
    } = kernels;
    let places = (0..outer).flat_map(|outer| {
        let first = (outer * row + inner.start) * depth;
        slices.iter().map(move |slice| (first + slice) * TAPS)
    });
    let grid = KernelGrid {
        values,
        places: places.collect(),
        apart: depth * TAPS,
        rows: inner.len(),
        is_turned: true,
    };
    grid.components()
}

/// The taps of a plane of a kernel that Winograd's algorithm takes.
pub(super) const TAPS: usize = 9;

/// Places whose components are computed together: these stay in the first-level cache.
const PLACES: usize = 24;

/// 3x3 kernels, `rows` of them at each place.
struct KernelGrid<'a> {
    values: &'a [f32],
    /// Where the first kernel of each place starts.
    places: Vec<usize>,
    /// The distance from a kernel of a place to the next.
    apart: usize,
    rows: usize,
    /// Whether they are turned by 180 degrees.
    is_turned: bool,
}

impl KernelGrid<'_> {
    /// `G w G^T` of Winograd's F(2x2, 3x3), `[component, block of rows, place, BLOCK]`.
    fn components(&self) -> Vec<f32> {
        let blocks = self.rows.div_ceil(BLOCK);
        let len = self.places.len() * BLOCK;
        let mut found = UninitBuffer::new(COMPONENTS * blocks * len);
        let mut tasks: Vec<ComponentRows> = (0..blocks)
            .map(|block| ComponentRows {
                first: block * BLOCK,
                count: BLOCK.min(self.rows - block * BLOCK),
                blocks: Vec::with_capacity(COMPONENTS),
            })
            .collect();
        for placed in found.pieces(Cuts::planes(len)) {
            tasks[placed.plane % blocks].blocks.push(placed.piece);
        }
        let work = Components {
            grid: self,
            matrix: component_matrix(),
        };
        threads::run(&work, tasks);
        found.finish()
    }
}

/// `[component, tap]`: each component is a sum of the taps with these factors.
fn component_matrix() -> Vec<f32> {
    const G: [[f32; 3]; 4] = [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.0, 0.0, 1.0],
    ];
    let of = |component: usize, tap: usize| G[component / 4][tap / 3] * G[component % 4][tap % 3];
    let components = (0..COMPONENTS).flat_map(|n| (0..TAPS).map(move |tap| (n, tap)));
    components.map(|(n, tap)| of(n, tap)).collect()
}

/// A block of rows of each component.
struct ComponentRows<'a> {
    first: usize,
    count: usize,
    blocks: Vec<Piece<'a>>,
}

struct Components<'a> {
    grid: &'a KernelGrid<'a>,
    matrix: Vec<f32>,
}

impl Work<ComponentRows<'_>> for Components<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, mut rows: ComponentRows, [taps, sums, _]: &mut Scratch) {
        const WIDTH: usize = PLACES * BLOCK;
        let taps = grow(taps, TAPS * WIDTH);
        let sums = grow(sums, COMPONENTS * WIDTH);
        // (Rows past the last kernel stay zero.)
        taps.fill(0.0);
        let offsets = Offsets::even(TAPS, WIDTH);
        let first = rows.first * self.grid.apart;
        for (chunk, places) in self.grid.places.chunks(PLACES).enumerate() {
            for (place, start) in places.iter().enumerate() {
                for n in 0..rows.count {
                    let kernel = &self.grid.values[start + first + n * self.grid.apart..][..TAPS];
                    let into = &mut taps[place * BLOCK + n..];
                    for (tap, value) in kernel.iter().enumerate() {
                        let tap = if self.grid.is_turned {
                            TAPS - 1 - tap
                        } else {
                            tap
                        };
                        into[tap * WIDTH] = *value;
                    }
                }
            }
            let len = places.len() * BLOCK;
            let matrix = Rows {
                values: &self.matrix,
                step: TAPS,
            };
            let seen = Gathered {
                values: &*taps,
                offsets: &offsets,
            };
            let into = RowsMut {
                values: &mut *sums,
                step: WIDTH,
            };
            let size = [COMPONENTS, len.next_multiple_of(S::F32_LANES)];
            simd::product(simd, size, matrix, seen, false, into);
            let columns = chunk * WIDTH..chunk * WIDTH + len;
            for (block, sums) in rows.blocks.iter_mut().zip(sums.chunks_exact(WIDTH)) {
                block.write(0, columns.clone(), [&sums[..len]], None, |sum, _| sum);
            }
        }
    }
}
