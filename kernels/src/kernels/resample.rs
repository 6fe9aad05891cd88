//! Constant linear maps along the axes of a map: resizing, average fitting, blurring. All axes are mapped in one pass.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use pulp::Simd;

use super::raw::piece::Piece;
use super::raw::uninit_buffer::{Cuts, UninitBuffer};
use super::threads::{self, Scratch, Work, grow};
use crate::axis_map::AxisMap;

/// Floats of the rows that a task holds between two axes.
const MAX_LINES: usize = 32 * 1024;

/// The fewest rows of a task: neighbouring tasks read some of the same rows.
const MIN_ROWS: usize = 8;

/// The fewest columns of a task that has a part of a row.
const MIN_COLUMNS: usize = 1024;

/// `weight x[column]`
#[derive(Clone, Copy, Debug)]
struct Tap {
    column: u32,
    weight: f32,
}

impl Tap {
    #[inline(always)]
    fn column(self) -> usize {
        self.column as usize
    }
}

/// The map along one axis: the taps of each output, one after the other.
#[derive(Clone, Debug)]
struct LineMap {
    taps: Vec<Tap>,
    /// Where the taps of each output end.
    ends: Vec<u32>,
    /// The taps of each output, if they are as many for all.
    count: Option<usize>,
}

impl LineMap {
    /// `None` where the numbers of its positions or taps have more than 32 bits.
    fn new(map: &AxisMap) -> Option<Self> {
        u32::try_from(map.columns.max(map.len())).ok()?;
        u32::try_from(map.count()).ok()?;
        let mut taps = Vec::with_capacity(map.count());
        let mut ends = Vec::with_capacity(map.len());
        for row in map.rows() {
            taps.extend(row.iter().map(|&(column, weight)| Tap {
                column: column as u32,
                weight: weight as f32,
            }));
            ends.push(taps.len() as u32);
        }
        Some(Self::with_ends(taps, ends))
    }

    fn with_ends(taps: Vec<Tap>, ends: Vec<u32>) -> Self {
        let count = ends.first().map(|&end| end as usize);
        let is_count = |count: usize| {
            let wanted = ends.iter().zip(1..);
            wanted
                .into_iter()
                .all(|(&end, row)| end as usize == row * count)
        };
        let count = count.filter(|&count| is_count(count));
        Self { taps, ends, count }
    }

    /// The map in the opposite direction, to `inputs` positions: the gradient.
    fn transposed(&self, inputs: usize) -> Self {
        let mut ends = vec![0; inputs];
        for tap in &self.taps {
            ends[tap.column()] += 1;
        }
        let mut total = 0_u32;
        for end in &mut ends {
            // Where the taps of an input start, until they are put there.
            let count = core::mem::replace(end, total);
            total += count;
        }
        let none = Tap {
            column: 0,
            weight: 0.0,
        };
        let mut taps = vec![none; total as usize];
        for output in 0..self.ends.len() {
            for tap in self.taps_of(output) {
                let place = &mut ends[tap.column()];
                taps[*place as usize] = Tap {
                    column: output as u32,
                    weight: tap.weight,
                };
                *place += 1;
            }
        }
        Self::with_ends(taps, ends)
    }

    #[inline(always)]
    fn taps_of(&self, output: usize) -> &[Tap] {
        let start = output.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.taps[start as usize..self.ends[output] as usize]
    }

    /// The input that an output is equal to.
    #[inline(always)]
    fn copied(&self, output: usize) -> Option<usize> {
        match self.taps_of(output) {
            [tap] if tap.weight == 1.0 => Some(tap.column()),
            _ => None,
        }
    }

    /// The inputs that some outputs read.
    fn seen(&self, outputs: Range<usize>) -> Range<usize> {
        let columns = |outputs: Range<usize>| {
            let taps = outputs.flat_map(|output| self.taps_of(output));
            taps.map(|tap| tap.column())
        };
        let first = columns(outputs.clone()).min().unwrap_or(0);
        first..columns(outputs).max().map_or(first, |last| last + 1)
    }

