//! [`UpsampleConcat`]: the decoder step of a U-Net.

mod config;

pub use config::UpsampleConcatConfig;

use alloc::vec;

use burn::module::{Content, Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::fuse::fit::Target;
use crate::fuse::gate::{AnyGate, Gate};
use crate::fuse::merge::Order;
use crate::graph::{Map, Planner};
use crate::layers::block::DoubleConv;
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::layers::up::Up;
use crate::plan::{Plan, Trace};
use crate::shape::{ShapeError, expect, spatial};

/// Upsamples `deep` to the size of `skip`, concatenates both on the channels and refines them.
///
/// `y = block(concat([up(deep), gate(skip)]))`, U-Net (arXiv:1505.04597), section 2; with the gate,
/// Attention U-Net (arXiv:1804.03999).
///
/// # Shapes
/// - `deep`: `[batch, deep_channels, spatial...]`
/// - `skip`: `[batch, skip_channels, SPATIAL...]`, of any size
/// - output: `[batch, out_channels, SPATIAL...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{UpsampleConcat, UpsampleConcatConfig, up::UpConfig};
///
/// let device = Device::flex();
/// let up: UpsampleConcat = UpsampleConcatConfig::new(128, 64, 32)
///     .with_up(UpConfig::linear())
///     .init(&device);
/// let (deep, skip) = (Tensor::zeros([1, 128, 6, 6], &device), Tensor::zeros([1, 64, 15, 15], &device));
/// assert_eq!(up.output_shape(deep.dims(), skip.dims()).unwrap(), [1, 32, 15, 15]);
/// assert_eq!(up.forward(deep, skip).dims(), [1, 32, 15, 15]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct UpsampleConcat<const R: usize = 4, M = DoubleConv<R>, G = AnyGate<R>> {
    /// The up layer, which upsamples the deep map.
    pub up: Up<R>,
    /// The gate, which weighs the skip.
    pub gate: Option<G>,
    /// The block after the concatenation.
    pub block: M,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: UpsampleConcatConfig,
}

impl<const R: usize, M, G> UpsampleConcat<R, M, G> {
    /// Replaces the gate: the skip is weighed by `gate`, guided by the upsampled deep map.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use burn_skip::{UpsampleConcat, UpsampleConcatConfig};
    /// use burn_skip::block::DoubleConv;
    /// use burn_skip::gate::{AnyGate, GateConfig, Se};
    ///
    /// let device = Device::flex();
    /// let AnyGate::Se(se) = GateConfig::se(2).init::<4>(8, 16, &device) else { unreachable!() };
    /// let step: UpsampleConcat<4, DoubleConv, Se> =
    ///     UpsampleConcatConfig::new(16, 8, 4).init(&device).with_gate(se);
    /// let (deep, skip) = (Tensor::ones([1, 16, 3, 3], &device), Tensor::ones([1, 8, 6, 6], &device));
    /// assert_eq!(step.forward(deep, skip).dims(), [1, 4, 6, 6]);
    /// ```
    pub fn with_gate<H: Gate<R>>(self, gate: H) -> UpsampleConcat<R, M, H> {
        UpsampleConcat {
            up: self.up,
            gate: Some(gate),
            block: self.block,
            config: self.config,
        }
    }
}

impl<const R: usize, M: Layer<R>, G: Gate<R>> UpsampleConcat<R, M, G> {
    /// The shape of the output for maps of shapes `deep` and `skip`.
    ///
    /// # Errors
    /// When channels differ, an axis is empty, the maps cannot be brought to one size, or they do not fit the gate
    /// or the block.
    pub fn output_shape(
        &self,
        deep: [usize; R],
        skip: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(&[deep, skip], |planner, maps| {
            self.trace(planner, &maps[0], &maps[1])
        })
    }

