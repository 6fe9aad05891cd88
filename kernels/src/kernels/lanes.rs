//! Channels as the lanes of vectors. Where each channel is convolved by itself, all lanes do the same at any position, with
//! any stride, and no row is too short for a vector.

use alloc::vec::Vec;

use pulp::Simd;

use super::epilogue::EpilogueValues;
use super::packing::{Packing, Place, Stream};
use super::raw::pieces::LanesOf;
use super::raw::transpose;
use super::source::{Source, SourceRow};
use super::threads::grow;
use crate::policy::LANES;

/// The channel at a lane. (Lanes after the last channel repeat it.)
#[inline(always)]
fn channel_of(channels: LanesOf, lane: usize) -> usize {
    channels.first + lane.min(channels.count - 1) * channels.apart
}

/// Packs planes, one at each lane, for the outputs at one place.
pub(super) struct LanePacking {
    /// Those of each plane.
    planes: Vec<Vec<Stream>>,
    /// The positions of all planes that are packed one after the other.
    positions: usize,
}

impl LanePacking {
    /// For `planes` planes of this size at each lane.
    pub(super) fn new(packing: &Packing, size: [usize; 2], place: Place, planes: usize) -> Self {
        let positions = planes * packing.channel_len();
        let planes = (0..planes).map(|plane| {
            let first = plane * packing.channel_len();
            packing.streams(size, place, first, positions)
        });
        Self {
            planes: planes.collect(),
            positions,
        }
    }

    /// The length of what is packed: a vector for each position, and one for what is not read.
    pub(super) fn len<S: Simd>(&self) -> usize {
        (self.positions + 1) * S::F32_LANES
    }

    /// Packs plane `index` of each lane, which is that of a channel. The padding must be zero already.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(
        &self,
        simd: S,
        source: &Source,
        (batch, channels): (usize, LanesOf),
        index: usize,
        lines: &mut Vec<f32>,
        packed: &mut [f32],
    ) {
        for Stream { values, places } in &self.planes[index] {
            let len = places.len();
            let mut rows: [&[f32]; LANES] = [&[]; LANES];
            let mut is_whole = values.len() == len && source.is_read_as_stored();
            for (lane, row) in rows[..S::F32_LANES].iter_mut().enumerate() {
                match source.plane(batch, channel_of(channels, lane)) {
                    Some(plane) => *row = &plane[values.clone()],
                    None => is_whole = false,
                }
            }
            if !is_whole {
                let lines = grow(lines, S::F32_LANES * len);
                for (lane, line) in lines.chunks_exact_mut(len).enumerate() {
                    let line = &mut line[..values.len()];
                    // (A slice outside of the volume is zero.)
                    if rows[lane].is_empty() {
                        line.fill(0.0);
                        continue;
                    }
                    let row = SourceRow {
                        values: rows[lane],
                        first: 0,
                        step: 1,
                        factor: 1,
                    };
                    source.read_row(channel_of(channels, lane), row, line);
                }
                for (row, line) in rows.iter_mut().zip(lines.chunks_exact(len)) {
                    *row = line;
                }
            }
            transpose::rows_to_lanes(simd, &rows, places, packed);
        }
    }
}

/// Writes rows of `len` values as a vector for each value, whose lanes are the rows of these channels.
#[inline(always)]
pub(super) fn weight_to_lanes<S: Simd>(
    rows: &[f32],
    len: usize,
    channels: LanesOf,
    into: &mut [f32],
) {
    let lanes = S::F32_LANES;
    for lane in 0..lanes {
        let row = &rows[channel_of(channels, lane) * len..][..len];
        for (vector, value) in into.chunks_exact_mut(lanes).zip(row) {
            vector[lane] = *value;
        }
    }
}

/// The numbers of the channels at the lanes: center, scale and shift of what follows their sums.
#[inline(always)]
pub(super) fn numbers_to_lanes<S: Simd>(
    epilogue: &EpilogueValues,
    channels: LanesOf,
    [center, scale, shift]: [&mut [f32]; 3],
) {
    for lane in 0..S::F32_LANES {
        let finish = epilogue.of_channel(channel_of(channels, lane));
        center[lane] = finish.center;
        scale[lane] = finish.scale;
        shift[lane] = finish.shift;
    }
}

/// Writes vectors, one for each of the `len` values of a row, as the rows of these channels.
#[inline(always)]
pub(super) fn rows_from_lanes<S: Simd>(
    vectors: &[f32],
    len: usize,
    channels: LanesOf,
    rows: &mut [f32],
) {
    for lane in 0..channels.count {
        let row = &mut rows[channel_of(channels, lane) * len..][..len];
        for (value, vector) in row.iter_mut().zip(vectors.chunks_exact(S::F32_LANES)) {
            *value = vector[lane];
        }
    }
}
