//! [`UpsampleConcat`]: the decoder step of a U-Net.

use alloc::vec;

use burn::config::Config;
use burn::module::{Content, Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::align::{Alignment, deep_and_skip};
use crate::fuse::fit::{Fit, Target};
use crate::fuse::gate::{Gate, GateConfig};
use crate::fuse::merge::Order;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvStyle, DoubleConv, DoubleConvConfig};
use crate::layers::conv::Parts;
use crate::layers::layer::Layer;
use crate::layers::up::{Up, UpConfig};
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect, spatial};

const NAME: &str = "UpsampleConcat";

/// Configuration of [`UpsampleConcat`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, up::UpConfig};
///
/// let config = UpsampleConcatConfig::new(128, 64, 32);
/// assert_eq!(config.output_shape([1, 128, 7, 7], [1, 64, 15, 15]).unwrap(), [1, 32, 15, 15]);
/// // A resize keeps the channels of the deep map; a transposed convolution gives those of the skip.
/// assert_eq!(config.merged_channels(), 128 + 64);
/// assert_eq!(config.with_up(UpConfig::conv_transpose()).merged_channels(), 64 + 64);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpsampleConcatConfig {
    /// The channels of the deep map.
    pub deep_channels: usize,
    /// The channels of the skip.
    pub skip_channels: usize,
    /// The channels of the output.
    pub out_channels: usize,
    /// The channels that the up layer gives, if it changes them: a resize without projection does not,
    /// and refuses any other number. Default: those of the skip, as far as the layer changes them.
    pub up_channels: Option<usize>,
    /// How the deep map is enlarged. Default: nearest, to the size of the skip.
    pub up: UpConfig,
    /// How what still differs in size is brought together, after the up layer has come as near to the
    /// skip as it can: a transposed convolution by 2 takes 7 to 15 by its output padding. MONAI leaves
    /// it at 14 and pads: `Fit::Pad` with [`Target::Largest`]. Default: [`Fit::Exact`].
    pub fit: Fit,
    /// The size that the maps meet at. Default: [`Target::Skip`]. With any other target the deep
    /// map is enlarged by its scale first.
    pub target: Target,
    /// Which map comes first in the concatenation. Default: the deep one.
    pub order: Order,
    /// What weighs the skip by the enlarged deep map, or nothing. Default: nothing.
    pub gate: Option<GateConfig>,
    /// The convolutions of the block.
    pub style: ConvStyle,
}

setters!(
    UpsampleConcatConfig:
    with_up_channels(up_channels: impl Into<Option<usize>>),
    with_up(up: UpConfig),
    with_fit(fit: Fit),
    with_target(target: Target),
    with_order(order: Order),
    with_gate(gate: impl Into<Option<GateConfig>>),
    with_style(style: ConvStyle),
);

impl Config for UpsampleConcatConfig {}

impl UpsampleConcatConfig {
    /// A decoder step with nearest upsampling to the size of the skip.
    pub fn new(deep_channels: usize, skip_channels: usize, out_channels: usize) -> Self {
        Self {
            deep_channels,
            skip_channels,
            out_channels,
            up_channels: None,
            up: UpConfig::nearest(),
            fit: Fit::Exact,
            target: Target::Skip,
            order: Order::DeepFirst,
            gate: None,
            style: ConvStyle::new(),
        }
    }

