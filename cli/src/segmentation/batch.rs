//! Samples into tensors.

use std::sync::Arc;

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
    /// The seed of what is random in the network at this step.
    pub seed: u64,
}

/// Stacks samples of one size.
pub struct Stack;

impl<const R: usize> Batcher<Arc<Sample>, Batch<R>> for Stack {
    fn batch(&self, samples: Vec<Arc<Sample>>, device: &Device) -> Batch<R> {
        let all = |raster: &Raster| raster.rows(0..raster.size[0]);
        let images = samples.iter().map(|sample| all(&sample.image));
        let images = images.map(|image| tensor(image, device));
        let masks = samples.iter().map(|sample| labels(&sample.mask, device));
        Batch {
            images: Tensor::cat(images.collect(), 0),
            masks: Tensor::cat(masks.collect(), 0),
            seed: samples.first().map_or(0, |sample| sample.seed),
        }
    }
}

/// An image that is validated on, and the device that computes. Its parts are read as they are needed: it may not fit
/// into memory.
#[derive(Clone, Debug)]
pub struct Whole {
    pub sample: Arc<Sample>,
    pub device: Device,
}

impl Batcher<Arc<Sample>, Whole> for Stack {
    fn batch(&self, samples: Vec<Arc<Sample>>, device: &Device) -> Whole {
        let [sample] = &samples[..] else {
            unreachable!("the images that are validated on come one at a time");
        };
        Whole {
            sample: sample.clone(),
            device: device.clone(),
        }
    }
}

/// `[1, channels, spatial...]`
pub fn tensor<const R: usize>(raster: Raster, device: &Device) -> Tensor<R> {
    let shape = shape::<R>(1, raster.channels, &raster.size);
    let values = raster.values.into_vec();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The class of every pixel, `[1, 1, spatial...]`
pub fn labels<const R: usize>(mask: &Raster, device: &Device) -> Tensor<R, Int> {
    let classes: Vec<i32> = mask.values.iter().map(|&class| class as i32).collect();
    let shape = shape::<R>(1, 1, &mask.size);
    Tensor::from_data(TensorData::new(classes, shape), device)
}
