//! VGG: the names of torchvision's convolutions, which segmentation_models.pytorch's have too.

use super::{EncoderSource, MAX_STAGES};
use crate::net::{EncoderConfig, VggEncoderConfig};
use crate::norm::NormConfig;
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows};

/// The convolutions that segmentation_models.pytorch's U-Nets have on VGG.
pub(in crate::weights) const CENTER: &str = "decoder.center";

/// VGG's convolutions, norms, activations and pools are numbered in one list. Here are the numbers of the convolutions
/// of each stage.
fn numbers(config: &VggEncoderConfig) -> Vec<Vec<usize>> {
    let step = if config.norm.is_some() { 3 } else { 2 };
    let mut next = 0;
    let stage = |&depth: &usize| {
        let first = next;
        next += step * depth + 1;
        (0..depth).map(|index| first + step * index).collect()
    };
    config.depths.iter().map(stage).collect()
}

impl EncoderSource for VggEncoderConfig {
    fn rows(&self, _library: Library) -> Option<Rows> {
        let mut rows = Rows::new();
        for (stage, numbers) in numbers(self).into_iter().enumerate() {
            for (index, number) in numbers.into_iter().enumerate() {
                let path = format!("stages.{stage}.{index}");
                let [conv, norm] = [number, number + 1].map(|number| number.to_string());
                rows.block(&path, "features", [&conv, &norm]);
            }
        }
        Some(rows)
    }

    fn center_rows(&self) -> Rows {
        let mut rows = Rows::new();
        if self.center.is_some() {
            for (index, part) in ["first", "second"].into_iter().enumerate() {
                let path = format!("center.{part}");
                rows.block(&path, &format!("{CENTER}.{index}"), ["0", "1"]);
            }
        }
        rows
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::Vgg(config) = shortened else {
            return None;
        };
        let convs = numbers(self).into_iter().skip(config.depths.len());
        let norms = usize::from(config.norm.is_some());
        let numbers = convs.flatten().flat_map(|number| number..=number + norms);
        Some(numbers.map(|number| format!("features.{number}")).collect())
    }

    fn description(&self) -> String {
        let norm = if self.norm.is_some() {
            " with norms"
        } else {
            ""
        };
        format!("VGG of convolutions {:?}{norm}", self.depths)
    }

    fn assumed(&self) -> &'static str {
        "ReLU, batch norm with epsilon 1e-5, max pools between the stages"
    }
}

/// A VGG, without the map of the size of the image, which no decoder of segmentation_models.pytorch reads.
pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let prefix = library.prefix();
    let shape = |number: usize| file.shape(&format!("{prefix}features.{number}.weight"));
    let &[_, in_channels, 3, 3] = shape(0)? else {
        return None;
    };
    let has_norm = shape(1).is_some();
    let step = if has_norm { 3 } else { 2 };
    let (mut widths, mut depths) = (Vec::new(), Vec::new());
    let mut next = 0;
    while let Some(&[width, ..]) = shape(next) {
        let depth = (0..).take_while(|index| shape(next + step * index).is_some());
        let depth = depth.count();
        widths.push(width);
        depths.push(depth);
        next += step * depth + 1;
    }
    let encoder = VggEncoderConfig::new(widths, depths)
        .with_in_channels(in_channels)
        .with_norm(has_norm.then(NormConfig::batch))
        .with_full_size_map(false);
    (encoder.depths.len() <= MAX_STAGES).then_some(EncoderConfig::Vgg(encoder))
}