    /// Records the step from `deep` to the size of `skip`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let block = |planner: &mut Planner, x: &Map<R>| self.block.trace(planner, x);
        self.config
            .trace_with(planner, deep, skip, self.gate.as_ref(), block)
    }

    /// The [plan](crate::plan) for maps of shapes `deep` and `skip`.
    pub fn plan(&self, deep: [usize; R], skip: [usize; R]) -> Plan {
        Plan::of_maps(&[deep, skip], |planner, maps| {
            self.trace(planner, &maps[0], &maps[1]).map(|map| vec![map])
        })
    }

    /// Merges `deep` into `skip`.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward(&self, deep: Tensor<R>, skip: Tensor<R>) -> Tensor<R> {
        self.forward_parts(deep.into(), skip).into_tensor()
    }

    /// As [`forward`](Self::forward), with a deep map and an output that may be lazy concatenations.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_parts(&self, deep: LazyConcat<R>, skip: Tensor<R>) -> LazyConcat<R> {
        expect(self.output_shape(deep.dims(), skip.dims()));
        let target = match expect(self.config.up_target(deep.dims(), skip.dims())) {
            Some(target) => target,
            None => spatial(&expect(self.up.output_shape(deep.dims()))).to_vec(),
        };
        let keeps_skip = target == skip.dims()[2..] && self.config.target == Target::Skip;
        if self.gate.is_none() && keeps_skip {
            let deep = self.up.forward_parts_to(deep, &target);
            let parts = match self.config.order {
                Order::DeepFirst => deep.then(skip.into()),
                Order::SkipFirst => LazyConcat::from(skip).then(deep),
            };
            return self.block.forward_parts(parts);
        }
        let deep = self.up.forward_to(deep.into_tensor(), &target);
        let alignment = self.config.alignment();
        let mut maps = alignment.fit(vec![deep, skip]);
        if let Some(gate) = &self.gate {
            // (Handed over, so that the gate may write over it.)
            let skip = maps.remove(1);
            let gated = gate.forward(skip, maps[0].clone());
            maps.push(gated);
        }
        self.block.forward_parts(alignment.merge(maps))
    }
}

