//! Packs rows of the sources with their padding, so that each tap of the kernel reads at one constant offset.

use alloc::vec::Vec;
use core::ops::Range;

use pulp::Simd;

use super::raw::matrices::{Rows, RowsMut, offset};
use super::raw::simd::prefetch;
use super::raw::transpose::Places;
use super::source::{Source, SourceRow, channels_of, copy_rows};
use crate::policy::{Geometry, LANES, pieces_of_line};

/// Channels between the one that is packed and the one that is prefetched.
const PREFETCH_CHANNELS: usize = 2;

/// Floats between vectors: a cache line.
const GAP: usize = 16;

/// The window through which the outputs of a convolution read the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ReadWindow {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Zeros before the first row and column; negative to skip rows or columns.
    pub(super) pad: [isize; 2],
    /// The distance between the starts of two rows in a map of one row that is divided into pieces; each is a row here.
    pub(super) line: Option<usize>,
}

impl ReadWindow {
    pub(super) fn of(geometry: &Geometry) -> Self {
        Self {
            kernel: geometry.kernel,
            stride: geometry.stride,
            dilation: geometry.dilation,
            pad: geometry.pad,
            line: None,
        }
    }

    /// A window without dilation.
    pub(super) fn dense(kernel: [usize; 2], stride: [usize; 2], pad: [isize; 2]) -> Self {
        Self {
            kernel,
            stride,
            dilation: [1, 1],
            pad,
            line: None,
        }
    }

    /// Divides a map of one row, with `outputs` outputs, into pieces, and returns their number and their length.
    pub(super) fn divide(&mut self, outputs: usize) -> [usize; 2] {
        let [pieces, len] = pieces_of_line(outputs, self.reach());
        self.line = Some(len * self.stride[1]);
        [pieces, len]
    }

    /// Divides a map of one row, with `outputs` outputs that read one position each, into about so many pieces, and returns
    /// their number and their length.
    pub(super) fn divide_into(&mut self, outputs: usize, pieces: usize) -> [usize; 2] {
        let len = outputs
            .div_ceil(pieces)
            .next_multiple_of(LANES)
            .min(outputs);
        self.line = Some(len * self.stride[1]);
        [outputs.div_ceil(len.max(1)), len]
    }

    /// How far it reaches along a row, in outputs.
    pub(super) fn reach(&self) -> usize {
        (self.kernel[1] - 1) * self.dilation[1] / self.stride[1]
    }
}

/// The rows of a map that a tile starts at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) batch: usize,
    /// The first row of outputs (in steps).
    pub(super) first_row: usize,
}

/// Values of a plane that are read in one go.
pub(super) struct Stream {
    /// Where they are in the plane.
    pub(super) values: Range<usize>,
    /// The position at which each is packed.
    pub(super) places: Places,
}

/// What a source has of a range of the channels of all sources: `first` is the number of the source's first channel.
#[inline(always)]
fn part_of(source: &Source, first: usize, channels: &Range<usize>) -> Range<usize> {
    let within = |channel: usize| channel.saturating_sub(first).min(source.channels);
    within(channels.start)..within(channels.end)
}

/// The channels of one of `count` equal groups of those of all sources.
pub(super) fn channels_of_group(sources: &[Source], index: usize, count: usize) -> Range<usize> {
    let seen = channels_of(sources) / count;
    index * seen..(index + 1) * seen
}

/// The rows of a matrix of vectors with a row for each channel: some more, so that neighbouring vectors do not map to the
/// same cache sets.
pub(super) fn vector_rows<S: Simd>(channels: usize) -> usize {
    channels + GAP / S::F32_LANES
}

/// The layout of packed rows: one plane for each position modulo the stride, so that neighbouring outputs read
/// neighbouring values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    window: ReadWindow,
    rows: usize,
    /// The distance from one row to the next, in a plane and in the sums computed from it.
    pub(super) pitch: usize,
    /// The columns of a row that are read; zeros follow.
    columns: usize,
    /// The positions modulo the stride that are read, along rows and columns.
    phases: [usize; 2],
}

impl Packing {
    /// For `rows` rows of outputs, each of `width`.
    pub(super) fn new(window: ReadWindow, rows: usize, width: usize) -> Self {
        let more_rows = (window.kernel[0] - 1) * window.dilation[0] / window.stride[0];
        let columns = width + window.reach();
        let phases = [0, 1].map(|axis| {
            let reach = (window.kernel[axis] - 1) * window.dilation[axis];
            window.stride[axis].min(reach + 1)
        });
        Self {
            phases,
            window,
            rows: rows + more_rows,
            pitch: columns,
            columns,
        }
    }

