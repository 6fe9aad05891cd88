//! [`WeightsFile`]: an opened file of weights.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use burn::store::burn_pack::Tensor as StoredTensor;
use burn::store::pytorch::PytorchReader;
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore};

use super::WeightsError;
use super::checkpoint::{state_dict, under};

/// A file of weights: PyTorch's `.pth`, `.pt`, `.bin`, or safetensors.
///
/// Of a checkpoint that holds the state dict under `state_dict`, `model_state_dict`, `model_state` or
/// `model`, only the state dict is read; the prefixes that Lightning, `DataParallel` and `torch.compile` add
/// to every name are removed. The values of tensors are read when they are needed.
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
    /// The bytes of the file: no network of it has more numbers.
    bytes: u64,
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
    /// Opens a file and reads the names and shapes of its tensors.
    ///
    /// # Errors
    /// When it is missing, truncated, or neither PyTorch's nor safetensors; when its tensors are compressed and
    /// would take more than 64 MiB and 32 times the size of the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref().to_path_buf();
        let unreadable = |reason: String| WeightsError::Unreadable {
            path: path.clone(),
            reason: first_line(&reason),
        };
        let metadata = std::fs::metadata(&path).map_err(|e| unreadable(e.to_string()))?;
        if !metadata.is_file() {
            return Err(unreadable("it is not a file".into()));
        }
        let is_safetensors = is_safetensors(&path).map_err(|e| unreadable(e.to_string()))?;
        let tensors = if is_safetensors {
            let mut store = SafetensorsStore::from_file(&path);
            store.get_all_tensors().cloned().map_err(|e| e.to_string())
        } else {
            check_inflated(&path, metadata.len()).map_err(unreadable)?;
            let mut store = PytorchStore::from_file(&path).map_indices_contiguous(false);
            store.get_all_tensors().cloned().map_err(|e| e.to_string())
        };
        let tensors = tensors.map_err(unreadable)?;
        Self::new(path.clone(), metadata.len(), tensors)
    }

    /// The network among the tensors of a file.
    fn new(
        path: PathBuf,
        bytes: u64,
        tensors: BTreeMap<String, StoredTensor>,
    ) -> Result<Self, WeightsError> {
        let tensors = state_dict(tensors);
        match tensors.is_empty() {
            true => Err(WeightsError::Unreadable {
                path,
                reason: "it holds no tensors".into(),
            }),
            false => Ok(Self {
                path,
                bytes,
                tensors,
            }),
        }
    }

    /// Reads the safetensors file `bytes`, for weights that are built into a program.
    ///
    /// # Errors
    /// When it is truncated or not a safetensors file.
    pub fn from_safetensors(bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let path = PathBuf::from("safetensors in memory");
        let len = bytes.len() as u64;
        let mut store = SafetensorsStore::from_bytes(Some(bytes));
        match store.get_all_tensors() {
            Ok(tensors) => Self::new(path, len, tensors.clone()),
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

    /// The tensors whose names are to be kept.
    pub(super) fn part(&self, keeps: impl Fn(&str) -> bool) -> Self {
        let tensors = self.tensors.iter().filter(|(name, _)| keeps(name));
        Self {
            path: self.path.clone(),
            bytes: self.bytes,
            tensors: tensors
                .map(|(name, tensor)| (name.clone(), tensor.clone()))
                .collect(),
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

    /// The bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One tensor, if it is there.
    pub(super) fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }
}

/// How many times its own size the tensors of a file may take, beside [`INFLATED_BYTES`]. (Weights compress to
/// half of their size at best, and `torch.save` does not compress them.)
const INFLATED_TIMES: u64 = 32;

/// How many bytes the tensors of any file may take.
const INFLATED_BYTES: u64 = 64 << 20;

/// Refuses a PyTorch file of `bytes` bytes whose tensors are compressed to nearly nothing, before one is read.
fn check_inflated(path: &Path, bytes: u64) -> Result<(), String> {
    let reader = PytorchReader::new(path).map_err(|e| format!("PyTorch reader error: {e}"))?;
    let inflated = reader.metadata().total_data_size.unwrap_or(0) as u64;
    let limit = bytes.saturating_mul(INFLATED_TIMES).max(INFLATED_BYTES);
    if inflated <= limit {
        return Ok(());
    }
    Err(format!(
        "its tensors are compressed from {inflated} to {bytes} bytes, and at most {limit} bytes are read from a \
         file of this size: save it with torch.save, which does not compress"
    ))
}

/// Whether a file begins like safetensors: a length of eight bytes, and a JSON object.
fn is_safetensors(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 9), &mut start)?;
    Ok(start.get(8) == Some(&b'{'))
}

/// The first line of a message: the others describe a library's internals.
pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches('.').to_string()
}
