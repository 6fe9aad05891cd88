//! How large a file may be: an image or a file of weights that a few kilobytes inflate to gigabytes is refused
//! before it fills the memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::Args;
use zip::{CompressionMethod, ZipArchive};

use crate::Result;

/// The images that are read.
#[derive(Args, Clone, Copy, Debug)]
pub struct ImageLimit {
    /// Refuse images of more than this many million pixels
    #[arg(long, default_value_t = 256, value_name = "MILLIONS", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    max_megapixels: u64,
}

impl ImageLimit {
    /// Checks an image's size.
    ///
    /// # Errors
    /// When it has too many pixels.
    pub fn check(self, path: &Path, [width, height]: [u32; 2]) -> Result<()> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels <= self.pixels() {
            return Ok(());
        }
        Err(format!(
            "{} is {width} x {height} (width x height), and the limit is {} million pixels. If the memory holds \
             more, pass --max-megapixels {}.",
            path.display(),
            self.max_megapixels,
            pixels.div_ceil(1_000_000)
        )
        .into())
    }

    /// Bytes that decoding an image may take: eight for each of four channels.
    pub fn decoder_bytes(self) -> u64 {
        self.pixels() * 32
    }

    fn pixels(self) -> u64 {
        self.max_megapixels * 1_000_000
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