    /// The same with a given pitch, which must not be shorter than the rows.
    pub(super) fn with_pitch(window: ReadWindow, rows: usize, width: usize, pitch: usize) -> Self {
        Self {
            pitch,
            ..Self::new(window, rows, width)
        }
    }

    fn plane_len(&self) -> usize {
        self.rows * self.pitch
    }

    pub(super) fn channel_len(&self) -> usize {
        self.phases[0] * self.phases[1] * self.plane_len()
    }

    /// The distance from the value that an output's first tap reads to the value that tap `[row, column]` reads.
    pub(super) fn offset(&self, tap: [usize; 2]) -> usize {
        let ReadWindow {
            stride, dilation, ..
        } = self.window;
        let at = [0, 1].map(|a| tap[a] * dilation[a]);
        let plane = at[0] % stride[0] * self.phases[1] + at[1] % stride[1];
        plane * self.plane_len() + at[0] / stride[0] * self.pitch + at[1] / stride[1]
    }

    /// The number of taps.
    pub(super) fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    /// The [offsets](Self::offset) of all taps.
    pub(super) fn tap_offsets(&self) -> Vec<usize> {
        let [rows, columns] = self.window.kernel;
        let of_row = |row: usize| (0..columns).map(move |column| self.offset([row, column]));
        (0..rows).flat_map(of_row).collect()
    }

    /// Whether each output reads one position.
    pub(super) fn is_pointwise(&self) -> bool {
        self.window.kernel == [1, 1]
    }

    /// Packs what the outputs at `place` read of some channels of all sources, one channel after the other.
    #[inline(always)]
    pub(super) fn fill_all(
        &self,
        sources: &[Source],
        channels: Range<usize>,
        place: Place,
        packed: &mut [f32],
    ) {
        let mut left = packed.chunks_exact_mut(self.channel_len());
        let mut first = 0;
        for source in sources {
            for (channel, into) in part_of(source, first, &channels).zip(&mut left) {
                self.prefetch_next(source, channel, place);
                self.fill(source, channel, place, into);
            }
            first += source.channels;
        }
    }

    /// Packs the same for outputs that read one position each, as `[vector, row, lane]`, of so many
    /// [rows](vector_rows). `line` holds one channel.
    #[inline(always)]
    pub(super) fn fill_vectors<S: Simd>(
        &self,
        sources: &[Source],
        channels: Range<usize>,
        place: Place,
        line: &mut [f32],
        packed: &mut [f32],
    ) {
        let rows = vector_rows::<S>(channels.len());
        let (mut first, mut row) = (0, 0);
        for source in sources {
            for channel in part_of(source, first, &channels) {
                self.prefetch_next(source, channel, place);
                let from = match self.whole_line(source, channel, place, line.len()) {
                    Some(from) => from,
                    None => {
                        self.fill(source, channel, place, &mut line[..self.channel_len()]);
                        &*line
                    }
                };
                let vectors = S::as_mut_simd_f32s(&mut packed[row * S::F32_LANES..]).0;
                let from = S::as_simd_f32s(from).0;
                for (into, from) in vectors.iter_mut().step_by(rows).zip(from) {
                    *into = *from;
                }
                row += 1;
            }
            first += source.channels;
        }
    }

