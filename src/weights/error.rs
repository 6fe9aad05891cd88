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
/// let names = Names::monai_basic_unet().leaving("fc"); // MONAI calls it final_conv
/// let error = file.load_into(&mut net, &names).unwrap_err();
/// assert_eq!(error, WeightsError::LeftInVain { prefix: "fc".into() });
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
    Misfit {
        /// The file.
        path: PathBuf,
        /// All that does not fit.
        misfits: Vec<Misfit>,
    },
    /// The file cannot be written.
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The table leaves tensors alone that neither the file nor the module has.
    LeftInVain {
        /// What their names should begin with.
        prefix: String,
    },
    /// The table has no name for a tensor of the module, or one name for two of them.
    Unnamed {
        /// The paths of the tensors in the module.
        tensors: Vec<String>,
    },
}

/// One tensor that does not fit.
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
/// let WeightsError::Misfit { misfits, .. } = error else { unreachable!() };
/// let text = "shape: final_conv.bias is [2] in the file, and head.bias is [5]";
/// assert!(misfits.len() == 2 && misfits.iter().any(|misfit| misfit.to_string() == text));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The module has the tensor, and the file has it not.
    Missing {
        /// The path in the module.
        here: String,
        /// The name that the file should have.
        there: String,
        /// The shape in the module, in the layout of the file.
        shape: Vec<usize>,
    },
    /// The file has a tensor that the module has no place for.
    Unused {
        /// The name in the file.
        there: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Both have it, with different shapes.
    Shape {
        /// The path in the module.
        here: String,
        /// The name in the file.
        there: String,
        /// The shape in the module, in the layout of the file.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The file holds no numbers that could become those of the module.
    Numbers {
        /// The name in the file.
        there: String,
        /// What is wrong with them.
        reason: String,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { here, there, shape } => {
                write!(f, "missing: {there} {shape:?}, for {here}")
            }
            Self::Unused { there, shape } => write!(f, "unused: {there} {shape:?}"),
            Self::Shape {
                here,
                there,
                expected,
                found,
            } => write!(
                f,
                "shape: {there} is {found:?} in the file, and {here} is {expected:?}"
            ),
            Self::Numbers { there, reason } => write!(f, "numbers: {there} {reason}"),
        }
    }
}

/// How many misfits a message tells; the others are counted.
const TOLD: usize = 6;

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
            Self::Misfit { path, misfits } => {
                write!(f, "{} does not fit the network:", path.display())?;
                for misfit in misfits.iter().take(TOLD) {
                    write!(f, "\n  {misfit}")?;
                }
                if misfits.len() > TOLD {
                    write!(f, "\n  and {} more", misfits.len() - TOLD)?;
                }
                write!(
                    f,
                    "\nThe file may be of another network: build the one that it belongs to, and take \
                     the table of its source. Only what is meant to differ, such as a head for other \
                     classes, is left out with Names::leaving. The network is unchanged."
                )
            }
            Self::LeftInVain { prefix } => write!(
                f,
                "Names::leaving({prefix:?}) leaves nothing: neither the file nor the network has a tensor \
                 whose name there begins so. Correct it, or leave it out."
            ),
            Self::Unnamed { tensors } => write!(
                f,
                "the table has no name of its own for {}: add rows for them to Names.",
                tensors.join(", ")
            ),
        }
    }
}

impl std::error::Error for WeightsError {}
