//! The model: a network that classifies every pixel, and its training and validation steps.

use burn::module::Module;
use burn::tensor::{Device, ExecutionError, Int, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use burn_skip::Layer;
use burn_skip::loss::{DeepSupervision, Loss, LossConfig};
use burn_skip::metric::OverlapInput;
use burn_skip::net::{AnySegmentationModel, SegmentationConfig};

use crate::Result;
use crate::segmentation::batch::Batch;
use crate::segmentation::loss::default_loss;

/// Two gigabytes of weights are more likely a typing error than a plan.
pub const MAX_PARAMETERS: usize = 500_000_000;

/// A network that can be trained.
#[derive(Module, Debug)]
pub struct Segmenter {
    pub net: AnySegmentationModel,
    /// What is minimised.
    #[module(skip)]
    pub loss: LossConfig,
}

/// What the metrics read of a step.
pub struct Scored {
    loss: Tensor<1>,
    logits: Tensor<4>,
    labels: Tensor<4, Int>,
}

/// The class of every pixel, `[batch, 1, height, width]`. For a single class, 1 where its logit is 0 or more, that
/// is, its probability a half or more.
pub fn predicted(logits: Tensor<4>) -> Tensor<4> {
    match logits.dims()[1] {
        1 => logits.greater_equal_elem(0.0).float(),
        _ => logits.argmax(1).float(),
    }
}

impl Segmenter {
    /// A network with initial weights, which are not in memory yet, and the default loss.
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
        Ok(Self {
            net,
            loss: default_loss(config.out_channels),
        })
    }

    /// The network with another loss.
    pub fn with_loss(self, loss: LossConfig) -> Self {
        Self { loss, ..self }
    }
}

impl TrainStep for Segmenter {
    type Input = Batch;
    type Output = Scored;

    fn step(&self, batch: Batch) -> TrainOutput<Scored> {
        // So that a step depends on its crops alone, also in a training that was broken off and resumed.
        batch.images.device().seed(batch.seed);
        let mut logits = self.net.forward_supervised(batch.images).logits;
        let output = logits[0].clone();
        // The heads of coarser steps have their share, halved from each to the next.
        let loss = match logits.len() {
            1 => self.loss.forward(logits.remove(0), batch.masks.clone()),
            _ => DeepSupervision::new(self.loss.clone()).forward(logits, batch.masks.clone()),
        };
        let gradients = loss.backward();
        TrainOutput::new(self, gradients, Scored::new(loss, output, batch.masks))
    }
}

impl InferenceStep for Segmenter {
    type Input = Batch;
    type Output = Scored;

    fn step(&self, batch: Batch) -> Scored {
        // What is left of the judged columns is context.
        let left = batch.context;
        let logits = self.net.forward(batch.images);
        let columns = logits.dims()[3] - left;
        let logits = logits.narrow(3, left, columns);
        let labels = batch.masks.narrow(3, left, columns);
        let loss = self.loss.forward(logits.clone(), labels.clone());
        Scored::new(loss, logits, labels)
    }
}

impl Scored {
    fn new(loss: Tensor<1>, logits: Tensor<4>, labels: Tensor<4, Int>) -> Self {
        Self {
            loss,
            logits,
            labels,
        }
    }
}

impl ItemLazy for Scored {
    /// Detaches the gradients: the metrics run on a thread of their own.
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self {
            loss: self.loss.without_autodiff(),
            logits: self.logits.without_autodiff(),
            labels: self.labels,
        })
    }
}

impl Adaptor<LossInput> for Scored {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<OverlapInput<4, 4>> for Scored {
    fn adapt(&self) -> OverlapInput<4, 4> {
        OverlapInput {
            scores: self.logits.clone(),
            labels: self.labels.clone(),
        }
    }
}
