//! [`Report`]: the result of loading a file.

use std::fmt;
use std::path::PathBuf;

/// The tensors that were loaded, and those that were not.
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
/// assert!(report.kept.is_empty() && report.ignored.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// The name in the file and the path in the module, of every tensor.
    pub loaded: Vec<(String, String)>,
    /// How many numbers they have.
    pub values: usize,
    /// The paths in the module that kept their values, since the table ignores their names.
    pub kept: Vec<String>,
    /// The names in the file that were not read: counters of norms, and those that the table ignores.
    pub ignored: Vec<String>,
    /// The first convolution, if its weight was [adapted](super::Names::adapting_input).
    pub adapted: Option<AdaptedInput>,
}

/// The weight of a first convolution that was made to fit images of another number of channels.
///
/// # Example
/// ```
/// use burn_skip::weights::AdaptedInput;
///
/// let adapted = AdaptedInput { name: "conv1.weight".into(), channels: [3, 1] };
/// assert_eq!(adapted.to_string(), "conv1.weight adapted from 3 to 1 channels");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptedInput {
    /// The name in the file.
    pub name: String,
    /// The channels in the file, and in the module.
    pub channels: [usize; 2],
}

impl fmt::Display for AdaptedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = self.channels;
        write!(f, "{} adapted from {from} to {to} channels", self.name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counters, others): (Vec<_>, Vec<_>) =
            self.ignored.iter().partition(|name| is_counter(name));
        write!(
            f,
            "{}: {} tensors loaded, {} numbers; none missing, none of another shape",
            self.path.display(),
            self.loaded.len(),
            self.values
        )?;
        if let Some(adapted) = &self.adapted {
            write!(f, "; {adapted}")?;
        }
        if !counters.is_empty() {
            write!(f, "; {} {COUNTER} ignored", counters.len())?;
        }
        if !(others.is_empty() && self.kept.is_empty()) {
            write!(
                f,
                "; as asked, {} of the file ignored and {} of the network kept",
                others.len(),
                self.kept.len()
            )?;
        }
        Ok(())
    }
}

/// Counters of PyTorch's norms, which no module here has.
const COUNTER: &str = "num_batches_tracked";

/// Whether a name is that of a counter of PyTorch's norms.
pub(super) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some(COUNTER)
}
