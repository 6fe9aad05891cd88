//! Shapes as plain arithmetic: axes, sizes per axis, and the one error of this crate.
//!
//! A feature map is `[batch, channels, spatial...]`. Everything here works on arrays of `usize`;
//! no tensor and no device is needed, so that a network can be checked before it exists.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};

/// An axis of a feature map that maps can be joined along.
///
/// # Example
/// ```
/// use burn_skip::{Axis, merge::{Merge, Order}};
///
/// let maps = [[1, 8, 6, 9], [1, 8, 6, 9]];
/// let concat = |axis| Merge::Concat { axis, order: Order::DeepFirst }.output_shape(&maps).unwrap();
/// assert_eq!(concat(Axis::Channels), [1, 16, 6, 9]);
/// assert_eq!(concat(Axis::Spatial(1)), [1, 8, 6, 18]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Axis {
    /// The channels, axis 1 of the tensor.
    #[default]
    Channels,
    /// The n-th spatial axis, axis `2 + n` of the tensor: `Spatial(0)` is the height of a
    /// `Tensor<4>`, the length of a `Tensor<3>` and the depth of a `Tensor<5>`.
    Spatial(usize),
}

impl Axis {
    /// The position of the axis in a tensor.
    pub const fn index(self) -> usize {
        match self {
            Self::Channels => 1,
            Self::Spatial(n) => n.saturating_add(2),
        }
    }
}

/// What the axis `index` of a tensor of rank `rank` is called in messages.
pub(crate) fn axis_name(index: usize, rank: usize) -> &'static str {
    match (index, rank) {
        (0, _) => "batch",
        (1, _) => "channels",
        (2, 3) => "length",
        (2, 5) => "depth",
        (2, 4) | (3, 5) => "height",
        (3, 4) | (4, 5) => "width",
        _ => "spatial axis",
    }
}

/// The spatial part of a shape.
pub(crate) fn spatial<const R: usize>(shape: &[usize; R]) -> &[usize] {
    &shape[2..]
}

/// `shape` with another number of channels.
pub(crate) fn with_channels<const R: usize>(mut shape: [usize; R], channels: usize) -> [usize; R] {
    shape[1] = channels;
    shape
}

/// `shape` with another spatial size.
pub(crate) fn with_spatial<const R: usize>(mut shape: [usize; R], size: &[usize]) -> [usize; R] {
    shape[2..].copy_from_slice(size);
    shape
}

/// One number for all spatial axes, or one for each: what `kernel_size`, `stride` and the like take.
///
/// In a configuration file it is a number or a list: `3` or `[3, 1]`.
///
/// # Example
/// ```
/// use burn_skip::{PerAxis, Trace, conv::ConvConfig};
///
/// let config = ConvConfig::new([4, 4], 3).with_stride([2, 1]);
/// assert_eq!([config.kernel_size.to_string(), config.stride.to_string()], ["3", "[2, 1]"]);
/// assert_eq!(config.output_shape([1, 4, 32, 32]).unwrap(), [1, 4, 16, 32]);
/// assert_eq!(serde_json::from_str::<PerAxis>("[2, 1]").unwrap(), config.stride);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a number, or a list of numbers")]
pub enum PerAxis {
    /// The same number on every spatial axis.
    All(usize),
    /// One number for each spatial axis, in the order of the tensor's axes.
    Each(Vec<usize>),
}

impl From<usize> for PerAxis {
    fn from(value: usize) -> Self {
        Self::All(value)
    }
}

impl<const N: usize> From<[usize; N]> for PerAxis {
    fn from(values: [usize; N]) -> Self {
        Self::Each(values.to_vec())
    }
}

impl From<Vec<usize>> for PerAxis {
    fn from(values: Vec<usize>) -> Self {
        Self::Each(values)
    }
}

impl fmt::Display for PerAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(value) => write!(f, "{value}"),
            Self::Each(values) => write!(f, "{values:?}"),
        }
    }
}

impl PerAxis {
    /// The numbers for the `rank - 2` spatial axes of a tensor.
    ///
    /// # Errors
    /// When the list is longer or shorter than that; `what` is the option's name.
    pub(crate) fn resolve(
        &self,
        rank: usize,
        layer: &str,
        what: &str,
    ) -> Result<Vec<usize>, ShapeError> {
        let axes = rank.saturating_sub(2);
        let values = match self {
            Self::All(value) => vec![*value; axes],
            Self::Each(values) => values.clone(),
        };
        if values.len() != axes {
            return Err(ShapeError::new(
                layer,
                format!(
                    "{what} {values:?} has {} numbers, a tensor of rank {rank} has {axes} spatial axes",
                    values.len()
                ),
                format!("Give one number, or {axes}"),
            ));
        }
        for &value in &values {
            check_not_huge(layer, what, value)?;
        }
        Ok(values)
    }

    /// As [`resolve`](Self::resolve), and no number may be zero.
    pub(crate) fn resolve_positive(
        &self,
        rank: usize,
        layer: &str,
        what: &str,
    ) -> Result<Vec<usize>, ShapeError> {
        let values = self.resolve(rank, layer, what)?;
        if values.contains(&0) {
            return Err(ShapeError::new(
                layer,
                format!("{what} is {self}"),
                format!("Set {what} to 1 or more"),
            ));
        }
        Ok(values)
    }
}

