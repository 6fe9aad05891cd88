//! Reads a crop of an image and of its mask through a [`Warp`]: the image by linear interpolation, the mask by the
//! nearest pixel. What lies outside of the image is its reflection: `c b a | a b c | c b a`.

use alloc::{vec, vec::Vec};

use super::image::{Crop, ImageView, as_volume};
use super::warp::{SourceAxis, Warp};

/// The values of a crop, channel by channel.
pub(super) fn resample<T: Copy>(
    image: ImageView<'_>,
    mask: ImageView<'_, T>,
    crop: &Crop,
    warp: &Warp,
) -> (Vec<f32>, Vec<T>) {
    let source = as_volume(image.size, 1);
    let (start, size) = (as_volume(&crop.start, 0), as_volume(&crop.size, 1));
    if let Some(axes) = warp.symmetry() {
        let copy = StridedCopy::new(source, start, size, axes);
        return (copy.of(image), copy.of(mask));
    }
    let pixels: usize = size.iter().product();
    let mut image_values = vec![0.0; image.channels * pixels];
    let mut mask_values = match mask.values.first() {
        Some(&value) => vec![value; mask.channels * pixels],
        None => Vec::new(),
    };
    let strides = strides(source);
    let mut row = Vec::with_capacity(size[2]);
    for number in 0..size[0] * size[1] {
        let [z, y] = [number / size[1], number % size[1]];
        row.clear();
        row.extend((0..size[2]).map(|x| {
            let at = warp.source([z as f64, y as f64, x as f64]);
            [0, 1, 2].map(|axis| Taps::new(at[axis] + start[axis] as f64, source[axis]))
        }));
        let first = number * size[2];
        for channel in 0..image.channels {
            let map = channel_of(image, channel);
            let values = &mut image_values[channel * pixels + first..][..size[2]];
            for (value, taps) in values.iter_mut().zip(&row) {
                *value = interpolated(map, taps, strides);
            }
        }
        for channel in 0..mask.channels {
            let map = channel_of(mask, channel);
            let values = &mut mask_values[channel * pixels + first..][..size[2]];
            for (value, taps) in values.iter_mut().zip(&row) {
                let [z, y, x] = [0, 1, 2].map(|axis| taps[axis].nearest * strides[axis]);
                *value = map[z + y + x];
            }
        }
    }
    (image_values, mask_values)
}

fn channel_of<'a, T>(image: ImageView<'a, T>, channel: usize) -> &'a [T] {
    let pixels: usize = image.size.iter().product();
    &image.values[channel * pixels..][..pixels]
}

/// The distance from a position to the next on each axis, in values.
const fn strides([_, height, width]: [usize; 3]) -> [usize; 3] {
    [height * width, width, 1]
}

/// Pixels at whole positions, in an order that the axes give.
struct StridedCopy {
    first: usize,
    size: [usize; 3],
    /// From a pixel of the crop to the next on each of its axes, in values of the source.
    steps: [isize; 3],
}

impl StridedCopy {
    fn new(source: [usize; 3], start: [usize; 3], size: [usize; 3], axes: [SourceAxis; 3]) -> Self {
        let strides = strides(source);
        let (mut first, mut steps) = (0, [0; 3]);
        for (axis, source) in axes.into_iter().enumerate() {
            let stride = strides[axis];
            let (at, step) = match source.is_mirrored {
                true => (start[axis] + size[axis] - 1, -(stride as isize)),
                false => (start[axis], stride as isize),
            };
            first += at * stride;
            steps[source.output] = step;
        }
        Self { first, size, steps }
    }

    fn of<T: Copy>(&self, image: ImageView<'_, T>) -> Vec<T> {
        let ([depth, height, width], [slices, rows, columns]) = (self.size, self.steps);
        let mut values = Vec::with_capacity(image.channels * depth * height * width);
        for channel in 0..image.channels {
            let map = channel_of(image, channel);
            for z in 0..depth as isize {
                for y in 0..height as isize {
                    let row = self.first as isize + z * slices + y * rows;
                    let at = |x: usize| (row + x as isize * columns) as usize;
                    values.extend((0..width).map(|x| map[at(x)]));
                }
            }
        }
        values
    }
}

/// The two pixels beside a position on an axis, and the weight of the second.
struct Taps {
    low: usize,
    high: usize,
    weight: f32,
    nearest: usize,
}

impl Taps {
    fn new(at: f64, length: usize) -> Self {
        let low = floor(at);
        let weight = at - low as f64;
        let [low, high] = [low, low + 1].map(|at| reflected(at, length));
        Self {
            low,
            high,
            weight: weight as f32,
            nearest: if weight < 0.5 { low } else { high },
        }
    }
}

/// The largest whole number that is not above another.
pub(super) fn floor(x: f64) -> i64 {
    let towards_zero = x as i64;
    towards_zero - i64::from((towards_zero as f64) > x)
}

/// The position on an axis of which a position inside or outside is the reflection.
pub(super) fn reflected(at: i64, length: usize) -> usize {
    let length = length as i64;
    let at = at.rem_euclid(2 * length);
    at.min(2 * length - 1 - at) as usize
}

fn interpolated(map: &[f32], [z, y, x]: &[Taps; 3], strides: [usize; 3]) -> f32 {
    let row = |first: usize| mixed(x.weight, || map[first + x.low], || map[first + x.high]);
    let slice = |first: usize| {
        let at = |y: usize| first + y * strides[1];
        mixed(y.weight, || row(at(y.low)), || row(at(y.high)))
    };
    let at = |z: usize| z * strides[0];
    mixed(z.weight, || slice(at(z.low)), || slice(at(z.high)))
}

/// `(1 - w) a + w b`, exact at 0, where `b` is not asked for.
fn mixed(weight: f32, low: impl Fn() -> f32, high: impl Fn() -> f32) -> f32 {
    match weight == 0.0 {
        true => low(),
        false => low() * (1.0 - weight) + high() * weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_is_a_reflection() {
        let found: Vec<usize> = (-4..8).map(|at| reflected(at, 3)).collect();
        assert_eq!(found, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert!((-3..3).all(|at| reflected(at, 1) == 0));
        assert_eq!(
            [-1.5, -1.0, -0.2, 0.0, 0.9, 7.0].map(floor),
            [-2, -1, -1, 0, 0, 7]
        );
    }
}
