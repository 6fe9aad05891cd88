//! Files in JSON.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;

/// More is no file that this program reads.
const MAX_BYTES: u64 = 64 << 20;

/// Reads a file in JSON.
///
/// # Errors
/// When there is no such file, it is too large, or it is of another kind: with the place, and the nearest known
/// name for one that is unknown.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| format!("cannot read {shown}: {e}");
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MAX_BYTES {
        return Err(format!(
            "{shown} has {bytes} bytes, and a JSON file has {MAX_BYTES} at most"
        ));
    }
    let text = fs::read_to_string(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidData => {
            format!("{shown} is no text, and a file in JSON is expected here. Name such a file.")
        }
        _ => unreadable(e),
    })?;
    serde_json::from_str(&text).map_err(|e| {
        let problem = e.to_string();
        match nearest(&problem) {
            Some(name) => format!("{shown}: {problem}. Is `{name}` meant?"),
            None => format!("{shown}: {problem}"),
        }
    })
}

/// Of the names that serde expected, the nearest to the unknown one. (serde's errors have them only in words.)
fn nearest(problem: &str) -> Option<String> {
    if !problem.starts_with("unknown") {
        return None;
    }
    let mut names = problem.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let near = |name: &&str| strsim::damerau_levenshtein(unknown, name);
    let name = names.min_by_key(near)?;
    // A name that has nothing in common was not meant.
    (near(&name) <= unknown.len().max(name.len()) / 2).then(|| name.to_string())
}
