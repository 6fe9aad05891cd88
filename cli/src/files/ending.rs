//! The names of files say what is written into them.

use std::path::Path;

/// Checks that the file of `option` ends in `.ending`.
///
/// # Errors
/// When it has another ending, or none.
pub fn check(option: &str, path: &Path, ending: &str) -> Result<(), String> {
    match path.extension() {
        Some(found) if found.eq_ignore_ascii_case(ending) => Ok(()),
        _ => Err(format!(
            "{option}: {} should end in .{ending}, the format that is written.",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_ending_or_none_is_an_error() {
        assert_eq!(check("--out", Path::new("a.PNG"), "png"), Ok(()));
        for name in ["a.jpg", "a"] {
            let error = check("--out", Path::new(name), "png").unwrap_err();
            let expected = format!("--out: {name} should end in .png, the format that is written.");
            assert_eq!(error, expected);
        }
    }
}