    /// What `fill` would write, and what follows it up to `len` values, if a map holds them in one piece.
    #[inline(always)]
    fn whole_line<'a>(
        &self,
        source: &'a Source,
        channel: usize,
        place: Place,
        len: usize,
    ) -> Option<&'a [f32]> {
        let line = self.window.line?;
        if source.prologue.is_some() || source.factors != [1, 1] || self.window.stride != [1, 1] {
            return None;
        }
        let start = place.first_row * line;
        source.plane(place.batch, channel)?.get(start..start + len)
    }

    /// The distance from a row to the next in a map, if rows of outputs that read one position each are read where they are.
    pub(super) fn row_step_in_place(&self, source: &Source) -> Option<usize> {
        let ReadWindow {
            stride, pad, line, ..
        } = self.window;
        let is_whole = line.is_some() || self.columns == source.size[1];
        let is_stored = source.is_read_as_stored() && stride == [1, 1] && pad == [0, 0];
        (self.is_pointwise() && is_stored && is_whole && source.taps.count == 1)
            .then(|| line.unwrap_or(self.columns))
    }

    /// Prefetches a channel that is packed soon, of these or of the next.
    #[inline(always)]
    pub(super) fn prefetch_next(&self, source: &Source, channel: usize, place: Place) {
        let next = channel + PREFETCH_CHANNELS;
        if next < source.channels {
            self.prefetch(source, next, place);
        }
    }

    /// Prefetches what `fill` will read.
    #[inline(always)]
    fn prefetch(&self, source: &Source, channel: usize, place: Place) {
        let Some(plane) = source.plane(place.batch, channel) else {
            return;
        };
        if let Some(line) = self.window.line {
            let at = |row: usize| (row * line / source.factors[1]).min(plane.len());
            for place in (at(place.first_row)..at(place.first_row + self.rows)).step_by(16) {
                prefetch(plane, place);
            }
            return;
        }
        let first = (place.first_row * self.window.stride[0]) as isize - self.window.pad[0];
        let rows = (self.rows * self.window.stride[0]) as isize;
        let at = |row: isize| {
            let row = quotient(row.max(0) as usize, source.factors[0]);
            (row * source.size[1]).min(plane.len())
        };
        for place in (at(first)..at(first + rows)).step_by(16) {
            prefetch(plane, place);
        }
    }

    /// Where the values of a plane of this size are packed that the outputs at `place` read: from position `start` on, and
    /// at `nowhere` if they are not read.
    pub(super) fn streams(
        &self,
        size: [usize; 2],
        place: Place,
        start: usize,
        nowhere: usize,
    ) -> Vec<Stream> {
        let ReadWindow { stride, pad, .. } = self.window;
        let [height, width] = size;
        let nowhere = offset(nowhere);
        // The positions of values of a row, of which `first` is the first that is read.
        let columns = |first: isize, values: Range<usize>| {
            let column = move |x: usize| self.position(1, x as isize - first);
            values.map(move |x| column(x).map_or(nowhere, offset))
        };
        let stream = |values: Range<usize>, mut places: Vec<u32>| {
            if places.len() < LANES {
                places.resize(LANES, nowhere);
            }
            (!values.is_empty()).then(|| Stream {
                values,
                places: Places::new(places),
            })
        };
        if let Some(line) = self.window.line {
            let of_row = |row: usize| {
                let first = ((place.first_row + row) * line) as isize - pad[1];
                let span = ((self.columns - 1) * stride[1] + self.phases[1]) as isize;
                let values = within(first, span, width);
                let at = offset(start + row * self.pitch);
                let places = columns(first, values.clone());
                let places = places.map(|x| if x == nowhere { x } else { at + x });
                stream(values, places.collect())
            };
            return (0..self.rows).filter_map(of_row).collect();
        }
        let top = (place.first_row * stride[0]) as isize - pad[0];
        // The rows that are read, and those between them.
        let span = ((self.rows - 1) * stride[0] + self.phases[0]) as isize;
        let rows = within(top, span, height);
        let columns: Vec<u32> = columns(-pad[1], 0..width).collect();
        let mut places = Vec::with_capacity(rows.len() * width);
        for y in rows.clone() {
            match self.position(0, y as isize - top) {
                None => places.extend(columns.iter().map(|_| nowhere)),
                Some(row) => {
                    let at = offset(start + row);
                    let of_row = columns.iter();
                    places.extend(of_row.map(|&x| if x == nowhere { x } else { at + x }));
                }
            }
        }
        Vec::from_iter(stream(rows.start * width..rows.end * width, places))
    }

    /// The position at which a row (axis 0) or a column of a map is packed, so many after the first that is read; `None` if
    /// it is not read.
    fn position(&self, axis: usize, at: isize) -> Option<usize> {
        let at = usize::try_from(at).ok()?;
        let stride = self.window.stride[axis];
        let (whole, at) = (at, quotient(at, stride));
        let phase = whole - at * stride;
        let count = [self.rows, self.columns][axis];
        if phase >= self.phases[axis] || at >= count {
            return None;
        }
        Some(match axis {
            0 => phase * self.phases[1] * self.plane_len() + at * self.pitch,
            _ => phase * self.plane_len() + at,
        })
    }

    /// Packs what the outputs at `place` read of a channel.
    #[inline(always)]
    pub(super) fn fill(&self, source: &Source, channel: usize, place: Place, packed: &mut [f32]) {
        let Some(plane) = source.plane(place.batch, channel) else {
            return packed.fill(0.0);
        };
        let ReadWindow { stride, pad, .. } = self.window;
        let [height, width] = [0, 1].map(|axis| source.size[axis] * source.factors[axis]);
        let [top, left] = match self.window.line {
            // (The rows are pieces of one row, and begin where they begin.)
            Some(_) => [0, 0],
            None => [(place.first_row * stride[0]) as isize - pad[0], -pad[1]],
        };
        let mut planes = packed.chunks_exact_mut(self.plane_len().max(1));
        for phase_row in 0..self.phases[0] {
            for phase_column in 0..self.phases[1] {
                let Some(into) = planes.next() else { return };
                let first = left + phase_column as isize;
                if let Some(line) = self.window.line {
                    for (row, into) in into.chunks_exact_mut(self.pitch).enumerate() {
                        let first = ((place.first_row + row) * line) as isize + first - pad[1];
                        let columns = Inside::of(first, stride[1], width, self.columns);
                        self.fill_row(source, channel, plane, columns, into);
                    }
                    continue;
                }
                let rows = Inside::of(top + phase_row as isize, stride[0], height, self.rows);
                let columns = Inside::of(first, stride[1], width, self.columns);
                let (above, into) = into.split_at_mut(rows.start * self.pitch);
                let (into, below) = into.split_at_mut((rows.end - rows.start) * self.pitch);
                above.fill(0.0);
                below.fill(0.0);
                if source.is_read_as_stored() && stride == [1, 1] {
                    let from = &plane[(rows.first * width + columns.first).min(plane.len())..];
                    for row in into.chunks_exact_mut(self.pitch) {
                        row[..columns.start].fill(0.0);
                        row[columns.end..].fill(0.0);
                    }
                    let count = columns.end - columns.start;
                    let into = RowsMut {
                        values: into.get_mut(columns.start..).unwrap_or_default(),
                        step: self.pitch,
                    };
                    let from = Rows {
                        values: from,
                        step: width,
                    };
                    copy_rows(from, into, [rows.end - rows.start, count]);
                    continue;
                }
                let mut y = rows.first;
                for into in into.chunks_exact_mut(self.pitch) {
                    let row = quotient(y, source.factors[0]);
                    let from = &plane[row * source.size[1]..][..source.size[1]];
                    self.fill_row(source, channel, from, columns, into);
                    y += stride[0];
                }
            }
        }
    }

    /// Packs a row of the map, with the padding at its ends.
    #[inline(always)]
    fn fill_row(
        &self,
        source: &Source,
        channel: usize,
        from: &[f32],
        columns: Inside,
        into: &mut [f32],
    ) {
        into[..columns.start].fill(0.0);
        into[columns.end..].fill(0.0);
        let row = SourceRow {
            values: from,
            first: columns.first,
            step: self.window.stride[1],
            factor: source.factors[1],
        };
        source.read_row(channel, row, &mut into[columns.start..columns.end]);
    }
}

/// `a / b`, where `b` is 1 or 2 as a rule. (A division takes as long as to pack a short row.)
#[inline(always)]
fn quotient(a: usize, b: usize) -> usize {
    match b {
        1 => a,
        2 => a / 2,
        _ => a / b,
    }
}

/// Of `span` positions from `first` on, those of a map of `len`.
fn within(first: isize, span: isize, len: usize) -> Range<usize> {
    let start = first.clamp(0, len as isize);
    start as usize..(first + span).clamp(start, len as isize) as usize
}

/// The positions of a row (or of a column of rows) that are inside of a map.
#[derive(Clone, Copy)]
struct Inside {
    start: usize,
    end: usize,
    /// What `start` reads.
    first: usize,
}

impl Inside {
    /// Of `count` positions that read every `step`-th value from `first` on, of a map of `len` values.
    #[inline(always)]
    fn of(first: isize, step: usize, len: usize, count: usize) -> Self {
        let before = first.min(0).unsigned_abs();
        let start = quotient(before + step - 1, step).min(count);
        let after = (len as isize).saturating_sub(first).max(0) as usize;
        Self {
            start,
            end: quotient(after + step - 1, step).clamp(start, count),
            first: (first + (start * step) as isize).max(0) as usize,
        }
    }
}