    /// Maps a line to its outputs from `first` on.
    #[inline(always)]
    fn apply(&self, from: &[f32], first: usize, into: &mut [f32]) {
        match self.count {
            Some(1) => self.apply_fixed::<1>(from, first, into),
            Some(2) => self.apply_fixed::<2>(from, first, into),
            Some(4) => self.apply_fixed::<4>(from, first, into),
            _ => {
                for (into, output) in into.iter_mut().zip(first..) {
                    let mut sum = 0.0;
                    for tap in self.taps_of(output) {
                        sum += tap.weight * from[tap.column()];
                    }
                    *into = sum;
                }
            }
        }
    }

    #[inline(always)]
    fn apply_fixed<const K: usize>(&self, from: &[f32], first: usize, into: &mut [f32]) {
        let taps = &self.taps.as_chunks::<K>().0[first..];
        for (into, taps) in into.iter_mut().zip(taps) {
            let mut sum = taps[0].weight * from[taps[0].column()];
            for tap in &taps[1..] {
                sum += tap.weight * from[tap.column()];
            }
            *into = sum;
        }
    }
}

/// The maps along depth, rows and columns.
#[derive(Clone, Debug)]
pub struct Resampling {
    from: [usize; 3],
    to: [usize; 3],
    /// `None` where an axis stays as it is.
    maps: [Option<LineMap>; 3],
}

impl Resampling {
    /// These maps along axes of a map of this spatial size, counted with batch and channels; `None` for more than three
    /// spatial axes, where an axis is mapped twice, and where it has more positions than 32 bits count.
    pub fn new(size: &[usize], maps: &[(usize, AxisMap)]) -> Option<Self> {
        let missing = 3_usize.checked_sub(size.len())?;
        let mut from = [1; 3];
        from[missing..].copy_from_slice(size);
        let mut all = Self {
            from,
            to: from,
            maps: [None, None, None],
        };
        for (axis, map) in maps {
            let axis = missing + axis - 2;
            debug_assert_eq!(map.columns, from[axis]);
            all.to[axis] = map.len();
            if all.maps[axis].replace(LineMap::new(map)?).is_some() {
                return None;
            }
        }
        Some(all)
    }

    /// The maps of the gradient.
    pub fn transposed(&self) -> Self {
        let transposed = |axis: usize| {
            let map = self.maps[axis].as_ref();
            map.map(|map| map.transposed(self.from[axis]))
        };
        Self {
            from: self.to,
            to: self.from,
            maps: [0, 1, 2].map(transposed),
        }
    }

    /// The size of the output along the last `axes` axes.
    pub fn output_size(&self, axes: usize) -> &[usize] {
        &self.to[3 - axes..]
    }

    /// The rows of the input that some rows of the output read.
    fn seen_rows(&self, rows: Range<usize>) -> Range<usize> {
        match &self.maps[1] {
            Some(map) => map.seen(rows),
            None => rows,
        }
    }
}

/// Maps of some channels, one after the other.
pub fn forward(x: &[f32], resampling: &Resampling) -> Vec<f32> {
    let [from, to] = [resampling.from, resampling.to].map(|size| size.iter().product::<usize>());
    let [depth, height, width] = resampling.to;
    let channels = x.len() / from.max(1);
    let mut y = UninitBuffer::new(channels * to);
    let wanted = (channels * depth * height).div_ceil(threads::parts());
    let most = MAX_LINES / width.max(resampling.from[2]).max(1);
    let rows = wanted.min(most).max(MIN_ROWS).min(height.max(1));
    // One long row is cut where each position is mapped by itself.
    let columns = match (height, &resampling.maps) {
        (1, [None, None, Some(_)]) => {
            let pieces = threads::parts().div_ceil((channels * depth).max(1));
            let columns = width.div_ceil(pieces);
            columns.clamp(MIN_COLUMNS, MAX_LINES).min(width.max(1))
        }
        _ => width,
    };
    let pieces = y.pieces(Cuts {
        plane: height * width,
        block: rows * columns,
        width: columns,
        step: 1,
    });
    let tasks = pieces.map(|placed| {
        let (first_row, first_column) = match columns == width {
            true => (placed.block * rows, 0),
            false => (0, placed.block * columns),
        };
        let task = Task {
            channel: placed.plane / depth,
            slice: placed.plane % depth,
            rows: first_row..(first_row + rows).min(height),
            columns: first_column..(first_column + columns).min(width),
        };
        (task, placed.piece)
    });
    let tasks = tasks.collect();
    threads::run(&Resample { x, resampling }, tasks);
    y.finish()
}

