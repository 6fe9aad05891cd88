//! The output, split into tiles of rows and channels, one for each task.

use alloc::vec::Vec;
use core::ops::Range;

use super::raw::uninit_buffer::{Cuts, Piece, UninitBuffer};

/// A map that the kernel writes.
pub(super) struct OutputMap<'a> {
    /// `[batch, channels, height, width]`
    pub(super) values: &'a mut UninitBuffer,
    pub(super) channels: usize,
}

/// What follows a convolution, as slices: `relu((v - center) scale + shift + residual)`.
#[derive(Clone, Copy, Default)]
pub(crate) struct EpilogueValues<'a> {
    /// One number per channel, as for scale and shift.
    pub(crate) center: Option<&'a [f32]>,
    pub(crate) scale: Option<&'a [f32]>,
    pub(crate) shift: Option<&'a [f32]>,
    /// Has the shape of the output.
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

/// The output as a whole.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    pub(super) channels: usize,
    /// Height and width.
    pub(super) size: [usize; 2],
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

/// The part of the output that one thread computes.
pub(super) struct OutputTile<'a> {
    pub(super) batch: usize,
    pub(super) rows: Range<usize>,
    pub(super) channels: Range<usize>,
    /// The rows of each of the channels.
    planes: Vec<Piece<'a>>,
}

/// Splits maps of spatial size `size` into tiles. The channels of all maps are numbered in order.
pub(super) fn split<'a>(
    maps: Vec<OutputMap<'a>>,
    batch: usize,
    size: [usize; 2],
    tile: TileShape,
) -> Vec<OutputTile<'a>> {
    let TileShape { rows, channels, .. } = tile;
    let total: usize = maps.iter().map(|map| map.channels).sum();
    let [blocks, groups] = [size[0].div_ceil(rows), total.div_ceil(channels)];
    let mut tiles: Vec<OutputTile> = (0..batch * blocks * groups)
        .map(|index| {
            let (block, group) = (index / groups % blocks, index % groups);
            OutputTile {
                batch: index / groups / blocks,
                rows: block * rows..((block + 1) * rows).min(size[0]),
                channels: group * channels..((group + 1) * channels).min(total),
                planes: Vec::with_capacity(channels),
            }
        })
        .collect();
    let mut first = 0;
    for map in maps {
        let cuts = Cuts {
            plane: size[0] * size[1],
            block: rows * size[1],
            width: size[1],
            step: tile.step,
        };
        for piece in map.values.pieces(cuts) {
            let (batch, channel) = (
                piece.plane / map.channels,
                first + piece.plane % map.channels,
            );
            let index = (batch * blocks + piece.block) * groups + channel / channels;
            tiles[index].planes.push(piece.piece);
        }
        first += map.channels;
    }
    tiles
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
    /// Writes the sums of the channel `index`. Each sum position holds `N` columns of the output: `of` returns the sums
    /// of a row phase and a column phase, starting at `sums.first`.
    #[inline(always)]
    pub(super) fn write_rows<'b, const N: usize>(
        &mut self,
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
                    self.write(index, y, start - row * pitch, columns, output);
                }
            }
            row += 1;
        }
    }

    /// Writes a part of row `row` of the channel `index` of the tile, starting at column `N first`. The columns are
    /// interleaved: column `x` of the part is `phases[x % N][x / N]`.
    #[inline(always)]
    fn write<const N: usize>(
        &mut self,
        index: usize,
        row: usize,
        first: usize,
        phases: [&[f32]; N],
        output: &Output,
    ) {
        let width = output.size[1];
        let start = N * first;
        let end = width.min(start + N * phases[0].len());
        let channel = self.channels.start + index;
        let epilogue = &output.epilogue;
        let of_channel = |numbers: Option<&[f32]>, none| numbers.map_or(none, |n| n[channel]);
        let center = of_channel(epilogue.center, 0.0);
        let scale = of_channel(epilogue.scale, 1.0);
        let shift = of_channel(epilogue.shift, 0.0);
        let low = if epilogue.relu {
            0.0
        } else {
            f32::NEG_INFINITY
        };
        // (Not `max`, which would hide a NaN.)
        let finish = |sum: f32, residual: f32| {
            let v = (sum - center) * scale + shift + residual;
            if v < low { low } else { v }
        };
        let residual = epilogue.residual.map(|residual| {
            let plane = (self.batch * output.channels + channel) * output.size[0];
            &residual[(plane + row) * width..][start..end]
        });
        let row = row - self.rows.start;
        self.planes[index].write(row, start..end, phases, residual, finish);
    }
}
