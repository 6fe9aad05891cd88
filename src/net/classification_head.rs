//! [`ClassificationHead`]: from an encoder's coarsest map to the logits of classes of the image.

use alloc::format;

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::fit::Fit;
use crate::graph::{Map, Op, Planner, Record};
use crate::layers::check_probability;
use crate::layers::linear::linear;
use crate::layers::pool::{AdaptiveKind, global_mean};
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "ClassificationHead";

/// Configuration of [`ClassificationHead`].
///
/// # Example
/// ```
/// use burn_skip::net::ClassificationHeadConfig;
/// use burn_skip::pool::AdaptiveKind;
///
/// let config = ClassificationHeadConfig::new(4).with_pooling(AdaptiveKind::Max);
/// let head = config.init(512, &burn::tensor::Device::flex());
/// assert_eq!(head.linear.weight.dims(), [512, 4]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClassificationHeadConfig {
    /// The number of classes.
    pub classes: usize,
    /// What is taken of all positions of the map. Default: the mean.
    #[serde(default = "mean")]
    pub pooling: AdaptiveKind,
    /// The probability that a pooled value is dropped in training. Default: 0.2.
    #[serde(default = "dropout")]
    pub dropout: f64,
}

const fn mean() -> AdaptiveKind {
    AdaptiveKind::Avg
}

const fn dropout() -> f64 {
    0.2
}

setters!(
    ClassificationHeadConfig:
    with_pooling(pooling: AdaptiveKind),
    with_dropout(dropout: f64),
);

impl Config for ClassificationHeadConfig {}

impl ClassificationHeadConfig {
    /// A head of so many classes, with the defaults of segmentation_models.pytorch's `aux_params`.
    pub const fn new(classes: usize) -> Self {
        Self {
            classes,
            pooling: mean(),
            dropout: dropout(),
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// When there are no classes, or the probability is not in `[0, 1)`.
    pub fn validate(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "classes", self.classes)?;
        check_probability(NAME, self.dropout)
    }

    /// Records the head on the map `x`, and returns the logits.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Map<2>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.validate()?;
            let pooled = trace_pool(planner, x, self.pooling)?;
            let dropped = match self.dropout > 0.0 {
                true => planner.at("dropout").leaf("Dropout", &[&pooled], || {
                    Ok(Record::new(Op::Dropout, pooled.shape))
                })?,
                false => pooled,
            };
            trace_linear(planner.at("linear"), &dropped, self.classes)
        })
    }

    /// Builds the head for a map with so many channels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init(&self, in_channels: usize, device: &Device) -> ClassificationHead {
        expect(self.validate());
        ClassificationHead {
            dropout: DropoutConfig::new(self.dropout).init(),
            linear: LinearConfig::new(in_channels, self.classes).init(device),
            config: self.clone(),
        }
    }
}

/// The mean or the maximum over all positions of a map, dropout and a linear layer: `y = W dropout(pool(x)) + b`.
///
/// segmentation_models.pytorch's `ClassificationHead`, its `aux_params`; it reads the coarsest map of the encoder.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: logits `[batch, classes]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::ClassificationHeadConfig;
///
/// let device = Device::flex();
/// let head = ClassificationHeadConfig::new(3).init(8, &device);
/// assert_eq!(head.forward(Tensor::<4>::zeros([2, 8, 5, 4], &device)).dims(), [2, 3]);
/// assert_eq!(head.forward(Tensor::<3>::zeros([2, 8, 9], &device)).dims(), [2, 3]);
/// ```
#[derive(Module, Debug)]
pub struct ClassificationHead {
    /// Drops pooled values in training.
    pub dropout: Dropout,
    /// From the pooled values to the logits.
    pub linear: Linear,
    /// The options that the head was built with.
    #[module(skip)]
    pub config: ClassificationHeadConfig,
}

impl ClassificationHead {
    /// The shape of the logits for a map of shape `input`.
    ///
    /// # Errors
    /// When the map has other channels than the linear layer.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<[usize; 2], ShapeError> {
        Planner::output_shape(input, |planner, x| self.trace(planner, x))
    }

    /// Records the head on the map `x`, and returns the logits.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Map<2>, ShapeError> {
        let [channels, _] = self.linear.weight.lazy_shape().dims();
        if x.shape[1] != channels {
            return Err(ShapeError::new(
                NAME,
                format!("the map has {} channels, expected {channels}", x.shape[1]),
                "Build the head for the channels of the encoder's coarsest map",
            ));
        }
        self.config.trace(planner, x)
    }

    /// The logits of each sample.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<2> {
        expect(self.output_shape(x.dims()));
        let pooled = pool_positions(x, self.config.pooling);
        linear(&self.linear, self.dropout.forward(pooled))
    }
}

