//! How large a file may be: an image or a file of weights that a few kilobytes inflate to gigabytes is refused
//! before it fills the memory or the disk.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::Args;
use zip::{CompressionMethod, ZipArchive};

use crate::Result;
use crate::raster::{ImageMemory, shown_size};

/// How images are read as numbers: which of them are refused, and where their values are kept.
#[derive(Args, Clone, Debug)]
pub struct ImageLimits {
    #[command(flatten)]
    pub size: ImageLimit,

    #[command(flatten)]
    pub memory: ImageMemory,
}

/// A larger limit is a typing error.
const MAX_MEGAPIXELS: u64 = 65_536;

/// The images that are read.
#[derive(Args, Clone, Copy, Debug)]
pub struct ImageLimit {
    /// Refuse images of more than this many million pixels: a damaged file, or one that was made to do harm, may claim any
    /// size. Four channels count as one
    #[arg(long, default_value_t = 256, value_name = "MILLIONS", value_parser = clap::value_parser!(u64).range(1..=MAX_MEGAPIXELS))]
    max_megapixels: u64,
}

impl ImageLimit {
    /// Checks the size of an image or a volume. Each four channels count as one more pixel.
    ///
    /// # Errors
    /// When it has too many pixels.
    pub fn check(self, path: &Path, size: &[usize], channels: usize) -> Result<()> {
        let Some(millions) = self.exceeded(size, channels) else {
            return Ok(());
        };
        let of_channels = match channels {
            0..=4 => String::new(),
            several => format!(" of {several} channels"),
        };
        Err(format!(
            "{} is {}{of_channels}, and the limit is {} million pixels, since a damaged file may claim any size. If this \
             one is meant, pass --max-megapixels {millions}.",
            path.display(),
            shown_size(size),
            self.max_megapixels
        )
        .into())
    }

    /// Checks the size that an image is to be resampled to.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_resampled(self, path: &Path, size: &[usize], channels: usize) -> Result<()> {
        let Some(millions) = self.exceeded(size, channels) else {
            return Ok(());
        };
        let larger = match millions <= MAX_MEGAPIXELS {
            true => format!(" If the memory holds more, pass --max-megapixels {millions}."),
            false => String::new(),
        };
        Err(format!(
            "{} would be resampled to {}, and the limit is {} million pixels. Check --spacing and its unit, \
             or take a coarser one.{larger}",
            path.display(),
            shown_size(size),
            self.max_megapixels
        )
        .into())
    }

    /// How many million pixels the limit would have to be, if it is too small.
    fn exceeded(self, size: &[usize], channels: usize) -> Option<u64> {
        let axes = size
            .iter()
            .fold(1, |pixels: u64, &axis| pixels.saturating_mul(axis as u64));
        let pixels = axes.saturating_mul(channels.div_ceil(4) as u64);
        (pixels > self.pixels()).then(|| pixels.div_ceil(1_000_000))
    }

    /// Bytes that decoding a PNG or a JPEG may take: eight for each of four channels.
    pub fn decoder_bytes(self) -> u64 {
        self.pixels() * 32
    }

    fn pixels(self) -> u64 {
        self.max_megapixels * 1_000_000
    }
}

#[cfg(test)]
impl ImageLimits {
    /// The default of what is refused, and so many bytes of values in memory.
    pub fn of_bytes(bytes: u64) -> Self {
        Self {
            size: ImageLimit {
                max_megapixels: 256,
            },
            memory: ImageMemory::of_bytes(bytes),
        }
    }
}

/// The files of weights that are read.
#[derive(Args, Clone, Copy, Debug)]
pub struct WeightsLimit {
    /// Refuse files of weights that are larger than this many GiB, or that inflate to more
    #[arg(long, default_value_t = 4, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=4096))]
    max_gib: u64,
}

impl WeightsLimit {
    /// Checks the size of a file, and if it is a zip archive as PyTorch writes, what it inflates to.
    ///
    /// # Errors
    /// When it is missing or too large.
    pub fn check(self, path: &Path) -> Result<()> {
        let shown = path.display();
        let limit = self.max_gib << 30;
        let unreadable = |e: io::Error| format!("cannot read {shown}: {e}");
        let file = File::open(path).map_err(unreadable)?;
        let on_disk = file.metadata().map_err(unreadable)?.len();
        if on_disk > limit {
            return Err(self.exceeded(path, on_disk).into());
        }
        // (What is no archive is judged by whoever reads it.)
        let Ok(mut archive) = ZipArchive::new(file) else {
            return Ok(());
        };
        let mut inflated: u64 = 0;
        for index in 0..archive.len() {
            // An entry that cannot be read is refused by whoever reads it.
            let Ok(entry) = archive.by_index(index) else {
                continue;
            };
            // An archive may declare less than an entry inflates to.
            let bytes = match entry.compression() {
                CompressionMethod::Stored => entry.size(),
                _ => {
                    let declared = entry.size();
                    declared.max(count(entry, limit + 1))
                }
            };
            inflated = inflated.saturating_add(bytes);
            if inflated > limit {
                return Err(self.exceeded(path, inflated).into());
            }
        }
        Ok(())
    }

    fn exceeded(self, path: &Path, bytes: u64) -> String {
        let gib = bytes.div_ceil(1 << 30);
        format!(
            "{}: it holds more than {} GiB, which is the limit. If the memory holds more, pass --max-gib {gib} or \
             above.",
            path.display(),
            self.max_gib
        )
    }
}

/// How many bytes can be read; no more than `most` are.
fn count(reader: impl Read, most: u64) -> u64 {
    io::copy(&mut reader.take(most), &mut io::sink()).unwrap_or(0)
}
