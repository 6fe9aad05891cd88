//! [`AxisMap`]: a constant linear map along one axis.

use alloc::{vec, vec::Vec};

/// A linear map from `columns` positions of an axis to [`len`](Self::len) positions: what resizing, average fitting and
/// blurring have in common.
#[derive(Clone, Debug)]
pub struct AxisMap {
    /// The number of input positions.
    pub columns: usize,
    /// The input positions and their weights, those of one output position after those of the other.
    taps: Vec<(usize, f64)>,
    /// How many taps each output position has.
    counts: Vec<usize>,
}

impl AxisMap {
    /// The map that is zero everywhere, with room for `taps` taps of each output position.
    pub fn zero(rows: usize, columns: usize, taps: usize) -> Self {
        Self {
            columns,
            taps: Vec::with_capacity(rows * taps),
            counts: vec![0; rows],
        }
    }

    /// `y[i] = x[indices[i]]`, for `columns` positions.
    pub fn selection(indices: &[usize], columns: usize) -> Self {
        Self {
            columns,
            taps: indices.iter().map(|&column| (column, 1.0)).collect(),
            counts: vec![1; indices.len()],
        }
    }

    /// Adds `weight` to the influence of input `column` on output `row`. The rows come in order.
    pub fn add(&mut self, row: usize, column: usize, weight: f64) {
        debug_assert!(self.counts.get(row + 1).is_none_or(|&count| count == 0));
        self.taps.push((column, weight));
        self.counts[row] += 1;
    }

    /// The number of output positions.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// The number of taps of all output positions together.
    pub fn count(&self) -> usize {
        self.taps.len()
    }

    /// The most taps of an output position.
    pub fn most_taps(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }

    /// The taps of each output position: input positions and their weights.
    pub fn rows(&self) -> impl Iterator<Item = &[(usize, f64)]> {
        let mut rest = &self.taps[..];
        self.counts.iter().map(move |&count| {
            let (row, more) = rest.split_at(count);
            rest = more;
            row
        })
    }

    /// The position of the input that each position is, if the map is a selection.
    pub fn selected(&self) -> Option<Vec<usize>> {
        let one = |row: &[(usize, f64)]| match *row {
            [(column, 1.0)] => Some(column),
            _ => None,
        };
        self.rows().map(one).collect()
    }
}
