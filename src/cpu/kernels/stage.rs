//! Rows of the sources, padded and laid out so that a tap of the kernel is one offset.

use super::raw::simd::prefetch;
use crate::cpu::policy::SourceShape;

/// Channels between the one that is laid out and the one that is asked for.
const AHEAD: usize = 2;

/// A map that is read.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// `[batch, channels, height, width]`
    pub(crate) values: &'a [f32],
    pub(crate) channels: usize,
    /// Height and width as they are stored.
    pub(crate) size: [usize; 2],
    /// Each value is read as so many rows and columns (nearest upsampling).
    pub(crate) up: [usize; 2],
    /// `relu(scale x + shift)` of each channel, read in place of `x`.
    pub(crate) prologue: Option<Prologue<'a>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Prologue<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) relu: bool,
}

impl Source<'_> {
    pub(super) fn shape(&self) -> SourceShape {
        SourceShape {
            channels: self.channels,
            size: self.size,
            factors: self.up,
        }
    }

    fn plane(&self, batch: usize, channel: usize) -> &[f32] {
        let len = self.size[0] * self.size[1];
        &self.values[(batch * self.channels + channel) * len..][..len]
    }
}

/// The channels of a concatenation.
pub(super) fn channels_of(sources: &[Source]) -> usize {
    sources.iter().map(|source| source.channels).sum()
}

/// The window of a convolution over two axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Zeros before the first row and column; negative where they are cut.
    pub(super) pad: [isize; 2],
}

/// Where the values that the windows of some rows see lie: one plane for each position modulo the
/// stride, so that the windows of neighbouring outputs see neighbouring values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staging {
    window: Window,
    rows: usize,
    /// From a row to the next, in a plane; also in what is computed from it.
    pub(super) pitch: usize,
}

impl Staging {
    /// For `rows` rows of outputs, each of `width`.
    pub(super) fn new(window: Window, rows: usize, width: usize) -> Self {
        let [more_rows, more_columns] =
            [0, 1].map(|a| (window.kernel[a] - 1) * window.dilation[a] / window.stride[a]);
        Self {
            window,
            rows: rows + more_rows,
            pitch: width + more_columns,
        }
    }

    /// The same with a given pitch, which is no shorter than the rows.
    pub(super) fn with_pitch(window: Window, rows: usize, pitch: usize) -> Self {
        Self {
            pitch,
            ..Self::new(window, rows, 0)
        }
    }

    fn plane_len(&self) -> usize {
        self.rows * self.pitch
    }

    pub(super) fn channel_len(&self) -> usize {
        self.window.stride[0] * self.window.stride[1] * self.plane_len()
    }

    /// From the value that an output's first tap sees to that of tap `[row, column]`.
    pub(super) fn offset(&self, tap: [usize; 2]) -> usize {
        let Window {
            stride, dilation, ..
        } = self.window;
        let at = [0, 1].map(|a| tap[a] * dilation[a]);
        let plane = at[0] % stride[0] * stride[1] + at[1] % stride[1];
        plane * self.plane_len() + at[0] / stride[0] * self.pitch + at[1] / stride[1]
    }

    /// Fills `staged` with what the windows of the outputs from row `first_row` see of all sources, one
    /// channel after the other; of one of the groups of channels, if there are several.
    #[inline(always)]
    pub(super) fn fill_all(
        &self,
        sources: &[Source],
        [group, groups]: [usize; 2],
        [batch, first_row]: [usize; 2],
        staged: &mut [f32],
    ) {
        let mut left = staged.chunks_exact_mut(self.channel_len());
        for source in sources {
            let seen = source.channels / groups;
            let end = (group + 1) * seen;
            for (channel, into) in (group * seen..end).zip(&mut left) {
                if channel + AHEAD < end {
                    self.prefetch(source, batch, channel + AHEAD, first_row);
                }
                self.fill(source, batch, channel, first_row, into);
            }
        }
    }

