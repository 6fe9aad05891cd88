//! What is written: the channels of an output, split among tasks.

use alloc::vec::Vec;
use core::ops::Range;

use super::raw::blank::{Blank, Piece};

/// A map that is written.
pub(super) struct Sink<'a> {
    /// `[batch, channels, height, width]`
    pub(super) values: &'a mut Blank,
    pub(super) channels: usize,
}

/// What becomes of a value before it is written: `act(scale v + shift + residual)`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    pub(crate) scale: Option<&'a [f32]>,
    pub(crate) shift: Option<&'a [f32]>,
    /// Of the shape of the output.
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

/// The part of the output that one thread computes.
pub(super) struct Task<'a> {
    pub(super) batch: usize,
    pub(super) rows: Range<usize>,
    pub(super) channels: Range<usize>,
    /// The rows of each of the channels.
    pub(super) planes: Vec<Piece<'a>>,
}

/// Splits the sinks to tasks of `rows` rows and `channels` channels, which write `step` rows side by side.
pub(super) fn split<'a>(
    sinks: Vec<Sink<'a>>,
    batch: usize,
    size: [usize; 2],
    [rows, step]: [usize; 2],
    channels: usize,
) -> Vec<Task<'a>> {
    let total: usize = sinks.iter().map(|sink| sink.channels).sum();
    let [blocks, groups] = [size[0].div_ceil(rows), total.div_ceil(channels)];
    let mut tasks: Vec<Task> = (0..batch * blocks * groups)
        .map(|index| {
            let (block, group) = (index / groups % blocks, index % groups);
            Task {
                batch: index / groups / blocks,
                rows: block * rows..((block + 1) * rows).min(size[0]),
                channels: group * channels..((group + 1) * channels).min(total),
                planes: Vec::with_capacity(channels),
            }
        })
        .collect();
    let mut first = 0;
    for sink in sinks {
        let cut = [size[0] * size[1], rows * size[1]];
        for (index, block, piece) in sink.values.pieces(cut, [size[1], step]) {
            let (batch, channel) = (index / sink.channels, first + index % sink.channels);
            let index = (batch * blocks + block) * groups + channel / channels;
            tasks[index].planes.push(piece);
        }
        first += sink.channels;
    }
    tasks
}

impl Task<'_> {
    /// Writes the sums of the channel `index` at the places `first..last`, where rows follow each other at
    /// `pitch`, and each is several rows and `N` columns of the output: `of` gives those of a row's and a
    /// column's phase, from `first`.
    #[inline(always)]
    pub(super) fn write_rows<'b, const N: usize>(
        &mut self,
        index: usize,
        [first, last]: [usize; 2],
        [pitch, row_phases]: [usize; 2],
        of: impl Fn(usize, usize) -> &'b [f32],
        output: &Output,
    ) {
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

    /// Writes a part of row `row` of the channel `index` of the task. Its columns from `N first` are
    /// those of `phases` in turn: column `x` is `phases[x % N][x / N]`.
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
        let Epilogue {
            scale,
            shift,
            relu,
            residual,
        } = output.epilogue;
        let scale = scale.map_or(1.0, |scale| scale[channel]);
        let shift = shift.map_or(0.0, |shift| shift[channel]);
        let low = if relu { 0.0 } else { f32::NEG_INFINITY };
        // (Not `max`, which would hide a NaN.)
        let finish = |sum: f32, residual: f32| {
            let v = sum * scale + shift + residual;
            if v < low { low } else { v }
        };
        let residual = residual.map(|residual| {
            let plane = (self.batch * output.channels + channel) * output.size[0];
            &residual[(plane + row) * width..][start..end]
        });
        let row = row - self.rows.start;
        self.planes[index].write(row, [start, end], phases, residual, finish);
    }
}

/// The output as a whole.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    pub(super) channels: usize,
    /// Height and width.
    pub(super) size: [usize; 2],
    pub(super) epilogue: Epilogue<'a>,
}
