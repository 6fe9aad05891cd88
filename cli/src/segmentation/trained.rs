//! A trained network from the folder of its training.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::RecordError;
use burn::store::burn_pack::Reader;
use burn::tensor::{Device, Tensor};
use burn_skip::net::AnySegmentationModel;

use crate::Result;
use crate::segmentation::data::Task;
use crate::segmentation::model::Segmenter;
use crate::train::options::for_images;
use crate::train::run_folder::RunFolder;

/// A trained network with its task.
pub struct Trained {
    pub net: AnySegmentationModel,
    pub task: Task,
    /// The file of its weights.
    pub file: PathBuf,
}

impl Trained {
    /// Builds the network of a training, and loads its weights: those of `path`, if it is a file, such as a
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
                "--model: there is no file {}. Name a folder that `burn-skip train` wrote.",
                file.display()
            )
            .into());
        }
        let (net, options) = folder.read().map_err(|e| format!("--model: {e}"))?;
        let config = for_images(&net, &folder.net())?;
        let task = options.task(&config);
        let Segmenter { net, .. } = load(Segmenter::new(&config, device)?, &file)?;
        Ok(Self { net, task, file })
    }
}

/// Loads the weights of a file into a module.
///
/// # Errors
/// When the file cannot be read, or holds other tensors than the module: with the first of them.
pub fn load<M: Module>(module: M, path: &Path) -> Result<M> {
    let own = shapes(&module);
    module.try_load_file(path).map_err(|error| {
        let shown = path.display();
        match error {
            RecordError::Io(reason) => format!("{shown} is damaged or no model: {reason}"),
            RecordError::Validation(reason) => {
                let reason = first_mismatch(&own, path).unwrap_or(reason);
                format!("{shown} holds another network: {reason}")
            }
        }
        .into()
    })
}

/// The shape of each tensor, by its path.
type Shapes = BTreeMap<String, Vec<usize>>;

/// The first tensor that differs between a module and a file, and how.
fn first_mismatch(module: &Shapes, path: &Path) -> Option<String> {
    let tensors = Reader::from_file(path).ok()?.into_tensors().ok()?;
    let file: Shapes = tensors
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor.shape.to_vec()))
        .collect();
    let differs = module
        .iter()
        .find_map(|(name, shape)| match file.get(name) {
            None => Some(format!("it has no {name}")),
            Some(found) if found != shape => Some(format!(
                "{name} is {found:?} in it, and {shape:?} in net.json"
            )),
            Some(_) => None,
        });
    let unknown = || file.keys().find(|name| !module.contains_key(*name));
    differs.or_else(|| unknown().map(|name| format!("the network of net.json has no {name}")))
}

fn shapes<M: Module>(module: &M) -> Shapes {
    let mut visitor = ShapeVisitor::default();
    module.visit(&mut visitor);
    visitor.shapes
}

#[derive(Default)]
struct ShapeVisitor {
    path: Vec<String>,
    shapes: Shapes,
}

impl ModuleVisitor for ShapeVisitor {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().to_vec();
        self.shapes.insert(self.path.join("."), shape);
    }
}