    /// Asks for what `fill` will read.
    #[inline(always)]
    fn prefetch(&self, source: &Source, batch: usize, channel: usize, first_row: usize) {
        let plane = source.plane(batch, channel);
        let first = (first_row * self.window.stride[0]) as isize - self.window.pad[0];
        let rows = (self.rows * self.window.stride[0]) as isize;
        let at = |row: isize| {
            let row = row.max(0) as usize / source.up[0];
            (row * source.size[1]).min(plane.len())
        };
        for place in (at(first)..at(first + rows)).step_by(16) {
            prefetch(plane, place);
        }
    }

    /// Fills `staged` with what the windows of the outputs from row `first_row` see of a channel.
    #[inline(always)]
    pub(super) fn fill(
        &self,
        source: &Source,
        batch: usize,
        channel: usize,
        first_row: usize,
        staged: &mut [f32],
    ) {
        let Window { stride, pad, .. } = self.window;
        let plane = source.plane(batch, channel);
        let [height, width] = [0, 1].map(|a| (source.size[a] * source.up[a]) as isize);
        let origin = [(first_row * stride[0]) as isize - pad[0], -pad[1]];
        let (mut scale, mut shift) = (1.0, 0.0);
        if let Some(prologue) = &source.prologue {
            (scale, shift) = (prologue.scale[channel], prologue.shift[channel]);
        }
        let mut rows = staged.chunks_exact_mut(self.pitch);
        for phase_row in 0..stride[0] {
            for phase_column in 0..stride[1] {
                for row in 0..self.rows {
                    let Some(into) = rows.next() else { return };
                    let y = origin[0] + (row * stride[0] + phase_row) as isize;
                    if y < 0 || y >= height {
                        into.fill(0.0);
                        continue;
                    }
                    let from =
                        &plane[y as usize / source.up[0] * source.size[1]..][..source.size[1]];
                    let x = origin[1] + phase_column as isize;
                    let step = stride[1] as isize;
                    // The columns `start..end` are inside of the map.
                    let start = if x < 0 { (-x + step - 1) / step } else { 0 };
                    let start = start.min(self.pitch as isize);
                    let end = ((width - x + step - 1) / step).clamp(start, self.pitch as isize);
                    let first = (x + start * step) as usize;
                    let (start, end) = (start as usize, end as usize);
                    into[..start].fill(0.0);
                    into[end..].fill(0.0);
                    let inside = &mut into[start..end];
                    let steps = [stride[1], source.up[1]];
                    let affine = |v: f32| v * scale + shift;
                    match &source.prologue {
                        None => read(from, first, steps, inside, |v| v),
                        // (Not `max`, which would hide a NaN.)
                        Some(prologue) if prologue.relu => read(from, first, steps, inside, |v| {
                            let v = affine(v);
                            if v < 0.0 { 0.0 } else { v }
                        }),
                        Some(_) => read(from, first, steps, inside, affine),
                    }
                }
            }
        }
    }
}

/// `map` of every `step`-th value from `first` of a row that is read with each value repeated `up` times.
#[inline(always)]
fn read(
    from: &[f32],
    first: usize,
    [step, up]: [usize; 2],
    into: &mut [f32],
    map: impl Fn(f32) -> f32,
) {
    if into.is_empty() {
        return;
    }
    if step == up {
        let from = &from[first / up..][..into.len()];
        for (v, from) in into.iter_mut().zip(from) {
            *v = map(*from);
        }
    } else if (step, up) == (2, 1) {
        // (Pairs become vectors; the last value may have none beside it.)
        let last = into.len() - 1;
        for (v, pair) in into[..last].iter_mut().zip(from[first..].chunks_exact(2)) {
            *v = map(pair[0]);
        }
        into[last] = map(from[first + 2 * last]);
    } else if (step, up) == (1, 2) {
        for (j, v) in into.iter_mut().enumerate() {
            *v = map(from[(first + j) / 2]);
        }
    } else {
        for (j, v) in into.iter_mut().enumerate() {
            *v = map(from[(first + j * step) / up]);
        }
    }
}
