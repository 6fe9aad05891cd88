//! A trained model's weights, with errors that a user can act upon.

use std::path::Path;

use burn::module::Module;
use burn::store::RecordError;
use burn::tensor::Device;
use burn_skip::net::Unet;

use crate::Result;
use crate::data::Task;
use crate::model::Segmenter;
use crate::options::for_images;
use crate::run_folder::RunFolder;

/// A network that was trained, and what it was trained to see and say.
pub struct Trained {
    pub unet: Unet<4>,
    pub task: Task,
}

impl Trained {
    /// Builds the network of a training, and gives it its weights: those of `path`, if it is a file, such as a
    /// checkpoint, and else the last.
    ///
    /// # Errors
    /// When a file is missing, damaged, or of another network.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let path = &std::path::absolute(path)?;
        let mut folder = RunFolder::of_model(path);
        if path.is_file() && !folder.net().is_file() {
            // A checkpoint lies one folder deeper.
            folder = RunFolder::of_model(folder.path().parent().unwrap_or(path));
        }
        let file = match path.is_file() {
            true => path.to_path_buf(),
            false => folder.model(),
        };
        if !file.is_file() {
            return Err(format!(
                "--model: there is no file {}. Name a folder that `segment train` wrote.",
                file.display()
            )
            .into());
        }
        let (net, options) = folder.read().map_err(|e| format!("--model: {e}"))?;
        let net = for_images(net, &folder.net())?;
        let task = options.task(&net);
        let Segmenter { unet } = load(Segmenter::new(&net, device)?, &file)?;
        Ok(Self { unet, task })
    }
}

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
