//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file: under another name first, then renamed.
///
/// # Errors
/// When the folder is missing or not writable, or the disk is full. What was at `path` stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = write_and_sync(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|e| {
        // Nothing more can be done if this fails too.
        let _ = fs::remove_file(&unfinished);
        format!(
            "cannot write {}: {e}. Choose a folder that exists and that you may write to.",
            path.display()
        )
    })
}

/// The bytes are on the disk before the file has its name: a power cut between the two would leave it empty.
fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
