//! Convolution tap by tap: the packed values are multiplied in place, at the offset of each tap.

use alloc::{borrow::Cow, vec::Vec};

use pulp::Simd;

use super::lanes::weight_to_lanes;
use super::output_tiles::{Output, OutputTask, SumRows, TileShape};
use super::packing::{Packing, Place, channels_of_group, vector_rows};
use super::raw::matrices::{BLOCK, Blocks, Gathered, Offsets, Right, Rows, RowsMut, Vectors};
use super::raw::pieces::LanesOf;
use super::raw::simd::{self, Ahead, Target};
use super::source::{Source, channels_of};
use super::threads::{Scratch, Work, grow};
use super::tiling::channels_of_tile;

/// Steps of a sum at once, so that the values they read stay in the first-level cache.
const CHUNK: usize = 192;

/// Outputs that are computed at once, a multiple of [`BLOCK`]: their sums stay in the first-level cache until they are
/// written.
const OUTPUTS: usize = 32;

/// The fewest panels that share a pass over the weight.
const PANELS: usize = 4;

/// The same where there are few outputs: sums of a longer part of a row, as long as they are fewer than this.
const MOST_PANELS: usize = 32;
const FEW_SUMS: usize = 8192;

/// The outputs at one position modulo the step: `y[k] = sum_i weight[k][i] x[offset_i]`.
pub(super) struct Phase<'a> {
    weight: PhaseWeight<'a>,
    steps: usize,
    chunks: Vec<Offsets>,
}

/// The weight of a phase.
pub(super) enum PhaseWeight<'a> {
    /// `[output, step]`
    Rows(Cow<'a, [f32]>),
    /// `[block, step, BLOCK]`: what a tile of outputs reads follows each other in memory.
    Blocks(Cow<'a, [f32]>),
}

impl<'a> Phase<'a> {
    pub(super) fn new(weight: PhaseWeight<'a>, offsets: &[u32]) -> Self {
        let steps = offsets.len();
        let chunk = steps.div_ceil(steps.div_ceil(CHUNK).max(1)).max(1);
        let chunks = offsets.chunks(chunk);
        Self {
            weight,
            steps,
            chunks: chunks.map(|chunk| Offsets::new(chunk.to_vec())).collect(),
        }
    }

    /// The sums of `outputs` outputs from `first_output` on, for `columns` columns of `seen`.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        first_output: usize,
        size: [usize; 2],
        seen: Seen,
        (sums, pitch): (&mut [f32], usize),
        ahead: &[Ahead],
    ) {
        let mut done = 0;
        for chunk in &self.chunks {
            let into = Target {
                sums: RowsMut {
                    values: &mut *sums,
                    step: pitch,
                },
                add: done > 0,
                ahead,
            };
            match seen {
                Seen::Packed(values) => {
                    let seen = Gathered {
                        values,
                        offsets: chunk,
                    };
                    self.product(simd, size, [first_output, done], seen, into);
                }
                Seen::Vectors { values, rows } => {
                    let seen = Vectors {
                        values,
                        rows,
                        first: done,
                        steps: chunk.len(),
                    };
                    self.product(simd, size, [first_output, done], seen, into);
                }
            }
            done += chunk.len();
        }
        if self.chunks.is_empty() {
            sums.fill(0.0);
        }
    }

    /// The steps of a sum.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The offsets at which the steps of a sum read.
    pub(super) fn offsets(&self) -> Vec<u32> {
        let chunks = self.chunks.iter();
        chunks.flat_map(|chunk| chunk.values()).copied().collect()
    }

    /// The weights of the outputs at the lanes, a vector for each step.
    #[inline(always)]
    pub(super) fn weight_of_lanes<S: Simd>(&self, outputs: LanesOf, into: &mut [f32]) {
        let PhaseWeight::Rows(rows) = &self.weight else {
            unreachable!("the weight of small groups is interleaved")
        };
        weight_to_lanes::<S>(rows, self.steps, outputs, into);
    }

    #[inline(always)]
    fn product<S: Simd>(
        &self,
        simd: S,
        size: [usize; 2],
        [first_output, done]: [usize; 2],
        seen: impl Right,
        into: Target,
    ) {
        let rows = match &self.weight {
            PhaseWeight::Blocks(values) => {
                let weight = Blocks {
                    values: &values[first_output * self.steps + done * BLOCK..],
                    len: self.steps,
                };
                return simd::product_into(simd, size, weight, seen, into);
            }
            PhaseWeight::Rows(values) => values,
        };
        let weight = Rows {
            values: &rows[first_output * self.steps + done..],
            step: self.steps,
        };
        simd::product_into(simd, size, weight, seen, into);
    }
}

/// The packed values, from the first column on that is computed.
#[derive(Clone, Copy)]
enum Seen<'a> {
    /// One channel after the other.
    Packed(&'a [f32]),
    /// `[vector, row, lane]`, for outputs that read one position each: the rows are the channels, and a gap.
    Vectors { values: &'a [f32], rows: usize },
}

/// A convolution with all layouts chosen.
pub(super) struct Direct<'a> {
    pub(super) sources: &'a [Source<'a>],
    pub(super) groups: usize,
    pub(super) packing: Packing,
    /// The outputs are divided into phases by their positions modulo this, in row-major order.
    pub(super) step: [usize; 2],
    pub(super) phases: Vec<Phase<'a>>,
    pub(super) output: Output<'a>,
}

