//! Files that are written whole or not at all: under another name first, then renamed.

use std::fs;
use std::path::Path;

use burn::config::{Config, ConfigError, config_to_json};

use crate::Result;

/// Makes a folder and those above it.
///
/// # Errors
/// When that is not allowed, or a file is in the way.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| {
        format!(
            "--out: cannot make the folder {}: {e}. Choose a folder that you may write to.",
            folder.display()
        )
        .into()
    })
}

/// Writes a file.
///
/// # Errors
/// When the folder is missing or not writable, or the disk is full. What was at `path` stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|e| {
        // Nothing more can be done if this fails too.
        let _ = fs::remove_file(&unfinished);
        format!(
            "cannot write {}: {e}. Choose a folder that exists and that you may write to.",
            path.display()
        )
        .into()
    })
}

/// Writes a config as JSON.
///
/// # Errors
/// As [`write`].
pub fn save<C: Config>(path: &Path, config: &C) -> Result<()> {
    write(path, config_to_json(config).as_bytes())
}

/// Reads a config from a JSON file.
///
/// # Errors
/// When the file is missing, is no JSON, or has an unknown or a missing field.
pub fn load<C: Config>(path: &Path) -> Result<C> {
    C::load(path).map_err(|error| {
        let reason = match error {
            ConfigError::FileNotFound(_) => "there is no such file, or it cannot be read".into(),
            ConfigError::InvalidFormat(reason) => reason,
        };
        format!(
            "cannot read {}: {reason}. Compare it with the config.json of a training.",
            path.display()
        )
        .into()
    })
}
