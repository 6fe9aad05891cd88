//! A trained network from the folder of its training.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::RecordError;
use burn::store::burn_pack::Reader;
use burn::tensor::{Device, Tensor};
use burn_skip::net::{AnySegmentationModel, SegmentationConfig};
use clap::Args;

use crate::Result;
use crate::segmentation::data::Task;
use crate::segmentation::model::Segmenter;
use crate::train::kept_weights::KeptWeights;
use crate::train::options::{Options, check_axes, for_images};
use crate::train::run_folder::RunFolder;

/// Which weights of a training are used.
#[derive(Args, Clone, Copy, Debug)]
pub struct EpochArg {
    /// Use the weights of the last epoch of --model DIR, and not those of the best, whose validation IoU is the largest
    #[arg(long)]
    last: bool,
}

/// What a training left: the network and its weights, and the options.
pub struct Trained {
    config: SegmentationConfig,
    /// The options of its training.
    pub options: Options,
    pub task: Task,
    /// The file of its weights.
    pub file: PathBuf,
    /// The epoch that they are of, if it is known.
    pub epoch: Option<usize>,
    /// The same in words.
    described: Option<String>,
}

impl Trained {
    /// Finds what a training left in a folder. The weights are those of `path`, if it is a file, such as a
    /// checkpoint, and else those of the best epoch, or of the last.
    ///
    /// # Errors
    /// When a file is missing, or was edited wrongly.
    pub fn find(path: &Path, EpochArg { last }: EpochArg) -> Result<Self> {
        let path = &std::path::absolute(path)?;
        let mut folder = RunFolder::of_model(path);
        if path.is_file() && !folder.net().is_file() {
            // A checkpoint lies one folder deeper.
            folder = RunFolder::of_model(folder.path().parent().unwrap_or(path));
        }
        if path.is_file() && last {
            return Err(format!(
                "--last: {} is one file of weights. Name the folder of the training, or leave --last out.",
                path.display()
            )
            .into());
        }
        let kept = match path.is_file() {
            true => None,
            false => KeptWeights::find(&folder, last)?,
        };
        let (epoch, described) = (
            kept.as_ref().map(|kept| kept.epoch),
            kept.as_ref().map(KeptWeights::to_string),
        );
        let file = match kept {
            Some(kept) => kept.file,
            None if path.is_file() => path.to_path_buf(),
            None => folder.model(),
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
        check_axes(&config, options.axes, &folder.net())?;
        Ok(Self {
            task: options.task(&config),
            config,
            options,
            file,
            epoch,
            described,
        })
    }

    /// "using epoch 5 of 8 (validation IoU 0.912)", or the file where its epoch is not known.
    pub fn described(&self) -> String {
        match &self.described {
            Some(epoch) => format!("using {epoch}"),
            None => format!("using {}", self.file.display()),
        }
    }

    /// The network of the training with its weights. The rank is that of its axes.
    ///
    /// # Errors
    /// When the file of weights is damaged, or of another network.
    pub fn load<const R: usize>(&self, device: &Device) -> Result<AnySegmentationModel<R>> {
        Ok(load_trained(&self.config, device, &self.file)?.net)
    }
}

/// Loads the network of a file of weights: their moving average, if it is a checkpoint that has one.
///
/// # Errors
/// As [`load`].
pub fn load_trained<const R: usize>(
    config: &SegmentationConfig,
    device: &Device,
    path: &Path,
) -> Result<Segmenter<R>> {
    let fresh = Segmenter::new(config, device)?;
    // (Its decay is of no use here.)
    let names = tensor_names(path);
    let has_average = names
        .iter()
        .flatten()
        .any(|name| name.starts_with("average."));
    let decay = has_average.then_some(0.5);
    match load(fresh.with_average(decay, 0), path) {
        Ok(loaded) => Ok(loaded.trained()),
        Err(damaged) if names.is_none() => Err(format!("{damaged}. {}", in_its_place(path)).into()),
        Err(other) => Err(other),
    }
}

/// What to do where a file of weights cannot be read.
fn in_its_place(file: &Path) -> String {
    let checkpoints = file
        .parent()
        .filter(|folder| folder.ends_with("checkpoint"));
    let model = checkpoints.and_then(|folder| Some(RunFolder::new(folder.parent()?).model()));
    match model.filter(|model| model.is_file()) {
        Some(model) => format!(
            "Copy it again, or name {}, which has the best epoch of when the training ended.",
            model.display()
        ),
        None => "Copy it again, or name another file of the training.".into(),
    }
}

/// The names of the tensors of a file of weights, if it can be read.
fn tensor_names(path: &Path) -> Option<Vec<String>> {
    let tensors = Reader::from_file(path)
        .and_then(Reader::into_tensors)
        .ok()?;
    let names = tensors.iter().map(|tensor| tensor.name.to_string());
    Some(names.collect())
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
pub type Shapes = BTreeMap<String, Vec<usize>>;

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

/// The shapes of all tensors of a module.
pub fn shapes<M: Module>(module: &M) -> Shapes {
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
