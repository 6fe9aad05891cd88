//! [`UnetFile`]: what a file says of a U-Net, in full or in short.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use serde::Deserialize;

use super::{EncoderConfig, PlainEncoderConfig, UnetConfig, UnetDecoderConfig};
use crate::shape::PerAxis;

/// A [`UnetConfig`] in a file. The encoder may be given by `in_channels` and `widths` alone, and the decoder be
/// left out then: `{"in_channels": 1, "widths": [16, 32, 64], "out_channels": 1}`.
#[derive(Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "UnetConfig")
)]
#[serde(deny_unknown_fields)]
pub(super) struct UnetFile {
    /// The channels of the image, for the encoder of the U-Net paper.
    in_channels: Option<usize>,
    /// The channels of each level, the finest first, for the encoder of the U-Net paper.
    widths: Option<Vec<usize>>,
    /// The encoder, where `in_channels` and `widths` do not say it.
    encoder: Option<EncoderConfig>,
    /// The decoder. Its `widths` are those of the encoder but the last, where `widths` gives these.
    #[serde(default)]
    decoder: UnetDecoderConfig,
    /// The channels of the output: one a class.
    out_channels: usize,
    /// The kernel of the last convolution. Default: 1.
    #[serde(default = "crate::defaults::one")]
    head_kernel_size: PerAxis,
}

impl TryFrom<UnetFile> for UnetConfig {
    type Error = String;

    fn try_from(file: UnetFile) -> Result<Self, String> {
        let mut decoder = file.decoder;
        let encoder = match (file.encoder, file.in_channels, file.widths) {
            (Some(encoder), None, None) => encoder,
            (None, Some(in_channels), Some(widths)) => {
                if decoder.widths.is_empty() {
                    decoder.widths = widths[..widths.len().saturating_sub(1)].to_vec();
                }
                EncoderConfig::Plain(PlainEncoderConfig::new(in_channels, widths))
            }
            (Some(_), ..) => {
                let text = "both `encoder` and `in_channels` or `widths` are given: the encoder has its own. \
                            Leave one of them out";
                return Err(text.to_string());
            }
            (None, Some(_), None) => return Err("missing field `widths`".to_string()),
            (None, None, Some(_)) => return Err("missing field `in_channels`".to_string()),
            (None, None, None) => {
                let text =
                    "missing field `encoder`: give an encoder, or `in_channels` and `widths`";
                return Err(text.to_string());
            }
        };
        Ok(Self {
            encoder,
            decoder,
            out_channels: file.out_channels,
            head_kernel_size: file.head_kernel_size,
        })
    }
}
