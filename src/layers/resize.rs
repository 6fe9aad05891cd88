//! Resizing that has a gradient on every backend, for maps of one, two and three spatial axes.
//!
//! Every mode is separable: each axis is resized by a map of its own, nearest modes by an index,
//! the others by a constant matrix. The numbers are PyTorch's (`torch.nn.functional.interpolate`
//! with `size=`, and `adaptive_avg_pool` for [`ResizeMode::Area`]), coordinates computed in the
//! precision in which PyTorch computes them: f32, or f64 for f64 maps.

use alloc::{format, vec::Vec};

pub use crate::graph::{ResizeMode, Sampling};
use burn::tensor::{DType, Tensor};

use crate::cpu::{AxisMap, map_axes, repeats};
use crate::graph::{Grid, Map, Op, Planner, Record};
use crate::shape::{ShapeError, axis_name, check_not_empty, expect, spatial, with_spatial};

/// Resizes the spatial axes of `x` to `size`.
///
/// # Shapes
/// - `x`: `[batch, channels, spatial...]`
/// - output: `[batch, channels, size...]`
///
/// # Values that are not finite
/// Nearest modes copy values. With the CPU kernels, the others sum the few values that each position lies between, as
/// PyTorch does. On other backends they multiply each line by a matrix, and a weight of 0 times an infinite value is NaN:
/// one infinite or NaN value makes its whole line NaN along every axis that is resized.
///
/// # Panics
/// When [`resize_shape`] returns an error, with its message.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::resize::{ResizeMode, resize};
///
/// let x = Tensor::<3>::from_floats([[[0.0, 4.0]]], &Device::flex());
/// let y = resize(x, &[4], ResizeMode::linear());
/// assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), [0.0, 1.0, 3.0, 4.0]);
/// ```
pub fn resize<const R: usize>(x: Tensor<R>, size: &[usize], mode: ResizeMode) -> Tensor<R> {
    expect(resize_shape(x.dims(), size));
    let precision = Precision::of(x.dtype());
    // The axes that shrink come first: less is left to do for the others. Of those that grow the
    // last comes first, so that whole rows are copied after it.
    let mut axes: Vec<usize> = (0..size.len()).rev().collect();
    axes.sort_by_key(|&n| size[n] > x.dims()[2 + n]);
    let dims = x.dims();
    let changed = axes.into_iter().filter(|&n| dims[2 + n] != size[n]); // every mode is the identity there
    let map = |n: usize| {
        let scale = Scale {
            input: dims[2 + n],
            output: size[n],
            precision,
        };
        (2 + n, scale.map(mode))
    };
    map_axes(x, changed.map(map).collect())
}

/// Records a [`resize`] of `x` to the spatial size `size`, as a part without a name of its own.
pub(crate) fn trace_resize<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    size: &[usize],
    mode: ResizeMode,
) -> Result<Map<R>, ShapeError> {
    let is_any_size = planner.is_any_size();
    planner.leaf(mode.label(), &[x], || {
        let output = match is_any_size {
            true => x.shape,
            false => resize_shape(x.shape, size)?,
        };
        Ok(Record::new(Op::Resize(mode), output).on_grid(regrid(x, spatial(&output), mode)))
    })
}

/// Where the positions of a map lie after [`resize`].
pub(crate) fn regrid<const R: usize>(
    x: &Map<R>,
    size: &[usize],
    mode: ResizeMode,
) -> Option<Vec<Grid>> {
    x.regrid(|n, grid| {
        let (from, to) = (x.shape[2 + n], size[n]);
        if from == to {
            return grid;
        }
        let shrink = from.div_ceil(to);
        match mode {
            ResizeMode::Nearest => grid.resized_by_floor(from, to),
            ResizeMode::NearestExact => grid.resized_by_area(from, to),
            ResizeMode::Area => grid.resized_by_bins(from, to),
            ResizeMode::Linear(sampling) | ResizeMode::Cubic(sampling) => {
                let taps = if let ResizeMode::Linear(_) = mode {
                    2
                } else {
                    4
                };
                match sampling {
                    Sampling::HalfPixel => grid.resized(from, to, taps),
                    Sampling::AlignCorners => grid.resized_by_corners(from, to, taps),
                    Sampling::Antialias => grid.resized(from, to, taps * shrink),
                }
            }
        }
    })
}

