//! What is written: the channels of an output, split among tasks.

use core::ops::Range;

/// A map that is written.
pub(super) struct Sink<'a> {
    /// `[batch, channels, height, width]`
    pub(super) values: &'a mut [f32],
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
    pub(super) planes: Vec<&'a mut [f32]>,
}

/// Splits the sinks to tasks of `rows` rows and `channels` channels.
pub(super) fn split<'a>(
    sinks: Vec<Sink<'a>>,
    batch: usize,
    size: [usize; 2],
    rows: usize,
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
        for (index, values) in sink.values.chunks_exact_mut(size[0] * size[1]).enumerate() {
            let (batch, channel) = (index / sink.channels, first + index % sink.channels);
            for (block, values) in values.chunks_mut(rows * size[1]).enumerate() {
                let index = (batch * blocks + block) * groups + channel / channels;
                tasks[index].planes.push(values);
            }
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
                    let columns: [&[f32]; N] =
                        core::array::from_fn(|n| &of(row_phase, n)[start - first..stop - first]);
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
        let row_in_task = (row - self.rows.start) * width;
        let into = &mut self.planes[index][row_in_task + start..row_in_task + end];
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
        let finish = |v: f32| if v < low { low } else { v };
        let residual = residual.map(|residual| {
            let plane = (self.batch * output.channels + channel) * output.size[0];
            &residual[(plane + row) * width..][start..end]
        });
        match (N, residual) {
            (1, None) => {
                for (v, x) in into.iter_mut().zip(phases[0]) {
                    *v = finish(x * scale + shift);
                }
            }
            (1, Some(residual)) => {
                for (v, (x, r)) in into.iter_mut().zip(phases[0].iter().zip(residual)) {
                    *v = finish(x * scale + shift + r);
                }
            }
            (2, None) => {
                let half = into.len() / 2;
                let (a, b) = (&phases[0][..half], &phases[1][..half]);
                let (pairs, rest) = into.split_at_mut(2 * half);
                for (v, (a, b)) in pairs.chunks_exact_mut(2).zip(a.iter().zip(b)) {
                    v[0] = finish(a * scale + shift);
                    v[1] = finish(b * scale + shift);
                }
                if let Some(v) = rest.first_mut() {
                    *v = finish(phases[0][half] * scale + shift);
                }
            }
            (2, Some(residual)) => {
                let half = into.len() / 2;
                let (a, b) = (&phases[0][..half], &phases[1][..half]);
                let (pairs, rest) = into.split_at_mut(2 * half);
                let residuals = residual.chunks_exact(2);
                for ((v, r), (a, b)) in pairs
                    .chunks_exact_mut(2)
                    .zip(residuals)
                    .zip(a.iter().zip(b))
                {
                    v[0] = finish(a * scale + shift + r[0]);
                    v[1] = finish(b * scale + shift + r[1]);
                }
                if let Some(v) = rest.first_mut() {
                    *v = finish(phases[0][half] * scale + shift + residual[2 * half]);
                }
            }
            _ => {
                for (x, v) in into.iter_mut().enumerate() {
                    let more = residual.map_or(0.0, |r| r[x]);
                    *v = finish(phases[x % N][x / N] * scale + shift + more);
                }
            }
        }
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
