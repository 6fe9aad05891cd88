//! The encoders of torchvision, timm and segmentation_models.pytorch (SMP): the names of their tensors, and their sizes
//! from the shapes. A family is a file here, its line in [`source`] and its line in [`DETECTORS`].

mod convnext;
mod densenet;
mod efficientnet;
mod inverted;
mod mit;
mod mobilenet;
mod mobilenet_v3;
mod resnet;
mod vgg;

use super::decoders::Coarsest;
use super::{Library, Rows};
use crate::net::EncoderConfig;
use crate::weights::WeightsFile;

pub(in crate::weights) use vgg::CENTER;

/// The stages of a network: each halves the map.
const MAX_STAGES: usize = 6;

/// What is known of the files of a family of encoders.
pub(in crate::weights) trait EncoderSource {
    /// With what the names of the encoder's tensors begin in a file of the library.
    fn prefix(&self, library: Library) -> &'static str {
        library.prefix()
    }

    /// The names of the encoder's tensors in a file of the library, without the prefixes of both sides; `None` where the
    /// library has no such encoder.
    fn rows(&self, library: Library) -> Option<Rows>;

    /// The rows of what SMP's decoders have and the encoder has here, with the prefix of the names.
    fn center_rows(&self) -> Rows {
        Rows::new()
    }

    /// The name of the last layer of the library's classifier, where that is the mean and one linear layer, or a norm
    /// between them, or another linear layer.
    fn head(&self, _library: Library) -> Option<&'static str> {
        None
    }

    /// The name of the norm of the means in the library's classifier, if there is one.
    fn head_norm(&self, _library: Library) -> Option<&'static str> {
        None
    }

    /// The name of the linear layer before the last one in the library's classifier, if there is one.
    fn hidden(&self, _library: Library) -> Option<&'static str> {
        None
    }

    /// The rows of that layer.
    fn hidden_rows(&self, library: Library) -> Rows {
        let mut rows = Rows::new();
        if let Some(name) = self.hidden(library) {
            rows.push("linear", name);
        }
        rows
    }

    /// The names in SMP of the stages that the encoder has and `shortened` has not, the same with fewer feature maps;
    /// `None` where they are not known.
    fn unread(&self, _shortened: &EncoderConfig) -> Option<Vec<String>> {
        None
    }

    /// The names of what SMP's encoder has and does not use.
    fn never_read(&self) -> &'static [&'static str] {
        &[]
    }

    /// The encoder, in words.
    fn description(&self) -> String;

    /// What no tensor of a classifier on the encoder depends on.
    fn assumed(&self) -> &'static str;

    /// What no tensor of the encoder in SMP depends on, where it is not what is said of the decoder.
    fn assumed_in_smp(&self) -> Option<&'static str> {
        None
    }
}

/// What is known of the files of this encoder's family; `None` for one of no library.
pub(in crate::weights) fn source(encoder: &EncoderConfig) -> Option<&dyn EncoderSource> {
    Some(match encoder {
        EncoderConfig::Plain(_) | EncoderConfig::Staged(_) => return None,
        EncoderConfig::ResNet(config) => config,
        EncoderConfig::DenseNet(config) => config,
        EncoderConfig::ConvNext(config) => config,
        EncoderConfig::Vgg(config) => config,
        EncoderConfig::MobileNetV2(config) => config,
        EncoderConfig::MobileNetV3(config) => config,
        EncoderConfig::EfficientNet(config) => config,
        EncoderConfig::Mit(config) => config,
    })
}

/// Finds the encoder of a family in a file of a library.
type Detector = fn(&WeightsFile, Library) -> Option<EncoderConfig>;

/// The families, in the order in which they are looked for.
const DETECTORS: &[Detector] = &[
    resnet::detect,
    densenet::detect,
    convnext::detect,
    vgg::detect,
    mobilenet::detect,
    mobilenet_v3::detect,
    efficientnet::detect,
    mit::detect,
];

/// The encoder that a file of this library holds.
pub(in crate::weights) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    DETECTORS.iter().find_map(|detect| detect(file, library))
}

/// The encoder up to the coarsest map that a decoder of SMP reads, and the names of the stages beyond, which the file has
/// all the same.
pub(in crate::weights) fn shortened(
    encoder: EncoderConfig,
    coarsest: &Coarsest,
) -> Option<(EncoderConfig, Vec<String>)> {
    let maps = encoder.feature_channels();
    let last = match coarsest {
        Coarsest::OfMaps(count) => count.checked_sub(1).filter(|&last| last < maps.len())?,
        Coarsest::WithChannels(channels) => maps.iter().rposition(|found| found == channels)?,
    };
    let shortened = encoder.clone().with_depth(last + 1).ok()?;
    let source = source(&encoder)?;
    let mut unread = match last + 1 == maps.len() {
        true => Vec::new(),
        false => source.unread(&shortened)?,
    };
    unread.extend(source.never_read().iter().map(|name| name.to_string()));
    Some((shortened, unread))
}
