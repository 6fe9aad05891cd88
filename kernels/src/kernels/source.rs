//! [`Source`]: a feature map that a kernel reads.

use alloc::vec::Vec;

use super::raw::matrices::{Rows, RowsMut};
use crate::policy::{ConvShape, Depth, Geometry, Piecewise, SourceShape, StoredSlices};

/// A feature map that a kernel reads, as planes of `[batch, channels]`.
///
/// A volume is read through its `taps`: each of the slices that these yield is a map of its own in the batch, and each
/// channel of the volume is as many channels as there are taps.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// `[batch, channels, slices, height, width]`
    pub(super) values: &'a [f32],
    /// The channels that a kernel sees.
    pub(super) channels: usize,
    /// Height and width as they are stored.
    pub(super) size: [usize; 2],
    /// How often each value is repeated along rows and columns (nearest upsampling).
    pub(super) factors: [usize; 2],
    pub(super) slices: StoredSlices,
    pub(super) taps: DepthTaps,
    /// Applied to the values while they are read.
    pub(super) prologue: Option<Prologue<'a>>,
}

/// The slices of a volume that a kernel reads: for output slice `z`, tap `t` reads slice `z * step + t * spacing + start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DepthTaps {
    /// The number of taps.
    pub(super) count: usize,
    pub(super) step: isize,
    pub(super) spacing: isize,
    pub(super) start: isize,
    /// The number of output slices.
    pub(super) outputs: usize,
}

impl DepthTaps {
    /// The one slice of a map of two axes.
    const FLAT: Self = Self {
        count: 1,
        step: 1,
        spacing: 1,
        start: 0,
        outputs: 1,
    };

    /// Each slice as it is.
    fn identity(slices: usize) -> Self {
        Self {
            outputs: slices,
            ..Self::FLAT
        }
    }

    /// Those of a convolution.
    pub(super) fn of(depth: Depth) -> Self {
        Self {
            count: depth.kernel,
            step: depth.stride as isize,
            spacing: depth.dilation as isize,
            start: -depth.pad,
            outputs: depth.size,
        }
    }
}

/// `activation(affine(x))`
#[derive(Clone, Copy)]
pub struct Prologue<'a> {
    /// Applied first.
    pub affine: ChannelAffine<'a>,
    /// Applied to what it gives.
    pub activation: Piecewise,
}

/// `scale (x - mean) + shift` of each channel. The mean is subtracted first: where the values are large and nearly
/// constant, `scale x + (shift - scale mean)` would cancel.
#[derive(Clone, Copy)]
pub struct ChannelAffine<'a> {
    /// Subtracted, one number per channel.
    pub mean: &'a [f32],
    /// Multiplied, one number per channel.
    pub scale: &'a [f32],
    /// Added, one number per channel.
    pub shift: &'a [f32],
}

/// The affine map of one channel.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) mean: f32,
    pub(super) scale: f32,
    pub(super) shift: f32,
}

impl ChannelAffine<'_> {
    #[inline(always)]
    pub(super) fn of(&self, channel: usize) -> Affine {
        Affine {
            mean: self.mean[channel],
            scale: self.scale[channel],
            shift: self.shift[channel],
        }
    }
}

impl Affine {
    #[inline(always)]
    pub(super) fn apply(self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.shift
    }
}

impl<'a> Source<'a> {
    /// A map that is read slice by slice.
    pub fn new(values: &'a [f32], shape: SourceShape) -> Self {
        let SourceShape {
            channels,
            size,
            factors,
            slices,
        } = shape;
        Self {
            values,
            channels,
            size,
            factors,
            slices,
            taps: DepthTaps::identity(slices.count * slices.factor),
            prologue: None,
        }
    }

    /// The same, with this applied to its values.
    pub fn with_prologue(self, prologue: Option<Prologue<'a>>) -> Self {
        Self { prologue, ..self }
    }

    /// The same values as planes of another height and width.
    pub(super) fn with_size(&self, size: [usize; 2]) -> Self {
        debug_assert_eq!(size[0] * size[1], self.size[0] * self.size[1]);
        Self { size, ..*self }
    }

    /// The same, read through these taps.
    pub(super) fn through(&self, taps: DepthTaps) -> Self {
        Self {
            channels: self.maps() * taps.count,
            taps,
            ..*self
        }
    }

    /// The channels of the map.
    fn maps(&self) -> usize {
        self.channels / self.taps.count.max(1)
    }

