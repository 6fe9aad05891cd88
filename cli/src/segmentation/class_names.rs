//! The names of the classes, where the data have them.

use std::path::Path;

use crate::Result;

/// The file of a data folder that has them, one a line.
const FILE: &str = "classes.txt";

/// The names of so many classes in a data folder; none where it has no such file, or there are no two classes.
///
/// # Errors
/// When the file cannot be read, or has another number of names.
pub fn read(folder: Option<&Path>, classes: usize) -> Result<Vec<String>> {
    let file = folder.map(|folder| folder.join(FILE));
    let Some(file) = file.filter(|file| file.is_file() && classes > 1) else {
        return Ok(Vec::new());
    };
    let shown = file.display();
    let text = std::fs::read_to_string(&file).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(String::from).collect();
    match names.len() == classes {
        true => Ok(names),
        false => Err(format!(
            "{shown} has {} names, and the network has {classes} classes. Write one name a line, class 0 first.",
            names.len()
        )
        .into()),
    }
}

/// The name of a class: "2 nucleus", or "2" where there are no names.
pub fn shown(names: &[String], class: usize) -> String {
    match names.get(class) {
        Some(name) => format!("{class} {name}"),
        None => class.to_string(),
    }
}