impl Direct<'_> {
    /// Tiles of `rows` steps of rows, for so many maps.
    pub(super) fn tile_shape(&self, batch: usize, rows: usize) -> TileShape {
        let Output { channels, size, .. } = self.output;
        let rows = rows * self.step[0];
        let tiles = batch * size[0].div_ceil(rows);
        TileShape {
            rows,
            step: self.step[0],
            channels: channels_of_tile(tiles, channels, self.groups),
        }
    }
}

/// The columns of a tile, divided into runs that start at whole vectors.
pub(super) struct Runs {
    pub(super) count: usize,
    /// The columns of each. Surplus ones up to a whole vector are computed, and not written.
    pub(super) columns: usize,
}

impl Runs {
    /// All rows as one run. The sums in the gaps between them are ignored.
    fn whole(rows: usize, width: usize, pitch: usize) -> Self {
        Self {
            count: 1,
            columns: (rows - 1) * pitch + width,
        }
    }

    /// One run for each row, or one for all rows: whichever takes fewer vectors. (What does not fill a panel of so many
    /// takes as long as another vector.)
    pub(super) fn new<S: Simd>(rows: usize, width: usize, pitch: usize, panel: usize) -> Self {
        let cost = |columns: usize| {
            let vectors = columns.div_ceil(S::F32_LANES);
            vectors + usize::from(!vectors.is_multiple_of(panel))
        };
        let whole = Self::whole(rows, width, pitch);
        if rows * cost(width) < cost(whole.columns) {
            Self {
                count: rows,
                columns: width,
            }
        } else {
            whole
        }
    }
}

impl Work<OutputTask<'_>> for Direct<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: OutputTask, [packed, sums, line]: &mut Scratch) {
        let mut tile = task.open();
        let size = [tile.rows.len(), self.output.size[1]];
        let [rows, width] = [0, 1].map(|axis| size[axis].div_ceil(self.step[axis]));
        let pitch = self.packing.pitch;
        let channels = channels_of(self.sources) / self.groups;
        // The last vector may read past the last channel.
        let channel = self.packing.channel_len().next_multiple_of(S::F32_LANES);
        let channel_rows = vector_rows::<S>(channels);
        let packed = grow(packed, channel_rows * channel + S::F32_LANES);
        let group = tile.channels.start * self.groups / self.output.channels;
        let seen = channels_of_group(self.sources, group, self.groups);
        let place = Place {
            batch: tile.batch,
            first_row: tile.rows.start / self.step[0],
        };
        let is_pointwise = self.packing.is_pointwise();
        if is_pointwise {
            let line = grow(line, channel);
            self.packing
                .fill_vectors::<S>(self.sources, seen, place, line, packed);
        } else {
            self.packing.fill_all(self.sources, seen, place, packed);
        }
        let outputs = tile.channels.len();
        let block = outputs.min(OUTPUTS);
        let each = self.phases.len() * block * simd::panel::<S>();
        let panels = (FEW_SUMS / each).clamp(PANELS, MOST_PANELS);
        let wide = panels * simd::panel::<S>();
        let sums = grow(sums, self.phases.len() * block * wide);
        let runs = match is_pointwise {
            true => Runs::whole(rows, width, pitch),
            false => Runs::new::<S>(rows, width, pitch, simd::panel::<S>() / S::F32_LANES),
        };
        let padded = runs.columns.next_multiple_of(S::F32_LANES);
        let parts = padded.div_ceil(wide);
        let blocks = outputs.div_ceil(block);
        for index in 0..runs.count * parts * blocks {
            let (index, start) = (index / blocks, index % blocks * block);
            let some = block.min(outputs - start);
            let (run, part) = (index / parts, index % parts * wide);
            let first = run * pitch + part;
            let columns = wide.min(padded - part);
            // What follows takes longer than a product of few channels where its lines are not near.
            let ahead = match self.step {
                [1, 1] => &tile.ahead(start, first, pitch, &self.output)[..],
                _ => &[],
            };
            let of_phases = sums.chunks_exact_mut(block * wide);
            for (phase, sums) in self.phases.iter().zip(of_phases) {
                // (Without channels there is nothing to read.)
                let seen = match is_pointwise {
                    true => Seen::Vectors {
                        values: &packed[first * channel_rows..],
                        rows: channel_rows,
                    },
                    false => Seen::Packed(&packed[first.min(packed.len())..]),
                };
                let channel = tile.channels.start + start;
                phase.multiply(simd, channel, [some, columns], seen, (sums, wide), ahead);
            }
            let sums = &sums[..];
            let rows = SumRows {
                first,
                last: (run * pitch + runs.columns).min(first + columns),
                pitch,
                row_phases: self.step[0],
            };
            for index in 0..some {
                let of = |row: usize, column: usize| {
                    let phase = row * self.step[1] + column;
                    &sums[(phase * block + index) * wide..][..wide]
                };
                tile.write_phases(simd, start + index, rows, of, self.step[1], &self.output);
            }
            tile.apply_curved(simd, start..start + some, &self.output);
        }
    }
}
