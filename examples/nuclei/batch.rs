//! Samples into tensors.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Tensor, TensorData};

use crate::data::Sample;
use crate::plane::Plane;

/// Images and masks, each `[batch, 1, height, width]`.
#[derive(Clone, Debug)]
pub struct Batch {
    pub images: Tensor<4>,
    pub masks: Tensor<4>,
    /// The columns at the left that are not judged.
    pub context: usize,
}

/// Stacks samples of one size.
pub struct Stack;

impl Batcher<Sample, Batch> for Stack {
    fn batch(&self, samples: Vec<Sample>, device: &Device) -> Batch {
        let stack = |plane: fn(&Sample) -> &Plane| {
            let planes = samples.iter().map(|s| tensor(plane(s), device)).collect();
            Tensor::cat(planes, 0)
        };
        Batch {
            images: stack(|sample| &sample.image),
            masks: stack(|sample| &sample.mask),
            context: samples.first().map_or(0, |sample| sample.context),
        }
    }
}

/// `[1, 1, height, width]`
pub fn tensor(plane: &Plane, device: &Device) -> Tensor<4> {
    let shape = [1, 1, plane.height, plane.width];
    Tensor::from_data(TensorData::new(plane.values.clone(), shape), device)
}
