//! Folders and files, with errors that help.

use std::fs;
use std::path::Path;

use burn::config::{Config, ConfigError, config_to_json};

use crate::Result;
pub use crate::whole_file::write;

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

/// Writes a config as JSON.
///
/// # Errors
/// As [`write`].
pub fn save<C: Config>(path: &Path, config: &C) -> Result<()> {
    Ok(write(path, config_to_json(config).as_bytes())?)
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
