//! Winograd's F(2x2, 3x3) (arXiv:1509.09308): 16 products for four outputs instead of 36.
//!
//! A tile of 4x4 values becomes 16 components, whose products with those of the kernel are sums of four
//! outputs. Where a map is read doubled, and padded by an odd number as it mostly is, the two middle values of
//! a tile are one, so that 7 of its 16 components vanish.

use alloc::vec::Vec;
use core::ops::Range;

use pulp::Simd;

use super::raw::simd::{self, BLOCK, Blocks, Offsets};
use super::raw::transforms;
use super::sink::{Output, Task};
use super::stage::{Source, Staging, Window, channels_of};
use super::threads::{Scratch, Work, grow};
use crate::cpu::policy::Geometry;

/// Steps of a sum at once. (What they read stays in the second cache; shorter runs of the weight, which may be in main
/// memory, took more time.)
const CHUNK: usize = 512;

/// Floats between components, so that they do not fall on the same lines of the caches.
pub(super) const GAP: usize = 16;

/// A convolution of 3x3, laid out.
pub(super) struct Winograd<'a> {
    sources: &'a [Source<'a>],
    staging: Staging,
    /// `[component, block of outputs, channels, BLOCK]`
    weight: &'a [f32],
    /// Runs of channels, and where they read: of all sources, and of those that are not doubled.
    runs: [Vec<(usize, Offsets)>; 2],
    output: Output<'a>,
}

impl<'a> Winograd<'a> {
    /// `rows` are rows of tiles.
    pub(super) fn new(
        sources: &'a [Source<'a>],
        weight: &'a [f32],
        window: Window,
        rows: usize,
        output: Output<'a>,
    ) -> Self {
        Self {
            sources,
            staging: Staging::new(window, rows, output.size[1].div_ceil(2)),
            weight,
            runs: [true, false].map(|doubled| runs(sources, doubled)),
            output,
        }
    }

    /// What a tile sees.
    pub(super) fn window(geometry: &Geometry) -> Window {
        Window {
            kernel: [4, 4],
            stride: [2, 2],
            dilation: [1, 1],
            pad: geometry.pad,
        }
    }
}

/// Runs of channels, with or without those of maps that are doubled.
fn runs(sources: &[Source], doubled: bool) -> Vec<(usize, Offsets)> {
    let mut runs = Vec::new();
    let mut first = 0;
    for source in sources {
        if doubled || source.up == [1, 1] {
            for start in (0..source.channels).step_by(CHUNK) {
                let len = CHUNK.min(source.channels - start);
                // As wide as the widest panel; narrower ones use the start.
                let offsets = (0..len).map(|n| (n * PANEL) as u32).collect();
                runs.push((first + start, Offsets::new(offsets)));
            }
        }
        first += source.channels;
    }
    runs
}

/// Columns of a panel, for any instructions.
const PANEL: usize = 48;

/// Whether a component vanishes where rows and columns are doubled.
const fn vanishes(component: usize) -> bool {
    component / 4 == 2 || component % 4 == 2
}

/// Where the tiles of a task are in the columns of its products.
struct Columns {
    tiles: [usize; 2],
    /// From a row of tiles to the next: as what is staged, or without what lies between the rows there.
    pitch: usize,
    staged_pitch: usize,
    /// One more than the last tile, and whole vectors of them.
    end: usize,
    count: usize,
}

impl Columns {
    /// Without gaps there is less to multiply, but there are more vectors to transform where the rows are no
    /// whole vectors. (A transform takes the time of 90 products, measured.)
    fn new(tiles: [usize; 2], staged_pitch: usize, lanes: usize, outputs: usize) -> Self {
        let with = |pitch: usize| {
            let end = (tiles[0] - 1) * pitch + tiles[1];
            let count = end.next_multiple_of(lanes);
            Self {
                tiles,
                pitch,
                staged_pitch,
                end,
                count,
            }
        };
        let [wide, dense] = [with(staged_pitch), with(tiles[1])];
        let cost = |transforms, columns: &Self| transforms * 90 + columns.count / lanes * outputs;
        let of_rows = tiles[0] * tiles[1].div_ceil(lanes);
        if cost(of_rows, &dense) < cost(wide.count / lanes, &wide) {
            dense
        } else {
            wide
        }
    }

