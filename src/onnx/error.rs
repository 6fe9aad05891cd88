//! [`OnnxError`]: why a network cannot be written as an ONNX model.

use std::fmt;

use crate::shape::ShapeError;

/// Why a network cannot be written as an ONNX model: where, what is in the way, and what to do about it.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Unet, UnetConfig};
/// use burn_skip::onnx::{OnnxError, OnnxOptions, export};
///
/// let net: Unet = UnetConfig::new(3, 2, vec![4, 8]).init(&Device::flex());
/// let error = export(&net, [1, 1, 32, 32], &OnnxOptions::new()).unwrap_err();
/// assert!(matches!(&error, OnnxError::Shape(shape) if shape.problem == "channels differ: expected 3, got 1"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnnxError {
    /// The network refuses the shape.
    Shape(ShapeError),
    /// A layer of which only the shapes are known.
    Opaque {
        /// Its path in the network.
        path: String,
        /// Its name.
        label: String,
    },
    /// An operation that ONNX lacks, or whose numbers it cannot express.
    Unsupported {
        /// The path of the layer in the network.
        path: String,
        /// The name of the layer.
        label: String,
        /// What is in the way.
        reason: String,
    },
    /// A size of a map that follows from the size of the input in no way that is known here.
    Size {
        /// The path of the layer in the network.
        path: String,
        /// The name of the layer.
        label: String,
        /// The sizes that an axis has for some sizes of the input.
        sizes: Vec<usize>,
    },
    /// The network has other layers for other sizes of the input.
    Structure {
        /// The path of the first layer that differs.
        path: String,
        /// Two sizes for which it differs.
        inputs: [Vec<usize>; 2],
    },
    /// A parameter of the plan that the module does not hold.
    Weight {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The file would be larger than the 2 GiB that a protobuf message can have.
    TooLarge {
        /// The bytes that it would have.
        bytes: usize,
    },
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FIX: &str = "Export for one size (Sizes::Fixed, --fixed)";
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::Opaque { path, label } => write!(
                f,
                "{}: only the shapes of this layer are known, so that it cannot be written as ONNX. \
                 Record an operation in its trace (plan::Op), or build it of layers that do.",
                at(path, label)
            ),
            Self::Unsupported {
                path,
                label,
                reason,
            } => write!(f, "{}: {reason}.", at(path, label)),
            Self::Size { path, label, sizes } => write!(
                f,
                "{}: an axis has {sizes:?} positions for inputs of several sizes, and no size of another map is known \
                 to be the same. {FIX}.",
                at(path, label)
            ),
            Self::Structure { path, inputs } => write!(
                f,
                "{path}: the network has other layers for inputs of the shape {:?} than for {:?}. {FIX}.",
                inputs[0], inputs[1]
            ),
            Self::Weight { path, reason } => write!(
                f,
                "{path}: {reason}. Give the network whose layers were traced."
            ),
            Self::TooLarge { bytes } => write!(
                f,
                "the model has {bytes} bytes, and a file of ONNX holds {} at most. Use a smaller network.",
                i32::MAX
            ),
        }
    }
}

/// The path of a layer and its name, as in errors of shapes.
fn at(path: &str, label: &str) -> String {
    match path {
        "" => label.into(),
        path => format!("{path}.{label}"),
    }
}

impl std::error::Error for OnnxError {}

impl From<ShapeError> for OnnxError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}
