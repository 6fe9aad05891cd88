//! [`SkipConcat`]: concatenates the output of a block with its input.

use alloc::vec;

use burn::config::Config;
use burn::module::{Content, Module, ModuleDisplay};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::align::{Alignment, deep_and_skip};
use crate::fuse::fit::{Fit, Target};
use crate::fuse::merge::Order;
use crate::graph::{Map, Planner};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "SkipConcat";

/// Configuration of [`SkipConcat`].
///
/// # Example
/// ```
/// use burn_skip::{SkipConcatConfig, fit::{Fit, Target}};
///
/// // A block reduces 15 positions to 7. Crop the input to 7, or pad the block's output to 15.
/// let config = SkipConcatConfig::new().with_fit(Fit::crop());
/// assert_eq!(config.output_shape([1, 8, 15], [1, 8, 7]).unwrap(), [1, 16, 7]);
/// let config = SkipConcatConfig::new().with_fit(Fit::pad()).with_target(Target::Skip);
/// assert_eq!(config.output_shape([1, 8, 15], [1, 8, 7]).unwrap(), [1, 16, 15]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SkipConcatConfig {
    /// How both maps are brought to the target size. Default: [`Fit::Exact`].
    #[serde(default)]
    pub fit: Fit,
    /// The size that both maps are fitted to. Default: [`Target::Deep`], that of the block's output.
    #[serde(default = "Target::deep")]
    pub target: Target,
    /// Which map comes first, the block's output (deep) or the input (skip). Default: deep.
    #[serde(default)]
    pub order: Order,
}

setters!(
    SkipConcatConfig:
    with_fit(fit: Fit),
    with_target(target: Target),
    with_order(order: Order),
);

impl Default for SkipConcatConfig {
    fn default() -> Self {
        Self {
            fit: Fit::Exact,
            target: Target::Deep,
            order: Order::DeepFirst,
        }
    }
}

impl Config for SkipConcatConfig {}

impl SkipConcatConfig {
    /// The defaults: maps of one size, the block's output first.
    pub fn new() -> Self {
        Self::default()
    }

    fn alignment(&self) -> Alignment<'_> {
        Alignment::of_deep_and_skip(&self.fit, &self.target, self.order)
    }

    /// The shape of the output for an input of shape `input`, of which the block makes a map of shape
    /// `block_output`.
    ///
    /// # Errors
    /// When the two cannot be brought to one size.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
        block_output: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(&[input, block_output], |planner, maps| {
            self.trace_over(planner, &maps[0], |_, _| Ok(maps[1].clone()))
        })
    }

    /// Records the block, by `block`, the fits and the concatenation.
    pub(crate) fn trace_over<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        block: impl FnOnce(&mut Planner, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            let deep = block(planner.at("block"), x)?;
            let alignment = self.alignment();
            let fitted = alignment.trace_fits(planner, &[&deep, x], deep_and_skip)?;
            alignment.trace_merge(planner, NAME, &[&fitted[0], &fitted[1]], &["deep", "skip"])
        })
    }

    /// Wraps `block`.
    pub fn init<M>(&self, block: M) -> SkipConcat<M> {
        SkipConcat {
            block,
            config: self.clone(),
        }
    }
}

/// Concatenates the output of a block with its input, on the channels: `y = concat([M(x), fit(x)])`.
///
/// The dense connection of DenseNet (arXiv:1608.06993) when the block keeps the size; Keras's
/// `Concatenate()([block(x), x])`.
///
/// # Shapes
/// - input: `[batch, channels, spatial...]`
/// - output: `[batch, block_channels + channels, spatial...]`, of the size of the block's output
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, SkipConcat, SkipConcatConfig, block::ConvNormActConfig, fit::Fit};
///
/// let device = Device::flex();
/// let block = ConvNormActConfig::new([16, 8], 3).with_stride(2).init::<4>(&device);
/// let skip: SkipConcat<_> = SkipConcatConfig::new().with_fit(Fit::crop()).init(block);
/// assert_eq!(skip.forward(Tensor::<4>::zeros([1, 16, 15, 15], &device)).dims(), [1, 24, 8, 8]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct SkipConcat<M> {
    /// What the skip jumps over.
    pub block: M,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: SkipConcatConfig,
}

