//! Images and masks as numbers on a grid.

mod normalize;
mod read;
mod write;

pub use normalize::Intensities;
pub use read::{decode_bytes, open};

/// Numbers on a grid: channel by channel, row by row.
#[derive(Clone, Debug)]
pub struct Raster {
    pub channels: usize,
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Raster {
    /// Every `step`-th pixel of every `step`-th row.
    pub fn every(&self, step: usize) -> Self {
        let (width, height) = (self.width.div_ceil(step), self.height.div_ceil(step));
        self.picked(width, height, |y, x| [y * step, x * step])
    }

    /// The rectangle of `width` x `height` at column `left` and row `top`.
    pub fn cut(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        self.picked(width, height, |y, x| [top + y, left + x])
    }

    /// The raster of `width` x `height` whose pixel at `[y, x]` is the one of `self` at `from(y, x)`.
    pub fn picked(
        &self,
        width: usize,
        height: usize,
        from: impl Fn(usize, usize) -> [usize; 2],
    ) -> Self {
        let mut values = Vec::with_capacity(self.channels * width * height);
        for plane in self.values.chunks_exact(self.width * self.height) {
            for y in 0..height {
                values.extend((0..width).map(|x| {
                    let [y, x] = from(y, x);
                    plane[y * self.width + x]
                }));
            }
        }
        Self {
            channels: self.channels,
            width,
            height,
            values,
        }
    }

    /// How bright a pixel is, from 0 to 1.
    pub fn brightness(&self, pixel: usize) -> f32 {
        let planes = self.values.chunks_exact(self.width * self.height);
        let sum: f32 = planes.map(|plane| plane[pixel]).sum();
        (sum / self.channels as f32).clamp(0.0, 1.0)
    }

    /// "512 x 384", width first.
    pub fn size(&self) -> String {
        format!("{} x {}", self.width, self.height)
    }
}