/// The shape that [`resize`] gives.
///
/// # Errors
/// When `size` has another number of axes than the map, or a size is zero.
///
/// # Example
/// ```
/// use burn_skip::resize::resize_shape;
///
/// assert_eq!(resize_shape([1, 8, 6, 6], &[15, 15]).unwrap(), [1, 8, 15, 15]);
/// let error = resize_shape([1, 8, 6, 6], &[15]).unwrap_err();
/// assert_eq!(error.problem, "size [15] has 1 numbers, the map has 2 spatial axes [6, 6]");
/// ```
pub fn resize_shape<const R: usize>(
    input: [usize; R],
    size: &[usize],
) -> Result<[usize; R], ShapeError> {
    check_not_empty("Resize", input)?;
    if size.len() != R - 2 {
        return Err(ShapeError::new(
            "Resize",
            format!(
                "size {size:?} has {} numbers, the map has {} spatial axes {:?}",
                size.len(),
                R - 2,
                spatial(&input)
            ),
            "Give one number for each spatial axis",
        ));
    }
    if let Some(n) = size.iter().position(|&s| s == 0) {
        return Err(ShapeError::new(
            "Resize",
            format!("{} of the target size {size:?} is 0", axis_name(2 + n, R)),
            "Every axis needs at least one position",
        ));
    }
    for &size in size {
        check_size(size)?;
    }
    Ok(with_spatial(input, size))
}

/// Refuses a size that no map has, and that would overflow what is computed with it.
pub(crate) fn check_size(size: usize) -> Result<(), ShapeError> {
    const MOST: usize = u32::MAX as usize;
    if size <= MOST {
        return Ok(());
    }
    Err(ShapeError::new(
        "Resize",
        format!("a size of {size} is wanted"),
        format!("Choose {MOST} or less"),
    ))
}

/// How many times nearest upsampling repeats each position of the axes of a map, if it is the same number for
/// all positions of an axis.
pub(crate) fn whole_factors(
    input: &[usize],
    size: &[usize],
    mode: ResizeMode,
    dtype: DType,
) -> Option<Vec<usize>> {
    let factor = |(&input, &output): (&usize, &usize)| {
        let scale = Scale {
            input,
            output,
            precision: Precision::of(dtype),
        };
        let indices = match mode {
            ResizeMode::Nearest => scale.nearest(),
            ResizeMode::NearestExact => scale.nearest_exact(),
            _ => return None,
        };
        repeats(input, &indices)
    };
    input.iter().zip(size).map(factor).collect()
}

/// The precision in which coordinates are computed.
#[derive(Clone, Copy)]
enum Precision {
    F32,
    F64,
}

impl Precision {
    fn of(dtype: DType) -> Self {
        match dtype {
            DType::F64 => Self::F64,
            _ => Self::F32,
        }
    }

    /// Rounds the result of one operation. Rounding the f64 result of `+ - * /` on f32 values to
    /// f32 is exactly the f32 operation.
    fn round(self, value: f64) -> f64 {
        match self {
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        }
    }
}

fn floor(value: f64) -> i64 {
    let truncated = value as i64;
    truncated - i64::from(truncated as f64 > value)
}

/// One axis that goes from `input` to `output` positions.
#[derive(Clone, Copy)]
struct Scale {
    input: usize,
    output: usize,
    precision: Precision,
}

impl Scale {
    fn round(self, value: f64) -> f64 {
        self.precision.round(value)
    }

    /// The map along the axis.
    fn map(self, mode: ResizeMode) -> AxisMap {
        match mode {
            ResizeMode::Nearest => AxisMap::selection(&self.nearest(), self.input),
            ResizeMode::NearestExact => AxisMap::selection(&self.nearest_exact(), self.input),
            ResizeMode::Linear(Sampling::Antialias) => self.antialias(1.0, triangle),
            ResizeMode::Cubic(Sampling::Antialias) => self.antialias(2.0, |t| keys_cubic(t, -0.5)),
            ResizeMode::Linear(sampling) => self.linear(sampling),
            ResizeMode::Cubic(sampling) => self.cubic(sampling),
            ResizeMode::Area => self.area(),
        }
    }

    /// Input positions for each output position.
    fn step(self, sampling: Sampling) -> f64 {
        match sampling {
            Sampling::AlignCorners if self.output > 1 => {
                self.round((self.input - 1) as f64 / (self.output - 1) as f64)
            }
            Sampling::AlignCorners => 0.0,
            _ => self.round(self.input as f64 / self.output as f64),
        }
    }

    /// Where output position `i` lies on the input.
    fn source(self, i: usize, sampling: Sampling) -> f64 {
        let step = self.step(sampling);
        match sampling {
            Sampling::AlignCorners => self.round(step * i as f64),
            // One rounding, since PyTorch's kernels fuse the two operations.
            _ => self.round(step * (i as f64 + 0.5) - 0.5),
        }
    }

