//! Files in JSON.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

/// Reads a file in JSON.
///
/// # Errors
/// When there is no such file, or it is of another kind: with the place, and the name that was meant.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| {
        let problem = e.to_string();
        match nearest(&problem) {
            Some(name) => format!("{shown}: {problem}. Is `{name}` meant?"),
            None => format!("{shown}: {problem}"),
        }
    })
}

/// Of the names that were expected, the nearest to the one that is unknown.
fn nearest(problem: &str) -> Option<String> {
    if !problem.starts_with("unknown") {
        return None;
    }
    let mut names = problem.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let near = |name: &&str| strsim::damerau_levenshtein(unknown, name);
    let name = names.min_by_key(near)?;
    // What has nothing in common was not meant.
    (near(&name) <= unknown.len().max(name.len()) / 2).then(|| name.to_string())
}
