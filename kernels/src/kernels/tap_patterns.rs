//! Which taps of a kernel are summed since they read the same value of an enlarged map, and where each sum reads.

use alloc::{vec, vec::Vec};

use super::packing::Packing;
use super::source::Source;
use super::tap_sums::{PhaseSums, TapMap, TapPair};
use crate::policy::Geometry;

/// Taps of one axis that read the same value, so that their weights are summed; and the position of that value in the
/// packed window.
struct TapGroup {
    taps: Vec<usize>,
    at: usize,
}

/// The groups of the outputs at `phase` modulo `factor`, over a map that is read enlarged so many times.
fn groups(kernel: usize, pad: isize, factor: usize, phase: usize) -> Vec<TapGroup> {
    let mut groups: Vec<TapGroup> = Vec::new();
    let value = |at: usize| (at as isize - pad).div_euclid(factor as isize);
    for tap in 0..kernel {
        let at = phase + tap;
        match groups.last_mut() {
            Some(group) if value(group.at) == value(at) => group.taps.push(tap),
            _ => groups.push(TapGroup {
                taps: vec![tap],
                at,
            }),
        }
    }
    groups
}

/// The sums of taps for one phase of a source, and where they read.
pub(super) struct TapPattern {
    sums: Vec<Vec<usize>>,
    at: Vec<usize>,
}

impl TapPattern {
    /// The patterns of all phases.
    pub(super) fn all(
        source: &Source,
        geometry: &Geometry,
        packing: &Packing,
        step: [usize; 2],
    ) -> Vec<Self> {
        let phases = (0..step[0] * step[1]).map(|phase| [phase / step[1], phase % step[1]]);
        let pattern = |phase| Self::new(source, geometry, packing, step, phase);
        phases.map(pattern).collect()
    }

    fn new(
        source: &Source,
        geometry: &Geometry,
        packing: &Packing,
        step: [usize; 2],
        phase: [usize; 2],
    ) -> Self {
        let [rows, columns] = [0, 1].map(|axis| {
            // A map that is not enlarged by the step is packed as it is read.
            let factor = match source.factors[axis] == step[axis] {
                true => step[axis],
                false => 1,
            };
            groups(
                geometry.kernel[axis],
                geometry.pad[axis],
                factor,
                phase[axis],
            )
        });
        let (mut sums, mut at) = (Vec::new(), Vec::new());
        for row in &rows {
            for column in &columns {
                let taps = row.taps.iter().flat_map(|r| {
                    let tap = move |c| r * geometry.kernel[1] + c;
                    column.taps.iter().map(tap)
                });
                sums.push(taps.collect());
                at.push(packing.offset([row.at, column.at]));
            }
        }
        Self { sums, at }
    }

    /// The offsets at which the sums read, from the start of a channel.
    pub(super) fn places(&self) -> &[usize] {
        &self.at
    }
}

/// The map from the kernels of a source to the kernels of its phases.
pub(super) fn phase_sums(channels: usize, taps: usize, patterns: &[TapPattern]) -> PhaseSums {
    let sums = patterns.iter().flat_map(|pattern| &pattern.sums);
    let pairs = sums.clone().enumerate().flat_map(|(into, sum)| {
        let pair = move |&from: &usize| TapPair { from, into };
        sum.iter().map(pair)
    });
    PhaseSums {
        channels,
        map: TapMap::new(taps, sums.clone().count(), pairs.collect()),
        lens: patterns.iter().map(|pattern| pattern.sums.len()).collect(),
    }
}
