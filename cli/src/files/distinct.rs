//! No file is written over one that is read, or over another that is written.

use std::path::{Path, PathBuf};

/// Checks that the files that `writes` names, each with its option, are none of `reads`, and differ from each
/// other. Paths that lead to the same file through `..` or a symbolic link are the same.
///
/// # Errors
/// When two are the same file.
pub fn check<'p>(
    reads: impl IntoIterator<Item = &'p Path>,
    writes: impl IntoIterator<Item = (&'static str, &'p Path)>,
) -> Result<(), String> {
    let reads: Vec<PathBuf> = reads.into_iter().map(canonical).collect();
    let mut written: Vec<(&str, PathBuf)> = Vec::new();
    for (option, path) in writes {
        let file = canonical(path);
        let shown = path.display();
        if reads.contains(&file) {
            return Err(format!(
                "{option}: {shown} is also read, and would be overwritten. Choose another name."
            ));
        }
        if let Some((other, _)) = written.iter().find(|(_, other)| *other == file) {
            return Err(format!(
                "{option}: {shown} is also written by {other}. Choose another name."
            ));
        }
        written.push((option, file));
    }
    Ok(())
}

/// The path without links and `..`; of a file that does not exist, its folder's with its name.
fn canonical(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.canonicalize(),
        _ => Path::new(".").canonicalize(),
    };
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        // There is no such folder, so that there is no file that could be overwritten.
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_compared_by_where_it_leads() {
        let here = Path::new("Cargo.toml");
        let around = Path::new("src/../Cargo.toml");
        let error = check([here], [("--out", around)]).expect_err("they are the same file");
        assert_eq!(
            error,
            "--out: src/../Cargo.toml is also read, and would be overwritten. Choose another name."
        );
        let (new, same) = (Path::new("new.png"), Path::new("./src/../new.png"));
        let error = check([here], [("--out", new), ("--mask", same)]).expect_err("one file twice");
        assert_eq!(
            error,
            "--mask: ./src/../new.png is also written by --out. Choose another name."
        );
        assert_eq!(check([here], [("--out", new)]), Ok(()));
    }
}
