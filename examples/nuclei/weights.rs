//! Reading a model's weights, with errors that a user can act upon.

use std::path::Path;

use burn::module::Module;
use burn::store::RecordError;

use crate::Result;

/// Gives a module the weights in a file.
///
/// # Errors
/// When the file cannot be read, or holds other tensors than the module: names the first, with
/// both shapes.
pub fn load<M: Module>(module: M, path: &Path) -> Result<M> {
    module.try_load_file(path).map_err(|error| {
        let path = path.display();
        match error {
            RecordError::Io(reason) => format!("{path} is damaged or no model: {reason}"),
            RecordError::Validation(list) => {
                format!("{path} holds another network: {}", shortened(&list))
            }
        }
        .into()
    })
}

/// Burn lists every tensor that does not fit, each in quotes; the first one says enough.
fn shortened(list: &str) -> String {
    let heading = list.split(':').next().unwrap_or_default();
    let mut tensors = list.split('"').skip(1).step_by(2);
    let first = tensors.next().unwrap_or(list);
    let first = first.replace("Shape { dims: ", "").replace(" }", "");
    let first = match heading {
        "Apply errors" => first,
        _ => format!("{}: {first}", heading.to_lowercase()),
    };
    match tensors.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}
