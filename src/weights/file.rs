//! [`WeightsFile`]: an opened file of weights, and [`Report`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::burn_pack::Tensor as StoredTensor;
use burn::store::{
    ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter, PytorchStore, SafetensorsStore, bridge,
};

use super::layout::{Slot, settle, slots};
use super::{Misfit, Names, WeightsError};

/// Counters of PyTorch's norms, which nothing here needs.
const COUNTER: &str = "num_batches_tracked";

/// Where training programs keep the state dict, beside the state of the training.
const PLACES: [&str; 4] = ["state_dict.", "model_state_dict.", "model_state.", "model."];

/// What lies beside a state dict under `model`; anything else beside it may be part of the network.
const OF_TRAINING: [&str; 4] = ["optim", "lr_scheduler", "scheduler", "scaler"];

/// What wrappers of a whole network put before every name: Lightning, `DataParallel`, `torch.compile`.
const PREFIXES: [&str; 3] = ["model.", "module.", "_orig_mod."];

/// A file of weights: PyTorch's `.pth`, `.pt`, `.bin`, or safetensors.
///
/// Of a checkpoint that holds the state dict under `state_dict`, `model_state_dict`, `model_state` or
/// `model`, that is taken, and what Lightning, `DataParallel` and `torch.compile` put before every name
/// is left out. Tensors are read when they are needed.
///
/// # Example
/// ```
/// use burn_skip::weights::WeightsFile;
///
/// let file = WeightsFile::open("examples/data/nuclei/monai_basic_unet.pth").unwrap();
/// assert_eq!(file.tensors().count(), 82);
/// assert_eq!(file.shape("final_conv.weight").unwrap(), [2, 8, 1, 1]);
/// ```
#[derive(Clone)]
pub struct WeightsFile {
    path: PathBuf,
    tensors: BTreeMap<String, StoredTensor>,
}

impl fmt::Debug for WeightsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors: Vec<_> = self.tensors().collect();
        f.debug_struct("WeightsFile")
            .field("path", &self.path)
            .field("tensors", &tensors)
            .finish()
    }
}

