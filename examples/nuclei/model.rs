//! The model: a U-Net whose one output channel is the logit of "this pixel is foreground".

use burn::module::Module;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use burn_skip::Layer;
use burn_skip::net::{Unet, UnetConfig};

use crate::Result;
use crate::batch::Batch;
use crate::metrics::{Overlap, OverlapInput};

/// A U-Net that can be trained.
#[derive(Module, Debug)]
pub struct Segmenter {
    pub unet: Unet<4>,
}

/// What the metrics need to know of a step.
pub struct Scored {
    loss: Tensor<1>,
    overlap: Tensor<1>,
}

/// More parameters than this are a slip of the finger: 2 GB of weights.
const MOST_PARAMETERS: usize = 500_000_000;

/// A network with fresh weights, which are not in memory yet.
///
/// # Errors
/// When it would be too large.
pub fn build(config: &UnetConfig, device: &Device) -> Result<Unet<4>> {
    let unet: Unet<4> = config.init(device);
    let parameters = unet.num_params();
    if parameters > MOST_PARAMETERS {
        return Err(format!(
            "the network of widths {:?} has {parameters} parameters, and {MOST_PARAMETERS} are the \
             most that this program takes. Use smaller widths or kernels.",
            config.encoder.feature_channels()
        )
        .into());
    }
    Ok(unet)
}

impl Segmenter {
    /// A network with fresh weights.
    ///
    /// # Errors
    /// As [`build`].
    pub fn new(config: &UnetConfig, device: &Device) -> Result<Self> {
        let unet = build(config, device)?;
        Ok(Self { unet })
    }

    fn score(&self, batch: Batch) -> Scored {
        let judged = |map: Tensor<4>| {
            let columns = map.dims()[3] - batch.context;
            map.narrow(3, batch.context, columns)
        };
        let logits = judged(self.unet.forward(batch.images));
        let masks = judged(batch.masks);
        Scored {
            loss: loss(logits.clone(), masks.clone()),
            overlap: Overlap::count(logits, masks),
        }
    }
}

/// Sees that the network takes an image of this size, and marks every pixel of it.
///
/// # Errors
/// When it is too small for the network, or comes out with another size.
pub fn check_size(network: &UnetConfig, height: usize, width: usize) -> Result<()> {
    let input = [1, 1, height, width];
    let [_, _, out_height, out_width] = network.output_shape(input).map_err(|e| {
        format!("the network does not suit {width} x {height} pixels (width x height): {e}")
    })?;
    if [out_height, out_width] != [height, width] {
        return Err(format!(
            "the network makes {out_width} x {out_height} pixels (width x height) of {width} x \
             {height}; to mark every pixel it must keep the size. Change its config."
        )
        .into());
    }
    Ok(())
}

impl TrainStep for Segmenter {
    type Input = Batch;
    type Output = Scored;

    fn step(&self, batch: Batch) -> TrainOutput<Scored> {
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

/// Cross entropy, which judges every pixel, plus Dice, which judges the overlap as a whole and
/// so does not care how much background there is.
fn loss(logits: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    cross_entropy(logits.clone(), truth.clone()) + dice(sigmoid(logits), truth)
}

/// `-t log s(x) - (1 - t) log(1 - s(x))`, written so that no logit overflows.
fn cross_entropy(logits: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    (logits.clone() * (-truth + 1.0) - log_sigmoid(logits)).mean()
}

/// `1 - 2 |p t| / (|p| + |t|)`, smoothed by one pixel so that an empty truth has a gradient.
fn dice(probability: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
    let both = (probability.clone() * truth.clone()).sum();
    let total = probability.sum() + truth.sum();
    -(both * 2.0 + 1.0) / (total + 1.0) + 1.0
}

impl ItemLazy for Scored {
    /// Leaves the gradients behind: the metrics run on a thread of their own.
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
