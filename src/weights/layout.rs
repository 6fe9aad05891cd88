//! The names and layouts that PyTorch gives a module's tensors; and [`save`].

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

use burn::module::Module;
use burn::store::burn_pack::Tensor as StoredTensor;
use burn::store::{
    BurnToPyTorchAdapter, KeyRemapper, ModuleAdapter, ModuleContext, ModuleSnapshot,
    SafetensorsStore, SafetensorsStoreError,
};

use super::{Names, WeightsError};

/// Burn's [`BurnToPyTorchAdapter`] (linear weights transposed, norms renamed), with the norms and
/// activations that it lacks.
#[derive(Clone)]
struct ToPyTorch;

impl ModuleAdapter for ToPyTorch {
    fn adapt(&self, tensor: StoredTensor, context: ModuleContext<'_>) -> StoredTensor {
        let renames: &[(&str, &str)] = match context.module_type() {
            Some("Struct:InstanceNorm") => &[(".gamma", ".weight"), (".beta", ".bias")],
            Some("Struct:PRelu" | "Struct:Activation") => &[(".alpha", ".weight")],
            _ => &[],
        };
        let mut tensor = BurnToPyTorchAdapter.adapt(tensor, context);
        for (burn, torch) in renames {
            if let Some(stem) = tensor.name.strip_suffix(burn) {
                tensor.name = [stem, torch].concat();
            }
        }
        tensor
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}

/// [`ToPyTorch`], and the shapes that a table of names gives the tensors.
#[derive(Clone)]
struct ToSource {
    names: Names,
    /// Whether the module is a part of what is saved: its name is before the paths of the table.
    is_part: bool,
}

impl ModuleAdapter for ToSource {
    fn adapt(&self, tensor: StoredTensor, context: ModuleContext<'_>) -> StoredTensor {
        let mut tensor = ToPyTorch.adapt(tensor, context);
        // (The same numbers in the same order.)
        let path = match self.is_part {
            true => tensor.name.split_once('.').map_or("", |(_, path)| path),
            false => &tensor.name,
        };
        let shape = self.names.external_shape(path, &tensor.shape);
        tensor.shape = shape.into();
        tensor
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}

/// A tensor of a module, and its name in a file.
pub(super) struct Slot {
    /// The path that Burn's stores use.
    pub burn_path: String,
    /// The path, with PyTorch's name at the end.
    pub path: String,
    /// The name in the file.
    pub name: String,
    /// The shape in the layout of PyTorch.
    pub own_shape: Vec<usize>,
    /// The shape in the file.
    pub shape: Vec<usize>,
    /// The type of its numbers.
    pub dtype: burn::tensor::DType,
}

/// All tensors of a module.
///
/// # Errors
/// When the table has no name for one of them, or the same name for two.
pub(super) fn slots<M: Module>(module: &M, names: &Names) -> Result<Vec<Slot>, WeightsError> {
    let own = module.collect(None, None, true);
    let torch = module.collect(None, Some(Box::new(ToPyTorch)), true);
    let mut unnamed = Vec::new();
    let mut taken = BTreeSet::new();
    let mut slots = Vec::with_capacity(own.len());
    for (own, torch) in own.into_iter().zip(torch) {
        match names.external_name(&torch.name) {
            Some(name) if taken.insert(name.clone()) => slots.push(Slot {
                burn_path: own.name,
                shape: names.external_shape(&torch.name, &torch.shape),
                path: torch.name,
                name,
                own_shape: torch.shape.to_vec(),
                dtype: own.dtype,
            }),
            _ => unnamed.push(torch.name),
        }
    }
    match unnamed.is_empty() {
        true => Ok(slots),
        false => Err(WeightsError::Unnamed { tensors: unnamed }),
    }
}

/// Applies the updates of training steps to the running statistics of norms, which Burn keeps
/// separately until the module leaves training.
pub(super) fn settle<M: Module>(module: &M) {
    let _ = module.valid();
}

/// Writes the weights of a module to a safetensors file, named and laid out as the source of the table
/// does, so that PyTorch loads them with `load_state_dict(load_file(path), strict=True)`.
///
/// An existing file is replaced once the new one is complete.
///
/// # Errors
/// When the name does not end in `.safetensors`, the file cannot be written, or the table has no name
/// for a tensor of the module.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Unet, UnetConfig};
/// use burn_skip::weights::{Names, WeightsFile, save};
///
/// let config = UnetConfig::monai_basic(1, 2, [8, 8, 16, 32, 64, 8]);
/// let net: Unet = config.init(&Device::flex());
/// let path = std::env::temp_dir().join("saved_in_the_docs.safetensors");
/// save(&net, &path, &Names::monai_basic_unet()).unwrap();
/// let file = WeightsFile::open(&path).unwrap();
/// assert_eq!(file.shape("final_conv.weight").unwrap(), [2, 8, 1, 1]);
/// ```
pub fn save<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    names: &Names,
) -> Result<(), WeightsError> {
    let path = path.as_ref();
    let unwritable = |reason: String| WeightsError::Unwritable {
        path: path.to_path_buf(),
        reason: reason.trim_end_matches('.').to_string(),
    };
    let kind = path.extension().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("safetensors") {
        let reason = "only safetensors files are written: let the name end in .safetensors";
        return Err(unwritable(reason.to_string()));
    }
    // All patterns are applied one after the other: a mark keeps a renamed tensor from being renamed again.
    let mark = "\u{1}";
    settle(module);
    let slots = slots(module, names)?;
    let row = |path: &str, name: &str| {
        let exactly = ["^", &path.replace('.', r"\."), "$"].concat();
        // A dollar would stand for a part of the pattern.
        (exactly, [mark, &name.replace('$', "$$")].concat())
    };
    let unmark = ([mark].concat(), String::new());
    let store = |rows: Vec<(String, String)>| -> Result<SafetensorsStore, WeightsError> {
        let rows = rows.into_iter().chain([unmark]).collect::<Vec<_>>();
        let remapper = KeyRemapper::from_patterns(rows).map_err(|e| unwritable(e.to_string()))?;
        Ok(SafetensorsStore::from_file(path)
            .overwrite(true)
            .skip_enum_variants(true)
            .with_to_adapter(ToSource {
                names: names.clone(),
                is_part: names.has_copies(),
            })
            .remap(remapper)
            .metadata("format", "pt"))
    };
    let saved = match names.has_copies() {
        false => {
            let rows = slots.iter().map(|slot| row(&slot.path, &slot.name));
            module.save_into(&mut store(rows.collect())?)
        }
        true => {
            // The module twice: as a whole, and what has a second name.
            let mut rows = Vec::new();
            for slot in &slots {
                rows.push((format!("0.{}", slot.path), slot.name.clone()));
                if let Some(copy) = names.copied_name(&slot.name) {
                    rows.push((format!("1.{}", slot.path), copy));
                }
            }
            let paths: Vec<_> = rows.iter().map(|(path, _)| path.clone()).collect();
            let rows = rows.iter().map(|(path, name)| row(path, name));
            let mut store = store(rows.collect())?.with_full_paths(paths);
            (module.clone(), module.clone()).save_into(&mut store)
        }
    };
    saved.map_err(|e| {
        let remedy = remedy(&e);
        unwritable(format!("{e}. {remedy}"))
    })
}

/// What to do where a file cannot be written.
fn remedy(error: &SafetensorsStoreError) -> &'static str {
    let problem = match error {
        SafetensorsStoreError::Io(problem) => Some(problem),
        SafetensorsStoreError::Safetensors(error) => {
            let source = error.source();
            source.and_then(|source| source.downcast_ref::<io::Error>())
        }
        _ => None,
    };
    match problem.map_or(ErrorKind::Other, io::Error::kind) {
        ErrorKind::FileTooLarge => {
            "The system limits the size of a file: raise the limit (ulimit -f), or write to another disk"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "Free space there, or choose a folder on another disk"
        }
        _ => "Choose a folder that exists and that you may write to",
    }
}
