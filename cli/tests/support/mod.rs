//! Runs the built program.
#![allow(dead_code)] // Each test uses a part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub mod discs;
pub mod images;

/// The network that is built into the program.
pub const NET: &str = include_str!("../../net.json");

/// The folder of the image that is built into the program.
pub const NUCLEI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/nuclei");

/// The program, to be run with arguments.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_burn-skip"))
}

/// A fresh folder for a test.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder to write to");
    folder
}

/// Runs the program.
pub fn run<S: AsRef<str>>(arguments: &[S]) -> Output {
    let arguments = arguments.iter().map(AsRef::as_ref);
    program()
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// Runs it, and returns what it printed.
pub fn succeed<S: AsRef<str>>(arguments: &[S]) -> String {
    let output = run(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs what must fail, and returns the error: one line, and no panic.
pub fn fail<S: AsRef<str>>(arguments: &[S]) -> String {
    let output = run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("error: ") && text.trim().lines().count() == 1,
        "{text}"
    );
    text.trim().to_string()
}

/// Words that a space separates, and then others.
pub fn words(text: &str, more: &[&str]) -> Vec<String> {
    let words = text.split_whitespace().chain(more.iter().copied());
    words.map(str::to_string).collect()
}

/// Trains a network of 16 parameters' worth of patience: one step of one crop.
pub fn trained(out: &Path, more: &[&str]) -> String {
    let out = out.display().to_string();
    let options = "train --quiet --epochs 1 --steps 1 --batch 1 --crop 32 --out";
    succeed(&[words(options, &[&out]), words("", more)].concat())
}

/// The epochs in a history, without the time that they took.
pub fn epochs(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("history.json")).expect("a history");
    let mut history: Value = serde_json::from_str(&text).expect("JSON");
    let epochs = history["epochs"].as_array_mut().expect("epochs");
    for epoch in epochs.iter_mut() {
        epoch.as_object_mut().expect("an epoch").remove("seconds");
    }
    std::mem::take(epochs)
}

/// A file of a folder, as an argument.
pub fn shown(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// Writes a file, and returns its path as an argument.
pub fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file that can be written");
    path.display().to_string()
}