/// `[batch, channels, spatial...]` to `[batch, channels]`: the mean or the maximum over all positions.
pub(super) fn pool_positions<const R: usize>(x: Tensor<R>, kind: AdaptiveKind) -> Tensor<2> {
    let shape = x.dims();
    let pooled = match kind {
        AdaptiveKind::Avg => global_mean(x),
        AdaptiveKind::Max => Fit::Pool(kind).forward(x, &[1; R][2..]),
    };
    pooled.reshape([shape[0], shape[1]])
}

/// Records [`pool_positions`].
pub(super) fn trace_pool<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    kind: AdaptiveKind,
) -> Result<Map<2>, ShapeError> {
    let output = [x.shape[0], x.shape[1]];
    match kind {
        AdaptiveKind::Avg => planner
            .at("")
            .leaf("Mean", &[x], || Ok(Record::new(Op::GlobalMean, output))),
        AdaptiveKind::Max => {
            let pooled = Fit::Pool(kind).trace(planner.at(""), x, &[1; R][2..])?;
            let reshape = || Ok(Record::new(Op::Reshape, output));
            planner.at("").leaf("Reshape", &[&pooled], reshape)
        }
    }
}

/// Records a linear layer with bias.
pub(super) fn trace_linear(
    planner: &mut Planner,
    x: &Map<2>,
    outputs: usize,
) -> Result<Map<2>, ShapeError> {
    let [batch, inputs] = x.shape;
    planner.leaf("Linear", &[x], || {
        let op = Op::Linear {
            features: [inputs, outputs],
            bias: true,
        };
        Ok(Record::new(op, [batch, outputs])
            .with_parameter("weight", inputs.saturating_mul(outputs))
            .with_parameter("bias", outputs))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use alloc::{string::ToString, vec, vec::Vec};
    use burn::module::Param;

    /// Two channels to one class: `y = 2 a - b + 1`.
    fn head(pooling: AdaptiveKind) -> ClassificationHead {
        let device = Device::flex();
        let config = ClassificationHeadConfig::new(1).with_pooling(pooling);
        let mut head = config.init(2, &device);
        head.linear.weight = Param::from_tensor(Tensor::from_floats([[2.0], [-1.0]], &device));
        head.linear.bias = Some(Param::from_tensor(Tensor::from_floats([1.0], &device)));
        head
    }

    #[test]
    fn values() {
        let x = Tensor::<3>::from_floats([[[1.0, 3.0], [-4.0, 2.0]]], &Device::flex());
        let value = |pooling| -> Vec<f32> {
            let y = head(pooling).forward(x.clone());
            y.into_data().try_to_vec().unwrap()
        };
        assert_eq!(value(AdaptiveKind::Avg), [2.0 * 2.0 + 1.0 + 1.0]);
        assert_eq!(value(AdaptiveKind::Max), [2.0 * 3.0 - 2.0 + 1.0]);
    }

    #[test]
    fn dropout_is_that_of_training() {
        let config = ClassificationHeadConfig::new(1).with_dropout(0.75);
        let device = Device::flex().autodiff();
        device.seed(5);
        let mut head = config.init(1, &device);
        head.linear.weight = Param::from_tensor(Tensor::ones([1, 1], &device));
        head.linear.bias = None;
        let y = head.forward(Tensor::<4>::ones([64, 1, 2, 2], &device));
        let y: Vec<f32> = y.into_data().try_to_vec().unwrap();
        assert!(y.iter().all(|y| [0.0, 4.0].contains(y)), "{y:?}");
        assert!(y.contains(&0.0) && y.contains(&4.0), "{y:?}");
    }

    #[test]
    fn the_plan_has_the_parts() {
        for pooling in [AdaptiveKind::Avg, AdaptiveKind::Max] {
            let head = head(pooling);
            let plan = Plan::new([2, 2, 5, 4], |planner, x| Ok(vec![head.trace(planner, x)?]));
            assert_eq!(plan.root.outputs[0].shape, [2, 1]);
            assert_eq!(plan.root.total_parameters(), 3);
            let ops: Vec<&Op> = plan.nodes().into_iter().map(|(_, node)| &node.op).collect();
            assert!(ops.contains(&&Op::Dropout), "{ops:?}");
        }
    }

    #[test]
    fn wrong_options_and_maps_are_refused() {
        let text = |config: ClassificationHeadConfig| config.validate().unwrap_err().to_string();
        assert_eq!(
            text(ClassificationHeadConfig::new(0)),
            "ClassificationHead: classes is 0. Set classes to 1 or more."
        );
        assert_eq!(
            text(ClassificationHeadConfig::new(2).with_dropout(1.0)),
            "ClassificationHead: the probability is 1. Choose one in [0, 1)."
        );
        let error = head(AdaptiveKind::Avg).output_shape([1, 3, 8]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ClassificationHead: the map has 3 channels, expected 2. Build the head for the channels of the encoder's \
             coarsest map."
        );
    }
}