    /// The shape of the map.
    pub fn shape(&self) -> SourceShape {
        SourceShape {
            channels: self.maps(),
            size: self.size,
            factors: self.factors,
            slices: self.slices,
        }
    }

    pub(super) fn is_enlarged(&self) -> bool {
        self.shape().is_enlarged()
    }

    pub(super) fn has_enlarged_planes(&self) -> bool {
        self.shape().has_enlarged_planes()
    }

    /// The channel of the map that a channel reads.
    #[inline(always)]
    pub(super) fn map_of(&self, channel: usize) -> usize {
        channel / self.taps.count
    }

    /// The plane that a channel reads for a map of the batch; `None` for a slice outside of the volume, which is zero.
    #[inline(always)]
    pub(super) fn plane(&self, batch: usize, channel: usize) -> Option<&[f32]> {
        let start = self.plane_start(batch, channel)?;
        Some(&self.values[start..][..self.plane_len()])
    }

    /// Where that plane starts.
    #[inline(always)]
    pub(super) fn plane_start(&self, batch: usize, channel: usize) -> Option<usize> {
        if self.taps == DepthTaps::FLAT && self.slices.count == 1 {
            // (Divisions would take as long as to read a short row.)
            return Some((batch * self.channels + channel) * self.plane_len());
        }
        let DepthTaps {
            count,
            step,
            spacing,
            start,
            outputs,
        } = self.taps;
        let (sample, z) = (batch / outputs, batch % outputs);
        let slice = z as isize * step + (channel % count) as isize * spacing + start;
        let slice = usize::try_from(slice).ok()? / self.slices.factor;
        (slice < self.slices.count)
            .then(|| self.stored_plane_start(sample, self.map_of(channel), slice))
    }

    /// The stored values of a plane.
    #[inline(always)]
    pub(super) fn plane_len(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// The distance from a plane to that of the next channel of the map.
    pub(super) fn channel_step(&self) -> usize {
        self.slices.count * self.plane_len()
    }

    /// A slice of a channel of the map, as it is stored.
    #[inline(always)]
    pub(super) fn stored_plane(&self, sample: usize, map: usize, slice: usize) -> &[f32] {
        let start = self.stored_plane_start(sample, map, slice);
        &self.values[start..][..self.plane_len()]
    }

    #[inline(always)]
    fn stored_plane_start(&self, sample: usize, map: usize, slice: usize) -> usize {
        ((sample * self.maps() + map) * self.slices.count + slice) * self.plane_len()
    }

    /// Whether what is read of a row is what is stored.
    #[inline(always)]
    pub(super) fn is_read_as_stored(&self) -> bool {
        self.prologue.is_none() && self.factors == [1, 1]
    }

    /// Reads values of a row of a channel, with the prologue applied.
    #[inline(always)]
    pub(super) fn read_row(&self, channel: usize, row: SourceRow, into: &mut [f32]) {
        if into.is_empty() {
            return;
        }
        let Some(prologue) = &self.prologue else {
            return match row.step == row.factor {
                true => copy(&row.values[row.first / row.factor..][..into.len()], into),
                false => row.read(into, |v| v),
            };
        };
        let affine = prologue.affine.of(self.map_of(channel));
        match prologue.activation {
            Piecewise::IDENTITY => row.read(into, |v| affine.apply(v)),
            Piecewise::RELU => row.read(into, |v| Piecewise::RELU.value(affine.apply(v))),
            activation => row.read(into, |v| activation.value(affine.apply(v))),
        }
    }
}

/// Every `step`-th value, from `first` on, of a row in which each value is repeated `factor` times.
pub(super) struct SourceRow<'a> {
    pub(super) values: &'a [f32],
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) factor: usize,
}

impl SourceRow<'_> {
    /// Writes `map` of these values.
    #[inline(always)]
    fn read(&self, into: &mut [f32], map: impl Fn(f32) -> f32) {
        let Self {
            values,
            first,
            step,
            factor,
        } = *self;
        if step == factor {
            let from = &values[first / factor..][..into.len()];
            for (v, from) in into.iter_mut().zip(from) {
                *v = map(*from);
            }
        } else if (step, factor) == (2, 1) {
            match into.len() {
                16.. => {
                    // (The loop over pairs is vectorised; the last value may have no second one.)
                    let last = into.len() - 1;
                    for (v, pair) in into[..last].iter_mut().zip(values[first..].chunks_exact(2)) {
                        *v = map(pair[0]);
                    }
                    into[last] = map(values[first + 2 * last]);
                }
                8.. => read_every_second::<8>(values, first, into, map),
                4.. => read_every_second::<4>(values, first, into, map),
                _ => read_every_second::<1>(values, first, into, map),
            }
        } else if (step, factor) == (1, 2) {
            for (j, v) in into.iter_mut().enumerate() {
                *v = map(values[(first + j) / 2]);
            }
        } else if factor == 1 {
            for (v, from) in into.iter_mut().zip(values[first..].iter().step_by(step)) {
                *v = map(*from);
            }
        } else {
            for (j, v) in into.iter_mut().enumerate() {
                *v = map(values[(first + j * step) / factor]);
            }
        }
    }
}