impl WeightsFile {
    /// Opens a file and reads which tensors it has.
    ///
    /// # Errors
    /// When it is missing, truncated, or neither PyTorch's nor safetensors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref().to_path_buf();
        let unreadable = |reason: String| WeightsError::Unreadable {
            path: path.clone(),
            reason: first_line(&reason),
        };
        let bytes = std::fs::metadata(&path).map_err(|e| unreadable(e.to_string()))?;
        if !bytes.is_file() {
            return Err(unreadable("it is no file".into()));
        }
        let is_safetensors = is_safetensors(&path).map_err(|e| unreadable(e.to_string()))?;
        let tensors = if is_safetensors {
            let mut store = SafetensorsStore::from_file(&path);
            store.get_all_tensors().cloned().map_err(|e| e.to_string())
        } else {
            let mut store = PytorchStore::from_file(&path).map_indices_contiguous(false);
            store.get_all_tensors().cloned().map_err(|e| e.to_string())
        };
        Self::of(path.clone(), tensors.map_err(unreadable)?)
    }

    /// The network among the tensors of a file.
    fn of(path: PathBuf, tensors: BTreeMap<String, StoredTensor>) -> Result<Self, WeightsError> {
        let tensors = unwrap(tensors);
        match tensors.is_empty() {
            true => Err(WeightsError::Unreadable {
                path,
                reason: "it holds no tensors".into(),
            }),
            false => Ok(Self { path, tensors }),
        }
    }

    /// The safetensors file that `bytes` are, for weights that are built into a program.
    ///
    /// # Errors
    /// When it is truncated or no safetensors file.
    pub fn from_safetensors(bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let path = PathBuf::from("safetensors in memory");
        let mut store = SafetensorsStore::from_bytes(Some(bytes));
        match store.get_all_tensors() {
            Ok(tensors) => Self::of(path, tensors.clone()),
            Err(error) => Err(WeightsError::Unreadable {
                path,
                reason: first_line(&error.to_string()),
            }),
        }
    }

    /// The tensors whose names begin with `prefix` and a dot, without these: for a network within a
    /// larger one, or a checkpoint that keeps it at a place of its own, such as `model_ema`.
    ///
    /// # Errors
    /// When there are none.
    pub fn under(self, prefix: &str) -> Result<Self, WeightsError> {
        let tensors = under(self.tensors, &format!("{prefix}."));
        match tensors.is_empty() {
            true => Err(WeightsError::Unreadable {
                path: self.path,
                reason: format!("it holds no tensors under {prefix:?}"),
            }),
            false => Ok(Self { tensors, ..self }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names and the shapes of its tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, tensor)| (name.as_str(), &tensor.shape[..]))
    }

    /// The shape of one tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.shape[..])
    }

    /// Gives every tensor of `module` its value from the file, where `names` says how it is called
    /// there. Half-precision numbers become those of the module.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, cannot be read, or is not used, or the table has
    /// no name for a tensor of the module. The module is then unchanged. `num_batches_tracked` of
    /// PyTorch's norms is no tensor of a module, and passed over.
    pub fn load_into<M: Module>(
        &self,
        module: &mut M,
        names: &Names,
    ) -> Result<Report, WeightsError> {
        let (left, wanted): (Vec<Slot>, Vec<Slot>) = slots(module, names)?
            .into_iter()
            .partition(|slot| names.leaves(&slot.there));
        let of_both = self
            .tensors
            .keys()
            .chain(left.iter().map(|slot| &slot.there));
        if let Some(prefix) = names.left_in_vain(of_both) {
            return Err(WeightsError::LeftInVain {
                prefix: prefix.to_string(),
            });
        }
        let mut misfits = Vec::new();
        let mut values = Vec::with_capacity(wanted.len());
        for slot in &wanted {
            match self.value(slot) {
                Ok(value) => values.push(value),
                Err(misfit) => misfits.push(misfit),
            }
        }
        let used: BTreeSet<&str> = wanted.iter().map(|slot| slot.there.as_str()).collect();
        let (passed_over, unused): (Vec<_>, Vec<_>) = self
            .tensors()
            .filter(|(name, _)| !used.contains(name))
            .partition(|(name, _)| names.leaves(name) || is_counter(name));
        misfits.extend(unused.into_iter().map(|(name, shape)| Misfit::Unused {
            there: name.to_string(),
            shape: shape.to_vec(),
        }));
        let misfit = |misfits| WeightsError::Misfit {
            path: self.path.clone(),
            misfits,
        };
        if !misfits.is_empty() {
            return Err(misfit(misfits));
        }
        settle(module);
        let adapter = Box::new(PyTorchToBurnAdapter);
        let result = module.apply(values, None, Some(adapter), true);
        // Everything was checked, so that nothing is left to fail here.
        if let Some(error) = result.errors.first() {
            return Err(misfit(vec![Misfit::Numbers {
                there: String::new(),
                reason: error.to_string(),
            }]));
        }
        let pair = |slot: Slot| (slot.there, slot.here);
        Ok(Report {
            path: self.path.clone(),
            values: wanted
                .iter()
                .map(|s| s.shape.iter().product::<usize>())
                .sum(),
            loaded: wanted.into_iter().map(pair).collect(),
            left: left.into_iter().map(|slot| slot.here).collect(),
            passed_over: passed_over
                .iter()
                .map(|(name, _)| name.to_string())
                .collect(),
        })
    }

    /// The value of a tensor, read and checked, under the path that Burn knows it by.
    fn value(&self, slot: &Slot) -> Result<StoredTensor, Misfit> {
        let Some(tensor) = self.tensors.get(&slot.there) else {
            return Err(Misfit::Missing {
                here: slot.here.clone(),
                there: slot.there.clone(),
                shape: slot.shape.clone(),
            });
        };
        if tensor.shape[..] != slot.shape[..] {
            return Err(Misfit::Shape {
                here: slot.here.clone(),
                there: slot.there.clone(),
                expected: slot.shape.clone(),
                found: tensor.shape.to_vec(),
            });
        }
        let numbers = |reason| Misfit::Numbers {
            there: slot.there.clone(),
            reason,
        };
        if tensor.dtype.is_float() != slot.dtype.is_float() {
            return Err(numbers(format!(
                "are {:?}, and {:?} is needed",
                tensor.dtype, slot.dtype
            )));
        }
        let data = bridge::to_data(tensor)
            .map_err(|e| numbers(format!("cannot be read: {}", first_line(&e.to_string()))))?;
        let data = data.convert_dtype(slot.dtype);
        Ok(bridge::from_data(data, slot.path.clone(), None))
    }
}

fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some(COUNTER)
}

/// Whether a file begins as safetensors do: a length of eight bytes, and a JSON object.
fn is_safetensors(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 9), &mut start)?;
    Ok(start.get(8) == Some(&b'{'))
}

/// The tensors of the network, out of what they are wrapped in.
fn unwrap(mut tensors: BTreeMap<String, StoredTensor>) -> BTreeMap<String, StoredTensor> {
    let beside_is_training = |place: &str| {
        let mut beside = tensors.keys().filter(|name| !name.starts_with(place));
        beside.all(|name| OF_TRAINING.iter().any(|part| name.starts_with(part)))
    };
    let is_place = |place: &&&str| {
        let holds_any = tensors.keys().any(|name| name.starts_with(**place));
        holds_any && (**place != "model." || beside_is_training(place))
    };
    if let Some(place) = PLACES.iter().find(is_place) {
        tensors = under(tensors, place);
    }
    let before_all = |tensors: &BTreeMap<String, StoredTensor>| {
        let before = |prefix: &&&str| tensors.keys().all(|name| name.starts_with(**prefix));
        PREFIXES.iter().filter(|_| !tensors.is_empty()).find(before)
    };
    while let Some(prefix) = before_all(&tensors) {
        tensors = under(tensors, prefix);
    }
    tensors
}

/// The tensors whose name begins with `prefix`, without it.
fn under(tensors: BTreeMap<String, StoredTensor>, prefix: &str) -> BTreeMap<String, StoredTensor> {
    let named = tensors.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(prefix)?.to_string();
        Some((name, tensor))
    });
    named.collect()
}

/// The first line says it; what follows are a library's internals.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches('.').to_string()
}

/// What was loaded.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Unet, UnetConfig};
/// use burn_skip::weights::{Names, WeightsFile};
///
/// let file = WeightsFile::open("examples/data/nuclei/monai_basic_unet.pth").unwrap();
/// let config = UnetConfig::monai_basic(1, 2, [8, 8, 16, 32, 64, 8]);
/// let mut net: Unet = config.init(&Device::flex());
/// let report = file.load_into(&mut net, &Names::monai_basic_unet()).unwrap();
/// assert_eq!((report.loaded.len(), report.values), (82, 124_634));
/// assert!(report.left.is_empty() && report.passed_over.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// The name in the file and the path in the module, of every tensor.
    pub loaded: Vec<(String, String)>,
    /// How many numbers these are.
    pub values: usize,
    /// The paths in the module that kept their values, as the table said.
    pub left: Vec<String>,
    /// The names in the file that were passed over: counters of norms, and what the table leaves.
    pub passed_over: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counters, others): (Vec<_>, Vec<_>) =
            self.passed_over.iter().partition(|name| is_counter(name));
        write!(
            f,
            "{}: {} tensors loaded, {} numbers; none missing, none of another shape",
            self.path.display(),
            self.loaded.len(),
            self.values
        )?;
        if !counters.is_empty() {
            write!(f, "; {} {COUNTER} passed over", counters.len())?;
        }
        if !(others.is_empty() && self.left.is_empty()) {
            write!(
                f,
                "; left alone: {} of the file, {} of the network",
                others.len(),
                self.left.len()
            )?;
        }
        Ok(())
    }
}
