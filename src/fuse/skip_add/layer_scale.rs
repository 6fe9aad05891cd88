//! [`LayerScale`]: a learned factor of a block's output.

use alloc::format;

use burn::module::Param;
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::graph::{Map, Op, Planner, Record};
use crate::shape::{ShapeError, expect};

/// A learned factor of a block's output, and the number that it starts as.
///
/// In a file it is a number, for a factor of each channel, or `{"scalar": 0}`, for one.
///
/// # Example
/// ```
/// use burn_skip::{SkipAddConfig, fuse::LayerScale};
///
/// let scale = |text| serde_json::from_str::<LayerScale>(text).unwrap();
/// assert_eq!(scale("1e-6"), LayerScale::Channels(1e-6));
/// assert_eq!(scale(r#"{"scalar": 0.0}"#), LayerScale::Scalar { scalar: 0.0 });
/// let config = SkipAddConfig::new([8, 8]).with_skip_init();
/// assert_eq!(config.layer_scale, Some(LayerScale::Scalar { scalar: 0.0 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a number, or {\"scalar\": a number}"
)]
pub enum LayerScale {
    /// A factor for each channel: layer scale, arXiv:2103.17239. (CaiT and ConvNeXt start it at 1e-6.)
    Channels(f64),
    /// One factor: ReZero (arXiv:2003.04887) and SkipInit (arXiv:2002.10444), which start it at 0, so that the layer
    /// starts as its shortcut.
    Scalar {
        /// What it starts as.
        scalar: f64,
    },
}

impl LayerScale {
    /// What the factors start as.
    pub(super) const fn start(self) -> f64 {
        match self {
            Self::Channels(start) | Self::Scalar { scalar: start } => start,
        }
    }

    /// How many factors there are for `channels` channels.
    const fn len(self, channels: usize) -> usize {
        match self {
            Self::Channels(_) => channels,
            Self::Scalar { .. } => 1,
        }
    }

    pub(super) fn check(self) -> Result<(), ShapeError> {
        match self.start() {
            start if start.is_finite() => Ok(()),
            start => Err(ShapeError::new(
                NAME,
                format!("layer_scale is {start}"),
                "Choose a finite number",
            )),
        }
    }

    pub(super) fn init(self, channels: usize, device: &Device) -> Param<Tensor<1>> {
        expect(self.check());
        let value = self.start();
        Initializer::Constant { value }.init([self.len(channels)], device)
    }

    /// Records the product of `x` and the factors.
    pub(super) fn trace<const R: usize>(
        self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.leaf("Scale", &[x], || {
            let record = Record::new(Op::Scale, x.shape).on_grid_of(x);
            Ok(record.with_parameter("layer_scale", self.len(x.shape[1])))
        })
    }
}

/// `x` times its factors: one, or one for each channel.
pub(super) fn scaled<const R: usize>(x: Tensor<R>, factors: &Param<Tensor<1>>) -> Tensor<R> {
    let factors = factors.val();
    let mut per_channel = [1; R];
    per_channel[1] = factors.dims()[0];
    x * factors.reshape(per_channel)
}
