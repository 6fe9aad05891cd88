//! Default numbers of the configurations' fields, for files that leave them out. `new` of each configuration sets the
//! same: `tests/short_files.rs` compares them.

use alloc::vec::Vec;

use crate::shape::PerAxis;

pub(crate) fn one() -> PerAxis {
    1.into()
}

pub(crate) fn two() -> PerAxis {
    2.into()
}

pub(crate) fn three() -> PerAxis {
    3.into()
}

pub(crate) const fn groups() -> usize {
    1
}

pub(crate) const fn yes() -> bool {
    true
}

/// Added to the variance in a norm.
pub(crate) const fn epsilon() -> f64 {
    1e-5
}

/// Added to the sum of the weights of a fast normalised fusion.
pub(crate) const fn fusion_epsilon() -> f64 {
    1e-4
}

/// The weight of new statistics in a batch norm.
pub(crate) const fn momentum() -> f64 {
    0.1
}

/// The taps of a blur.
pub(crate) const fn taps() -> usize {
    3
}

pub(crate) const fn image_channels() -> usize {
    3
}

/// The channels of the stem of ResNet and DenseNet.
pub(crate) const fn width() -> usize {
    64
}

/// The dilations of atrous spatial pyramid pooling.
pub(crate) fn atrous_rates() -> Vec<PerAxis> {
    [12, 24, 36].map(PerAxis::from).into()
}

/// The dropout after atrous spatial pyramid pooling.
pub(crate) const fn aspp_dropout() -> f64 {
    0.5
}

/// The channels that the weights of adaptively spatial feature fusion are computed from.
pub(crate) const fn asff_channels() -> usize {
    16
}

/// The dropout of channels in decoders.
pub(crate) const fn decoder_dropout() -> f64 {
    0.2
}

/// How often the nodes of a BiFPN are repeated.
pub(crate) const fn bifpn_repeats() -> usize {
    3
}

/// The channels of a feature pyramid.
pub(crate) const fn pyramid_channels() -> usize {
    256
}

/// The channels that a layer of DenseNet adds.
pub(crate) const fn growth() -> usize {
    32
}

/// The width of a layer of DenseNet, as a multiple of its growth.
pub(crate) const fn bottleneck() -> usize {
    4
}

/// Convolutions with a bias beside their batch norm.
pub(crate) fn biased_style() -> crate::layers::block::ConvStyle {
    crate::layers::block::ConvStyle::new().with_bias(true)
}

/// The numbers of CARAFE.
pub(crate) mod carafe {
    use crate::shape::PerAxis;

    pub(crate) fn kernel_size() -> PerAxis {
        5.into()
    }

    pub(crate) const fn compressed_channels() -> usize {
        64
    }
}

/// The numbers of activations.
pub(crate) mod activations {
    pub(crate) const fn negative_slope() -> f64 {
        0.01
    }

    pub(crate) const fn one_parameter() -> usize {
        1
    }

    pub(crate) const fn quarter() -> f64 {
        0.25
    }

    pub(crate) const fn sixth() -> f64 {
        1.0 / 6.0
    }

    pub(crate) const fn half() -> f64 {
        0.5
    }

    pub(crate) const fn one() -> f64 {
        1.0
    }
}
