//! [`Source`]: a feature map that a kernel reads.

use crate::cpu::policy::{ConvShape, Geometry, SourceShape};

/// A feature map that a kernel reads.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// `[batch, channels, height, width]`
    pub(crate) values: &'a [f32],
    pub(crate) channels: usize,
    /// Height and width as they are stored.
    pub(crate) size: [usize; 2],
    /// How often each value is repeated along rows and columns (nearest upsampling).
    pub(crate) factors: [usize; 2],
    /// Applied to the values while they are read.
    pub(crate) prologue: Option<Prologue<'a>>,
}

/// `relu(affine(x))`, with or without ReLU.
#[derive(Clone, Copy)]
pub(crate) struct Prologue<'a> {
    pub(crate) affine: ChannelAffine<'a>,
    pub(crate) relu: bool,
}

/// `scale (x - mean) + shift` of each channel. The mean is subtracted first: where the values are large and nearly
/// constant, `scale x + (shift - scale mean)` would cancel.
#[derive(Clone, Copy)]
pub(crate) struct ChannelAffine<'a> {
    pub(crate) mean: &'a [f32],
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
}

/// The affine map of one channel.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) mean: f32,
    pub(super) scale: f32,
    pub(super) shift: f32,
}

impl ChannelAffine<'_> {
    #[inline(always)]
    pub(super) fn of(&self, channel: usize) -> Affine {
        Affine {
            mean: self.mean[channel],
            scale: self.scale[channel],
            shift: self.shift[channel],
        }
    }
}

impl Affine {
    #[inline(always)]
    pub(super) fn apply(self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.shift
    }
}

impl<'a> Source<'a> {
    /// A map that is read without change.
    pub(crate) fn plain(values: &'a [f32], channels: usize, size: [usize; 2]) -> Self {
        Self {
            values,
            channels,
            size,
            factors: [1, 1],
            prologue: None,
        }
    }

    pub(crate) fn shape(&self) -> SourceShape {
        SourceShape {
            channels: self.channels,
            size: self.size,
            factors: self.factors,
        }
    }

    pub(super) fn is_enlarged(&self) -> bool {
        self.shape().is_enlarged()
    }

    #[inline(always)]
    pub(super) fn plane(&self, batch: usize, channel: usize) -> &[f32] {
        let len = self.size[0] * self.size[1];
        &self.values[(batch * self.channels + channel) * len..][..len]
    }
}

/// The channels of a concatenation.
pub(super) fn channels_of(sources: &[Source]) -> usize {
    sources.iter().map(|source| source.channels).sum()
}

/// The shape of a convolution of these sources, for the policy.
pub(super) fn shape_of(
    sources: &[Source],
    outputs: usize,
    batch: usize,
    geometry: &Geometry,
) -> ConvShape {
    ConvShape {
        geometry: geometry.clone(),
        batch,
        sources: sources.iter().map(Source::shape).collect(),
        outputs,
    }
}