impl<M> SkipConcat<M> {
    /// Wraps `block` with the default options.
    pub fn new(block: M) -> Self {
        SkipConcatConfig::new().init(block)
    }
}

impl<const R: usize, M: Trace<R>> Trace<R> for SkipConcat<M> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config
            .trace_over(planner, x, |planner, x| self.block.trace(planner, x))
    }
}

impl<const R: usize, M: Layer<R>> Layer<R> for SkipConcat<M> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        let input = parts.dims();
        let output = expect(self.output_shape(input));
        let deep = self.block.forward_parts(parts.clone());
        // (A given target may differ from the size of both maps.)
        if deep.dims()[2..] == input[2..] && input[2..] == output[2..] {
            return match self.config.order {
                Order::DeepFirst => deep.then(parts),
                Order::SkipFirst => parts.then(deep),
            };
        }
        let alignment = self.config.alignment();
        alignment.merge(alignment.fit(vec![deep.into_tensor(), parts.into_tensor()]))
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplay for SkipConcat<M> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("block", &self.block)
            .add_debug_attribute("fit", &self.config.fit)
            .add_debug_attribute("target", &self.config.target)
            .add_debug_attribute("order", &self.config.order)
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::nn::{Relu, pool::MaxPool1dConfig};
    use burn::tensor::{Device, TensorData};

    #[test]
    fn a_target_that_both_maps_miss_is_not_ignored() {
        let config = SkipConcatConfig::new()
            .with_fit(Fit::crop())
            .with_target(Target::Size(alloc::vec![2]));
        let skip = config.init(burn::nn::Identity::new());
        let x = Tensor::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &burn::tensor::Device::flex());
        let y = Layer::<3>::forward(&skip, x);
        y.to_data().assert_eq(
            &burn::tensor::TensorData::from([[[2.0f32, 3.0], [2.0, 3.0]]]),
            true,
        );
    }

    #[test]
    fn the_block_comes_first_and_the_input_after() {
        let x = || Tensor::<3>::from_floats([[[-1.0, 2.0]]], &Device::flex());
        let y = SkipConcat::new(Relu::new()).forward(x());
        y.to_data()
            .assert_eq(&TensorData::from([[[0.0f32, 2.0], [-1.0, 2.0]]]), true);
        let config = SkipConcatConfig::new().with_order(Order::SkipFirst);
        let y = config.init(Relu::new()).forward(x());
        y.to_data()
            .assert_eq(&TensorData::from([[[-1.0f32, 2.0], [0.0, 2.0]]]), true);
    }

    #[test]
    fn a_block_that_changes_the_size_needs_a_fit() {
        let pool = || MaxPool1dConfig::new(2).init();
        let error = SkipConcat::new(pool())
            .output_shape([1, 8, 15])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "SkipConcat: length differs: deep 7, skip 15. Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop) or resize deep to 15."
        );
        let fitted = SkipConcatConfig::new().with_fit(Fit::crop()).init(pool());
        assert_eq!(fitted.output_shape([1, 8, 15]), Ok([1, 16, 7]));
        let enlarged = SkipConcatConfig::new()
            .with_fit(Fit::pad())
            .with_target(Target::Skip)
            .init(pool());
        assert_eq!(enlarged.output_shape([1, 8, 15]), Ok([1, 16, 15]));
    }

    #[test]
    fn display() {
        let expected = "\
SkipConcat {
  block: Relu
  fit: Exact
  target: Deep
  order: DeepFirst
}";
        assert_eq!(SkipConcat::new(Relu::new()).to_string(), expected);
    }
}
