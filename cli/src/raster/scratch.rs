//! Numbers in a file of the disk, mapped: the system reads their pages as they are used, and takes the memory back.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::MmapMut;

/// Numbers in a file without a name. It is gone when it is dropped, or when the process ends, in whatever way.
pub struct Scratch(MmapMut);

impl Scratch {
    /// So many zeros, in a file in `folder`.
    ///
    /// # Errors
    /// When the folder is missing or not writable, or the disk is full.
    pub fn zeros(count: usize, folder: &Path) -> io::Result<Self> {
        let bytes = count.checked_mul(size_of::<f32>());
        let bytes = bytes.ok_or_else(|| io::Error::other("more bytes than can be counted"))?;
        let file = tempfile::tempfile_in(folder)?;
        reserve(&file, bytes as u64)?;
        // SAFETY: the file has no name and no handle outside of this function, so that nobody else shortens it or writes
        // to it; the map alone keeps it. All its blocks are there.
        let map = unsafe { MmapMut::map_mut(&file) };
        Ok(Self(map?))
    }

    pub fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Takes the space on the disk now. Without it a full disk would be noticed where a page is written, which is no error
/// that a program could report, but its end.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(full @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(full.into()),
            // (Not every file system can.)
            Err(_) => {}
        }
    }
    let mut file = file;
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_numbers_are_zeros_that_can_be_changed() {
        let mut scratch = Scratch::zeros(5000, &std::env::temp_dir()).unwrap();
        assert_eq!(scratch.values(), [0.0; 5000]);
        scratch.values_mut()[4999] = 2.5;
        assert_eq!(scratch.values()[4998..], [0.0, 2.5]);
    }

    #[test]
    fn what_no_disk_holds_is_an_error() {
        assert!(Scratch::zeros(1 << 60, &std::env::temp_dir()).is_err());
        assert!(Scratch::zeros(usize::MAX, &std::env::temp_dir()).is_err());
        assert!(Scratch::zeros(1, Path::new("no/such/folder")).is_err());
    }
}
