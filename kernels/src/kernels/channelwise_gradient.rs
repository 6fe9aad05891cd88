//! The gradient of the weight of convolutions whose groups are small (depthwise): each lane of a vector is a group.

use alloc::vec::Vec;

use pulp::Simd;

use super::channelwise::rows_of_tile;
use super::lanes::{LanePacking, rows_from_lanes};
use super::packing::{Packing, Place, ReadWindow};
use super::raw::lane_products::LaneProducts;
use super::raw::matrices::offset;
use super::raw::pieces::LanesOf;
use super::source::Source;
use super::threads::{Scratch, Work, grow};
use super::weight_rows::WeightRows;
use crate::policy::{Geometry, LANES};

/// The gradient of a weight, with all layouts chosen.
pub(super) struct ChannelwiseGradient<'a> {
    source: Source<'a>,
    gradient: Source<'a>,
    batch: usize,
    groups: usize,
    /// The packing of what a block of rows reads, and that of its gradients.
    packing: Packing,
    flat: Packing,
    /// The offset of each tap.
    taps: Vec<u32>,
    /// The rows and columns of outputs of a block, and the blocks of a map.
    size: [usize; 2],
    blocks_of_a_map: usize,
}

impl<'a> ChannelwiseGradient<'a> {
    pub(super) fn new(
        source: Source<'a>,
        gradient: Source<'a>,
        batch: usize,
        geometry: &Geometry,
        is_line: bool,
    ) -> Self {
        let groups = geometry.groups;
        let mut window = ReadWindow::of(geometry);
        let mut one = ReadWindow::dense([1, 1], [1, 1], [0, 0]);
        let mut size = geometry.size;
        if is_line {
            size = window.divide(size[1]);
            one.line = Some(size[1]);
        }
        let [height, width] = size;
        let rows = rows_of_tile(window, source.channels / groups, size);
        let packing = Packing::new(window, rows, width);
        let columns = geometry.kernel[1];
        let tap_at = |tap: usize| offset(packing.offset([tap / columns, tap % columns]));
        Self {
            source,
            gradient,
            batch,
            groups,
            packing,
            flat: Packing::new(one, rows, width),
            taps: (0..geometry.plane_taps()).map(tap_at).collect(),
            size: [rows, width],
            blocks_of_a_map: height.div_ceil(rows),
        }
    }

    /// The number of blocks of rows in all maps.
    pub(super) fn blocks(&self) -> usize {
        self.batch * self.blocks_of_a_map
    }

    /// The rows of the weight of a task that are as many as wanted: whole vectors of groups.
    pub(super) fn rows_of_a_task(&self, wanted: usize) -> usize {
        let outputs = self.gradient.channels;
        let together = LANES * outputs / self.groups;
        wanted.next_multiple_of(together).min(outputs)
    }
}

impl Work<WeightRows<'_>> for ChannelwiseGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: WeightRows, [packed, sums, lines]: &mut Scratch) {
        let lanes = S::F32_LANES;
        let taps = self.taps.len();
        let [seen, made] =
            [self.source.channels, self.gradient.channels].map(|all| all / self.groups);
        // What each block of a map reads, and its gradients.
        let blocks = (0..self.blocks_of_a_map).map(|block| {
            let place = Place {
                batch: 0,
                first_row: block * self.size[0],
            };
            [
                LanePacking::new(&self.packing, self.source.size, place, seen),
                LanePacking::new(&self.flat, self.gradient.size, place, made),
            ]
        });
        let blocks: Vec<_> = blocks.collect();
        let [seen_len, made_len] = [
            seen * self.packing.channel_len(),
            made * self.flat.channel_len(),
        ];
        // (One more vector each for what is not read.)
        let [seen_len, made_len] = [seen_len, made_len].map(|len| (len + 1) * lanes);
        let packed = grow(packed, seen_len + made_len);
        packed.fill(0.0);
        let sums = grow(sums, made * seen * taps * lanes);
        let row = seen * taps;
        let end = (task.first + task.weight.len() / row) / made;
        for first in (task.first / made..end).step_by(lanes) {
            let of = |index: usize, apart: usize| LanesOf {
                first: first * apart + index,
                apart,
                count: lanes.min(end - first),
            };
            sums.fill(0.0);
            for index in (task.block..self.blocks()).step_by(task.step) {
                let (batch, block) = (index / blocks.len(), index % blocks.len());
                if blocks.len() > 1 {
                    // (The padding is elsewhere.)
                    packed.fill(0.0);
                }
                let (packed, gradient) = packed.split_at_mut(seen_len);
                let [read, written] = &blocks[block];
                for plane in 0..seen {
                    let channels = (batch, of(plane, seen));
                    read.fill(simd, &self.source, channels, plane, lines, packed);
                }
                for plane in 0..made {
                    let channels = (batch, of(plane, made));
                    written.fill(simd, &self.gradient, channels, plane, lines, gradient);
                }
                for (pair, sums) in sums.chunks_exact_mut(taps * lanes).enumerate() {
                    let products = LaneProducts {
                        gradient: &gradient[pair / seen * self.flat.channel_len() * lanes..],
                        size: self.size,
                        packed: &packed[pair % seen * self.packing.channel_len() * lanes..],
                        pitch: self.packing.pitch,
                        offsets: &self.taps,
                    };
                    products.add(simd, sums);
                }
            }
            for (output, sums) in sums.chunks_exact(row * lanes).enumerate() {
                let rows = of(output, made);
                let rows = LanesOf {
                    first: rows.first - task.first,
                    ..rows
                };
                rows_from_lanes::<S>(sums, row, rows, task.weight);
            }
        }
    }
}