    fn meeting(&self) -> Alignment<'_> {
        Alignment::of_deep_and_skip(&self.fit, &self.target, self.order)
    }

    /// The deep map's channels, and those that its enlargement is asked for.
    fn channels_of_up(&self) -> [usize; 2] {
        let wanted = self.up_channels.unwrap_or(self.skip_channels);
        [self.deep_channels, wanted]
    }

    /// The channels of the concatenation: what a block of one's own has to take.
    pub fn merged_channels(&self) -> usize {
        let [deep, wanted] = self.channels_of_up();
        self.up.out_channels(deep, wanted) + self.skip_channels
    }

    fn block(&self) -> DoubleConvConfig {
        DoubleConvConfig::new([self.merged_channels(), self.out_channels])
            .with_style(self.style.clone())
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number of channels is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        self.validate_merge::<R>()?;
        self.block().validate::<R>().map_err(|e| e.within("block"))
    }

    /// All but the block.
    fn validate_merge<const R: usize>(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "deep_channels", self.deep_channels)?;
        check_positive(NAME, "skip_channels", self.skip_channels)?;
        check_positive(NAME, "up_channels", self.channels_of_up()[1])?;
        self.up
            .validate_channels::<R>(self.channels_of_up())
            .map_err(|e| e.within("up"))?;
        self.up
            .check_asked(self.deep_channels, self.up_channels)
            .map_err(|e| e.within("up"))?;
        self.target.validate(R)?;
        match &self.gate {
            Some(gate) => gate
                .validate(self.skip_channels)
                .map_err(|e| e.within("gate")),
            None => Ok(()),
        }
    }

    /// The shape of the enlarged deep map.
    fn up_shape<const R: usize>(
        &self,
        deep: [usize; R],
        skip: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let channels = self.channels_of_up();
        let shape = match (&self.target, &self.fit) {
            (Target::Skip, Fit::Exact) => self.up.output_shape_to(channels, deep, spatial(&skip)),
            (Target::Skip, _) => self
                .up
                .reach(channels, deep, spatial(&skip))
                .and_then(|size| self.up.output_shape_to(channels, deep, &size)),
            _ => self.up.output_shape(channels, deep),
        };
        shape.map_err(|e| e.within("up"))
    }

    /// The shape of the concatenation, before the block.
    ///
    /// # Errors
    /// When channels differ, an axis is empty, or the maps cannot be brought to one size.
    pub fn merged_shape<const R: usize>(
        &self,
        deep: [usize; R],
        skip: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        self.validate_merge::<R>()?;
        check_channels(NAME, skip, self.skip_channels).map_err(|e| e.within("skip"))?;
        check_channels(NAME, deep, self.deep_channels).map_err(|e| e.within("deep"))?;
        let meeting = self.meeting();
        let maps = [self.up_shape(deep, skip)?, skip];
        let fitted = meeting.fitted(&maps, deep_and_skip)?;
        let merged = meeting.merge.output_shape(&fitted);
        merged.map_err(|e| e.told_by(NAME))
    }

    /// The shape of the output for maps of shapes `deep` and `skip`.
    ///
    /// # Errors
    /// As [`merged_shape`](Self::merged_shape), and when the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        deep: [usize; R],
        skip: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        self.validate::<R>()?;
        let merged = self.merged_shape(deep, skip)?;
        self.block()
            .output_shape(merged)
            .map_err(|e| e.within("block"))
    }

    /// Tells the planner of the merge of both maps, and of what `block` makes of it.
    pub(crate) fn trace_with<const R: usize>(
        &self,
        planner: &mut Planner,
        [deep, skip]: [&Map<R>; 2],
        block: impl FnOnce(&mut Planner, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[deep, skip], |planner| {
            self.validate_merge::<R>()?;
            check_channels(NAME, skip.shape, self.skip_channels).map_err(|e| e.within("skip"))?;
            check_channels(NAME, deep.shape, self.deep_channels).map_err(|e| e.within("deep"))?;
            let channels = self.channels_of_up();
            let reached;
            let size = match (&self.target, &self.fit) {
                (Target::Skip, Fit::Exact) => Some(spatial(&skip.shape)),
                (Target::Skip, _) => {
                    reached = self.up.reach(channels, deep.shape, spatial(&skip.shape))?;
                    Some(&reached[..])
                }
                _ => None,
            };
            let deep = self.up.trace_to(planner.at("up"), channels, deep, size)?;
            let meeting = self.meeting();
            let fitted = meeting.trace_fits(planner, &[&deep, skip], deep_and_skip)?;
            let [deep, skip] = [&fitted[0], &fitted[1]];
            let merged = meeting.merge.output_shape(&[deep.shape, skip.shape]);
            merged.map_err(|e| e.told_by(NAME))?;
            let gated = match &self.gate {
                Some(gate) => &gate.trace(planner.at("gate"), skip, deep)?,
                None => skip,
            };
            let merged = meeting.trace_merge(planner, &[deep, gated], &["deep", "skip"]);
            block(planner.at("block"), &merged.map_err(|e| e.told_by(NAME))?)
        })
    }

    /// Tells the planner of the step from `deep` to the size of `skip`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        self.trace_with(planner, [deep, skip], |planner, x| {
            self.block().trace(planner, x)
        })
    }

    /// The [plan](crate::plan) for maps of shapes `deep` and `skip`.
    pub fn plan<const R: usize>(&self, deep: [usize; R], skip: [usize; R]) -> Plan {
        Plan::of_maps(&[deep, skip], |planner, maps| {
            self.trace(planner, &maps[0], &maps[1]).map(|map| vec![map])
        })
    }

    /// Builds the layer with a [`DoubleConv`].
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> UpsampleConcat<R> {
        expect(self.validate::<R>());
        self.init_with(self.block().init(device), device)
    }

    /// Builds the layer with a block of one's own, which takes
    /// [`merged_channels`](Self::merged_channels). `out_channels` and `style` describe the block that
    /// it takes the place of, and count for nothing here.
    ///
    /// # Panics
    /// When another option is invalid, with the message of [`validate`](Self::validate).
    pub fn init_with<const R: usize, M: Layer<R>>(
        &self,
        block: M,
        device: &Device,
    ) -> UpsampleConcat<R, M> {
        expect(self.validate_merge::<R>());
        let [_, up_channels] = self.channels_of_up();
        let guide = self.up.out_channels(self.deep_channels, up_channels);
        let gate = self.gate.as_ref();
        UpsampleConcat {
            up: self.up.init(self.channels_of_up(), device),
            gate: gate.map(|gate| gate.init(self.skip_channels, guide, device)),
            block,
            config: self.clone(),
        }
    }
}

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
pub struct UpsampleConcat<const R: usize = 4, M = DoubleConv<R>> {
    /// What enlarges the deep map.
    pub up: Up<R>,
    /// What weighs the skip.
    pub gate: Option<Gate<R>>,
    /// What refines the concatenation.
    pub block: M,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: UpsampleConcatConfig,
}

