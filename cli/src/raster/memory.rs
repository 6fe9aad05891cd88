//! Where the values of images are kept: in memory up to a budget that all of them share, and beyond it in scratch files.
//! This is the one place that decides.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use clap::Args;

use super::Pixels;
use super::scratch::Scratch;
use crate::files::bytes;

/// The budget and the folder of the scratch files. Clones share what is used of the budget.
#[derive(Args, Clone, Debug)]
pub struct ImageMemory {
    /// Keep so many GiB of the values of images in memory, 4 bytes for each pixel of a channel. What is beyond lies in
    /// files without a name that vanish with the program, and the system reads it as it is used
    #[arg(long, default_value = "2", value_name = "GIB", value_parser = bytes::of_gib)]
    memory_for_images: u64,

    /// Folder for the files of --memory-for-images, on a fast disk with room for all images [default: the folder that is
    /// written to]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    #[arg(skip)]
    state: Arc<State>,
}

/// What is shared.
#[derive(Debug, Default)]
struct State {
    /// Bytes of the values in memory.
    used: AtomicU64,
    /// The folder where none was asked for.
    default: OnceLock<PathBuf>,
}

/// A part of the budget, which is free again when this is dropped.
#[derive(Debug)]
pub struct Share {
    state: Arc<State>,
    bytes: u64,
}

impl ImageMemory {
    /// The folder of the scratch files where the command line names none: that of what is written, or the nearest one
    /// above it that exists. (The folder of the system may be a part of the memory.) The first call counts.
    pub fn default_to(&self, folder: &Path) {
        self.state.default.get_or_init(|| nearest(folder));
    }

    /// So many zeros, in memory if the budget has room for them.
    ///
    /// # Errors
    /// When they need a scratch file, and there cannot be one: with the folder, the size and what to do.
    pub fn zeros(&self, count: usize) -> Result<Pixels, String> {
        if let Some(share) = self.share(count) {
            let mut values = Vec::new();
            // (Where the system has less than the budget, a file does.)
            if values.try_reserve_exact(count).is_ok() {
                values.resize(count, 0.0);
                return Ok(Pixels::in_memory(values, share, self.clone()));
            }
        }
        let here = || PathBuf::from(".");
        let folder = self.scratch.as_ref().or(self.state.default.get());
        let folder = folder.cloned().unwrap_or_else(here);
        let scratch = Scratch::zeros(count, &folder).map_err(|e| {
            format!(
                "cannot keep {} of an image in a file in {}: {e}. {}, name another folder with --scratch DIR, or keep more in \
                 memory with --memory-for-images GIB.",
                bytes::shown(4 * count as u64),
                folder.display(),
                match e.kind() {
                    ErrorKind::FileTooLarge => {
                        "The system limits the size of a file: raise the limit (ulimit -f)"
                    }
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "Free space there",
                    _ => "Make a folder there that you may write to",
                }
            )
        })?;
        Ok(Pixels::in_scratch(scratch, self.clone()))
    }

    fn share(&self, count: usize) -> Option<Share> {
        let bytes = (count as u64).checked_mul(4)?;
        let state = self.state.clone();
        let with = |used: u64| {
            let sum = used.checked_add(bytes);
            sum.filter(|&sum| sum <= self.memory_for_images)
        };
        let order = Ordering::Relaxed;
        let is_free = state.used.fetch_update(order, order, with).is_ok();
        // (Not `then_some`: a share that is not taken would be given back.)
        is_free.then(|| Share { state, bytes })
    }
}

impl Share {
    /// Gives back all but so many values.
    pub fn shrink(&mut self, count: usize) {
        let bytes = self.bytes.min(4 * count as u64);
        let used = &self.state.used;
        used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// The folder, or the nearest above it that exists.
fn nearest(folder: &Path) -> PathBuf {
    let existing = folder.ancestors().find(|folder| folder.is_dir());
    // (The parent of a name without a folder is empty.)
    existing.unwrap_or(Path::new(".")).to_path_buf()
}

#[cfg(test)]
impl ImageMemory {
    /// A budget of so many bytes, and scratch files in the folder of the system.
    pub fn of_bytes(bytes: u64) -> Self {
        Self {
            memory_for_images: bytes,
            scratch: Some(std::env::temp_dir()),
            state: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_budget_has_no_room_for_is_in_a_file_until_there_is_room() {
        let memory = ImageMemory::of_bytes(100);
        let is_in_memory = |count| memory.zeros(count).unwrap().is_in_memory();
        assert!(is_in_memory(25) && !is_in_memory(26));
        let mut first = memory.zeros(20).unwrap();
        assert!(is_in_memory(5) && !is_in_memory(6));
        first.truncate(10);
        assert!(is_in_memory(15) && !is_in_memory(16));
        drop(first);
        assert!(is_in_memory(25));
        assert!(is_in_memory(0) && ImageMemory::of_bytes(0).zeros(0).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let mut memory = ImageMemory::of_bytes(0);
        memory.scratch = Some("no/such/folder".into());
        let error = memory.zeros(1 << 28).err().unwrap();
        assert!(
            error.starts_with("cannot keep 1.00 GiB of an image in a file in no/such/folder: "),
            "{error}"
        );
        assert!(error.contains("--scratch DIR"), "{error}");
    }

    #[test]
    fn the_folder_is_the_nearest_that_exists() {
        assert_eq!(
            nearest(Path::new("src/raster/new/run")),
            Path::new("src/raster")
        );
        assert_eq!(nearest(Path::new("new")), Path::new("."));
        assert_eq!(nearest(Path::new("")), Path::new("."));
    }
}
