//! [`SegmentationModel::load_encoder`]: the encoder of a file of a whole network.

use std::collections::BTreeSet;

use super::layout::{Slot, slots};
use super::sources::encoder_names;
use super::sources::encoders::CENTER;
use super::{Mismatch, Names, Report, WeightsError, WeightsFile};
use crate::net::{AnyEncoder, SegmentationModel};

impl<D, const R: usize, H> SegmentationModel<AnyEncoder<R>, D, R, H> {
    /// Loads the encoder from a file of a network with the same encoder: torchvision's or timm's classifier, or
    /// segmentation_models.pytorch's network of any decoder. The decoder and the head keep their values.
    ///
    /// The file may have more stages than the encoder. The [`center`](field@crate::net::VggEncoderConfig::center) of a VGG, which
    /// segmentation_models.pytorch's `Unet` has and no other network, keeps its values where the file has none. Where its images have another number of channels, the weight of the
    /// first convolution is [adapted](Names::adapting_input), as segmentation_models.pytorch adapts it. The report says
    /// what was loaded, and lists the tensors of the file that were not read as ignored.
    ///
    /// # Errors
    /// When a tensor of the encoder is missing or has another shape, the file has more blocks in one of its stages, or
    /// the encoder is not one of those libraries'. The network is then unchanged.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::Device;
    /// use burn_skip::net::{AnySegmentationModel, ClassifierConfig, EncoderConfig, ResNetEncoderConfig, SegmentationConfig};
    /// use burn_skip::weights::{Names, WeightsFile, save};
    ///
    /// # fn main() -> Result<(), burn_skip::weights::WeightsError> {
    /// let device = Device::flex();
    /// let encoder = || ResNetEncoderConfig::resnet18().with_width(8);
    /// // A classifier of colour images, say torchvision's `resnet18-f37072fd.pth`.
    /// let classifier = ClassifierConfig::new(EncoderConfig::ResNet(encoder()), 1000);
    /// let path = std::env::temp_dir().join("classifier_of_the_docs.safetensors");
    /// save(&classifier.init::<4>(&device), &path, &Names::torchvision(&classifier).unwrap())?;
    ///
    /// // A U-Net of grey images on its encoder.
    /// let grey = EncoderConfig::ResNet(encoder().with_in_channels(1));
    /// let mut net: AnySegmentationModel = SegmentationConfig::smp_unet(grey, 2).init(&device);
    /// let report = net.load_encoder(&WeightsFile::open(&path)?)?;
    /// assert_eq!(report.adapted.unwrap().channels, [3, 1]);
    /// assert!(report.loaded.contains(&("layer4.1.conv2.weight".into(), "encoder.stages.3.1.block.1.conv.weight".into())));
    /// assert!(report.ignored.contains(&"fc.weight".into()));
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn load_encoder(&mut self, file: &WeightsFile) -> Result<Report, WeightsError> {
        let found = |names: &Names| {
            let slots = slots(&self.encoder, names).unwrap_or_default();
            let is_there = |slot: &&Slot| file.shape(&slot.name).is_some();
            slots.iter().filter(is_there).count()
        };
        // (The first is the best where none is found: its error says what is missing.)
        let tables = encoder_names(&self.encoder.config()).into_iter().rev();
        let names = tables
            .max_by_key(found)
            .unwrap_or(Names::new([("", ""); 0]));
        let slots = slots(&self.encoder, &names)?;
        let center: Vec<_> = slots
            .iter()
            .filter(|slot| slot.name.starts_with(CENTER))
            .collect();
        let keeps_center =
            !center.is_empty() && center.iter().all(|slot| file.shape(&slot.name).is_none());
        let names = match keeps_center {
            true => names.ignoring(CENTER),
            false => names,
        };
        let used: BTreeSet<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        let more = more_blocks(&slots, &used, &names, file);
        if !more.is_empty() {
            return Err(WeightsError::Mismatch {
                path: file.path().to_path_buf(),
                mismatches: more,
            });
        }
        let part = file.part(|name| used.contains(name));
        let mut report = part.load_into(&mut self.encoder, &names.adapting_input())?;
        let loaded = report.loaded.iter_mut().map(|(_, path)| path);
        for path in loaded.chain(&mut report.kept) {
            path.insert_str(0, "encoder.");
        }
        let others = file.tensors().map(|(name, _)| name.to_string());
        report.ignored = others
            .filter(|name| !used.contains(name.as_str()))
            .collect();
        Ok(report)
    }
}

/// The tensors that the file has in a block after the last of a stage.
fn more_blocks(
    slots: &[Slot],
    used: &BTreeSet<&str>,
    names: &Names,
    file: &WeightsFile,
) -> Vec<Mismatch> {
    let of_next_block = |slot: &Slot| {
        let name = names.external_name(&next_block(&slot.path)?)?;
        let shape = file
            .shape(&name)
            .filter(|_| !used.contains(name.as_str()))?;
        Some(Mismatch::Unused {
            name: name.clone(),
            shape: shape.to_vec(),
        })
    };
    slots.iter().filter_map(of_next_block).collect()
}

/// The path of the same tensor in the next block of its stage: `stages.2.1.block` to `stages.2.2.block`.
fn next_block(path: &str) -> Option<String> {
    let mut segments: Vec<String> = path.split('.').map(String::from).collect();
    let _stage: usize = segments.get(1)?.parse().ok()?;
    let block: usize = segments.get(2)?.parse().ok()?;
    segments[2] = (block + 1).to_string();
    Some(segments.join("."))
}
