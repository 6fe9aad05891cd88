//! Max pooling over two axes: first over the rows of a window, then over its columns.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::raw::piece::Piece;
use super::raw::uninit_buffer::{Cuts, UninitBuffer};
use super::threads::{self, Scratch, Work, grow};

/// A pool from maps of size `map` to outputs of size `size`.
#[derive(Clone, Debug)]
pub struct Pooling {
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Steps along rows and columns.
    pub stride: [usize; 2],
    /// Positions before the map.
    pub pad: [usize; 2],
    /// Height and width of the input.
    pub map: [usize; 2],
    /// Height and width of the output.
    pub size: [usize; 2],
}

impl Pooling {
    fn planes<'a>(&self, values: &'a [f32]) -> core::slice::ChunksExact<'a, f32> {
        values.chunks_exact(self.map[0] * self.map[1])
    }

    /// The positions of the map inside the window at `output`.
    fn seen(&self, axis: usize, output: usize) -> core::ops::Range<usize> {
        let start = output * self.stride[axis];
        let end = start + self.kernel[axis];
        let on_map = |at: usize| at.saturating_sub(self.pad[axis]).min(self.map[axis]);
        on_map(start)..on_map(end)
    }
}

/// The larger of the two; the first if they are equal; NaN if one of them is.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// The largest value of each window, for consecutive planes.
pub fn forward(x: &[f32], pooling: &Pooling) -> Vec<f32> {
    struct TakeLargest<'a>(&'a Pooling);
    impl Work<(&[f32], Piece<'_>)> for TakeLargest<'_> {
        #[inline(always)]
        fn run<S: Simd>(
            &self,
            _: S,
            (plane, mut into): (&[f32], Piece),
            [seen, found, _]: &mut Scratch,
        ) {
            let Pooling { stride, pad, .. } = self.0;
            let [width, outputs] = [self.0.map[1], self.0.size[1]];
            let wide = ((outputs - 1) * stride[1] + self.0.kernel[1]).max(pad[1] + width);
            let (seen, found) = (grow(seen, wide), grow(found, outputs));
            for row in 0..self.0.size[0] {
                seen.fill(f32::NEG_INFINITY);
                for y in self.0.seen(0, row) {
                    let values = &plane[y * width..][..width];
                    for (seen, value) in seen[pad[1]..].iter_mut().zip(values) {
                        *seen = larger(*seen, *value);
                    }
                }
                found.fill(f32::NEG_INFINITY);
                for column in 0..self.0.kernel[1] {
                    let values = seen[column..].iter().step_by(stride[1]);
                    for (found, value) in found.iter_mut().zip(values) {
                        *found = larger(*found, *value);
                    }
                }
                into.write(row, 0..outputs, [&*found], None, |value, _| value);
            }
        }
    }
    let plane = pooling.size[0] * pooling.size[1];
    let planes = pooling.planes(x);
    let mut y = UninitBuffer::new(planes.len() * plane);
    let pieces = y.pieces(Cuts {
        width: pooling.size[1],
        ..Cuts::planes(plane)
    });
    let tasks = planes.zip(pieces.map(|placed| placed.piece));
    threads::run(&TakeLargest(pooling), tasks.collect());
    y.finish()
}

/// The gradient of the map: the gradient of each output goes to the first largest value of its window.
pub fn backward(x: &[f32], gradient: &[f32], pooling: &Pooling) -> Vec<f32> {
    struct Plane<'a> {
        values: &'a [f32],
        gradient: &'a [f32],
        into: &'a mut [f32],
    }
    struct GiveToLargest<'a>(&'a Pooling);
    impl Work<Plane<'_>> for GiveToLargest<'_> {
        #[inline(always)]
        fn run<S: Simd>(&self, _: S, plane: Plane, _: &mut Scratch) {
            let (width, outputs) = (self.0.map[1], self.0.size[1]);
            for (row, gradient) in plane.gradient.chunks_exact(outputs).enumerate() {
                let rows = self.0.seen(0, row);
                for (column, gradient) in gradient.iter().enumerate() {
                    let columns = self.0.seen(1, column);
                    let (mut most, mut at) =
                        (f32::NEG_INFINITY, rows.start * width + columns.start);
                    for y in rows.clone() {
                        for place in y * width + columns.start..y * width + columns.end {
                            let value = plane.values[place];
                            // (Selected without a branch, which would be unpredictable.)
                            let more = value > most || value.is_nan();
                            most = if more { value } else { most };
                            at = if more { place } else { at };
                        }
                    }
                    plane.into[at] += gradient;
                }
            }
        }
    }
    let mut found = vec![0.0; x.len()];
    let gradients = gradient.chunks_exact(pooling.size[0] * pooling.size[1]);
    let planes = found.chunks_exact_mut(pooling.map[0] * pooling.map[1]);
    let tasks = pooling.planes(x).zip(gradients).zip(planes);
    let tasks = tasks.map(|((values, gradient), into)| Plane {
        values,
        gradient,
        into,
    });
    threads::run(&GiveToLargest(pooling), tasks.collect());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_gets_the_gradient() {
        let pooling = Pooling {
            kernel: [2, 3],
            stride: [2, 2],
            pad: [1, 1],
            map: [3, 4],
            size: [2, 3], // the last column hangs over the end
        };
        #[rustfmt::skip]
        let x = [
            1.0, 7.0, 7.0, -2.0,
            3.0, 0.0, 2.0, -5.0,
            3.0, 1.0, 9.0, -4.0,
        ];
        let y = forward(&x, &pooling);
        assert_eq!(y, [7.0, 7.0, -2.0, 3.0, 9.0, -4.0]);
        let found = backward(&x, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0], &pooling);
        #[rustfmt::skip]
        let wanted = [
            0.0, 3.0, 0.0, 4.0,
            8.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 16.0, 32.0,
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_nan_is_seen() {
        let pooling = Pooling {
            kernel: [1, 2],
            stride: [1, 1],
            pad: [0, 0],
            map: [1, 4],
            size: [1, 3],
        };
        let y = forward(&[1.0, f32::NAN, 2.0, 3.0], &pooling);
        assert!(y[0].is_nan() && y[1].is_nan());
        assert_eq!(y[2], 3.0);
    }
}
