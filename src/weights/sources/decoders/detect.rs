//! The decoders of segmentation_models.pytorch in a file: their options from the shapes of their tensors.

use crate::net::{
    DecoderConfig, DeepLabDecoderConfig, FpnDecoderConfig, LinknetDecoderConfig,
    ManetDecoderConfig, PanDecoderConfig, PspDecoderConfig, SegformerDecoderConfig,
    UnetDecoderConfig, UnetPlusPlusDecoderConfig, UperNetDecoderConfig,
};
use crate::weights::WeightsFile;
use crate::weights::sources::{inputs, outputs};

/// The coarsest map that a decoder reads.
pub(in crate::weights) enum Coarsest {
    /// The last of so many.
    OfMaps(usize),
    /// The last with so many channels.
    WithChannels(usize),
}

/// A decoder that a file holds.
pub(in crate::weights) struct DetectedDecoder {
    pub config: DecoderConfig,
    pub coarsest: Coarsest,
    /// By how much the coarsest map is smaller than the image, where dilations take the place of strides.
    pub output_stride: Option<usize>,
}

impl DetectedDecoder {
    fn new(config: impl Into<DecoderConfig>, coarsest: Coarsest) -> Self {
        Self {
            config: config.into(),
            coarsest,
            output_stride: None,
        }
    }
}

/// The shapes of a decoder's convolutions in a file.
struct Convs<'a>(&'a WeightsFile);

impl Convs<'_> {
    fn outputs(&self, name: &str) -> Option<usize> {
        outputs(self.0, &format!("decoder.{name}.weight"))
    }

    fn inputs(&self, name: &str) -> Option<usize> {
        inputs(self.0, &format!("decoder.{name}.weight"))
    }

    /// The outputs of `name(0)`, `name(1)`, ... until one is missing.
    fn all_outputs(&self, name: impl Fn(usize) -> String) -> Vec<usize> {
        (0..).map_while(|n| self.outputs(&name(n))).collect()
    }
}

/// The decoder whose tensors' names begin with `decoder.`.
pub(in crate::weights) fn detect(file: &WeightsFile) -> Option<DetectedDecoder> {
    let convs = Convs(file);
    upernet(&convs)
        .or_else(|| segformer(&convs))
        .or_else(|| fpn(&convs))
        .or_else(|| psp(&convs))
        .or_else(|| any_deeplab(&convs))
        .or_else(|| linknet(&convs))
        .or_else(|| pan(&convs))
        .or_else(|| manet(&convs))
        .or_else(|| unets(&convs))
}

fn upernet(convs: &Convs) -> Option<DetectedDecoder> {
    let width = convs.outputs("fusion_block.0")?;
    // The channels of the maps that are read.
    let maps = convs.all_outputs(|n| format!("feature_norms.{n}"));
    let config = UperNetDecoderConfig::new()
        .with_width(width)
        .with_levels(maps.len());
    let coarsest = Coarsest::WithChannels(*maps.last()?);
    Some(DetectedDecoder::new(config, coarsest))
}

fn segformer(convs: &Convs) -> Option<DetectedDecoder> {
    let config = SegformerDecoderConfig::new().with_width(convs.outputs("fuse_stage.0")?);
    let maps = convs.all_outputs(|n| format!("mlp_stage.{n}.linear"));
    Some(DetectedDecoder::new(config, Coarsest::OfMaps(maps.len())))
}

fn fpn(convs: &Convs) -> Option<DetectedDecoder> {
    let width = convs.outputs("seg_blocks.0.block.0.block.0")?;
    let mut config = FpnDecoderConfig::new().with_width(width);
    config.pyramid.channels = convs.outputs("p5")?;
    let coarsest = Coarsest::WithChannels(convs.inputs("p5")?);
    Some(DetectedDecoder::new(config, coarsest))
}

fn psp(convs: &Convs) -> Option<DetectedDecoder> {
    let coarsest = Coarsest::WithChannels(convs.inputs("psp.blocks.0.pool.1.0")?);
    let config = PspDecoderConfig::new().with_width(convs.outputs("conv.0")?);
    Some(DetectedDecoder::new(config, coarsest))
}

fn any_deeplab(convs: &Convs) -> Option<DetectedDecoder> {
    let v3 = ("aspp", DeepLabDecoderConfig::v3(), 8);
    let v3_plus = ("aspp.0", DeepLabDecoderConfig::v3_plus(), 16);
    [v3, v3_plus]
        .into_iter()
        .find_map(|(prefix, config, stride)| {
            let deepest = convs.inputs(&format!("{prefix}.convs.0.0"))?;
            let channels = convs.outputs(&format!("{prefix}.convs.0.0"))?;
            let depthwise = convs.outputs(&format!("{prefix}.convs.1.0.0"));
            let config = config
                .with_channels(channels)
                .with_separable_pyramid(depthwise.is_some());
            Some(DetectedDecoder {
                output_stride: Some(stride),
                ..DetectedDecoder::new(config, Coarsest::WithChannels(deepest))
            })
        })
}

fn linknet(convs: &Convs) -> Option<DetectedDecoder> {
    let widths = convs.all_outputs(|n| format!("blocks.{n}.block.2.0"));
    let config = LinknetDecoderConfig::new().with_width(*widths.last()?);
    Some(DetectedDecoder::new(config, Coarsest::OfMaps(widths.len())))
}

fn pan(convs: &Convs) -> Option<DetectedDecoder> {
    let deepest = convs.inputs("fpa.mid.0.conv")?;
    let steps = convs.all_outputs(|n| format!("gau{}.conv2.conv", n + 1));
    let config = PanDecoderConfig::new()
        .with_width(convs.outputs("fpa.mid.0.conv")?)
        .with_levels(steps.len() + 1);
    Some(DetectedDecoder {
        output_stride: Some(16),
        ..DetectedDecoder::new(config, Coarsest::WithChannels(deepest))
    })
}

fn manet(convs: &Convs) -> Option<DetectedDecoder> {
    let attention_channels = convs.outputs("center.top_conv")?;
    let mut widths = convs.all_outputs(|n| format!("blocks.{n}.conv2.0"));
    let maps = widths.len();
    widths.reverse();
    let mut config = ManetDecoderConfig::new(widths).with_attention_channels(attention_channels);
    let weight = "blocks.0.SE_ll.1";
    if let (Some(skip), Some(reduced)) = (convs.inputs(weight), convs.outputs(weight)) {
        // (Where rounding leaves several, the default.)
        if (skip / config.reduction).max(1) != reduced {
            config.reduction = skip.checked_div(reduced)?;
        }
    }
    Some(DetectedDecoder::new(config, Coarsest::OfMaps(maps)))
}

/// U-Net and U-Net++.
fn unets(convs: &Convs) -> Option<DetectedDecoder> {
    let plain = convs.all_outputs(|n| format!("blocks.{n}.conv2.0"));
    let nested = convs.all_outputs(|n| format!("blocks.x_0_{n}.conv2.0"));
    let finest_first = |widths: &[usize]| widths.iter().rev().copied().collect::<Vec<_>>();
    let detected = |config: DecoderConfig, maps| {
        (maps > 0).then(|| DetectedDecoder::new(config, Coarsest::OfMaps(maps)))
    };
    match nested.is_empty() {
        true => {
            let config = UnetDecoderConfig::new(finest_first(&plain));
            detected(config.into(), plain.len())
        }
        false => {
            let config = UnetPlusPlusDecoderConfig::new(finest_first(&nested));
            detected(config.into(), nested.len())
        }
    }
}