    fn clamp(self, position: i64) -> usize {
        position.clamp(0, self.input as i64 - 1) as usize
    }

    fn nearest(self) -> Vec<usize> {
        let step = self.step(Sampling::HalfPixel);
        (0..self.output)
            .map(|i| self.clamp(floor(self.round(step * i as f64))))
            .collect()
    }

    fn nearest_exact(self) -> Vec<usize> {
        let nearest = |i| floor(self.round(self.source(i, Sampling::HalfPixel) + 0.5));
        (0..self.output).map(|i| self.clamp(nearest(i))).collect()
    }

    fn linear(self, sampling: Sampling) -> AxisMap {
        let mut map = AxisMap::zero(self.output, self.input, 2);
        for i in 0..self.output {
            let source = self.source(i, sampling).max(0.0);
            let low = self.clamp(floor(source));
            let high = (low + 1).min(self.input - 1);
            let weight = self.round(source - low as f64).clamp(0.0, 1.0);
            map.add(i, low, self.round(1.0 - weight));
            map.add(i, high, weight);
        }
        map
    }

    fn cubic(self, sampling: Sampling) -> AxisMap {
        let mut map = AxisMap::zero(self.output, self.input, 4);
        for i in 0..self.output {
            let source = self.source(i, sampling);
            let low = floor(source);
            let fraction = self.round(source - low as f64);
            for tap in -1..=2 {
                let weight = keys_cubic(fraction - tap as f64, -0.75);
                map.add(i, self.clamp(low + tap), self.round(weight));
            }
        }
        map
    }

    fn area(self) -> AxisMap {
        let mut map = AxisMap::zero(self.output, self.input, self.input / self.output + 1);
        for (i, (start, end)) in bins(self.input, self.output).enumerate() {
            for j in start..end {
                map.add(i, j, 1.0 / (end - start) as f64);
            }
        }
        map
    }

    /// `filter` reaches `radius` positions; when the map shrinks, it is stretched with the scale.
    fn antialias(self, radius: f64, filter: impl Fn(f64) -> f64) -> AxisMap {
        let step = self.step(Sampling::Antialias);
        let stretch = step.max(1.0);
        let support = self.round(radius * stretch);
        let inverse = self.round(1.0 / stretch);
        let mut map = AxisMap::zero(self.output, self.input, (2.0 * support) as usize + 1);
        for i in 0..self.output {
            let centre = self.round(step * (i as f64 + 0.5));
            let start = (self.round(self.round(centre - support) + 0.5) as i64).max(0) as usize;
            let end = (self.round(self.round(centre + support) + 0.5) as usize).min(self.input);
            let weight = |j: usize| {
                filter(self.round(self.round(self.round(j as f64 - centre) + 0.5) * inverse))
            };
            let total: f64 = (start..end).map(weight).sum();
            for j in start..end {
                map.add(i, j, weight(j) / total);
            }
        }
        map
    }
}

/// The input positions `start..end` that each of `output` positions covers, as in adaptive pooling.
pub(crate) fn bins(input: usize, output: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..output).map(move |i| {
        let start = i * input / output;
        let end = ((i + 1) * input).div_ceil(output);
        (start, end)
    })
}

fn triangle(t: f64) -> f64 {
    (1.0 - t.abs()).max(0.0)
}

