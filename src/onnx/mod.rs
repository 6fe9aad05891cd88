//! ONNX models of networks, for ONNX Runtime and other programs that read the format.
//!
//! [`export`] writes a network as it computes in inference: from its [plan](crate::plan), which has each operation with its
//! numbers, and the tensors of the module. Batch norms are folded into the convolution before them. The operators are those
//! of opset 18, the numbers f32.
//!
//! The sizes of the batch and of the spatial axes stay open: the network is planned for inputs of several sizes, and a size
//! of a map that differs between them becomes that of another map when the model runs. So one file takes odd sizes,
//! too, where the network does, from that of the given input up. With [`Sizes::Fixed`] all sizes are numbers, which some
//! programs ask for.
//!
//! # Example
//! ```
//! use burn::tensor::Device;
//! use burn_skip::net::{Unet, UnetConfig};
//! use burn_skip::onnx::{OnnxOptions, export};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let net: Unet = UnetConfig::new(3, 2, vec![4, 8]).init(&Device::flex());
//! let model = export(&net, [1, 3, 45, 61], &OnnxOptions::new())?;
//! assert_eq!(model.to_string(), "input [batch, 3, height, width], output [batch, 2, height, width]");
//! let path = std::env::temp_dir().join("unet_of_the_docs.onnx");
//! std::fs::write(&path, model.into_bytes())?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod dims;
mod error;
mod fold;
mod graph;
mod model;
mod ops;
mod probes;
mod proto;
#[cfg(test)]
mod tests;
mod weights;

pub use error::OnnxError;
pub use model::OnnxModel;

use burn::module::Module;

use crate::graph::{Map, Planner};
use crate::plan::Trace;
use crate::shape::ShapeError;

use graph::lower;
use probes::Probes;
use weights::Weights;

/// Which sizes of the input an ONNX model takes.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::conv::{Conv, ConvConfig};
/// use burn_skip::onnx::{OnnxOptions, Sizes, export};
///
/// let conv: Conv<3> = ConvConfig::new([3, 8], 3).with_stride(2).init(&Device::flex());
/// let shapes = |sizes| {
///     let options = OnnxOptions::new().with_sizes(sizes);
///     export(&conv, [1, 3, 33], &options).unwrap().to_string()
/// };
/// assert_eq!(shapes(Sizes::Dynamic), "input [batch, 3, length], output [batch, 8, output_length]");
/// assert_eq!(shapes(Sizes::Fixed), "input [1, 3, 33], output [1, 8, 17]");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizes {
    /// All that the network takes, from that of the given input up. They are found by planning it for that and larger
    /// ones: an axis of which no other size fits stays as it is.
    #[default]
    Dynamic,
    /// That of the given input, with its batch.
    Fixed,
}

/// Options of [`export`].
///
/// # Example
/// ```
/// use burn_skip::onnx::{OnnxOptions, Sizes};
///
/// assert_eq!(OnnxOptions::new().sizes, Sizes::Dynamic);
/// assert_eq!(OnnxOptions::new().with_sizes(Sizes::Fixed).sizes, Sizes::Fixed);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Which sizes of the input the model takes. Default: [`Sizes::Dynamic`].
    pub sizes: Sizes,
}

impl OnnxOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the field `sizes`.
    pub fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }
}

/// Writes a network as an ONNX model: for the input `input`, or, with [`Sizes::Dynamic`], for all sizes that it takes.
///
/// The values are those of `forward` in inference, up to rounding: of a network for segmentation the logits, without those
/// of extra heads and of a classification head.
///
/// # Errors
/// When the network refuses `input`, has a layer of which only the shapes are known, or sizes that follow from that of the
/// input in no known way.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::block::{DoubleConv, DoubleConvConfig};
/// use burn_skip::onnx::{OnnxOptions, export};
///
/// let block: DoubleConv<5> = DoubleConvConfig::new([3, 16]).init(&Device::flex());
/// let model = export(&block, [1, 3, 8, 8, 8], &OnnxOptions::new()).unwrap();
/// // The batch norms are folded into the convolutions.
/// assert_eq!(model.operators().into_iter().collect::<Vec<_>>(), [("Conv", 2), ("Relu", 2)]);
/// ```
pub fn export<const R: usize, N: Module + Trace<R>>(
    net: &N,
    input: [usize; R],
    options: &OnnxOptions,
) -> Result<OnnxModel, OnnxError> {
    export_traced(net, input, options, |planner, x| {
        Ok(vec![net.trace(planner, x)?])
    })
}

/// As [`export`], of what `trace` records, whose parameters `module` holds: for networks with several outputs, or with an
/// output of another rank than the input, such as classifiers.
///
/// # Errors
/// As [`export`].
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Classifier, PlainEncoderConfig};
/// use burn_skip::onnx::{OnnxOptions, export_traced};
///
/// let device = Device::flex();
/// let net = Classifier::new(PlainEncoderConfig::new(3, vec![4, 8]).init::<4>(&device), 10, &device);
/// let trace = |planner: &mut _, x: &_| Ok(vec![net.trace(planner, x)?]);
/// let model = export_traced(&net, [1, 3, 32, 32], &OnnxOptions::new(), trace).unwrap();
/// assert_eq!(model.to_string(), "input [batch, 3, height, width], output [batch, 10]");
/// ```
pub fn export_traced<const R: usize, const O: usize>(
    module: &impl Module,
    input: [usize; R],
    options: &OnnxOptions,
    trace: impl Fn(&mut Planner, &Map<R>) -> Result<Vec<Map<O>>, ShapeError>,
) -> Result<OnnxModel, OnnxError> {
    let probes = Probes::new(input, options.sizes, trace)?;
    let graph = lower(&probes, &Weights::of(module), options.sizes)?;
    OnnxModel::new(graph)
}
