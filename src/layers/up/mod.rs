//! [`Up`]: enlarge a map with a layer, to a scale or to the size of another map.

mod carafe;
mod config;
mod shuffle;

pub use carafe::Carafe;
pub use config::UpConfig;

use burn::module::{Content, Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::graph::{Map, Planner};
use crate::layers::conv::{Conv, ConvTranspose, LazyConcat};
use crate::layers::layer::Layer;
use crate::layers::pixel_shuffle::pixel_shuffle;
use crate::layers::resize::{resize, whole_factors};
use crate::plan::Trace;
use crate::shape::{ShapeError, expect, spatial};
use shuffle::blur;

const NAME: &str = "Up";

/// What an enlargement has to learn.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::up::{UpConfig, UpLayer};
///
/// let up = UpConfig::linear().init::<4>([8, 4], &Device::flex());
/// assert!(matches!(up.layer, UpLayer::Project(None))); // nothing to learn
/// let up = UpConfig::conv_transpose().init::<4>([8, 4], &Device::flex());
/// let UpLayer::Transpose(layer) = up.layer else { unreachable!() };
/// assert_eq!(layer.weight.val().dims(), [8, 4, 2, 2]);
/// ```
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a step holds one
pub enum UpLayer<const R: usize = 4> {
    /// A 1x1 convolution before the resize or the shuffle, or nothing.
    Project(Option<Conv<R>>),
    /// The transposed convolution.
    Transpose(ConvTranspose<R>),
    /// The convolutions of a content-aware reassembly.
    Carafe(Carafe<R>),
}

/// Enlarges a map: [by interpolation](UpConfig::Resize), [by a transposed
/// convolution](UpConfig::ConvTranspose), [by a pixel shuffle](UpConfig::PixelShuffle) or [by content-aware
/// reassembly](UpConfig::Carafe).
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, target...]`; the target of [`forward`](Layer::forward) is
///   `size * scale`, that of [`forward_to`](Self::forward_to) is given
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::up::{Up, UpConfig};
///
/// let device = Device::flex();
/// let up: Up = UpConfig::linear().init([128, 128], &device);
/// assert_eq!(up.forward_to(Tensor::zeros([1, 128, 6, 6], &device), &[15, 15]).dims(), [1, 128, 15, 15]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Up<const R: usize = 4> {
    /// The weights.
    pub layer: UpLayer<R>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: UpConfig,
    /// The channels of the input, and those that are wanted.
    #[module(skip)]
    pub channels: [usize; 2],
}

impl<const R: usize> Up<R> {
    /// The shape of the output for an input of shape `input`, at the spatial size `target`.
    ///
    /// # Errors
    /// As [`UpConfig::output_shape_to`].
    pub fn output_shape_to(
        &self,
        input: [usize; R],
        target: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        self.config.output_shape_to(self.channels, input, target)
    }

    /// As [`forward_to`](Self::forward_to), and a map that is enlarged by repeating its positions is not
    /// written.
    pub(crate) fn forward_parts_to(&self, parts: LazyConcat<R>, target: &[usize]) -> LazyConcat<R> {
        if let (UpLayer::Project(conv), UpConfig::Resize { mode, .. }) = (&self.layer, &self.config)
            && let input = parts.dims()
            && let Some(factors) = whole_factors(&input[2..], target, *mode, parts.dtype())
        {
            expect(self.output_shape_to(input, target));
            return conv.forward_parts(parts).enlarged(&factors);
        }
        self.forward_to(parts.into_tensor(), target).into()
    }

    /// Enlarges `x` to the spatial size `target`.
    ///
    /// # Panics
    /// When [`output_shape_to`](Self::output_shape_to) returns an error, with its message.
    pub fn forward_to(&self, x: Tensor<R>, target: &[usize]) -> Tensor<R> {
        expect(self.output_shape_to(x.dims(), target));
        let conv = match &self.layer {
            UpLayer::Transpose(transpose) => return transpose.forward_to(x, target),
            UpLayer::Carafe(carafe) => {
                return match expect(self.config.reassembly::<R>(x.dims()[1])) {
                    Some(reassembly) => carafe.forward(x, &reassembly),
                    None => unreachable!("it is built with UpConfig::Carafe"),
                };
            }
            UpLayer::Project(conv) => conv,
        };
        let x = conv.forward(x);
        match &self.config {
            UpConfig::Resize { mode, .. } => resize(x, target, *mode),
            UpConfig::PixelShuffle {
                blur: smooth,
                order,
                ..
            } => {
                let x = pixel_shuffle(x, &expect(self.config.scale::<R>()), *order);
                if *smooth { blur(x) } else { x }
            }
            UpConfig::ConvTranspose { .. } => unreachable!("it is built with UpLayer::Transpose"),
            UpConfig::Carafe { .. } => unreachable!("it is built with UpLayer::Carafe"),
        }
    }
}

impl<const R: usize> Trace<R> for Up<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace_to(planner, self.channels, x, None)
    }
}

impl<const R: usize> Layer<R> for Up<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let output = expect(self.output_shape(x.dims()));
        self.forward_to(x, spatial(&output))
    }
}

impl<const R: usize> ModuleDisplay for Up<R> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        let content = content.add_debug_attribute("config", &self.config);
        match &self.layer {
            UpLayer::Project(conv) => content.add("projection", conv).optional(),
            UpLayer::Transpose(transpose) => content.add("transpose", transpose).optional(),
            UpLayer::Carafe(carafe) => content.add("carafe", carafe).optional(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::Device;

    #[test]
    fn a_projection_is_optional_and_the_others_have_one() {
        let params = |config: UpConfig| config.init::<4>([6, 2], &Device::flex()).num_params();
        assert_eq!(params(UpConfig::nearest()), 0);
        assert_eq!(params(UpConfig::conv_transpose()), 6 * 2 * 4 + 2);
        assert_eq!(params(UpConfig::pixel_shuffle()), 6 * 8 + 8);
    }

    #[test]
    fn the_solved_transposed_convolution_hits_15_from_6() {
        let config = UpConfig::conv_transpose_between(&[6, 6], &[15, 15]).unwrap();
        let shape = config.output_shape_to([8, 4], [1, 8, 6, 6], &[15, 15]);
        assert_eq!(shape, Ok([1, 4, 15, 15]));
    }

    #[test]
    fn a_shuffle_that_misses_its_target_says_so() {
        let error = UpConfig::pixel_shuffle()
            .output_shape_to([8, 4], [1, 8, 6, 6], &[12, 15])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Up: a pixel shuffle takes width 6 to 12, and 15 is wanted. \
             Choose a fit for the rest (Fit::PadOrCrop, Fit::Resize), or UpConfig::Resize."
        );
    }

    #[test]
    fn display() {
        let up: Up = UpConfig::conv_transpose().init([4, 2], &Device::flex());
        let expected = "\
Up {
  config: ConvTranspose { kernel_size: All(2), stride: All(2), padding: Solved, bias: true }
  transpose: ConvTranspose {channels: [4, 2], kernel_size: 2, stride: 2, params: 34}
  params: 34
}";
        assert_eq!(up.to_string(), expected);
    }
}
