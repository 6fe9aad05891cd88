//! Convolution tap by tap: what is staged is multiplied as it lies, at the offset of each tap.

use alloc::{borrow::Cow, vec::Vec};

use pulp::Simd;

use super::raw::simd::{self, FarRows, Offsets, Rows};
use super::sink::{Output, Task};
use super::stage::{Source, Staging, channels_of};
use super::threads::{Scratch, Work, grow};

/// Steps of a sum between which the values that they read stay in the nearest cache.
const CHUNK: usize = 192;

/// Panels that share a reading of the weight, which may not stay in the second cache.
const PANELS: usize = 4;

/// Floats of a weight that does not stay in a usual second cache from its last use to this one.
const FAR: usize = 256 * 1024;

/// The outputs at one position modulo the step: `y[k] = sum_i weight[k][i] x[offset_i]`.
pub(super) struct Phase<'a> {
    weight: Cow<'a, [f32]>,
    steps: usize,
    chunks: Vec<Offsets>,
}

impl<'a> Phase<'a> {
    pub(super) fn new(weight: Cow<'a, [f32]>, offsets: &[u32]) -> Self {
        let steps = offsets.len();
        let chunk = steps.div_ceil(steps.div_ceil(CHUNK).max(1)).max(1);
        let chunks = offsets.chunks(chunk);
        Self {
            weight,
            steps,
            chunks: chunks.map(|chunk| Offsets::new(chunk.to_vec())).collect(),
        }
    }
}

/// A convolution, for which the order and the places of everything are settled.
pub(super) struct Direct<'a> {
    pub(super) sources: &'a [Source<'a>],
    pub(super) groups: usize,
    pub(super) staging: Staging,
    /// The output is cut into its positions modulo this; for each, by rows, there is a phase.
    pub(super) step: [usize; 2],
    pub(super) phases: Vec<Phase<'a>>,
    pub(super) output: Output<'a>,
}

impl Work<Task<'_>> for Direct<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: Task, scratch: &mut Scratch) {
        match self.step[1] {
            1 => self.run_phases::<S, 1>(simd, task, scratch),
            2 => self.run_phases::<S, 2>(simd, task, scratch),
            3 => self.run_phases::<S, 3>(simd, task, scratch),
            _ => self.run_phases::<S, 4>(simd, task, scratch),
        }
    }
}

impl Direct<'_> {
    /// `N` is the step of the columns.
    #[inline(always)]
    fn run_phases<S: Simd, const N: usize>(
        &self,
        simd: S,
        mut task: Task,
        [staged, sums, _]: &mut Scratch,
    ) {
        let size = [task.rows.len(), self.output.size[1]];
        let [rows, width] = [0, 1].map(|axis| size[axis].div_ceil(self.step[axis]));
        let pitch = self.staging.pitch;
        // The rows follow each other; what is computed between them is left.
        let end = (rows - 1) * pitch + width;
        let count = end.next_multiple_of(S::F32_LANES);
        let channels = channels_of(self.sources) / self.groups;
        // A last vector reads past the last channel.
        let staged = grow(staged, channels * self.staging.channel_len() + S::F32_LANES);
        let group = task.channels.start * self.groups / self.output.channels;
        let first_row = task.rows.start / self.step[0];
        let groups = [group, self.groups];
        self.staging
            .fill_all(self.sources, groups, [task.batch, first_row], staged);
        let outputs = task.channels.len();
        let wide = PANELS * simd::panel::<S>();
        let sums = grow(sums, self.phases.len() * outputs * wide);
        let mut first = 0;
        while first < count {
            let columns = wide.min(count - first);
            for (phase, sums) in self
                .phases
                .iter()
                .zip(sums.chunks_exact_mut(outputs * wide))
            {
                let mut done = 0;
                for chunk in &phase.chunks {
                    let size = [outputs, columns];
                    let weight = Rows {
                        values: &phase.weight[task.channels.start * phase.steps + done..],
                        step: phase.steps,
                    };
                    let seen = (&staged[first..], chunk);
                    let into = (&mut *sums, wide);
                    if phase.weight.len() > FAR {
                        simd::product(simd, size, FarRows(weight), seen, done > 0, into);
                    } else {
                        simd::product(simd, size, weight, seen, done > 0, into);
                    }
                    done += chunk.len();
                }
                if phase.chunks.is_empty() {
                    sums.fill(0.0);
                }
            }
            let sums = &sums[..];
            for index in 0..outputs {
                let of = |row: usize, column: usize| {
                    &sums[((row * N + column) * outputs + index) * wide..][..wide]
                };
                let places = [first, end.min(first + columns)];
                let layout = [pitch, self.step[0]];
                task.write_rows::<N>(index, places, layout, of, &self.output);
            }
            first += columns;
        }
    }
}