/// Some rows of a slice of the output, or some columns of its only row.
struct Task {
    channel: usize,
    slice: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

struct Resample<'a> {
    x: &'a [f32],
    resampling: &'a Resampling,
}

/// `into = sum(weight values[(column - first) step..])` over the taps.
#[inline(always)]
fn blend(into: &mut [f32], taps: &[Tap], values: &[f32], first: usize, step: usize) {
    let len = into.len();
    let row = |tap: &Tap| &values[(tap.column() - first) * step..][..len];
    match taps {
        [] => into.fill(0.0),
        [a] => {
            for (into, x) in into.iter_mut().zip(row(a)) {
                *into = a.weight * x;
            }
        }
        [a, b, more @ ..] => {
            for (into, (x, y)) in into.iter_mut().zip(row(a).iter().zip(row(b))) {
                *into = a.weight * x + b.weight * y;
            }
            for tap in more {
                for (into, x) in into.iter_mut().zip(row(tap)) {
                    *into += tap.weight * x;
                }
            }
        }
    }
}

impl Work<(Task, Piece<'_>)> for Resample<'_> {
    #[inline(always)]
    fn run<S: Simd>(
        &self,
        _: S,
        (task, mut piece): (Task, Piece),
        [blended, wide, lines]: &mut Scratch,
    ) {
        let Resampling { from, maps, .. } = self.resampling;
        let [of_depth, of_rows, of_columns] = maps.each_ref().map(Option::as_ref);
        let [depth, height, width] = *from;
        let seen = self.resampling.seen_rows(task.rows.clone());
        let slices = &self.x[task.channel * depth * height * width + seen.start * width..];
        let len = seen.len() * width;
        let slice = match of_depth {
            None => &slices[task.slice * height * width..][..len],
            Some(map) => {
                let blended = grow(blended, len);
                let taps = map.taps_of(task.slice);
                blend(blended, taps, slices, 0, height * width);
                blended
            }
        };
        let columns = task.columns.len();
        // Along the columns first, where the output has more rows.
        let is_wide = of_columns.is_some() && seen.len() <= task.rows.len();
        let (source, width) = match of_columns.filter(|_| is_wide) {
            None => (slice, width),
            Some(map) => {
                let wide = grow(wide, seen.len() * columns);
                let rows = slice
                    .chunks_exact(width)
                    .zip(wide.chunks_exact_mut(columns));
                for (from, into) in rows {
                    map.apply(from, task.columns.start, into);
                }
                (&*wide, columns)
            }
        };
        let of_columns = of_columns.filter(|_| !is_wide);
        let lens = [
            of_rows.map_or(0, |_| width),
            of_columns.map_or(0, |_| columns),
        ];
        let (line, mapped) = grow(lines, lens[0] + lens[1]).split_at_mut(lens[0]);
        for (index, row) in task.rows.enumerate() {
            let copied = match of_rows {
                None => Some(row),
                Some(map) => map.copied(row),
            };
            let values = match (copied, of_rows) {
                (Some(row), _) => &source[(row - seen.start) * width..][..width],
                (None, Some(map)) => {
                    blend(line, map.taps_of(row), source, seen.start, width);
                    &*line
                }
                (None, None) => unreachable!("a row without a map is copied"),
            };
            let values = match of_columns {
                None => values,
                Some(map) => {
                    map.apply(values, task.columns.start, mapped);
                    &*mapped
                }
            };
            piece.write(index, 0..columns, [values], None, |value, _| value);
        }
    }
}
