//! The output, split into tiles of rows and channels, one for each task.

use alloc::vec::Vec;
use core::ops::{Deref, Range};

use pulp::Simd;

use super::epilogue::{EpilogueValues, Finish, Linear, Rectified};
use super::raw::matrices::Rows;
use super::raw::piece::Piece;
use super::raw::pieces::{LanesOf, Pieces};
use super::raw::simd::{Ahead, prefetch, prefetch_line};
use super::raw::uninit_buffer::{Cuts, PieceRun, UninitBuffer};
use crate::policy::{LANES, Piecewise};

/// A map that the kernel writes.
pub(super) struct OutputMap<'a> {
    /// `[batch, channels, slices, height, width]`
    pub(super) values: &'a mut UninitBuffer,
    pub(super) channels: usize,
}

/// The output as a whole.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    pub(super) channels: usize,
    /// Height and width. For a map of one row that is divided into pieces, their number and their length.
    pub(super) size: [usize; 2],
    /// The positions of a slice. (The last piece of a row may be shorter.)
    pub(super) positions: usize,
    pub(super) slices: usize,
    pub(super) epilogue: EpilogueValues<'a>,
}

/// How an output is split.
#[derive(Clone, Copy)]
pub(super) struct TileShape {
    /// Rows of a tile.
    pub(super) rows: usize,
    /// Rows that are written side by side.
    pub(super) step: usize,
    /// Channels of a tile.
    pub(super) channels: usize,
}

/// A part of the output that one thread computes.
pub(super) struct OutputTask<'a> {
    tile: TilePlace,
    runs: Vec<PieceRun<'a>>,
}

impl<'a> OutputTask<'a> {
    /// Makes it ready to be written.
    pub(super) fn open(self) -> OutputTile<'a> {
        OutputTile {
            place: self.tile,
            planes: Pieces::of(self.runs),
        }
    }
}

/// The place of a tile in the output.
#[derive(Clone)]
pub(super) struct TilePlace {
    /// The map of the batch: one for each slice of each sample.
    pub(super) batch: usize,
    sample: usize,
    slice: usize,
    pub(super) rows: Range<usize>,
    pub(super) channels: Range<usize>,
}

/// A part of the output that is written.
pub(super) struct OutputTile<'a> {
    place: TilePlace,
    /// The rows of each of the channels.
    planes: Pieces<'a>,
}

impl Deref for OutputTile<'_> {
    type Target = TilePlace;

    fn deref(&self) -> &TilePlace {
        &self.place
    }
}

/// Splits the maps into tasks, for each of the phases of `phases` slices. The channels of all maps are numbered in order.
pub(super) fn split<'a>(
    maps: Vec<OutputMap<'a>>,
    samples: usize,
    output: &Output,
    phases: usize,
    tile: TileShape,
) -> Vec<Vec<OutputTask<'a>>> {
    let Output { size, slices, .. } = *output;
    let TileShape { rows, channels, .. } = tile;
    let total: usize = maps.iter().map(|map| map.channels).sum();
    let [blocks, groups] = [size[0].div_ceil(rows), total.div_ceil(channels)];
    let count = |phase: usize| phase_len(slices, phases, phase);
    let tasks_of = |phase: usize| {
        let tasks = 0..samples * count(phase) * blocks * groups;
        let task = |index: usize| {
            let (block, group) = (index / groups % blocks, index % groups);
            let batch = index / groups / blocks;
            OutputTask {
                tile: TilePlace {
                    batch,
                    sample: batch / count(phase),
                    slice: batch % count(phase) * phases + phase,
                    rows: block * rows..((block + 1) * rows).min(size[0]),
                    channels: group * channels..((group + 1) * channels).min(total),
                },
                runs: Vec::new(),
            }
        };
        tasks.map(task).collect()
    };
    let mut tasks: Vec<Vec<OutputTask>> = (0..phases).map(tasks_of).collect();
    let cuts = Cuts {
        plane: output.positions,
        block: rows * size[1],
        width: size[1],
        step: tile.step,
    };
    let mut first = 0;
    for map in maps {
        // The channels of the map, divided as those of all maps.
        let all = first..first + map.channels;
        let [first_group, last_group] = [all.start / channels, all.end.div_ceil(channels)];
        let starts = (first_group..=last_group)
            .map(|group| (group * channels).clamp(all.start, all.end) - all.start);
        let starts: Vec<usize> = starts.collect();
        map.values.for_each_run(cuts, slices, &starts, |placed| {
            let phase = placed.slice % phases;
            let batch = placed.sample * count(phase) + placed.slice / phases;
            let group = first_group + placed.group;
            let index = (batch * blocks + placed.block) * groups + group;
            tasks[phase][index].runs.push(placed.run);
        });
        first = all.end;
    }
    tasks
}