impl<const R: usize, M, G> ModuleDisplay for UpsampleConcat<R, M, G>
where
    M: Module + ModuleDisplay,
    G: Module + ModuleDisplay,
{
    fn custom_content(&self, content: Content) -> Option<Content> {
        let mut content = content
            .add("up", &self.up)
            .add_debug_attribute("fit", &self.config.fit)
            .add_debug_attribute("target", &self.config.target)
            .add_debug_attribute("order", &self.config.order);
        if let Some(gate) = &self.gate {
            content = content.add("gate", gate);
        }
        content.add("block", &self.block).optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::fit::Fit;
    use crate::layers::up::UpConfig;
    use alloc::string::ToString;
    use burn::nn::Identity;
    use burn::tensor::{Device, TensorData};

    const DEEP: [usize; 4] = [1, 8, 6, 6];
    const SKIP: [usize; 4] = [1, 4, 15, 15];

    fn config() -> UpsampleConcatConfig {
        UpsampleConcatConfig::new(8, 4, 2)
    }

    #[test]
    fn channels_that_the_up_layer_does_not_give_are_refused() {
        let config = UpsampleConcatConfig::new(8, 4, 4).with_up_channels(2);
        assert_eq!(
            config.validate::<4>().unwrap_err().to_string(),
            "up.Up: up_channels are 2, and a resize without projection keeps 8. Set project of \
             UpConfig::Resize, or leave up_channels out."
        );
        let transposed = config.with_up(UpConfig::conv_transpose());
        assert_eq!(
            transposed.merged_shape([1, 8, 3, 3], [1, 4, 6, 6]),
            Ok([1, 6, 6, 6])
        );
    }

    #[test]
    fn the_deep_map_is_repeated_beside_the_skip() {
        let device = Device::flex();
        let layer: UpsampleConcat<3, Identity> =
            UpsampleConcatConfig::new(1, 1, 2).init_with(Identity::new(), &device);
        let deep = Tensor::from_floats([[[1.0, 2.0]]], &device);
        let skip = Tensor::from_floats([[[5.0, 6.0, 7.0]]], &device);
        let y = layer.forward(deep, skip);
        y.to_data().assert_eq(
            &TensorData::from([[[1.0f32, 1.0, 2.0], [5.0, 6.0, 7.0]]]),
            true,
        );
    }

    #[test]
    fn every_up_layer_reaches_the_size_of_the_skip() {
        let fitted = |up, fit| config().with_up(up).with_fit(fit).output_shape(DEEP, SKIP);
        let solved = UpConfig::conv_transpose_between(&[6, 6], &[15, 15]).unwrap();
        assert_eq!(fitted(UpConfig::linear(), Fit::Exact), Ok([1, 2, 15, 15]));
        assert_eq!(fitted(solved, Fit::Exact), Ok([1, 2, 15, 15]));
        assert_eq!(
            fitted(UpConfig::pixel_shuffle(), Fit::pad()),
            Ok([1, 2, 15, 15])
        );
    }

    #[test]
    fn the_channels_of_the_concatenation_depend_on_the_up_layer() {
        assert_eq!(config().merged_channels(), 8 + 4);
        assert_eq!(
            config()
                .with_up(UpConfig::conv_transpose())
                .merged_channels(),
            4 + 4
        );
    }

    #[test]
    fn extreme_channels_do_not_overflow() {
        let config = UpsampleConcatConfig::new(usize::MAX, usize::MAX, 1);
        assert_eq!(config.merged_channels(), usize::MAX);
        let shape = [1, usize::MAX, 4, 4];
        assert!(config.output_shape(shape, shape).is_err());
        assert!(config.validate::<4>().is_err());
    }

    /// A gate that gives the guide's channels.
    #[derive(Module, Debug)]
    struct Wrong {}

    impl Gate<4> for Wrong {
        fn forward(&self, _x: Tensor<4>, guide: Tensor<4>) -> Tensor<4> {
            guide
        }

        fn trace(
            &self,
            planner: &mut Planner,
            x: &Map<4>,
            guide: &Map<4>,
        ) -> Result<Map<4>, ShapeError> {
            planner.node("Wrong", &[x, guide], |_| Ok(guide.clone()))
        }
    }

    #[test]
    fn a_gate_that_changes_the_shape_is_refused() {
        let layer = config().init::<4>(&Device::flex()).with_gate(Wrong {});
        assert_eq!(
            layer.output_shape(DEEP, SKIP).unwrap_err().to_string(),
            "gate.Gate: the output has the shape [1, 8, 15, 15], and the map [1, 4, 15, 15]. \
             Let the gate keep the shape of its map."
        );
    }

    #[test]
    fn errors() {
        let text = |config: UpsampleConcatConfig, deep, skip| {
            config
                .output_shape::<4>(deep, skip)
                .unwrap_err()
                .to_string()
        };
        let transposed = config().with_up(UpConfig::conv_transpose());
        assert_eq!(
            text(transposed.clone(), DEEP, SKIP),
            "up.layer.ConvTranspose: height cannot go from 6 to 15 with kernel 2 and stride 2, which reach 1 to 13. \
             Use kernel and stride (6, 3) (ConvTransposeConfig::between), or fit the rest with Fit::Resize or Fit::Pad."
        );
        assert_eq!(
            text(transposed.with_target(Target::Deep), DEEP, SKIP),
            "UpsampleConcat: height differs: deep 12, skip 15. \
             Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop) or upsample deep by 1.25."
        );
        assert_eq!(
            text(config(), DEEP, [2, 4, 15, 15]),
            "UpsampleConcat: batch differs: deep 1, skip 2. Give all maps the same batch."
        );
        assert!(
            text(config(), [1, 8, 0, 6], SKIP)
                .starts_with("deep.UpsampleConcat: height of the input is 0")
        );
    }

    #[test]
    fn display() {
        let layer: UpsampleConcat<4, Identity> =
            config().init_with(Identity::new(), &Device::flex());
        let expected = "\
UpsampleConcat {
  up: Up {
    config: Resize { mode: Nearest, scale: All(2), project: false }
    projection: None
  }
  fit: Exact
  target: Skip
  order: DeepFirst
  block: Identity
}";
        assert_eq!(layer.to_string(), expected);
    }
}