impl<const R: usize, M: Layer<R>> UpsampleConcat<R, M> {
    /// The shape of the output for maps of shapes `deep` and `skip`.
    ///
    /// # Errors
    /// When channels differ, an axis is empty, the maps cannot be brought to one size, or the
    /// block does not take the concatenation.
    pub fn output_shape(
        &self,
        deep: [usize; R],
        skip: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let merged = self.config.merged_shape(deep, skip)?;
        self.block
            .output_shape(merged)
            .map_err(|e| e.within("block"))
    }

    /// Tells the planner of the step from `deep` to the size of `skip`.
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
        self.config.trace_with(planner, [deep, skip], block)
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

    /// As [`forward`](Self::forward), of a deep map and to a map that need not be written.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_parts(&self, deep: Parts<R>, skip: Tensor<R>) -> Parts<R> {
        let shape = deep.dims();
        expect(self.output_shape(shape, skip.dims()));
        let up = expect(self.config.up_shape(shape, skip.dims()));
        let meets = up[2..] == skip.dims()[2..] && self.config.target == Target::Skip;
        if self.gate.is_none() && meets {
            let deep = self.up.forward_parts_to(deep, spatial(&up));
            let parts = match self.config.order {
                Order::DeepFirst => deep.then(skip.into()),
                Order::SkipFirst => Parts::from(skip).then(deep),
            };
            return self.block.forward_parts(parts);
        }
        let deep = self.up.forward_to(deep.into_tensor(), spatial(&up));
        let meeting = self.config.meeting();
        let mut maps = meeting.fit(vec![deep, skip]);
        if let Some(gate) = &self.gate {
            maps[1] = gate.forward(maps[1].clone(), maps[0].clone());
        }
        self.block.forward_parts(meeting.merge.forward(maps).into())
    }
}

impl<const R: usize, M: Module + ModuleDisplay> ModuleDisplay for UpsampleConcat<R, M> {
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
    use alloc::string::ToString;
    use burn::nn::Identity;
    use burn::tensor::TensorData;

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
    fn every_way_up_meets_the_skip() {
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
    fn the_channels_of_the_concatenation_follow_the_way_up() {
        assert_eq!(config().merged_channels(), 8 + 4);
        assert_eq!(
            config()
                .with_up(UpConfig::conv_transpose())
                .merged_channels(),
            4 + 4
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
            "up.ConvTranspose: height cannot go from 6 to 15 with kernel 2 and stride 2, which reach 1 to 13. \
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
