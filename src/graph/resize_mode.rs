//! [`ResizeMode`]: the interpolation of a resize.

use serde::{Deserialize, Serialize};

/// How the positions of the output lie on the input.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::resize::{ResizeMode, Sampling, resize};
///
/// let shrunk = |sampling| {
///     let x = Tensor::<3>::from_floats([[[0.0, 2.0, 4.0, 6.0]]], &Device::flex());
///     resize(x, &[2], ResizeMode::Linear(sampling)).to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(shrunk(Sampling::HalfPixel), [1.0, 5.0]);
/// assert_eq!(shrunk(Sampling::AlignCorners), [0.0, 6.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Sampling {
    /// `src = (dst + 1/2) in/out - 1/2`: pixels are areas. PyTorch's `align_corners=False`, and the
    /// default here (Burn's own `interpolate` defaults to corners).
    #[default]
    HalfPixel,
    /// `src = dst (in - 1)/(out - 1)`: the first and the last pixel stay where they are. PyTorch's
    /// `align_corners=True`.
    AlignCorners,
    /// As `HalfPixel`, and the kernel widens when the map shrinks, as in PIL. PyTorch's
    /// `antialias=True`.
    Antialias,
}

/// The interpolation of a resize.
///
/// | mode | PyTorch | Keras |
/// | --- | --- | --- |
/// | `Nearest` | `nearest` | |
/// | `NearestExact` | `nearest-exact` | `nearest` |
/// | `Linear` | `linear`, `bilinear`, `trilinear` | `bilinear` (half-pixel) |
/// | `Cubic` | `bicubic` (A = -3/4; antialias A = -1/2) | |
/// | `Area` | `area` | |
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::resize::{ResizeMode, resize};
///
/// let shrunk = |mode| {
///     let x = Tensor::<3>::from_floats([[[1.0, 3.0, -2.0, 4.0]]], &Device::flex());
///     resize(x, &[2], mode).to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(shrunk(ResizeMode::Nearest), [1.0, -2.0]);
/// assert_eq!(shrunk(ResizeMode::NearestExact), [3.0, 4.0]);
/// assert_eq!(shrunk(ResizeMode::Area), [2.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResizeMode {
    /// `src = floor(dst in/out)`, computed as PyTorch does.
    Nearest,
    /// `src = floor((dst + 1/2) in/out)`: the pixel whose area holds the output's centre.
    NearestExact,
    /// Linear interpolation on each axis.
    Linear(Sampling),
    /// Cubic convolution on each axis (Keys 1981).
    Cubic(Sampling),
    /// The mean of the pixels that the output pixel covers: adaptive average pooling.
    Area,
}

impl ResizeMode {
    /// Linear interpolation between pixel areas, PyTorch's default.
    pub const fn linear() -> Self {
        Self::Linear(Sampling::HalfPixel)
    }

    /// Linear interpolation with the corners aligned, PyTorch's `align_corners=True`.
    pub const fn aligned_linear() -> Self {
        Self::Linear(Sampling::AlignCorners)
    }

    /// Cubic interpolation between pixel areas, PyTorch's default.
    pub const fn cubic() -> Self {
        Self::Cubic(Sampling::HalfPixel)
    }

    /// The most positions of an axis that an output position lies between, where it is resized from `input` positions to
    /// `output`.
    pub(crate) const fn taps(self, input: usize, output: usize) -> usize {
        let shrinks_by = match output {
            0 => 1,
            output => input.div_ceil(output),
        };
        match self {
            Self::Nearest | Self::NearestExact => 1,
            Self::Linear(Sampling::Antialias) => 2 * shrinks_by + 1,
            Self::Cubic(Sampling::Antialias) => 4 * shrinks_by + 1,
            Self::Linear(_) => 2,
            Self::Cubic(_) => 4,
            Self::Area => shrinks_by + 1,
        }
    }

    /// What readers call a layer that resizes so.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Nearest => "NearestResize",
            Self::NearestExact => "NearestExactResize",
            Self::Linear(_) => "LinearResize",
            Self::Cubic(_) => "CubicResize",
            Self::Area => "AreaResize",
        }
    }
}
