//! Trains a U-Net to segment cell nuclei, on one microscopy image, with Burn's trainer.
//!
//! ```text
//! cargo run --example train_unet
//! cargo run --example train_unet --features ndarray,wgpu -- --device wgpu
//! ```
//!
//! The left three quarters of the image are trained on, in random crops; the rest is for validation. At the end
//! it prints the validation IoU and writes a picture: the image, the truth, and the prediction.

mod support;

use std::error::Error;
use std::sync::Mutex;

use burn::data::dataloader::{DataLoaderBuilder, batcher::Batcher};
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::optim::{AdamConfig, lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig};
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{Device, Tensor};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LossMetric;
use burn::train::{
    ExecutionStrategy, InferenceStep, Learner, RegressionOutput, SupervisedTraining, TrainOutput,
    TrainStep,
};
use burn_skip::Layer;
use burn_skip::down::DownConfig;
use burn_skip::net::{EncoderConfig, PlainEncoderConfig, Unet, UnetConfig};
use burn_skip::up::UpConfig;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use support::images::{iou, nuclei, stretched, write};

/// Keeps its pages: glibc's allocator returns large buffers to the system after every step, and the page faults
/// that follow can double the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "Trains a U-Net to segment the cell nuclei of a microscopy image.
  --steps N      training steps, rounded up to a multiple of 6 epochs [default: 300]
  --out FILE     picture of image, truth and prediction [default: nuclei.png]";

/// The columns from here on are for validation.
const SPLIT: usize = 384;
const BATCH: usize = 8;
const CROP: usize = 96;
const EPOCHS: usize = 6;

/// An image and its mask, or a batch of them: `[batch, 1, height, width]`.
#[derive(Clone, Debug)]
struct Pair {
    image: Tensor<4>,
    mask: Tensor<4>,
}

impl Pair {
    /// The same function of both.
    fn map(&self, part: impl Fn(Tensor<4>) -> Tensor<4>) -> Self {
        let (image, mask) = (part(self.image.clone()), part(self.mask.clone()));
        Self { image, mask }
    }

    /// A square at a random place, flipped and transposed at random.
    fn crop(&self, random: &mut StdRng) -> Self {
        let [.., height, width] = self.image.dims();
        let [top, left] = [height, width].map(|size| random.random_range(0..=size - CROP));
        let [flip, mirror, transpose] = random.random::<[bool; 3]>();
        self.map(|x| {
            let x = x.narrow(2, top, CROP).narrow(3, left, CROP);
            let x = if flip { x.flip([2]) } else { x };
            let x = if mirror { x.flip([3]) } else { x };
            if transpose { x.swap_dims(2, 3) } else { x }
        })
    }
}

/// The network. Blur pooling and bilinear upsampling keep edges where they are.
#[derive(Module, Debug)]
struct Segmenter {
    unet: Unet,
}

impl Segmenter {
    fn new(device: &Device) -> Self {
        let widths = vec![16, 32, 64];
        let encoder = PlainEncoderConfig::new(1, widths.clone()).with_down(DownConfig::blur());
        let config = UnetConfig::new(1, 1, widths)
            .with_encoder(EncoderConfig::Plain(encoder))
            .with_up(UpConfig::linear());
        let unet = config.init(device);
        Self { unet }
    }

    /// Binary cross entropy plus Dice, with the logits and the masks in rows for Burn's metrics.
    fn score(&self, batch: Pair) -> RegressionOutput {
        let (logits, truth) = (self.unet.forward(batch.image), batch.mask);
        let entropy = logits.clone() * (-truth.clone() + 1.0) - log_sigmoid(logits.clone());
        let probability = sigmoid(logits.clone());
        let both = (probability.clone() * truth.clone()).sum();
        let dice = -(both * 2.0 + 1.0) / (probability.sum() + truth.clone().sum() + 1.0) + 1.0;
        RegressionOutput::new(
            entropy.mean() + dice,
            logits.flatten(0, 2),
            truth.flatten(0, 2),
        )
    }
}

impl TrainStep for Segmenter {
    type Input = Pair;
    type Output = RegressionOutput;

    fn step(&self, batch: Pair) -> TrainOutput<RegressionOutput> {
        let output = self.score(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Segmenter {
    type Input = Pair;
    type Output = RegressionOutput;

    fn step(&self, batch: Pair) -> RegressionOutput {
        self.score(batch)
    }
}

/// Makes batches: of random crops for training, of what is there for validation.
struct Stack {
    random: Option<Mutex<StdRng>>,
}

impl Batcher<Pair, Pair> for Stack {
    fn batch(&self, items: Vec<Pair>, device: &Device) -> Pair {
        let items = items.into_iter().map(|pair| match &self.random {
            Some(random) => pair.crop(&mut random.lock().expect("no thread has panicked")),
            None => pair,
        });
        let (images, masks) = items.map(|pair| (pair.image, pair.mask)).unzip();
        let stack = |maps| Tensor::from_data(Tensor::cat(maps, 0).into_data(), device);
        let (image, mask) = (stack(images), stack(masks));
        Pair { image, mask }
    }
}

fn main() -> std::process::ExitCode {
    support::main(USAGE, &["--steps", "--out"], run)
}

fn run() -> Result<(), Box<dyn Error>> {
    let device = support::device()?;
    let steps = support::number("--steps", 300)?.next_multiple_of(EPOCHS);
    let [image, mask] = nuclei(&device)?;
    let image = stretched(image.log1p());
    let whole = Pair { image, mask };
    let train = whole.map(|x| x.narrow(3, 0, SPLIT));
    let valid = whole.map(|x| x.narrow(3, SPLIT, 512 - SPLIT));

    let recording = device.clone().autodiff();
    recording.seed(1);
    let model = Segmenter::new(&recording);
    println!("{} parameters", model.num_params());
    let random = Some(Mutex::new(StdRng::seed_from_u64(1)));
    let trained = SupervisedTraining::new(
        std::env::temp_dir(), // Nothing is written: there is no checkpointer.
        DataLoaderBuilder::new(Stack { random })
            .batch_size(BATCH)
            .build(InMemDataset::new(vec![train; BATCH * steps / EPOCHS])),
        DataLoaderBuilder::new(Stack { random: None })
            .batch_size(1)
            .build(InMemDataset::new(vec![valid.clone()])),
    )
    .num_epochs(EPOCHS)
    .with_training_strategy(ExecutionStrategy::single(recording).into())
    .metric_train_numeric(LossMetric::new())
    .metric_valid_numeric(LossMetric::new())
    .with_metric_logger(InMemoryMetricLogger::new())
    .with_application_logger(None)
    .renderer(Box::new(support::progress::EpochLines::default()))
    .launch(Learner::new(
        model,
        AdamConfig::new().init(),
        CosineAnnealingLrSchedulerConfig::new(4e-3, steps).init()?,
    ));
    if let Some(error) = trained.error {
        return Err(error.to_string().into());
    }

    // On the whole image, so that the network sees what lies beside the validation columns.
    let logits = trained.model.unet.forward(whole.image);
    let found = logits.greater_elem(0).narrow(3, SPLIT, 512 - SPLIT);
    let found = found.float();
    let score = iou(found.clone(), valid.mask.clone());
    println!("validation IoU {score:.3}");
    let out = support::option("--out").unwrap_or_else(|| "nuclei.png".into());
    write(&out, Tensor::cat(vec![valid.image, valid.mask, found], 3))?;
    println!("wrote {out}: the image, the truth, the prediction");
    Ok(())
}
