//! Samples into tensors.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::raster::Raster;
use crate::segmentation::data::Sample;

/// Images `[batch, channels, height, width]` and masks `[batch, 1, height, width]`.
#[derive(Clone, Debug)]
pub struct Batch {
    pub images: Tensor<4>,
    pub masks: Tensor<4, Int>,
    /// Columns at the left that are context only.
    pub context: usize,
    /// The seed of what is random in the network at this step.
    pub seed: u64,
}

/// Stacks samples of one size.
pub struct Stack;

impl Batcher<Sample, Batch> for Stack {
    fn batch(&self, samples: Vec<Sample>, device: &Device) -> Batch {
        let images = samples.iter().map(|sample| tensor(&sample.image, device));
        let masks = samples.iter().map(|sample| labels(&sample.mask, device));
        Batch {
            images: Tensor::cat(images.collect(), 0),
            masks: Tensor::cat(masks.collect(), 0),
            context: samples.first().map_or(0, |sample| sample.context),
            seed: samples.first().map_or(0, |sample| sample.seed),
        }
    }
}

/// `[1, channels, height, width]`
pub fn tensor(raster: &Raster, device: &Device) -> Tensor<4> {
    let shape = [1, raster.channels, raster.height, raster.width];
    Tensor::from_data(TensorData::new(raster.values.clone(), shape), device)
}

/// The class of every pixel, `[1, 1, height, width]`
fn labels(mask: &Raster, device: &Device) -> Tensor<4, Int> {
    let classes: Vec<i32> = mask.values.iter().map(|&class| class as i32).collect();
    let shape = [1, 1, mask.height, mask.width];
    Tensor::from_data(TensorData::new(classes, shape), device)
}
