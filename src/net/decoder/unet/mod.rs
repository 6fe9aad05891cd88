//! [`UnetDecoder`]: from the deepest feature map up, merging in one finer map at each step.

mod config;

pub use config::UnetDecoderConfig;

use alloc::vec::Vec;

use burn::module::Module;
use burn::tensor::Tensor;

use super::frame::{Built, BuiltDecoder, pop_deepest};
use crate::fuse::UpsampleConcat;
use crate::layers::block::DoubleConv;
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::layers::up::Up;

const NAME: &str = "UnetDecoder";

/// The decoder of the U-Net (arXiv:1505.04597): an [`UpsampleConcat`] for every map of an encoder but the
/// deepest; and, for encoders whose finest map is smaller than the image, a last step without a skip
/// (as segmentation_models.pytorch).
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, widths[0], spatial...]`, of the size of the finest map or of the image
/// - [steps](super::Decoder::forward_steps): the output of each step, the finest first
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, UnetDecoder, UnetDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: UnetDecoder = UnetDecoderConfig::new(vec![4, 8]).init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 16, 9, 6], &device)];
/// assert_eq!(decoder.forward(maps, &[33, 22]).dims(), [1, 4, 33, 22]);
/// ```
#[derive(Module, Debug)]
pub struct UnetDecoder<const R: usize = 4> {
    /// The step that merges each map but the deepest, the finest first.
    pub steps: Vec<UpsampleConcat<R>>,
    /// From the finest map to the size of the image.
    pub last: Option<(Up<R>, DoubleConv<R>)>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: UnetDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> UnetDecoder<R> {
    /// Runs all steps; what each gives goes through `pass`.
    fn run_each(
        &self,
        mut maps: Vec<Tensor<R>>,
        image: &[usize],
        pass: &mut dyn FnMut(LazyConcat<R>) -> LazyConcat<R>,
    ) -> LazyConcat<R> {
        let deepest = pop_deepest(&mut maps);
        let steps = self.steps.iter().zip(maps).rev();
        let deep = steps.fold(deepest.into(), |deep, (step, skip)| {
            pass(step.forward_parts(deep, skip))
        });
        match &self.last {
            Some((up, block)) => pass(block.forward_parts(up.forward_parts_to(deep, image))),
            None => deep,
        }
    }
}

impl<const R: usize> BuiltDecoder<R> for UnetDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        self.run_each(maps, image, &mut |map| map)
    }

    fn run_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        let mut steps = Vec::new();
        let output = self.run_each(maps, image, &mut |map| {
            let map = map.into_tensor();
            steps.push(map.clone());
            map.into()
        });
        if steps.is_empty() {
            steps.push(output.into_tensor()); // the only map of the encoder
        }
        steps.reverse();
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Decoder;
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    #[test]
    fn widths_must_match_the_maps() {
        let error = UnetDecoderConfig::new(vec![4]).validate::<4>(&[8, 16, 32]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "UnetDecoder: 1 widths [4] for 3 maps. Give 2 widths to end at the size of the finest map, \
             3 to end at that of the image."
        );
        let config = UnetDecoderConfig::new(vec![4, 8]).with_up_channels(vec![4]);
        assert_eq!(
            config.validate::<4>(&[8, 16, 32]).unwrap_err().to_string(),
            "UnetDecoder: up_channels [4] are 1 numbers for 2 steps. Give one number for each width."
        );
    }

    #[test]
    fn other_maps_than_it_was_built_for_are_refused() {
        let decoder: UnetDecoder =
            UnetDecoderConfig::new(vec![4, 8]).init(&[8, 8], &Device::flex());
        let maps = [[1, 8, 32, 32], [1, 8, 16, 16], [1, 8, 8, 8]];
        assert_eq!(
            decoder
                .output_shape(&maps, &[64, 64])
                .unwrap_err()
                .to_string(),
            "UnetDecoder: the maps have [8, 8, 8] channels, expected [8, 8]. Give the maps of the encoder that \
             it was built for, the finest first."
        );
    }

    #[test]
    fn a_last_step_reaches_the_image() {
        let config = UnetDecoderConfig::new(vec![2, 4, 8]);
        let maps = [[1, 8, 17, 11], [1, 16, 9, 6], [1, 32, 5, 3]];
        assert_eq!(config.output_shape(&maps, &[33, 22]), Ok([1, 2, 33, 22]));
        let without = UnetDecoderConfig::new(vec![4, 8]);
        assert_eq!(without.output_shape(&maps, &[33, 22]), Ok([1, 4, 17, 11]));
    }
}
