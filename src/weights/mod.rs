//! Weights of other frameworks: PyTorch's `.pth` and safetensors files, and Keras's by
//! `scripts/export_keras.py`, into networks of this crate; and the way back.
//!
//! A file is opened once ([`WeightsFile::open`]); [`Architecture::detect`] says which network it
//! belongs to; [`Names`] says how that network's tensors are called there. Everything is checked
//! before anything is written: a file that does not fit leaves the module as it was.
//!
//! # Example
//! ```no_run
//! use burn::tensor::Device;
//! use burn_skip::net::{ResNet, ResNetEncoderConfig};
//! use burn_skip::weights::{Names, WeightsFile, save};
//!
//! # fn main() -> Result<(), burn_skip::weights::WeightsError> {
//! let device = Device::flex();
//! let mut net: ResNet = ResNet::new(ResNetEncoderConfig::resnet18().init(&device), 1000, &device);
//! let report = WeightsFile::open("resnet18.pth")?.load_into(&mut net, &Names::torchvision_resnet())?;
//! println!("{report}");
//!
//! // And back, for torch's `load_state_dict(safetensors.torch.load_file(...), strict=True)`.
//! save(&net, "resnet18.safetensors", &Names::torchvision_resnet())?;
//! # Ok(())
//! # }
//! ```

mod architecture;
mod error;
mod file;
mod layout;
mod names;
mod sources;

pub use architecture::Architecture;
pub use error::{Misfit, WeightsError};
pub use file::{Report, WeightsFile};
pub use layout::save;
pub use names::Names;
