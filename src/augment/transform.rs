//! [`Transform`]: the list of this crate's transforms, as data.
//!
//! A new transform is a file of its own with `check` and `draw` (spatial) or `apply` (of intensities), and a variant here.

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::maps::Maps;
use super::warp::PullBack;
use super::{
    Blur, Brightness, Contrast, CutOut, Elastic, Flip, Gamma, LowResolution, Noise, Rotate, Scale,
    turns,
};
use crate::shape::ShapeError;

/// Which transform, with its options. A file contains only those that differ from the defaults: `{"Rotate": {}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Transform {
    /// Mirrors axes. The probability of the step is that of each axis.
    Flip(Flip),
    /// Swaps rows and columns, `y(i, j) = x(j, i)`, where the crop has as many of both; else it stays as it is.
    /// albumentations' `Transpose`.
    Transpose,
    /// One, two or three quarter turns of the plane, each as probable; two where the crop has not as many rows as
    /// columns. albumentations' `RandomRotate90`.
    QuarterTurn,
    /// Turns by any angle.
    Rotate(Rotate),
    /// Enlarges or shrinks.
    Scale(Scale),
    /// Deforms smoothly (arXiv:1505.04597).
    Elastic(Elastic),
    /// A power of the intensities.
    Gamma(Gamma),
    /// Stretches the intensities about their mean.
    Contrast(Contrast),
    /// Multiplies the intensities, and adds to them.
    Brightness(Brightness),
    /// Adds Gaussian noise.
    Noise(Noise),
    /// A Gaussian filter.
    Blur(Blur),
    /// Shrinks and enlarges.
    LowResolution(LowResolution),
    /// Fills boxes (arXiv:1708.04552).
    CutOut(CutOut),
}

impl Transform {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        match self {
            Self::Flip(flip) => flip.check(),
            Self::Transpose | Self::QuarterTurn => Ok(()),
            Self::Rotate(rotate) => rotate.check(),
            Self::Scale(scale) => scale.check(),
            Self::Elastic(elastic) => elastic.check(),
            Self::Gamma(gamma) => gamma.check(),
            Self::Contrast(contrast) => contrast.check(),
            Self::Brightness(brightness) => brightness.check(),
            Self::Noise(noise) => noise.check(),
            Self::Blur(blur) => blur.check(),
            Self::LowResolution(low) => low.check(),
            Self::CutOut(cut_out) => cut_out.check(),
        }
    }

    /// Where pixels come from, if this is a spatial transform and it happens.
    pub(super) fn pull_back(
        &self,
        probability: f64,
        size: [usize; 3],
        has_depth: bool,
        draws: &mut Draws<'_>,
    ) -> Option<PullBack> {
        if let Self::Flip(flip) = self {
            return Some(flip.draw(probability, has_depth, draws));
        }
        if !self.is_spatial() || !draws.happens(probability) {
            return None;
        }
        match self {
            Self::Transpose => Some(turns::transpose(size)),
            Self::QuarterTurn => Some(turns::quarter_turn(size, draws)),
            Self::Rotate(rotate) => Some(rotate.draw(has_depth, draws)),
            Self::Scale(scale) => Some(scale.draw(has_depth, draws)),
            Self::Elastic(elastic) => Some(elastic.draw(size, has_depth, draws)),
            _ => None,
        }
    }

    /// Changes intensities, if this is such a transform and it happens.
    pub(super) fn apply(&self, probability: f64, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        if self.is_spatial() || !draws.happens(probability) {
            return;
        }
        match self {
            Self::Gamma(gamma) => gamma.apply(maps, draws),
            Self::Contrast(contrast) => contrast.apply(maps, draws),
            Self::Brightness(brightness) => brightness.apply(maps, draws),
            Self::Noise(noise) => noise.apply(maps, draws),
            Self::Blur(blur) => blur.apply(maps, draws),
            Self::LowResolution(low) => low.apply(maps, draws),
            Self::CutOut(cut_out) => cut_out.apply(maps, draws),
            _ => {}
        }
    }

    /// Whether pixels move, of the image and of the mask.
    pub fn is_spatial(&self) -> bool {
        matches!(
            self,
            Self::Flip(_)
                | Self::Transpose
                | Self::QuarterTurn
                | Self::Rotate(_)
                | Self::Scale(_)
                | Self::Elastic(_)
        )
    }
}
