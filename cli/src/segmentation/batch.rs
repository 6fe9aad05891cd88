//! Samples into tensors.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::raster::Raster;
use crate::segmentation::data::Sample;
use crate::segmentation::lengths::shape;

/// Images `[batch, channels, spatial...]` and masks `[batch, 1, spatial...]`.
#[derive(Clone, Debug)]
pub struct Batch<const R: usize> {
    pub images: Tensor<R>,
    pub masks: Tensor<R, Int>,
    /// Columns at the left that are context only.
    pub context: usize,
    /// The seed of what is random in the network at this step.
    pub seed: u64,
}

/// Stacks samples of one size.
pub struct Stack;

impl<const R: usize> Batcher<Sample, Batch<R>> for Stack {
    fn batch(&self, samples: Vec<Sample>, device: &Device) -> Batch<R> {
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

/// `[1, channels, spatial...]`
pub fn tensor<const R: usize>(raster: &Raster, device: &Device) -> Tensor<R> {
    let shape = shape::<R>(1, raster.channels, &raster.size);
    Tensor::from_data(TensorData::new(raster.values.clone(), shape), device)
}

/// The class of every pixel, `[1, 1, spatial...]`
fn labels<const R: usize>(mask: &Raster, device: &Device) -> Tensor<R, Int> {
    let classes: Vec<i32> = mask.values.iter().map(|&class| class as i32).collect();
    let shape = shape::<R>(1, 1, &mask.size);
    Tensor::from_data(TensorData::new(classes, shape), device)
}
