//! The folder of a training, and the files in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use burn_skip::net::NetConfig;
use serde::Serialize;
use serde_json::Value;

use super::checkpoints;
use super::history::History;
use super::options::Options;
use crate::Result;
use crate::files::{atomic, json};

/// The folder that a training writes to.
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder of a training, which need not exist.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// The folder that a trained model was named by: itself, or a file in it.
    pub fn of_model(path: &Path) -> Self {
        match path.parent() {
            Some(parent) if path.is_file() => Self::new(parent),
            _ => Self::new(path),
        }
    }

    /// Creates it where it does not exist, and keeps other trainings out until the lock is dropped or this program
    /// ends, in whatever way.
    ///
    /// # Errors
    /// When that is not allowed, a file is in the way, or another training runs in it.
    pub fn lock(&self) -> Result<File> {
        let shown = self.path.display();
        fs::create_dir_all(self.checkpoints()).map_err(|e| {
            format!(
                "--out: cannot make the folder {shown}: {e}. Choose a folder that you may write to."
            )
        })?;
        let path = self.path.join("lock");
        // Neither a link is followed, nor is anything in the file lost: it need not be ours.
        if fs::symlink_metadata(&path).is_ok_and(|file| !file.is_file()) {
            return Err(format!(
                "--out: {} is a link or a folder, and a training locks a file of this name. Remove it, or choose \
                 another folder.",
                path.display()
            )
            .into());
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let lock = options
            .open(&path)
            .map_err(|e| format!("--out: cannot write to {shown}: {e}"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(format!(
                "--out: another training runs in {shown}. Wait for its end, or choose another folder."
            )
            .into()),
            Err(TryLockError::Error(e)) => Err(format!("--out: cannot lock {shown}: {e}").into()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The network.
    pub fn net(&self) -> PathBuf {
        self.path.join("net.json")
    }

    /// The options of the training.
    pub fn options(&self) -> PathBuf {
        self.path.join("training.json")
    }

    /// The metrics of every epoch.
    pub fn history(&self) -> PathBuf {
        self.path.join("history.json")
    }

    /// The trained weights.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.bpk")
    }

    pub fn prediction(&self) -> PathBuf {
        self.path.join("prediction.png")
    }

    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.png")
    }

    /// All of it on one page.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// The files that a training writes beside its checkpoints.
    pub fn files(&self) -> [PathBuf; 7] {
        [
            self.net(),
            self.options(),
            self.history(),
            self.model(),
            self.prediction(),
            self.curves(),
            self.report(),
        ]
    }

    /// Checks that nothing is lost when a training of `net` starts here.
    ///
    /// # Errors
    /// When there is a training, or a file that a training would replace by another.
    pub fn check_unused(&self, net: &NetConfig) -> Result<()> {
        let shown = self.path.display();
        if self.options().is_file() || self.model().is_file() {
            return Err(format!(
                "--out: {shown} holds a training. Continue it with --resume, replace it with --overwrite, or choose \
                 another folder."
            )
            .into());
        }
        // A training that was killed as it began leaves its first two files.
        let [net, empty] = [
            serde_json::to_value(net)?,
            serde_json::to_value(History::default())?,
        ];
        let files = [
            (self.net(), Some(net)),
            (self.history(), Some(empty)),
            (self.prediction(), None),
            (self.curves(), None),
            (self.report(), None),
        ];
        let is_lost = |file: &Path, new: &Option<Value>| {
            file.exists() && (new.is_none() || json::read(file).ok() != *new)
        };
        let mut files = files.into_iter();
        let lost = files.find(|(file, new)| is_lost(file, new));
        let lost = lost.map(|(file, _)| file);
        match lost.or_else(|| checkpoints::of_any_training(self).into_iter().next()) {
            None => Ok(()),
            Some(file) => Err(format!(
                "--out: there is a file {} that the training would replace. Allow it with --overwrite, or choose \
                 another folder.",
                file.display()
            )
            .into()),
        }
    }

    /// Whether a file of this name in the folder is one that a training was writing when it was killed.
    pub fn is_unfinished(&self, name: &str) -> bool {
        let name = name.strip_prefix('.').unwrap_or(name);
        name.ends_with(".tmp")
            && self.files().iter().any(|file| {
                let known = file.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&format!("{known}."))
            })
    }

    /// The network of the training, and its options.
    ///
    /// # Errors
    /// When there was none, or a file was edited wrongly.
    pub fn read(&self) -> Result<(NetConfig, Options)> {
        if !self.options().is_file() {
            return Err(format!(
                "{} holds no training: {} is missing",
                self.path.display(),
                self.options().display()
            )
            .into());
        }
        let options: Options = json::read(&self.options())?;
        options.check(&self.options())?;
        Ok((json::read(&self.net())?, options))
    }

    /// The network, the options and the history.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(&self) -> Result<(NetConfig, Options, History)> {
        let (net, options) = self.read()?;
        let history: History = json::read(&self.history())?;
        history.check(&self.history(), options.steps)?;
        Ok((net, options, history))
    }
}

/// Writes a value in JSON.
///
/// # Errors
/// As [`atomic::write`].
pub fn save(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(atomic::write(path, text.as_bytes())?)
}
