//! The memory of a loss. A loss may be any of the library's, or a sum of them, so that it is measured and not planned: on
//! a few pixels, since it grows with them.

use burn::tensor::{Device, Int, Tensor};
use burn_skip::loss::{Loss, LossConfig};
use burn_skip::plan::MapPlan;

use crate::allocator;
use crate::segmentation::lengths::shape;

/// What a loss and its gradient hold at their peak on the CPU: the logits, the labels, and what is made of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossMemory {
    pub bytes_of_a_pixel: f64,
}

impl LossMemory {
    /// Runs a loss on some pixels of so many classes. `R` is the rank of the logits. (No other thread must allocate
    /// meanwhile.)
    ///
    /// # Panics
    /// When the loss does not take these classes.
    pub fn measured<const R: usize>(loss: &LossConfig, classes: usize) -> Self {
        let size: &[usize] = match R {
            5 => &[16, 16, 16],
            _ => &[64, 64],
        };
        let pixels: usize = size.iter().product();
        let device = Device::flex().autodiff();
        let run = || {
            let logits = Tensor::<R>::zeros(shape::<R>(1, classes, size), &device).require_grad();
            let labels = Tensor::<1, Int>::arange(0..pixels as i64, &device);
            let labels = labels.remainder_scalar(classes.max(2) as i64);
            let labels = labels.reshape(shape::<R>(1, 1, size));
            drop(loss.forward(logits, labels).backward());
        };
        // (What is made once is no memory of a step.)
        run();
        let before = allocator::in_use();
        allocator::reset_peak();
        run();
        let bytes = allocator::peak().saturating_sub(before);
        Self {
            bytes_of_a_pixel: bytes as f64 / pixels as f64,
        }
    }

    /// The bytes of the loss of all outputs of a network.
    pub fn of(self, outputs: &[MapPlan]) -> u64 {
        let pixels = outputs
            .iter()
            .map(|map| map.bytes() as f64 / (4 * map.shape[1].max(1)) as f64);
        (pixels.sum::<f64>() * self.bytes_of_a_pixel) as u64
    }
}
