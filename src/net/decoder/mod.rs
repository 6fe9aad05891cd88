//! [`Decoder`]: from the feature maps of an encoder back to the size of the image.

mod any;
mod deeplab;
mod fpn;
mod frame;
mod linknet;
mod manet;
mod pan;
mod psp;
mod segformer;
mod staged;
mod unet;
mod unet_plus_plus;
mod upernet;

pub use any::{AnyDecoder, DecoderConfig};
pub use deeplab::{DeepLabDecoder, DeepLabDecoderConfig, DeepLabSkip};
pub use fpn::{FpnDecoder, FpnDecoderConfig};
pub use linknet::{LinknetDecoder, LinknetDecoderConfig, LinknetStep};
pub use manet::{ManetDecoder, ManetDecoderConfig};
pub use pan::{PanDecoder, PanDecoderConfig};
pub use psp::{PspDecoder, PspDecoderConfig};
pub use segformer::{SegformerDecoder, SegformerDecoderConfig};
pub use staged::{StagedDecoder, StagedDecoderConfig, StagedStep, StagedStepConfig, StepOrder};
pub use unet::{UnetDecoder, UnetDecoderConfig};
pub use unet_plus_plus::{UnetPlusPlusDecoder, UnetPlusPlusDecoderConfig};
pub use upernet::{UperNetDecoder, UperNetDecoderConfig};

use alloc::{format, vec, vec::Vec};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::graph::{Map, Planner};
use crate::layers::conv::LazyConcat;
use crate::net::encoder::check_widths;
use crate::plan::Plan;
use crate::shape::{ShapeError, check_positive};

/// A module that merges the feature maps of an [`Encoder`](super::Encoder) into one map: the second half of a
/// [`SegmentationModel`](super::SegmentationModel). [`AnyDecoder`] and all decoders that it lists are of this kind.
///
/// A decoder of your own implements two methods; shapes and plans follow from [`trace`](Self::trace). `image` is
/// the spatial size of the encoder's input, for decoders that end at that size. Two more,
/// [`forward_steps`](Self::forward_steps) and [`trace_steps`](Self::trace_steps), give the maps for deep supervision.
///
/// # Contract
/// `output_shape(dims of maps, image)` are the dims of `forward(maps, image)`, or `forward` panics with the text
/// of the error.
///
/// # Example
/// ```
/// use burn::module::Module;
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, ShapeError, Trace};
/// use burn_skip::block::{ConvNormAct, ConvNormActConfig};
/// use burn_skip::net::Decoder;
/// use burn_skip::plan::{Map, Op, Planner, Record};
/// use burn_skip::resize::{ResizeMode, resize};
///
/// /// The deepest map, resized to the image: FCN-32s (arXiv:1411.4038).
/// #[derive(Module, Debug)]
/// struct Fcn {
///     conv: ConvNormAct,
/// }
///
/// impl Decoder for Fcn {
///     fn forward(&self, maps: Vec<Tensor<4>>, image: &[usize]) -> Tensor<4> {
///         let deepest = maps.into_iter().last().unwrap();
///         resize(self.conv.forward(deepest), image, ResizeMode::linear())
///     }
///
///     fn trace(
///         &self,
///         planner: &mut Planner,
///         maps: &[Map<4>],
///         image: &[usize],
///     ) -> Result<Map<4>, ShapeError> {
///         let inputs: Vec<&Map<4>> = maps.iter().collect();
///         planner.node("Fcn", &inputs, |planner| {
///             let y = self.conv.trace(planner.at("conv"), maps.last().unwrap())?;
///             let output = [y.shape[0], y.shape[1], image[0], image[1]];
///             let resize = || Ok(Record::new(Op::Resize(ResizeMode::linear()), output));
///             planner.leaf("Resize", &[&y], resize)
///         })
///     }
/// }
///
/// let device = Device::flex();
/// let decoder = Fcn { conv: ConvNormActConfig::new([16, 4], 3).init(&device) };
/// let maps = [[1, 8, 17, 11], [1, 16, 9, 6]];
/// assert_eq!(decoder.output_shape(&maps, &[33, 22]).unwrap(), [1, 4, 33, 22]);
/// let maps = maps.map(|shape| Tensor::zeros(shape, &device));
/// assert_eq!(decoder.forward(maps.to_vec(), &[33, 22]).dims(), [1, 4, 33, 22]);
/// ```
pub trait Decoder<const R: usize = 4>: Module + ModuleDisplay {
    /// Decodes the feature maps, the finest first, of an image of the spatial size `image`.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    fn forward(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R>;

    /// As [`forward`](Self::forward), to what may be a lazy concatenation, which the head reads part by part.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    fn forward_parts(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        self.forward(maps, image).into()
    }

    /// The output, and after it the maps of the coarser steps, the finest first: those that the heads of deep supervision
    /// read. By default only the output.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    fn forward_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        vec![self.forward(maps, image)]
    }

    /// Records the parts in the order in which they run, and returns the output.
    ///
    /// # Errors
    /// When the feature maps do not fit the decoder.
    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError>;

    /// As [`trace`](Self::trace), with the maps of [`forward_steps`](Self::forward_steps).
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn trace_steps(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        Ok(vec![self.trace(planner, maps, image)?])
    }

    /// The shape of the output for feature maps of shapes `maps`, the finest first.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn output_shape(&self, maps: &[[usize; R]], image: &[usize]) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(maps, |planner, maps| self.trace(planner, maps, image))
    }

    /// The [plan](crate::plan) for feature maps of shapes `maps`, the finest first.
    fn plan(&self, maps: &[[usize; R]], image: &[usize]) -> Plan {
        Plan::of_maps(maps, |planner, maps| {
            let output = self.trace(planner, maps, image)?;
            Ok(vec![output])
        })
    }
}

/// Refuses another number of widths than one for each map.
fn check_widths_for(layer: &str, widths: &[usize], maps: usize) -> Result<(), ShapeError> {
    check_levels(layer, 1, maps)?;
    check_widths(layer, widths)?;
    if widths.len() == maps {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("{} widths {widths:?} for {maps} maps", widths.len()),
        format!("Give {maps}, the first for the size of the image"),
    ))
}

/// Refuses to use `levels` of so many maps where there are fewer.
fn check_levels(layer: &str, levels: usize, maps: usize) -> Result<(), ShapeError> {
    check_positive(layer, "levels", levels)?;
    if maps == 0 {
        let remedy = "Give the maps of an encoder, the finest first";
        return Err(ShapeError::new(layer, "there are no maps", remedy));
    }
    if levels <= maps {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("levels is {levels}, and the encoder has {maps} maps"),
        format!("Set levels to 1 to {maps}, or give the encoder more stages"),
    ))
}