/// The number of slices at position `phase` modulo `phases`.
pub(super) fn phase_len(slices: usize, phases: usize, phase: usize) -> usize {
    slices.saturating_sub(phase).div_ceil(phases)
}

/// A range `first..last` of the sums of a channel, whose rows start at multiples of `pitch`. Each row of sums holds
/// `row_phases` rows of the output.
#[derive(Clone, Copy)]
pub(super) struct SumRows {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) pitch: usize,
    pub(super) row_phases: usize,
}

impl OutputTile<'_> {
    /// The maps that are read and written where the sums of the channel `index` from `first` on are, in the first of the
    /// rows that they belong to.
    #[inline(always)]
    pub(super) fn ahead(
        &self,
        index: usize,
        first: usize,
        pitch: usize,
        output: &Output,
    ) -> [Ahead; 2] {
        let start = first / pitch * output.size[1] + first % pitch;
        let of = |first: *const f32| Ahead::new(first, output.positions * output.slices);
        // (A map without positions has no planes.)
        let places = self.planes.get(index);
        let places = places.map_or(core::ptr::null(), |plane| plane.place(start));
        let residual = output.epilogue.residual.map_or(places, |residual| {
            residual
                .as_ptr()
                .wrapping_add(self.residual_start(index, output) + start)
        });
        [of(places), of(residual)]
    }

    /// Prefetches the rows of all channels that some sums belong to.
    #[inline(always)]
    pub(super) fn prefetch(&self, sums: SumRows, output: &Output) {
        let row = |at: usize| at / sums.pitch * sums.row_phases * output.size[1];
        let places = row(sums.first)..row(sums.last - 1) + sums.row_phases * output.size[1];
        for (index, plane) in self.planes.iter().enumerate() {
            let start = self.residual_start(index, output);
            for at in places.clone().step_by(16) {
                prefetch_line(plane.place(at));
                if let Some(residual) = output.epilogue.residual {
                    prefetch(residual, start + at);
                }
            }
        }
    }

    /// Where the residual of the channel `index` of the tile starts.
    #[inline(always)]
    fn residual_start(&self, index: usize, output: &Output) -> usize {
        let map = self.sample * output.channels + self.channels.start + index;
        let plane = map * output.slices + self.slice;
        plane * output.positions + self.rows.start * output.size[1]
    }

    /// [Writes](Self::write_rows) sums that hold `columns` columns of the output at each position.
    #[inline(always)]
    pub(super) fn write_phases<'b, S: Simd>(
        &mut self,
        simd: S,
        index: usize,
        sums: SumRows,
        of: impl Fn(usize, usize) -> &'b [f32],
        columns: usize,
        output: &Output,
    ) {
        match columns {
            1 => self.write_rows::<S, 1>(simd, index, sums, of, output),
            2 => self.write_rows::<S, 2>(simd, index, sums, of, output),
            3 => self.write_rows::<S, 3>(simd, index, sums, of, output),
            _ => self.write_rows::<S, 4>(simd, index, sums, of, output),
        }
    }

    /// Writes the sums of the channel `index`, to which all but a curved activation is applied. Each sum position holds
    /// `N` columns of the output: `of` returns the sums of a row phase and a column phase, starting at `sums.first`.
    #[inline(always)]
    pub(super) fn write_rows<'b, S: Simd, const N: usize>(
        &mut self,
        simd: S,
        index: usize,
        sums: SumRows,
        of: impl Fn(usize, usize) -> &'b [f32],
        output: &Output,
    ) {
        let SumRows {
            first,
            last,
            pitch,
            row_phases,
        } = sums;
        let width = output.size[1].div_ceil(N);
        let mut row = first / pitch;
        while row * pitch < last {
            let start = first.max(row * pitch);
            let stop = last.min(row * pitch + width);
            for row_phase in 0..row_phases {
                let y = self.rows.start + row * row_phases + row_phase;
                if start < stop && y < self.rows.end {
                    let mut columns: [&[f32]; N] = [&[]; N];
                    for (n, columns) in columns.iter_mut().enumerate() {
                        *columns = &of(row_phase, n)[start - first..stop - first];
                    }
                    self.write(simd, index, y, start - row * pitch, columns, output);
                }
            }
            row += 1;
        }
    }

    /// Applies a curved activation to what [was written](Self::write_rows) of some channels, numbered from the first of
    /// the tile on. (All channels in one dispatch, which costs as much as a row.)
    #[inline(always)]
    pub(super) fn apply_curved<S: Simd>(
        &mut self,
        simd: S,
        channels: Range<usize>,
        output: &Output,
    ) {
        // (Without positions there are no planes.)
        if let (_, Some(curved)) = output.epilogue.activation.parts()
            && !self.planes.is_empty()
        {
            let planes = self.planes[channels].iter_mut();
            curved.apply_each(simd, planes.map(Piece::take_complete));
        }
    }

    /// Writes the next values of some channels (numbered from the first of the tile on), the lanes of so many vectors, which
    /// are finished.
    #[inline(always)]
    pub(super) fn write_lanes<S: Simd>(
        &mut self,
        simd: S,
        channels: LanesOf,
        vectors: &[f32],
        len: usize,
    ) {
        self.planes.write_lanes(simd, channels, vectors, len);
    }

    /// The positions of the tile.
    pub(super) fn positions(&self) -> usize {
        self.planes.first().map_or(0, Piece::len)
    }

    /// Writes all sums of some channels, numbered from the first of the tile on: of `rows`, a vector for each position,
    /// the channels are at the lanes. All but a curved activation is applied. Rows follow up to a whole number of squares.
    #[inline(always)]
    pub(super) fn write_turned<S: Simd>(
        &mut self,
        simd: S,
        channels: Range<usize>,
        rows: Rows,
        output: &Output,
    ) {
        let residual = output.epilogue.residual.map(|residual| Rows {
            values: &residual[self.residual_start(channels.start, output)..],
            step: output.positions * output.slices,
        });
        let first = self.channels.start + channels.start;
        let last = self.channels.end - 1;
        let of_lanes: [Finish; LANES] =
            core::array::from_fn(|lane| output.epilogue.of_channel((first + lane).min(last)));
        let planes = &mut self.planes;
        match output.epilogue.activation.parts().0 {
            Piecewise::IDENTITY => {
                let of = |lane: usize| of_lanes[lane].lanes(simd, Linear);
                planes.write_turned(simd, channels, rows, residual, of);
            }
            Piecewise::RELU => {
                let of = |lane: usize| of_lanes[lane].lanes(simd, Rectified);
                planes.write_turned(simd, channels, rows, residual, of);
            }
            activation => {
                let of = |lane: usize| of_lanes[lane].lanes(simd, activation);
                planes.write_turned(simd, channels, rows, residual, of);
            }
        }
    }

    /// The columns of a row of the tile. (The last piece of a row that is divided may be shorter.)
    #[inline(always)]
    fn columns(&self, row: usize, output: &Output) -> Range<usize> {
        let width = output.size[1];
        0..width.min(output.positions - (self.rows.start + row) * width)
    }

    /// Writes a part of row `row` of the channel `index` of the tile, starting at column `N first`. The columns are
    /// interleaved: column `x` of the part is `phases[x % N][x / N]`.
    #[inline(always)]
    fn write<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        index: usize,
        row: usize,
        first: usize,
        phases: [&[f32]; N],
        output: &Output,
    ) {
        let row = row - self.rows.start;
        let start = N * first;
        let end = self.columns(row, output).end;
        let end = end.min(start + N * phases[0].len());
        if start >= end {
            return;
        }
        let finish = output.epilogue.of_channel(self.channels.start + index);
        let residual = output.epilogue.residual.map(|residual| {
            let first = self.residual_start(index, output) + row * output.size[1];
            &residual[first + start..first + end]
        });
        if N == 1 {
            let (piece, columns, sums) = (&mut self.planes[index], start..end, phases[0]);
            return match finish.activation {
                Piecewise::IDENTITY => {
                    let finish = finish.lanes(simd, Linear);
                    piece.write_vectors(simd, row, columns, sums, residual, finish);
                }
                Piecewise::RELU => {
                    let finish = finish.lanes(simd, Rectified);
                    piece.write_vectors(simd, row, columns, sums, residual, finish);
                }
                activation => {
                    let finish = finish.lanes(simd, activation);
                    piece.write_vectors(simd, row, columns, sums, residual, finish);
                }
            };
        }
        let finish = |sum: f32, residual: f32| finish.value(sum, residual);
        self.planes[index].write(row, start..end, phases, residual, finish);
    }
}