/// Writes `map` of every second value from `first` on to a short row, in runs of `RUN`, the last of which may overlap the
/// one before.
#[inline(always)]
fn read_every_second<const RUN: usize>(
    values: &[f32],
    first: usize,
    into: &mut [f32],
    map: impl Fn(f32) -> f32,
) {
    let last = into.len() - RUN;
    for run in 0..into.len().div_ceil(RUN) {
        let start = (run * RUN).min(last);
        let at = first + 2 * start;
        let into = &mut into[start..][..RUN];
        // (The last value may have no second one; then each is the second of a pair. Of whole pairs the compiler makes
        // vectors.)
        if let Some(pairs) = values.get(at..at + 2 * RUN) {
            (0..RUN).for_each(|j| into[j] = map(pairs[2 * j]));
        } else if RUN > 1 && at > 0 {
            let pairs = &values[at - 1..][..2 * RUN];
            (0..RUN).for_each(|j| into[j] = map(pairs[2 * j + 1]));
        } else {
            (0..RUN).for_each(|j| into[j] = map(values[at + 2 * j]));
        }
    }
}

/// Rows as long as this are copied by the library.
const LONG_ROW: usize = 128;

/// Copies a row, which may be short.
#[inline(always)]
pub(super) fn copy(from: &[f32], into: &mut [f32]) {
    let (size, step) = ([1, into.len()], into.len());
    copy_rows(
        Rows { values: from, step },
        RowsMut { values: into, step },
        size,
    );
}

/// Copies `[rows, columns]` values, row by row in runs of eight, the last of which may overlap the one before. (To call
/// a function takes as long as to copy a short row so; to copy the end of a row value by value, too.)
#[inline(always)]
pub(super) fn copy_rows(from: Rows, into: RowsMut, [rows, columns]: [usize; 2]) {
    match columns {
        LONG_ROW.. => {
            for row in 0..rows {
                let from = &from.values[row * from.step..][..columns];
                into.values[row * into.step..][..columns].copy_from_slice(from);
            }
        }
        8.. => copy_rows_by::<8>(from, into, [rows, columns]),
        4.. => copy_rows_by::<4>(from, into, [rows, columns]),
        1.. => copy_rows_by::<1>(from, into, [rows, columns]),
        0 => {}
    }
}

/// The same in runs of `RUN`.
#[inline(always)]
fn copy_rows_by<const RUN: usize>(from: Rows, into: RowsMut, [rows, columns]: [usize; 2]) {
    // (All in one loop: a closure that is called twice would be a function.)
    for row in 0..rows {
        let from = &from.values[row * from.step..][..columns];
        let into = &mut into.values[row * into.step..][..columns];
        for run in 0..columns.div_ceil(RUN) {
            let start = (run * RUN).min(columns - RUN);
            into[start..][..RUN].copy_from_slice(&from[start..][..RUN]);
        }
    }
}

/// The sources, read through the taps of a convolution.
pub(super) fn through<'a>(sources: &[Source<'a>], depth: Depth) -> Vec<Source<'a>> {
    let taps = DepthTaps::of(depth);
    sources.iter().map(|source| source.through(taps)).collect()
}

/// The shape of the output of a convolution, as a source.
pub(super) fn output_shape(geometry: &Geometry, channels: usize) -> SourceShape {
    SourceShape {
        slices: StoredSlices::plain(geometry.depth.size),
        ..SourceShape::plain(channels, geometry.size)
    }
}

/// The channels of a concatenation.
pub(super) fn channels_of(sources: &[Source]) -> usize {
    sources.iter().map(|source| source.channels).sum()
}

/// The shape of a convolution of these sources, for the policy.
pub(super) fn shape_of(
    sources: &[Source],
    outputs: usize,
    batch: usize,
    geometry: &Geometry,
) -> ConvShape {
    ConvShape {
        geometry: geometry.clone(),
        batch,
        sources: sources.iter().map(Source::shape).collect(),
        outputs,
    }
}
