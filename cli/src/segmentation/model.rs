//! The model: a network that classifies every pixel, its loss, and its training and validation steps.

use burn::module::Module;
use burn::tensor::activation::{log_sigmoid, log_softmax, sigmoid, softmax};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use burn_skip::Layer;
use burn_skip::net::{AnySegmentationModel, SegmentationConfig};

use crate::Result;
use crate::segmentation::batch::Batch;
use crate::segmentation::metrics::{Overlap, OverlapInput, foreground};

/// Two gigabytes of weights are more likely a typing error than a plan.
const MAX_PARAMETERS: usize = 500_000_000;

/// A network that can be trained.
#[derive(Module, Debug)]
pub struct Segmenter {
    pub net: AnySegmentationModel,
}

/// What the metrics read of a step.
pub struct Scored {
    loss: Tensor<1>,
    overlap: Tensor<1>,
}

/// The class of every pixel, `[batch, 1, height, width]`. For a single class, 1 where its logit is above 0, that
/// is, its probability above a half.
pub fn predicted(logits: Tensor<4>) -> Tensor<4> {
    match logits.dims()[1] {
        1 => logits.greater_elem(0.0).float(),
        _ => logits.argmax(1).float(),
    }
}

impl Segmenter {
    /// A network with initial weights, which are not in memory yet.
    ///
    /// # Errors
    /// When it has more than [`MAX_PARAMETERS`].
    pub fn new(config: &SegmentationConfig, device: &Device) -> Result<Self> {
        let net: AnySegmentationModel = config.init(device);
        let parameters = net.num_params();
        if parameters > MAX_PARAMETERS {
            return Err(format!(
                "the network has {parameters} parameters, and this program takes {MAX_PARAMETERS} at most. \
                 Use smaller widths or kernels."
            )
            .into());
        }
        Ok(Self { net })
    }

    fn score(&self, batch: Batch) -> Scored {
        let judged = |map: Tensor<4>| {
            let columns = map.dims()[3] - batch.context;
            map.narrow(3, batch.context, columns)
        };
        let logits = judged(self.net.forward(batch.images));
        let masks = judged(batch.masks);
        Scored {
            loss: loss(logits.clone(), masks.clone()),
            overlap: Overlap::count(logits, masks),
        }
    }
}

impl TrainStep for Segmenter {
    type Input = Batch;
    type Output = Scored;

    fn step(&self, batch: Batch) -> TrainOutput<Scored> {
        // So that a step depends on its crops alone, also in a training that was broken off and resumed.
        batch.images.device().seed(batch.seed);
        let scored = self.score(batch);
        TrainOutput::new(self, scored.loss.backward(), scored)
    }
}

impl InferenceStep for Segmenter {
    type Input = Batch;
    type Output = Scored;

    fn step(&self, batch: Batch) -> Scored {
        self.score(batch)
    }
}

/// Cross entropy of every pixel, plus Dice, which is of the overlap as a whole and so does not depend on how
/// much background there is.
fn loss(logits: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    let classes = logits.dims()[1];
    if classes == 1 {
        return binary_cross_entropy(logits.clone(), truth.clone()) + dice(sigmoid(logits), truth);
    }
    let one_hot = |classes: std::ops::Range<usize>| {
        let maps = classes.map(|class| truth.clone().equal_elem(class as f32).float());
        Tensor::cat(maps.collect(), 1)
    };
    let log_probability = log_softmax(logits.clone(), 1) * one_hot(0..classes);
    let cross_entropy = -log_probability.sum_dim(1).mean();
    let judged = foreground(classes);
    let probability = softmax(logits, 1).narrow(1, judged.start, judged.len());
    cross_entropy + dice(probability, one_hot(judged))
}

/// `-t log s(x) - (1 - t) log(1 - s(x))`, written so that no logit overflows.
fn binary_cross_entropy(logits: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    (logits.clone() * (-truth + 1.0) - log_sigmoid(logits)).mean()
}

/// `1 - 2 |p t| / (|p| + |t|)`, the mean over the classes; smoothed by one pixel so that an empty truth has a
/// gradient.
fn dice(probability: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    let of_class = |map: Tensor<4>| map.sum_dims(&[0, 2, 3]);
    let both = of_class(probability.clone() * truth.clone());
    let total = of_class(probability) + of_class(truth);
    (-(both * 2.0 + 1.0) / (total + 1.0) + 1.0).mean()
}

impl ItemLazy for Scored {
    /// Detaches the gradients: the metrics run on a thread of their own.
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self {
            loss: self.loss.without_autodiff(),
            overlap: self.overlap.without_autodiff(),
        })
    }
}

impl Adaptor<LossInput> for Scored {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<OverlapInput> for Scored {
    fn adapt(&self) -> OverlapInput {
        OverlapInput(self.overlap.clone())
    }
}
