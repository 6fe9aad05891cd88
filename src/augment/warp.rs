//! [`Warp`]: the spatial transforms of a crop, composed.
//!
//! A transform is given by where a pixel of its output comes from. With `T_1` the first transform of the image and
//! `T_n` its last, the pixel at `o` comes from `T_1(T_2(... T_n(o)))`: the image is read once, however many there are.

use alloc::vec::Vec;

use super::elastic::Displacements;

/// Where the pixels of the output come from.
pub(super) enum PullBack {
    /// A matrix times the offset from the centre of the crop, axes in the order `[depth, height, width]`.
    Linear(Matrix),
    /// An offset that differs from pixel to pixel.
    Displaced(Displacements),
}

/// A matrix of an offset `[depth, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix(pub(super) [[f64; 3]; 3]);

impl Matrix {
    pub(super) const IDENTITY: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// A rotation by which an axis `a` takes `cos a - sin b` of itself and another, and `b` takes `sin a + cos b`.
    pub(super) fn rotation([a, b]: [usize; 2], cos: f64, sin: f64) -> Self {
        let mut matrix = Self::IDENTITY;
        matrix.0[a][a] = cos;
        matrix.0[a][b] = -sin;
        matrix.0[b][a] = sin;
        matrix.0[b][b] = cos;
        matrix
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let entry = |row: usize, column: usize| {
            let terms = (0..3).map(|i| self.0[row][i] * other.0[i][column]);
            terms.sum()
        };
        Self([0, 1, 2].map(|row| [0, 1, 2].map(|column| entry(row, column))))
    }

    fn of(&self, [z, y, x]: [f64; 3]) -> [f64; 3] {
        self.0.map(|row| row[0] * z + row[1] * y + row[2] * x)
    }

    /// The matrix as a permutation of axes with signs, if it is one.
    fn symmetry(&self) -> Option<[SourceAxis; 3]> {
        let mut sources = [SourceAxis::default(); 3];
        for (source, row) in sources.iter_mut().zip(self.0) {
            let output = row.iter().position(|&entry| entry != 0.0)?;
            let others = (0..3).filter(|&axis| axis != output);
            if row[output].abs() != 1.0 || others.map(|axis| row[axis]).any(|entry| entry != 0.0) {
                return None;
            }
            *source = SourceAxis {
                output,
                is_mirrored: row[output] < 0.0,
            };
        }
        Some(sources)
    }
}

/// Along which axis of the output an axis of the source is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SourceAxis {
    pub(super) output: usize,
    pub(super) is_mirrored: bool,
}

/// The composed transforms of a crop of some size.
pub(super) struct Warp {
    size: [usize; 3],
    center: [f64; 3],
    /// In the order in which the image is transformed; no two linear ones follow each other.
    steps: Vec<PullBack>,
}

impl Warp {
    pub(super) fn new(size: [usize; 3]) -> Self {
        Self {
            size,
            center: size.map(|length| (length as f64 - 1.0) / 2.0),
            steps: Vec::new(),
        }
    }

    /// Adds a transform after the others.
    pub(super) fn push(&mut self, step: PullBack) {
        match (self.steps.last_mut(), step) {
            (Some(PullBack::Linear(first)), PullBack::Linear(next)) => *first = first.times(&next),
            (_, step) => self.steps.push(step),
        }
    }

    /// How the axes are read where the crop is put onto itself by mirroring and swapping axes, or stays as it is.
    pub(super) fn symmetry(&self) -> Option<[SourceAxis; 3]> {
        let matrix = match self.steps.as_slice() {
            [] => Matrix::IDENTITY,
            [PullBack::Linear(matrix)] => *matrix,
            _ => return None,
        };
        let sources = matrix.symmetry()?;
        let lengths = sources.map(|source| self.size[source.output]);
        (lengths == self.size).then_some(sources)
    }

    /// Where the pixel at `at` of the crop comes from, in pixels of the crop; it may lie outside.
    pub(super) fn source(&self, at: [f64; 3]) -> [f64; 3] {
        let add = |a: [f64; 3], b: [f64; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
        let from_center = self.center.map(|center| -center);
        self.steps.iter().rev().fold(at, |at, step| match step {
            PullBack::Linear(matrix) => add(matrix.of(add(at, from_center)), self.center),
            PullBack::Displaced(field) => add(field.offset(at), at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(axis: usize) -> PullBack {
        let mut matrix = Matrix::IDENTITY;
        matrix.0[axis][axis] = -1.0;
        PullBack::Linear(matrix)
    }

    #[test]
    fn the_last_transform_is_the_first_to_be_undone() {
        // A quarter turn counter-clockwise, and then a flip of the columns.
        let mut warp = Warp::new([1, 3, 3]);
        warp.push(PullBack::Linear(Matrix::rotation([2, 1], 0.0, 1.0)));
        warp.push(mirror(2));
        // The top left pixel was at the top right before the flip, and at the bottom right before the turn.
        assert_eq!(warp.source([0.0, 0.0, 0.0]), [0.0, 2.0, 2.0]);
        assert_eq!(warp.source([0.0, 0.0, 2.0]), [0.0, 0.0, 2.0]);
        assert_eq!(warp.steps.len(), 1);
    }

    #[test]
    fn a_symmetry_is_recognised() {
        let axis = |output, is_mirrored| SourceAxis {
            output,
            is_mirrored,
        };
        let turned = |size| {
            let mut warp = Warp::new(size);
            warp.push(PullBack::Linear(Matrix::rotation([2, 1], 0.0, 1.0)));
            warp.symmetry()
        };
        let expected = [axis(0, false), axis(2, false), axis(1, true)];
        assert_eq!(turned([2, 3, 3]), Some(expected));
        assert_eq!(turned([2, 3, 4]), None);
        let mut warp = Warp::new([1, 3, 3]);
        warp.push(PullBack::Linear(Matrix::rotation([2, 1], 0.6, 0.8)));
        assert_eq!(warp.symmetry(), None);
    }
}
