//! Images, volumes and masks as numbers on a grid.

mod file;
mod format;
mod intensities;
mod mask;
mod memory;
mod nifti;
mod npy;
mod number;
mod photo;
mod pixels;
pub mod same_grid;
mod scratch;
mod spacing;
mod tiff;

use std::ops::Range;

pub use file::{Bands, Grid, RasterFile, count_of_channels};
pub use format::{Content, Format};
pub use intensities::{Fit, Intensities, Scale, Values};
pub use mask::{SAVE_NUMBERS, is_ignored};
pub use memory::ImageMemory;
pub use photo::{of_bytes, open as open_photo};
pub use pixels::Pixels;
pub use spacing::{Spacing, shown_spacing};

/// Numbers on a grid: channel by channel, the last axis fastest.
#[derive(Debug)]
pub struct Raster {
    pub channels: usize,
    /// `[height, width]` or `[depth, height, width]`.
    pub size: Vec<usize>,
    pub values: Pixels,
}

impl Raster {
    /// How many pixels a channel has.
    pub fn pixels(&self) -> usize {
        self.size.iter().product()
    }

    /// `[depth, height, width]`; an image is one slice deep.
    pub fn as_volume(&self) -> [usize; 3] {
        as_volume(&self.size)
    }

    /// The part of the size `size` that begins at `start` on each axis: a crop, which is in memory.
    pub fn cut(&self, start: &[usize], size: &[usize]) -> Self {
        let [z, y, x] = match start {
            [z, y, x] => [*z, *y, *x],
            start => [0, start[0], start[1]],
        };
        self.picked(size, |at| [at[0] + z, at[1] + y, at[2] + x])
    }

    /// The length of the last axis.
    pub fn columns_count(&self) -> usize {
        self.size[self.size.len() - 1]
    }

    /// The part from `start` to `end` of the last axis. It may be as large as an image, and is kept as one.
    ///
    /// # Errors
    /// As [`ImageMemory::zeros`].
    pub fn columns(&self, start: usize, end: usize) -> Result<Self, String> {
        let (columns, mut size) = (self.columns_count(), self.size.clone());
        let last = size.len() - 1;
        size[last] = end - start;
        let count = self.values.len() / columns.max(1) * size[last];
        let mut values = self.values.zeros_like(count)?;
        let lines = self.values.chunks_exact(columns.max(1));
        for (part, line) in values.chunks_exact_mut(size[last].max(1)).zip(lines) {
            part.copy_from_slice(&line[start..end]);
        }
        Ok(Self {
            channels: self.channels,
            size,
            values,
        })
    }

    /// Some positions of the first axis, in memory.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let step: usize = self.size[1..].iter().product();
        let mut size = self.size.clone();
        size[0] = rows.len();
        let mut values = Vec::with_capacity(self.channels * rows.len() * step);
        for map in self.values.chunks_exact(self.pixels().max(1)) {
            values.extend_from_slice(&map[rows.start * step..rows.end * step]);
        }
        Self {
            channels: self.channels,
            size,
            values: values.into(),
        }
    }

    /// Some positions of the first axis, in any order, in memory.
    pub fn rows_at(&self, rows: &[usize]) -> Self {
        let step: usize = self.size[1..].iter().product();
        let mut size = self.size.clone();
        size[0] = rows.len();
        let mut values = Vec::with_capacity(self.channels * rows.len() * step);
        for map in self.values.chunks_exact(self.pixels().max(1)) {
            for row in rows {
                values.extend_from_slice(&map[row * step..(row + 1) * step]);
            }
        }
        Self {
            channels: self.channels,
            size,
            values: values.into(),
        }
    }

    /// Replaces the positions of the first axis from `first` on.
    pub fn put_rows(&mut self, first: usize, rows: &Self) {
        let step: usize = self.size[1..].iter().product();
        let (pixels, count) = (self.pixels().max(1), rows.pixels());
        let maps = self.values.chunks_exact_mut(pixels);
        for (map, rows) in maps.zip(rows.values.chunks_exact(count.max(1))) {
            map[first * step..first * step + count].copy_from_slice(rows);
        }
    }

    /// The same image once more.
    ///
    /// # Errors
    /// As [`ImageMemory::zeros`].
    pub fn try_clone(&self) -> Result<Self, String> {
        Ok(Self {
            channels: self.channels,
            size: self.size.clone(),
            values: self.values.try_clone()?,
        })
    }

    /// The raster of another size whose pixel at `[slice, row, column]` is the one of `self` at `from` of it.
    pub fn picked(&self, size: &[usize], from: impl Fn([usize; 3]) -> [usize; 3]) -> Self {
        let [depth, height, width] = as_volume(size);
        let [_, own_height, own_width] = self.as_volume();
        let mut values = Vec::with_capacity(self.channels * depth * height * width);
        for map in self.values.chunks_exact(self.pixels().max(1)) {
            for z in 0..depth {
                for y in 0..height {
                    values.extend((0..width).map(|x| {
                        let [z, y, x] = from([z, y, x]);
                        map[(z * own_height + y) * own_width + x]
                    }));
                }
            }
        }
        Self {
            channels: self.channels,
            size: size.to_vec(),
            values: values.into(),
        }
    }

    /// One slice of a volume, and of its rows and columns every `step`-th. An image is its only slice.
    pub fn slice(&self, slice: usize, step: usize) -> Self {
        let [_, height, width] = self.as_volume();
        let size = [height.div_ceil(step), width.div_ceil(step)];
        self.picked(&size, |[_, y, x]| [slice, y * step, x * step])
    }

    /// The slice in the middle of a volume.
    pub fn middle(&self) -> usize {
        self.as_volume()[0] / 2
    }

    /// Height and width.
    pub fn plane(&self) -> [usize; 2] {
        let [_, height, width] = self.as_volume();
        [height, width]
    }

    /// How bright a pixel is, from 0 to 1.
    pub fn brightness(&self, pixel: usize) -> f32 {
        let maps = self.values.chunks_exact(self.pixels());
        let sum: f32 = maps.map(|map| map[pixel]).sum();
        (sum / self.channels as f32).clamp(0.0, 1.0)
    }

    /// "384 x 512 (height x width)"
    pub fn shown_size(&self) -> String {
        shown_size(&self.size)
    }

    /// "column 3, row 17" of a pixel, and of a volume its slice.
    pub fn place(&self, pixel: usize) -> String {
        let [_, height, width] = self.as_volume();
        let (x, y, z) = (
            pixel % width,
            pixel / width % height,
            pixel / width / height,
        );
        match self.size.len() {
            3 => format!("column {x}, row {y}, slice {z}"),
            _ => format!("column {x}, row {y}"),
        }
    }
}

fn as_volume(size: &[usize]) -> [usize; 3] {
    match size {
        [depth, height, width] => [*depth, *height, *width],
        size => [1, size[0], size[1]],
    }
}

/// "31 x 61 x 57 (depth x height x width)": sizes are shown in the order of the axes of an array, as distances are.
pub fn shown_size(size: &[usize]) -> String {
    const NAMES: [&str; 3] = ["depth", "height", "width"];
    let numbers: Vec<String> = size.iter().map(usize::to_string).collect();
    let names = NAMES[3 - size.len().min(3)..].join(" x ");
    format!("{} ({names})", numbers.join(" x "))
}
