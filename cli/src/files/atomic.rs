//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::Result;

/// Writes a file: under another name first, then renamed.
///
/// # Errors
/// When the folder is missing or not writable, or the disk is full. What was at `path` stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    write_with(path, |file| Ok(file.write_all(bytes)?)).map_err(|error| error.to_string())
}

/// As [`write`], of what `content` writes.
///
/// # Errors
/// As [`write`], and those of `content`.
pub fn write_with(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written =
        write_and_sync(&unfinished, content).and_then(|()| Ok(fs::rename(&unfinished, path)?));
    written.map_err(|error| {
        // Nothing more can be done if this fails too.
        let _ = fs::remove_file(&unfinished);
        match error.downcast_ref::<io::Error>() {
            Some(problem) => format!(
                "cannot write {}: {problem}. {}.",
                path.display(),
                remedy(problem)
            )
            .into(),
            None => error,
        }
    })
}

/// What to do where a file cannot be written.
fn remedy(problem: &io::Error) -> &'static str {
    match problem.kind() {
        io::ErrorKind::FileTooLarge => {
            "The system limits the size of a file: raise the limit (ulimit -f), or write to another disk"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free space there, or choose a folder on another disk"
        }
        _ => "Choose a folder that exists and that you may write to",
    }
}

/// The bytes are on the disk before the file has its name: a power cut between the two would leave it empty.
fn write_and_sync(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    content(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}