    /// The vectors of tiles in some of the columns: where each is in what is staged, and from which of these
    /// columns.
    fn vectors(&self, columns: Range<usize>, lanes: usize) -> Vec<[usize; 2]> {
        if self.pitch == self.staged_pitch {
            let starts = columns.clone().step_by(lanes);
            return starts.map(|at| [at, at - columns.start]).collect();
        }
        let mut vectors = Vec::new();
        let rows = columns.end.div_ceil(self.pitch).min(self.tiles[0]);
        for row in columns.start / self.pitch..rows {
            let begin = row * self.pitch;
            let seen = begin.max(columns.start)..(begin + self.pitch).min(columns.end);
            for at in seen.step_by(lanes) {
                vectors.push([row * self.staged_pitch + at - begin, at - columns.start]);
            }
        }
        vectors
    }
}

impl Work<Task<'_>> for Winograd<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, mut task: Task, [staged, seen, sums]: &mut Scratch) {
        let lanes = S::F32_LANES;
        let tiles = [task.rows.len().div_ceil(2), self.output.size[1].div_ceil(2)];
        let (channels, outputs) = (channels_of(self.sources), task.channels.len());
        let len = self.staging.channel_len();
        let staged = grow(staged, channels * len + lanes);
        let first_row = task.rows.start / 2;
        self.staging
            .fill_all(self.sources, [0, 1], [task.batch, first_row], staged);
        let places: [[usize; 4]; 4] =
            core::array::from_fn(|r| core::array::from_fn(|c| self.staging.offset([r, c])));
        let columns = Columns::new(tiles, self.staging.pitch, lanes, outputs);
        let seen_step = channels * PANEL + GAP;
        let sums_step = outputs * PANEL + GAP;
        let seen = grow(seen, 16 * seen_step);
        let sums = grow(sums, 16 * sums_step + 4 * PANEL);
        let (sums, tile) = sums.split_at_mut(16 * sums_step);
        let mut first = 0;
        while first < columns.count {
            let width = PANEL.min(columns.count - first);
            let vectors = columns.vectors(first..first + width, lanes);
            // (What a vector at the end of a row has too many is written over by the next; after the last
            // channel there is the gap. Columns after the last tile are what they were, and are not written.)
            for channel in 0..channels {
                for &[from, column] in &vectors {
                    let from = &staged[channel * len + from..];
                    let into = &mut seen[channel * PANEL + column..];
                    transforms::components_of_tiles(simd, from, &places, into, seen_step);
                }
            }
            for component in 0..16 {
                let runs = &self.runs[usize::from(vanishes(component))];
                let sums = &mut sums[component * sums_step..][..sums_step];
                if runs.is_empty() {
                    sums.fill(0.0);
                }
                for (n, (start, offsets)) in runs.iter().enumerate() {
                    let blocks = component * self.output.channels.div_ceil(BLOCK);
                    let rows = blocks * BLOCK + task.channels.start;
                    let weight = Blocks {
                        values: &self.weight[rows * channels + start * BLOCK..],
                        len: channels,
                    };
                    let seen = (&seen[component * seen_step + start * PANEL..], offsets);
                    let size = [outputs, width];
                    simd::product(simd, size, weight, seen, n > 0, (sums, PANEL));
                }
            }
            for index in 0..outputs {
                let mut column = 0;
                while column < width {
                    let from = &sums[index * PANEL + column..];
                    transforms::tiles_of_components(
                        simd,
                        (from, sums_step),
                        (&mut tile[column..], PANEL),
                    );
                    column += lanes;
                }
                let tile = &tile[..];
                let of = |row: usize, column: usize| &tile[(2 * row + column) * PANEL..][..PANEL];
                let places = [first, columns.end.min(first + width)];
                task.write_rows::<2>(index, places, [columns.pitch, 2], of, &self.output);
            }
            first += width;
        }
    }
}
