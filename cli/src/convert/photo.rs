//! An image from a file, as the networks want it.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use burn_skip::resize::{ResizeMode, Sampling, resize};

use crate::Result;
use crate::files::limits::ImageLimit;
use crate::raster::open_photo;
use crate::raster::shown_size;

/// What torchvision and segmentation_models.pytorch normalise red, green and blue by: the mean and the
/// standard deviation of ImageNet.
const IMAGENET: [(f32, f32); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];

/// The longest side of a resized image.
const MAX_SIDE: usize = 16_384;

/// An image in colour, 0 to 255.
pub struct Photo {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

impl Photo {
    /// Reads a PNG or a JPEG.
    ///
    /// # Errors
    /// When the file is missing, neither, or too large.
    pub fn read(path: &Path, limit: ImageLimit) -> Result<Self> {
        let image = open_photo(path, limit)?;
        Ok(Self {
            width: image.width() as usize,
            height: image.height() as usize,
            rgb: image.into_rgb8().into_raw(),
        })
    }

    /// The image with a shorter side of `side` pixels, as torchvision's `Resize(side)` of an image:
    /// linear, antialiased, rounded to whole numbers.
    ///
    /// # Errors
    /// When a side would have no pixel, or more than fit into memory.
    pub fn resized(self, side: usize) -> Result<Self> {
        let shorter = self.width.min(self.height).max(1);
        let [height, width] = [self.height, self.width].map(|n| n.saturating_mul(side) / shorter);
        if side == 0 || height.max(width) > MAX_SIDE {
            return Err(format!(
                "--resize {side} makes {} pixels of {}. Choose 1 to {} for this image.",
                shown_size(&[height, width]),
                shown_size(&[self.height, self.width]),
                MAX_SIDE * shorter / self.width.max(self.height)
            )
            .into());
        }
        let data = TensorData::new(self.rgb, [1, self.height, self.width, 3]);
        let x = Tensor::<4>::from_data(data.convert::<f32>(), &Device::flex());
        let mode = ResizeMode::Linear(Sampling::Antialias);
        let x = resize(x.permute([0, 3, 1, 2]), &[height, width], mode);
        let data = x.round().clamp(0, 255).permute([0, 2, 3, 1]).into_data();
        let rgb = data.convert::<u8>().try_to_vec();
        let rgb = rgb.map_err(|e| format!("cannot read the resized image: {e:?}"))?;
        Ok(Self { width, height, rgb })
    }

    /// How [`tensor`](Self::tensor) makes numbers of pixels.
    pub fn normalisation(channels: usize) -> &'static str {
        match channels {
            1 => "grey, from 0 to 1",
            _ => "colour, normalised by the mean and the standard deviation of ImageNet",
        }
    }

    /// `[1, channels, height, width]`: ImageNet-normalised colour for three channels, grey from 0 to 1
    /// for one.
    ///
    /// # Errors
    /// When the network takes another number of channels.
    pub fn tensor(&self, channels: usize, device: &Device) -> Result<Tensor<4>> {
        let values: Vec<f32> = match channels {
            1 => self
                .rgb
                .chunks_exact(3)
                .map(|rgb| grey(rgb) / 255.0)
                .collect(),
            3 => IMAGENET
                .iter()
                .enumerate()
                .flat_map(|(channel, (mean, deviation))| {
                    let plane = self.rgb.iter().skip(channel).step_by(3);
                    plane.map(move |&v| (f32::from(v) / 255.0 - mean) / deviation)
                })
                .collect(),
            _ => {
                return Err(format!(
                    "the network takes images of {channels} channels; this program has images of 1 \
                     (grey) and of 3 (colour)"
                )
                .into());
            }
        };
        let shape = [1, channels, self.height, self.width];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// Grey from 0 to 255 as Pillow's `convert("L")`, which those who trained the network have used: the luma
/// of ITU-R 601 in whole numbers.
fn grey(rgb: &[u8]) -> f32 {
    let weighed = [19595, 38470, 7471]
        .iter()
        .zip(rgb)
        .map(|(w, &v)| w * u32::from(v));
    ((weighed.sum::<u32>() + 0x8000) >> 16) as f32
}
