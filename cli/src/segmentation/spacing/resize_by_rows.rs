//! Rasters that are resized some rows at a time: neither the old one nor the new one must be in memory.
//!
//! The first axis is resized last, each of its rows from one or two of the old ones, so that a row has the same values
//! whichever rows are made with it. It runs on the CPU, so that every device gets the same numbers.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use burn_skip::resize::{ResizeMode, resize};

use crate::Result;
use crate::raster::Raster;
use crate::segmentation::batch::tensor;

/// So many values are made at once, and no less than a row: 16 MiB.
const VALUES_AT_ONCE: usize = 1 << 22;

/// How an axis gets its new values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    Linear,
    Nearest,
}

/// A raster in another size. Pixels are areas, as for [`ResizeMode::linear`].
pub struct ResizeByRows<'r> {
    pub source: &'r Raster,
    /// The new size.
    pub size: Vec<usize>,
    pub per_axis: Vec<Interpolation>,
}

/// The old rows that a new one lies between.
struct Between {
    low: usize,
    high: usize,
    /// The share of the high one.
    weight: f32,
}

impl ResizeByRows<'_> {
    /// All rows, where the budget of the old ones has room for them.
    ///
    /// # Errors
    /// When there is no room.
    pub fn all(&self) -> Result<Raster> {
        let (channels, pixels) = (self.source.channels, self.size.iter().product::<usize>());
        let mut all = Raster {
            channels,
            size: self.size.clone(),
            values: self.source.values.zeros_like(channels * pixels)?,
        };
        for rows in self.parts() {
            let first = rows.start;
            all.put_rows(first, &self.rows(rows)?);
        }
        Ok(all)
    }

    /// All rows, in parts that are small enough to be in memory.
    pub fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let sizes = [&self.source.size, &self.size];
        let planes = sizes.map(|size| size[1..].iter().product::<usize>());
        let values = self.source.channels * planes[0].max(planes[1]);
        let (rows, at_once) = (self.size[0], (VALUES_AT_ONCE / values.max(1)).max(1));
        let starts = (0..rows).step_by(at_once);
        starts.map(move |start| start..(start + at_once).min(rows))
    }

    /// Some rows, in memory.
    ///
    /// # Errors
    /// When the device fails.
    pub fn rows(&self, rows: Range<usize>) -> Result<Raster> {
        let between: Vec<Between> = rows.map(|row| self.between(row)).collect();
        let mut needed: Vec<usize> = between.iter().flat_map(|row| [row.low, row.high]).collect();
        needed.sort_unstable();
        needed.dedup();
        let part = self.other_axes(self.source.rows_at(&needed))?;
        let line: usize = self.size[1..].iter().product();
        let mut values = Vec::with_capacity(part.channels * between.len() * line);
        for map in part.values.chunks_exact((needed.len() * line).max(1)) {
            let row = |row: usize| {
                let at = needed.partition_point(|&needed| needed < row);
                &map[at * line..(at + 1) * line]
            };
            for &Between { low, high, weight } in &between {
                match low == high {
                    true => values.extend_from_slice(row(low)),
                    false => {
                        let pairs = row(low).iter().zip(row(high));
                        values.extend(pairs.map(|(a, b)| a * (1.0 - weight) + b * weight));
                    }
                }
            }
        }
        let mut size = self.size.clone();
        size[0] = between.len();
        Ok(Raster {
            channels: part.channels,
            size,
            values: values.into(),
        })
    }

    /// Where a new row lies.
    fn between(&self, row: usize) -> Between {
        let (old, new) = (self.source.size[0], self.size[0]);
        let middle = (row as f64 + 0.5) * old as f64 / new as f64;
        let (low, weight) = match self.per_axis[0] {
            Interpolation::Nearest => (middle.floor(), 0.0),
            Interpolation::Linear => {
                let at = (middle - 0.5).max(0.0);
                (at.floor(), at.fract() as f32)
            }
        };
        let low = (low as usize).min(old - 1);
        let high = (low + usize::from(weight > 0.0)).min(old - 1);
        Between { low, high, weight }
    }

    /// Rows with all axes but the first in their new size.
    fn other_axes(&self, rows: Raster) -> Result<Raster> {
        let mut size = self.size.clone();
        size[0] = rows.size[0];
        if size == rows.size {
            return Ok(rows);
        }
        let (channels, device) = (rows.channels, Device::flex());
        let values = match size.len() {
            3 => self.resized::<5>(tensor(rows, &device), &size),
            _ => self.resized::<4>(tensor(rows, &device), &size),
        }?;
        Ok(Raster {
            channels,
            size,
            values: values.into(),
        })
    }

    fn resized<const R: usize>(&self, rows: Tensor<R>, size: &[usize]) -> Result<Vec<f32>> {
        let mut linear = size.to_vec();
        for (axis, length) in linear.iter_mut().enumerate() {
            if self.per_axis[axis] == Interpolation::Nearest {
                *length = rows.dims()[2 + axis];
            }
        }
        let rows = resize(rows, &linear, ResizeMode::linear());
        Ok(resize(rows, size, ResizeMode::NearestExact).try_into_vec_as()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(size: &[usize]) -> Raster {
        let count: usize = 2 * size.iter().product::<usize>();
        let values = (0..count).map(|n| (n * 37 % 101) as f32);
        Raster {
            channels: 2,
            size: size.to_vec(),
            values: values.collect::<Vec<_>>().into(),
        }
    }

    /// As the library resizes all axes at once.
    fn at_once(source: &Raster, size: &[usize], mode: ResizeMode) -> Vec<f32> {
        let whole = source.rows(0..source.size[0]);
        let resized = resize(tensor::<5>(whole, &Device::flex()), size, mode);
        resized.try_into_vec_as().unwrap()
    }

    #[test]
    fn rows_are_those_of_the_whole_however_many_are_made_at_once() {
        let source = volume(&[7, 6, 5]);
        for size in [[7, 6, 5], [11, 4, 9], [3, 9, 5], [1, 1, 1], [20, 6, 2]] {
            for (kind, mode) in [
                (Interpolation::Linear, ResizeMode::linear()),
                (Interpolation::Nearest, ResizeMode::NearestExact),
            ] {
                let resized = ResizeByRows {
                    source: &source,
                    size: size.to_vec(),
                    per_axis: vec![kind; 3],
                };
                let all = resized.all().unwrap();
                let expected = at_once(&source, &size, mode);
                let is_near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-3;
                assert!(all.values.iter().zip(&expected).all(is_near), "{size:?}");
                for row in 0..size[0] {
                    let one = resized.rows(row..row + 1).unwrap();
                    assert_eq!(one.values, all.rows(row..row + 1).values, "{size:?} {row}");
                }
            }
        }
    }

    #[test]
    fn parts_are_all_rows_in_order() {
        let source = volume(&[9, 1, 4]);
        let resized = ResizeByRows {
            source: &source,
            size: vec![9, 1, VALUES_AT_ONCE / 4],
            per_axis: vec![Interpolation::Linear; 3],
        };
        let parts: Vec<_> = resized.parts().collect();
        assert_eq!(parts, [0..2, 2..4, 4..6, 6..8, 8..9]);
    }
}