/// Why maps do not fit a layer, or a layer cannot be built: which layer, what is wrong with which
/// numbers, and what to do about it.
///
/// `forward` panics with the text of the error that `output_shape` returns.
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
///
/// let error = UnetConfig::new(3, 2, vec![8, 16]).output_shape([1, 1, 64, 64]).unwrap_err();
/// assert_eq!(error.layer, "encoder.stem.first.conv.Conv");
/// assert_eq!(error.problem, "channels differ: expected 3, got 1");
/// assert!(error.remedy.starts_with("Build the layer for 1 input channels"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShapeError {
    /// Where in the network: the names of fields and inputs down to the layer, and the layer's type
    /// last, as in `decoder.0.block.second.Conv`.
    pub layer: String,
    /// What is wrong, with the axis and the numbers.
    pub problem: String,
    /// What to change.
    pub remedy: String,
}

impl ShapeError {
    /// An error of the layer type `layer`.
    pub fn new(layer: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            layer: layer.to_string(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// The same error, seen from the layer that holds this one in its field `field`.
    pub fn within(mut self, field: impl fmt::Display) -> Self {
        self.layer = format!("{field}.{}", self.layer);
        self
    }
}

impl ShapeError {
    /// The same error, as an error of the layer type `layer`.
    pub(crate) fn with_layer(mut self, layer: &str) -> Self {
        self.layer = layer.to_string();
        self
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}.", self.layer, self.problem, self.remedy)
    }
}

impl core::error::Error for ShapeError {}

/// The value, or a panic with the error's text: how `forward` and `init` obey the law that
/// `output_shape` and `validate` state.
#[track_caller]
pub(crate) fn expect<T>(result: Result<T, ShapeError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Refuses a map that has an axis of size zero; one of another rank than 3, 4 or 5 does not compile.
pub(crate) fn check_not_empty<const R: usize>(
    layer: &str,
    shape: [usize; R],
) -> Result<(), ShapeError> {
    const {
        assert!(
            R >= 3 && R <= 5,
            "a feature map has rank 3, 4 or 5: batch, channels and one to three spatial axes"
        )
    };
    match shape.iter().position(|&size| size == 0) {
        None => Ok(()),
        Some(axis) => Err(ShapeError::new(
            layer,
            format!("{} of the input is 0 in {shape:?}", axis_name(axis, R)),
            "Every axis of a feature map needs at least one element",
        )),
    }
}

/// Refuses a map with another number of channels than `expected`.
pub(crate) fn check_channels<const R: usize>(
    layer: &str,
    shape: [usize; R],
    expected: usize,
) -> Result<(), ShapeError> {
    check_not_empty(layer, shape)?;
    if shape[1] == expected {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("channels differ: expected {expected}, got {}", shape[1]),
        format!(
            "Build the layer for {} input channels, or project the map to {expected} with a 1x1 convolution",
            shape[1]
        ),
    ))
}

/// The multiple of `divisor` nearest to `value`, at least `divisor` and no less than 9/10 of `value`: torchvision's and
/// timm's rule for channels.
pub(crate) fn nearest_multiple(value: f64, divisor: usize) -> usize {
    let half = divisor as f64 / 2.0;
    let rounded = ((value + half) as usize / divisor * divisor).max(divisor);
    match (rounded as f64) < 0.9 * value {
        true => rounded.saturating_add(divisor),
        false => rounded,
    }
}

/// Refuses an option that would overflow what is computed with it.
pub(crate) fn check_not_huge(layer: &str, what: &str, value: usize) -> Result<(), ShapeError> {
    const MOST: usize = 1 << 20;
    if value <= MOST {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("{what} is {value}"),
        format!("Set {what} to {MOST} or less"),
    ))
}

/// The spatial size of `shape`, each axis times its scale.
pub(crate) fn scaled<const R: usize>(shape: [usize; R], scale: &[usize]) -> Vec<usize> {
    spatial(&shape)
        .iter()
        .zip(scale)
        .map(|(size, scale)| size.saturating_mul(*scale))
        .collect()
}

/// Refuses a number that must be positive.
pub(crate) fn check_positive(layer: &str, what: &str, value: usize) -> Result<(), ShapeError> {
    if value > 0 {
        return check_not_huge(layer, what, value);
    }
    Err(ShapeError::new(
        layer,
        format!("{what} is 0"),
        format!("Set {what} to 1 or more"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_axis_resolves_to_the_spatial_axes() {
        assert_eq!(
            PerAxis::from(3).resolve(5, "L", "kernel_size"),
            Ok(vec![3, 3, 3])
        );
        assert_eq!(
            PerAxis::from([3, 1]).resolve(4, "L", "kernel_size"),
            Ok(vec![3, 1])
        );
    }

    #[test]
    fn per_axis_of_another_rank_is_an_error_with_numbers() {
        let error = PerAxis::from([3, 1])
            .resolve(5, "Conv", "stride")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Conv: stride [3, 1] has 2 numbers, a tensor of rank 5 has 3 spatial axes. Give one number, or 3."
        );
    }

    #[test]
    fn the_path_grows_outwards() {
        let error = ShapeError::new("Conv", "channels differ", "Fix it")
            .within("second")
            .within("decoder.0");
        assert_eq!(
            error.to_string(),
            "decoder.0.second.Conv: channels differ. Fix it."
        );
    }

    #[test]
    fn empty_maps_are_refused_by_axis() {
        let error = check_not_empty("MaxPool", [1, 3, 0, 5]).unwrap_err();
        assert!(error.problem.starts_with("height of the input is 0"));
    }
}
