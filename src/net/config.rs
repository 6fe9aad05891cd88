//! [`NetConfig`]: every network of this crate, as data.

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::{ClassifierConfig, SegmentationConfig, UnetConfig};
use crate::plan::{Plan, Trace};
use crate::shape::ShapeError;

/// A network and its options, as a file describes it.
///
/// ```
/// use burn_skip::net::{NetConfig, UnetConfig};
///
/// let net = NetConfig::Unet(UnetConfig::new(3, 2, vec![16, 32]));
/// let text = serde_json::to_string(&net).unwrap();
/// let net: NetConfig = serde_json::from_str(&text).unwrap();
/// assert_eq!(net.plan(&[1, 3, 45, 61]).unwrap().root.outputs[0].shape, [1, 2, 45, 61]);
/// ```
///
/// With the feature `schema` it has a JSON schema, with which an editor completes and checks such a file:
/// `schemars::schema_for!(NetConfig)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(clippy::large_enum_variant)] // a program holds few
pub enum NetConfig {
    /// [`Unet`](super::Unet): a value for each class at each position.
    Unet(UnetConfig),
    /// [`AnySegmentationModel`](super::AnySegmentationModel): the same, by any encoder and any decoder.
    Segmentation(SegmentationConfig),
    /// [`Classifier`](super::Classifier): a value for each class.
    Classifier(ClassifierConfig),
}

impl Config for NetConfig {}

impl NetConfig {
    /// The encoder, the decoder and the head, if it has a value for each class at each position.
    pub fn segmentation(&self) -> Option<SegmentationConfig> {
        match self {
            Self::Unet(config) => Some(config.clone().into()),
            Self::Segmentation(config) => Some(config.clone()),
            Self::Classifier(_) => None,
        }
    }

    /// The channels of the image.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Unet(config) => config.encoder.in_channels(),
            Self::Segmentation(config) => config.encoder.in_channels(),
            Self::Classifier(config) => config.encoder.in_channels(),
        }
    }

    /// The [plan](crate::plan) for an input of shape `input`, of three to five axes.
    ///
    /// # Errors
    /// When it has another number of axes. (An input that does not fit is an [error of the plan](Plan::error).)
    pub fn plan(&self, input: &[usize]) -> Result<Plan, ShapeError> {
        match *input {
            [a, b, c] => Ok(self.plan_of([a, b, c])),
            [a, b, c, d] => Ok(self.plan_of([a, b, c, d])),
            [a, b, c, d, e] => Ok(self.plan_of([a, b, c, d, e])),
            _ => Err(ShapeError::new(
                "NetConfig",
                alloc::format!("the input {input:?} has {} axes", input.len()),
                "Give batch, channels and one to three spatial axes",
            )),
        }
    }

    fn plan_of<const R: usize>(&self, input: [usize; R]) -> Plan {
        match self {
            Self::Unet(config) => config.plan(input),
            Self::Segmentation(config) => config.plan(input),
            Self::Classifier(config) => config.plan(input),
        }
    }
}
