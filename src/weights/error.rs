//! [`WeightsError`]: what is wrong with a file of weights.

use std::fmt;
use std::path::PathBuf;

/// Why weights were not loaded or saved.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Unet, UnetConfig};
/// use burn_skip::weights::{Names, WeightsError, WeightsFile};
///
/// let file = WeightsFile::open("examples/data/nuclei/monai_basic_unet.pth").unwrap();
/// let config = UnetConfig::monai_basic(1, 2, [8, 8, 16, 32, 64, 8]);
/// let mut net: Unet = config.init(&Device::flex());
/// let names = Names::monai_basic_unet().ignoring("fc"); // MONAI's name is final_conv
/// let error = file.load_into(&mut net, &names).unwrap_err();
/// assert_eq!(error, WeightsError::UnmatchedPrefix { prefix: "fc".into() });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightsError {
    /// The file is missing, truncated, or of another kind.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tensors of the file are not those of the module.
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All tensors that differ.
        mismatches: Vec<Mismatch>,
    },
    /// The file cannot be written.
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A prefix to ignore matches no tensor of the file or the module.
    UnmatchedPrefix {
        /// The prefix.
        prefix: String,
    },
    /// The table has no name for a tensor of the module, or the same name for two of them.
    Unnamed {
        /// The paths of the tensors in the module.
        tensors: Vec<String>,
    },
}

/// A tensor that differs between a file and a module.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Unet, UnetConfig};
/// use burn_skip::weights::{Names, WeightsError, WeightsFile};
///
/// let file = WeightsFile::open("examples/data/nuclei/monai_basic_unet.pth").unwrap();
/// let config = UnetConfig::monai_basic(1, 5, [8, 8, 16, 32, 64, 8]); // the file has two classes
/// let mut net: Unet = config.init(&Device::flex());
/// let error = file.load_into(&mut net, &Names::monai_basic_unet()).unwrap_err();
/// let WeightsError::Mismatch { mismatches, .. } = error else { unreachable!() };
/// let text = "shape: final_conv.bias is [2] in the file, and head.bias is [5]";
/// assert_eq!(mismatches.len(), 2);
/// assert!(mismatches.iter().any(|mismatch| mismatch.to_string() == text));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The module has the tensor, and the file lacks it.
    Missing {
        /// The path in the module.
        path: String,
        /// The name that the file should have.
        name: String,
        /// The shape in the module, in the layout of the file.
        shape: Vec<usize>,
    },
    /// The file has a tensor that the module lacks.
    Unused {
        /// The name in the file.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Both have it, with different shapes.
    Shape {
        /// The path in the module.
        path: String,
        /// The name in the file.
        name: String,
        /// The shape in the module, in the layout of the file.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The values cannot be read, or not converted to the type of the module's.
    Values {
        /// The name in the file.
        name: String,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path, name, shape } => {
                write!(f, "missing: {name} {shape:?}, for {path}")
            }
            Self::Unused { name, shape } => write!(f, "unused: {name} {shape:?}"),
            Self::Shape {
                path,
                name,
                expected,
                found,
            } => write!(
                f,
                "shape: {name} is {found:?} in the file, and {path} is {expected:?}"
            ),
            Self::Values { name, reason } => write!(f, "values: {name} {reason}"),
        }
    }
}

/// How many mismatches a message lists; the others are counted.
const MAX_LISTED: usize = 6;

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => {
                write!(
                    f,
                    "{} cannot be read: {reason}. A whole state dict is needed: .pth, .pt or .safetensors.",
                    path.display()
                )
            }
            Self::Unwritable { path, reason } => {
                write!(f, "{} cannot be written: {reason}.", path.display())
            }
            Self::Mismatch { path, mismatches } => {
                write!(f, "{} does not fit the network:", path.display())?;
                for mismatch in mismatches.iter().take(MAX_LISTED) {
                    write!(f, "\n  {mismatch}")?;
                }
                if mismatches.len() > MAX_LISTED {
                    write!(f, "\n  and {} more", mismatches.len() - MAX_LISTED)?;
                }
                write!(
                    f,
                    "\nThe file may be of another network: build the one that it belongs to, and use the \
                     table of its source. To skip tensors that are meant to differ, such as a head for \
                     other classes, use Names::ignoring. The network is unchanged."
                )
            }
            Self::UnmatchedPrefix { prefix } => write!(
                f,
                "Names::ignoring({prefix:?}) matches nothing: no tensor of the file or the network has a \
                 name there that begins with it. Correct the prefix, or remove it."
            ),
            Self::Unnamed { tensors } => write!(
                f,
                "the table has no name of their own for {}: add rows for them to Names.",
                tensors.join(", ")
            ),
        }
    }
}

impl std::error::Error for WeightsError {}
