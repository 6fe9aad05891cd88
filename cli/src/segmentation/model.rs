//! The model: a network that classifies every pixel, and its training and validation steps.

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use burn_skip::loss::{DeepSupervision, Loss, LossConfig};
use burn_skip::net::{AnySegmentationModel, SegmentationConfig};

use crate::Result;
use crate::segmentation::average::Average;
use crate::segmentation::batch::{Batch, Whole};
use crate::segmentation::clip::clip;
use crate::segmentation::judge::{Judge, Judgement};
use crate::segmentation::loss::default_loss;

/// Two gigabytes of weights are more likely a typing error than a plan.
pub const MAX_PARAMETERS: usize = 500_000_000;

/// A network that can be trained.
#[derive(Module, Debug)]
pub struct Segmenter<const R: usize> {
    pub net: AnySegmentationModel<R>,
    /// The moving average of its weights, if there is one: what is validated and used.
    average: Option<Average<R>>,
    /// What is minimised.
    #[module(skip)]
    pub loss: LossConfig,
    /// The largest norm of all gradients of a step together.
    #[module(skip)]
    clip_norm: Option<f64>,
}

/// What the metrics read of a training step.
pub struct StepLoss(Tensor<1>);

/// The class of every pixel, `[batch, 1, spatial...]`. For a single class, 1 where its logit is 0 or more, that
/// is, its probability a half or more.
pub fn predicted<const R: usize>(logits: Tensor<R>) -> Tensor<R> {
    match logits.dims()[1] {
        1 => logits.greater_equal_elem(0.0).float(),
        _ => logits.argmax(1).float(),
    }
}

/// The probability of each class, `[batch, classes, spatial...]`; of a single class that of the foreground.
pub fn probabilities<const R: usize>(logits: Tensor<R>) -> Tensor<R> {
    match logits.dims()[1] {
        1 => sigmoid(logits),
        _ => softmax(logits, 1),
    }
}

impl<const R: usize> Segmenter<R> {
    /// A network with initial weights, which are not in memory yet, and the default loss.
    ///
    /// # Errors
    /// When it has more than [`MAX_PARAMETERS`].
    pub fn new(config: &SegmentationConfig, device: &Device) -> Result<Self> {
        let net: AnySegmentationModel<R> = config.init(device);
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
            average: None,
            loss: default_loss(config.out_channels, None),
            clip_norm: None,
        })
    }

    /// The network with another loss.
    pub fn with_loss(self, loss: LossConfig) -> Self {
        Self { loss, ..self }
    }

    /// The network, each of whose steps has gradients of this norm at most.
    pub fn with_clip_norm(self, clip_norm: Option<f64>) -> Self {
        Self { clip_norm, ..self }
    }

    /// The network with a moving average of its weights after so many steps, if there is a decay.
    pub fn with_average(mut self, decay: Option<f64>, steps: usize) -> Self {
        self.average = decay.map(|decay| Average::new(&self.net, decay, steps));
        self
    }

    /// The network that is validated and used: the average, where there is one.
    pub fn used(&self) -> &AnySegmentationModel<R> {
        let average = self.average.as_ref();
        average.map_or(&self.net, |average| &average.net)
    }

    /// The network without the state of its training.
    pub fn trained(self) -> Self {
        Self {
            net: self.average.map_or(self.net, |average| average.net),
            average: None,
            loss: self.loss,
            clip_norm: None,
        }
    }
}

impl<const R: usize> TrainStep for Segmenter<R> {
    type Input = Batch<R>;
    type Output = StepLoss;

    fn step(&self, batch: Batch<R>) -> TrainOutput<StepLoss> {
        // So that a step depends on its crops alone, also in a training that was broken off and resumed.
        batch.images.device().seed(batch.seed);
        let mut logits = self.net.forward_supervised(batch.images).logits;
        // The heads of coarser steps have their share, halved from each to the next.
        let loss = match logits.len() {
            1 => self.loss.forward(logits.remove(0), batch.masks),
            _ => DeepSupervision::new(self.loss.clone()).forward(logits, batch.masks),
        };
        let gradients = loss.backward();
        TrainOutput::new(self, gradients, StepLoss(loss))
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let gradients = match self.clip_norm {
            Some(norm) => clip(&self.net, gradients, norm),
            None => gradients,
        };
        let mut model = optimizer.step(rate, self, gradients);
        let average = model.average.take();
        model.average = average.map(|average| average.updated(&model.net));
        model
    }
}

impl<const R: usize> InferenceStep for Segmenter<R> {
    type Input = Whole;
    type Output = Judgement;

    fn step(&self, whole: Whole) -> Judgement {
        Judge::judge(self.used(), &self.loss, &whole.sample, &whole.device)
    }
}

impl ItemLazy for StepLoss {
    /// Detaches the gradients: the metrics run on a thread of their own.
    fn sync(self) -> Result<Self, ExecutionError> {
        self.0.device().flush()?;
        Ok(Self(self.0.without_autodiff()))
    }
}

impl Adaptor<LossInput> for StepLoss {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.0.clone())
    }
}
