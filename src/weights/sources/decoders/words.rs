//! segmentation_models.pytorch's networks with a decoder, in words.

use crate::net::DecoderConfig;

/// The class of segmentation_models.pytorch with this decoder.
pub(in crate::weights) fn class(decoder: &DecoderConfig) -> &'static str {
    match decoder {
        DecoderConfig::Unet(_) => "Unet",
        DecoderConfig::UnetPlusPlus(_) => "UnetPlusPlus",
        DecoderConfig::Linknet(_) => "Linknet",
        DecoderConfig::Fpn(_) => "FPN",
        DecoderConfig::Psp(_) => "PSPNet",
        DecoderConfig::DeepLab(config) if config.skip.is_some() => "DeepLabV3Plus",
        DecoderConfig::DeepLab(_) => "DeepLabV3",
        DecoderConfig::Pan(_) => "PAN",
        DecoderConfig::Manet(_) => "MAnet",
        DecoderConfig::UperNet(_) => "UPerNet",
        DecoderConfig::Segformer(_) => "Segformer",
        DecoderConfig::Staged(_) => "U-Net", // (None of its classes has this decoder.)
    }
}

/// What no tensor of SMP's network with a decoder depends on.
pub(in crate::weights) fn assumed(decoder: &DecoderConfig) -> &'static str {
    match decoder {
        DecoderConfig::DeepLab(_) => {
            "ReLU, batch norm with epsilon 1e-5, dilations of 12, 24 and 36 in the pyramid, an output stride of \
             8 (DeepLabV3) or 16 (DeepLabV3Plus), no activation at the end"
        }
        DecoderConfig::UperNet(_) => {
            "ReLU, batch norm with epsilon 1e-5, layer norms with epsilon 1e-6, means over 1, 2, 3 and 6 bins, no \
             activation at the end"
        }
        DecoderConfig::Segformer(_) => {
            "ReLU, batch norm with epsilon 1e-5, maps resized to a quarter of the image, no activation at the end"
        }
        DecoderConfig::Pan(_) => {
            "ReLU, batch norm with epsilon 1e-5, an output stride of 16, linear upsampling, no activation at the end"
        }
        DecoderConfig::Psp(_) => {
            "ReLU, batch norm with epsilon 1e-5, means over 1, 2, 3 and 6 bins, no activation at the end"
        }
        DecoderConfig::Fpn(_) => {
            "ReLU, batch norm with epsilon 1e-5, levels that are added, nearest upsampling, strides instead of \
             dilations, no activation at the end"
        }
        DecoderConfig::Unet(_)
        | DecoderConfig::UnetPlusPlus(_)
        | DecoderConfig::Linknet(_)
        | DecoderConfig::Manet(_)
        | DecoderConfig::Staged(_) => {
            "ReLU, batch norm with epsilon 1e-5, nearest upsampling, strides instead of dilations, \
             no activation at the end"
        }
    }
}
