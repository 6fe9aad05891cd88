//! Weights of other frameworks: loads PyTorch's `.pth` and safetensors files, and Keras's through
//! `scripts/export_keras.py`, into networks of this crate, and saves them back.
//!
//! [`WeightsFile::open`] opens a file; [`Architecture::detect`] finds out which network it belongs to; [`Names`]
//! translates between the paths of that network and the names in the file. Everything is checked
//! before anything is written: a file that does not fit leaves the module unchanged.
//!
//! # Example
//! ```
//! use burn::tensor::Device;
//! use burn_skip::net::{Unet, UnetConfig};
//! use burn_skip::weights::{Names, WeightsFile, save};
//!
//! # fn main() -> Result<(), burn_skip::weights::WeightsError> {
//! let config = UnetConfig::monai_basic(1, 2, [8, 8, 16, 32, 64, 8]);
//! let mut net: Unet = config.init(&Device::flex());
//! let file = WeightsFile::open("examples/data/nuclei/monai_basic_unet.pth")?;
//! let report = file.load_into(&mut net, &Names::monai_basic_unet())?;
//! assert_eq!(report.loaded.len(), 82);
//!
//! // And back, for torch's `load_state_dict(safetensors.torch.load_file(...), strict=True)`.
//! let path = std::env::temp_dir().join("basic_unet_of_the_docs.safetensors");
//! save(&net, &path, &Names::monai_basic_unet())?;
//! # Ok(())
//! # }
//! ```

mod architecture;
mod checkpoint;
mod error;
mod file;
mod layout;
mod load;
mod load_encoder;
mod names;
mod report;
mod sources;

pub use architecture::Architecture;
pub use error::{Mismatch, WeightsError};
pub use file::WeightsFile;
pub use layout::save;
pub use names::Names;
pub use report::{AdaptedInput, Report};
pub use sources::monai::MonaiNetwork;
