//! [`Grid`]: where the positions of a map lie on the input of the network.

use serde::Serialize;

/// Where the positions of a map lie on the input of the network, along one axis, in positions of the input.
///
/// The position `i` of the map has its centre at `offset + stride i`, where 0 is the centre of the input's
/// first position, and depends on `field` positions of the input around it.
///
/// # Example
/// ```
/// use burn_skip::plan::Grid;
///
/// // A 2x2 pool, and a strided 3x3 convolution that is padded by one.
/// let pooled = Grid::INPUT.window([2, 2, 1, 0]);
/// let strided = Grid::INPUT.window([3, 2, 1, 1]);
/// assert_eq!([pooled.offset, strided.offset], [0.5, 0.0]);
/// // Enlarged by two, the first lies on the input again, and the other half a position before it.
/// assert_eq!(pooled.resized(8, 16, 1).offset, 0.0);
/// assert_eq!(strided.resized(8, 16, 1).offset, -0.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// From the centre of a position to that of the next.
    pub stride: f64,
    /// The centre of the first position.
    pub offset: f64,
    /// The receptive field (arXiv:1603.07285): how many positions of the input one position depends on.
    pub field: f64,
}

impl Grid {
    /// The input itself.
    pub const INPUT: Self = Self {
        stride: 1.0,
        offset: 0.0,
        field: 1.0,
    };

    /// After a window: a convolution or a pool, padded by `pad` before the first position.
    pub fn window(self, [kernel, stride, dilation, pad]: [usize; 4]) -> Self {
        let reach = ((kernel - 1) * dilation) as f64;
        Self {
            stride: self.stride * stride as f64,
            offset: self.offset + self.stride * (reach / 2.0 - pad as f64),
            field: self.field + self.stride * reach,
        }
    }

    /// After a transposed convolution whose output is cut by `cut` positions before the first.
    pub fn transposed(self, [kernel, stride, dilation, cut]: [usize; 4]) -> Self {
        let reach = (kernel - 1) * dilation;
        let step = self.stride / stride as f64;
        Self {
            stride: step,
            offset: self.offset + step * (cut as f64 - reach as f64 / 2.0),
            field: self.field + self.stride * (reach / stride) as f64,
        }
    }

    /// After a resize from `from` to `to` positions which keeps the edges of the map where they are, and
    /// for which a position depends on `taps` of the map.
    pub fn resized(self, from: usize, to: usize, taps: usize) -> Self {
        let ratio = from as f64 / to as f64;
        self.sampled(ratio, (ratio - 1.0) / 2.0, taps)
    }

    /// After a resize which keeps the centres of the first and the last position where they are.
    pub fn resized_by_corners(self, from: usize, to: usize, taps: usize) -> Self {
        let ratio = from.saturating_sub(1) as f64 / to.saturating_sub(1).max(1) as f64;
        self.sampled(ratio, 0.0, taps)
    }

    /// After a resize which takes the position `floor(i from / to)`: on average it lies so much before
    /// `i from / to` as that is rounded down by.
    pub fn resized_by_floor(self, from: usize, to: usize) -> Self {
        let steps = (to / divisor(from, to)) as f64;
        self.sampled(from as f64 / to as f64, (1.0 / steps - 1.0) / 2.0, 1)
    }

    /// After a resize which takes the position `floor((i + 1/2) from / to)`, whose area holds the centre: on
    /// average the centre itself, unless that falls between two positions.
    pub fn resized_by_area(self, from: usize, to: usize) -> Self {
        let divisor = divisor(from, to);
        let (p, q) = (from / divisor, (to / divisor) as f64);
        let between = if p.is_multiple_of(2) { 0.5 / q } else { 0.0 };
        let ratio = from as f64 / to as f64;
        self.sampled(ratio, (ratio - 1.0) / 2.0 + between, 1)
    }

    /// After an area resize: the position `i` depends on the bin from `floor(i from / to)` to
    /// `ceil((i + 1) from / to)`.
    pub fn resized_by_bins(self, from: usize, to: usize) -> Self {
        let divisor = divisor(from, to);
        let (p, q) = ((from / divisor) as f64, (to / divisor) as f64);
        // Some bin begins `(q - 1) / q` of a position after a whole one: it is the longest.
        let longest = ((p + 2.0 * q - 2.0) / q).floor();
        let mut grid = self.resized(from, to, 1);
        grid.field = self.field + self.stride * (longest - 1.0);
        grid
    }

    fn sampled(self, ratio: f64, first: f64, taps: usize) -> Self {
        Self {
            stride: self.stride * ratio,
            offset: self.offset + self.stride * first,
            field: self.field + self.stride * (taps - 1) as f64,
        }
    }

    /// After `before` positions were added before the first, or cut where it is negative.
    pub fn padded(self, before: isize) -> Self {
        Self {
            offset: self.offset - self.stride * before as f64,
            ..self
        }
    }
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_and_its_enlargement_meet_the_skip() {
        let pooled = Grid::INPUT.window([2, 2, 1, 0]);
        assert_eq!(
            [pooled.stride, pooled.offset, pooled.field],
            [2.0, 0.5, 2.0]
        );
        assert_eq!(pooled.resized(8, 16, 1).offset, 0.0);
        assert_eq!(pooled.resized_by_floor(8, 16).offset, 0.0);
        assert_eq!(pooled.transposed([2, 2, 1, 0]).offset, 0.0);
        // A strided 3x3 convolution sees the even positions: what comes up lies half a position off.
        let strided = Grid::INPUT.window([3, 2, 1, 1]);
        assert_eq!(
            [strided.stride, strided.offset, strided.field],
            [2.0, 0.0, 3.0]
        );
        assert_eq!(strided.resized(8, 16, 1).offset, -0.5);
        assert_eq!(strided.resized_by_corners(8, 15, 2).offset, 0.0);
        assert_eq!(strided.resized_by_corners(8, 15, 2).stride, 1.0);
    }

    #[test]
    fn nearest_exact_takes_what_holds_the_centre() {
        for from in 1..20 {
            for to in 1..20 {
                let grid = Grid::INPUT.resized_by_area(from, to);
                let taken = |i: usize| ((2 * i + 1) * from / (2 * to)) as f64;
                let apart = |i: usize| taken(i) - (from * i) as f64 / to as f64;
                let mean = (0..to).map(apart).sum::<f64>() / to as f64;
                assert!((grid.offset - mean).abs() < 1e-12, "{from} to {to}: {mean}");
            }
        }
    }

    #[test]
    fn the_longest_bin() {
        for from in 1_usize..30 {
            for to in 1..30 {
                let bin = |i: usize| ((i + 1) * from).div_ceil(to) - i * from / to;
                let longest = (0..to).map(bin).max().unwrap_or(0) as f64;
                let grid = Grid::INPUT.resized_by_bins(from, to);
                assert_eq!(grid.field, longest, "{from} to {to}");
            }
        }
    }

    #[test]
    fn nearest_takes_what_lies_before() {
        // 0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 of 15 positions, against 8 i / 15.
        let grid = Grid::INPUT.resized_by_floor(8, 15);
        let mean: f64 = (0..15)
            .map(|i| (8 * i / 15) as f64 - 8.0 * i as f64 / 15.0)
            .sum::<f64>()
            / 15.0;
        assert!((grid.offset - mean).abs() < 1e-12);
    }
}