/// The cubic convolution kernel of Keys (1981) with the parameter `a`.
fn keys_cubic(t: f64, a: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((t - 5.0) * t + 8.0) * t * a - 4.0 * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::{Device, TensorData, Tolerance};

    const X: [f32; 7] = [1.0, -2.0, 3.0, 8.0, -5.0, 0.5, 4.0];

    /// The values of `torch.nn.functional.interpolate` (PyTorch 2.15) along one axis.
    fn assert_resized<const N: usize>(mode: ResizeMode, expected: [f32; N]) {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats(X, &device);
        // The same along the width of a map and along the depth of a volume.
        let row = resize(x.clone().reshape([1, 1, 1, 7]), &[1, N], mode);
        let column = resize(x.reshape([1, 1, 7, 1, 1]), &[N, 1, 1], mode);
        let expected = TensorData::from(expected);
        let tolerance = Tolerance::<f32>::rel_abs(1e-5, 1e-5);
        for values in [row.reshape([N]), column.reshape([N])] {
            values.to_data().assert_approx_eq(&expected, tolerance);
        }
    }

    #[test]
    fn shrinking_as_pytorch() {
        use Sampling::{AlignCorners, Antialias, HalfPixel};
        assert_resized(ResizeMode::Nearest, [1.0, 3.0, -5.0]);
        assert_resized(ResizeMode::NearestExact, [-2.0, 8.0, 0.5]);
        assert_resized(ResizeMode::Linear(HalfPixel), [-1.0, 8.0, 1.6666656]);
        assert_resized(ResizeMode::Linear(AlignCorners), [1.0, 8.0, 4.0]);
        assert_resized(
            ResizeMode::Linear(Antialias),
            [0.1428572, 2.7352943, 0.5714285],
        );
        assert_resized(ResizeMode::Cubic(HalfPixel), [-1.6111114, 8.0, 2.2129624]);
        assert_resized(ResizeMode::Cubic(AlignCorners), [1.0, 8.0, 4.0]);
        assert_resized(
            ResizeMode::Cubic(Antialias),
            [0.3044352, 2.5781438, 0.5947573],
        );
        assert_resized(ResizeMode::Area, [0.6666667, 2.0, -0.1666667]);
    }

    #[test]
    #[rustfmt::skip] // a line a mode
    #[allow(clippy::excessive_precision)] // as PyTorch prints them
    fn enlarging_as_pytorch() {
        use Sampling::{AlignCorners, Antialias, HalfPixel};
        assert_resized(ResizeMode::Nearest, [1.0, 1.0, -2.0, -2.0, 3.0, 8.0, 8.0, -5.0, 0.5, 0.5, 4.0]);
        assert_resized(ResizeMode::NearestExact, [1.0, 1.0, -2.0, 3.0, 3.0, 8.0, -5.0, -5.0, 0.5, 4.0, 4.0]);
        assert_resized(ResizeMode::Linear(HalfPixel), [1.0, -0.3636363, -1.545455, 1.6363637, 4.818181, 8.0, -0.2727256, -3.5000014, 5e-07, 2.4090908, 4.0]);
        assert_resized(ResizeMode::Linear(AlignCorners), [1.0, -0.8, -1.0, 2.0, 5.0, 8.0, 0.1999981, -3.8999984, -0.599999, 1.9, 4.0]);
        assert_resized(ResizeMode::Cubic(HalfPixel), [1.2738544, -0.769347, -1.8271973, 1.0863996, 6.1119442, 8.0, -0.7697191, -5.1724267, -0.1774967, 2.8936908, 4.3194962]);
        assert_resized(ResizeMode::Cubic(AlignCorners), [1.0, -1.376, -1.5279989, 1.5680025, 6.4160004, 8.0, -0.1900017, -5.3639979, -1.1159983, 2.4520028, 4.0]);
        assert_resized(ResizeMode::Cubic(Antialias), [1.2109376, -0.5095004, -1.8459816, 1.4199851, 5.5755048, 8.0, -0.8775336, -4.7802401, 0.0056344, 2.8370867, 4.2460933]);
        assert_resized(ResizeMode::Linear(Antialias), [1.0, -0.3636363, -1.545455, 1.6363637, 4.818181, 8.0, -0.2727256, -3.5000014, 5e-07, 2.4090908, 4.0]);
        assert_resized(ResizeMode::Area, [1.0, -0.5, -2.0, 0.5, 5.5, 8.0, 1.5, -2.25, 0.5, 2.25, 4.0]);
    }

    #[test]
    fn nearest_rounds_in_f32() {
        let index = |input, output, i: usize| {
            let scale = Scale {
                input,
                output,
                precision: Precision::F32,
            };
            (scale.nearest()[i], scale.nearest_exact()[i])
        };
        // 41 * 2/82 falls short of 1 in f32, and 49 * 3/147 does not, though it does in f64.
        assert_eq!(index(2, 82, 41).0, 0);
        assert_eq!(index(3, 147, 49).0, 1);
        // 20.5 * 2/41 - 1/2 falls short of 1/2 in f64, and rounds to it in f32.
        assert_eq!(index(2, 41, 20).1, 1);
    }

    #[test]
    fn a_size_of_another_rank_is_refused() {
        let error = resize_shape([1, 2, 3, 4], &[6]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Resize: size [6] has 1 numbers, the map has 2 spatial axes [3, 4]. Give one number for each spatial axis."
        );
        let error = resize_shape([1, 2, 3, 4], &[6, 0]).unwrap_err();
        assert!(
            error
                .problem
                .contains("width of the target size [6, 0] is 0")
        );
    }
}
