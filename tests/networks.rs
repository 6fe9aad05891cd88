//! Whole networks: the weights of torchvision, timm, segmentation_models.pytorch and MONAI by their names,
//! the same logits, the same losses for three steps of training, and the way back.
//!
//! The references lie in `tests/golden/networks`; `scripts/generate_networks.py` makes them. Weights
//! are not stored: both sides compute them by a formula, from the names of the source.

#[path = "support/devices.rs"]
mod devices;
#[path = "support/formula.rs"]
mod formula;
#[path = "support/golden.rs"]
#[allow(dead_code)] // the cases of single layers are read by the other tests
mod golden;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_skip::Layer;
use burn_skip::net::{
    AnyEncoder, AnySegmentationModel, Classifier, DecoderConfig, SegmentationConfig, Supervised,
    Unet,
};
use burn_skip::resize::{ResizeMode, resize};
use burn_skip::weights::{Architecture, WeightsFile, save};
use libtest_mimic::{Arguments, Failed, Trial};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use golden::Tensors;

/// Logits agree to this, relative to the largest.
const LOGITS: f32 = 1e-4;
/// Losses agree to this, relative to themselves, beside what rounding makes of the source's.
const LOSSES: f32 = 1e-3;

fn main() -> ExitCode {
    let folder = golden::folder_of("networks");
    let mut trials = Vec::new();
    for name in NETWORKS {
        let path = folder.join(format!("{name}.safetensors"));
        for (device_name, device) in devices::devices() {
            // The losses and the way back are the same arithmetic everywhere, and the large networks
            // slow off flex; tests/parity.rs has every layer's gradients on every device.
            let thorough = device_name == "flex";
            let is_small =
                ["resnet18", "smp_unet_resnet18"].contains(&name) || name.contains("monai");
            if !thorough && !is_small {
                continue;
            }
            let path = path.clone();
            let trial = move || Reference::read(&path).check(&device, thorough);
            trials.push(Trial::test(format!("{device_name}: {name}"), trial));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

const NETWORKS: [&str; 53] = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnext50",
    "wide_resnet50",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "timm_mobilenetv2_100",
    "timm_efficientnet_b0",
    "timm_mobilenetv3_large_100",
    "timm_convnext_tiny",
    "seresnet18",
    "timm_res2net",
    "timm_res2next",
    "smp_unet_resnet18",
    "smp_unet_resnet34",
    "smp_unet_resnet50",
    "smp_unet_resnet18_aux",
    "smp_unet_plus_plus_resnet18",
    "smp_linknet_resnet18",
    "smp_fpn_resnet18",
    "smp_fpn_resnet50",
    "smp_psp_resnet18",
    "smp_upernet_resnet18",
    "smp_segformer_resnet18",
    "smp_segformer_mit_b0",
    "smp_deeplab_v3_resnet18",
    "smp_deeplab_v3_plus_resnet18",
    "smp_pan_resnet18",
    "smp_manet_resnet18",
    "smp_unet_mobilenet_v2",
    "smp_unet_vgg11",
    "smp_unet_vgg16_bn",
    "smp_unet_timm_efficientnet_b0",
    "smp_unet_densenet121",
    "smp_unet_densenet121_of_4",
    "smp_unet_tu_mobilenet_v3_large",
    "smp_deeplab_v3_plus_mobilenet_v2",
    "monai_basic_unet",
    "monai_basic_unet_3d",
    "monai_basic_unet_wide",
    "monai_segresnet",
    "monai_segresnet_3d",
    "monai_unet",
    "monai_unet_3d",
    "monai_dynunet",
    "monai_dynunet_3d",
    "monai_attention_unet",
    "monai_vnet",
];

/// What the source's network gives.
struct Reference {
    metadata: HashMap<String, String>,
    tensors: Tensors,
}

impl Reference {
    fn read(path: &Path) -> Self {
        let (metadata, tensors) = golden::read(path);
        Self { metadata, tensors }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> T {
        serde_json::from_str(&self.metadata[key]).unwrap_or_else(|e| panic!("{key}: {e}"))
    }

    /// The source's state dict as a file, by the formula.
    fn weights(&self) -> Vec<u8> {
        let names: Vec<(String, Vec<usize>)> = self.json("names");
        let seed = self.json("seed");
        // The first names of tensors that have two.
        let copies: BTreeMap<String, String> = match self.metadata.contains_key("copies") {
            true => self.json("copies"),
            false => BTreeMap::new(),
        };
        let tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = names
            .into_iter()
            .map(|(name, shape)| {
                let first = copies.get(&name).unwrap_or(&name);
                let values = formula::weight(first, &shape, seed, &self.metadata["damped"]);
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, (shape, bytes))
            })
            .collect();
        let views = tensors.iter().map(|(name, (shape, bytes))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name, view.expect("bytes of this shape"))
        });
        safetensors::serialize(views, None).expect("a file in memory")
    }

    /// Finds the architecture, loads the weights, and compares.
    fn check(&self, device: &Device, thorough: bool) -> Result<(), Failed> {
        let file = WeightsFile::from_safetensors(self.weights())?;
        let architecture = Architecture::detect(&file).ok_or("no architecture was detected")?;
        let run = Run {
            reference: self,
            file: &file,
            architecture: &architecture,
            device,
            thorough,
        };
        let seed = self.json("seed");
        match &architecture {
            Architecture::Torchvision(config) | Architecture::Timm(config) => run.check(
                |device| config.init(device),
                |net: &Classifier<AnyEncoder>, x: Tensor<4>| net.forward(x),
                cross_entropy,
            ),
            Architecture::Smp { config, .. } => {
                let config = without_dropout(config.clone());
                let build = |device: &Device| -> AnySegmentationModel { config.init(device) };
                run.check(build, with_heads::<4>, |y| squares(y, seed))
            }
            Architecture::Monai {
                config, axes: 2, ..
            } => {
                let build = |device: &Device| -> AnySegmentationModel { config.init(device) };
                run.check(build, with_heads::<4>, |y| squares(y, seed))
            }
            Architecture::Monai { config, .. } => {
                let build = |device: &Device| -> AnySegmentationModel<5> { config.init(device) };
                run.check(build, with_heads::<5>, |y| squares(y, seed))
            }
            Architecture::MonaiBasicUnet { config, axes: 2 } => {
                let build = |device: &Device| -> Unet { config.init(device) };
                run.check(build, Unet::forward, |y| squares(y, seed))
            }
            Architecture::MonaiBasicUnet { config, .. } => {
                let build = |device: &Device| -> Unet<5> { config.init(device) };
                run.check(build, Unet::<5>::forward, |y| squares(y, seed))
            }
        }
    }
}

/// The logits of each position; where the network has other heads, the sum of all, as the reference has it.
fn with_heads<const R: usize>(net: &AnySegmentationModel<R>, x: Tensor<R>) -> Tensor<R> {
    if net.classification_head.is_none() && net.supervision_heads.is_empty() {
        return net.forward(x);
    }
    let Supervised {
        logits,
        class_logits,
    } = net.forward_supervised(x);
    let size = logits[0].dims()[2..].to_vec();
    let resized = |logits| resize(logits, &size, ResizeMode::Nearest);
    let steps = logits.into_iter().map(resized);
    let sum = steps.reduce(|sum, step| sum + step).expect("an output");
    match class_logits {
        Some(class_logits) => {
            let mut shape = [1; R];
            shape[..2].copy_from_slice(&class_logits.dims());
            sum + class_logits.reshape(shape)
        }
        None => sum,
    }
}

/// The network without what is drawn at random in training: the references have none either.
fn without_dropout(mut config: SegmentationConfig) -> SegmentationConfig {
    if let Some(head) = &mut config.classification_head {
        head.dropout = 0.0;
    }
    match &mut config.decoder {
        DecoderConfig::Fpn(decoder) => decoder.dropout = 0.0,
        DecoderConfig::Psp(decoder) => decoder.dropout = 0.0,
        DecoderConfig::DeepLab(decoder) => decoder.dropout = 0.0,
        _ => {}
    }
    config
}

/// The mean cross entropy with the labels `(7 n + 3) mod classes`.
fn cross_entropy(logits: Tensor<2>) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    let labels: Vec<i64> = (0..batch).map(|n| ((7 * n + 3) % classes) as i64).collect();
    let device = logits.device();
    let labels = Tensor::<1, Int>::from_data(TensorData::from(&labels[..]), &device);
    CrossEntropyLossConfig::new()
        .init(&device)
        .forward(logits, labels)
}

/// The mean of `(y - target)^2`.
fn squares<const D: usize>(y: Tensor<D>, seed: u64) -> Tensor<1> {
    let shape = y.dims();
    let target = formula::data("target", seed, shape.iter().product());
    let target = Tensor::from_data(TensorData::new(target, shape), &y.device());
    (y - target).powi_scalar(2).mean()
}

struct Run<'a> {
    reference: &'a Reference,
    file: &'a WeightsFile,
    architecture: &'a Architecture,
    device: &'a Device,
    thorough: bool,
}

impl Run<'_> {
    fn check<M: Module, const R: usize, const D: usize>(
        &self,
        build: impl Fn(&Device) -> M,
        forward: impl Fn(&M, Tensor<R>) -> Tensor<D>,
        loss: impl Fn(Tensor<D>) -> Tensor<1>,
    ) -> Result<(), Failed> {
        let mut net = build(self.device);
        self.file.load_into(&mut net, &self.architecture.names())?;
        let shapes: Vec<Vec<usize>> = self.reference.json("shapes");
        for (index, shape) in shapes.iter().enumerate() {
            let x = self.input("input", shape, self.device);
            self.compare_logits(index, forward(&net, x))?;
        }
        if self.thorough {
            self.compare_saved(&net)?;
            self.compare_losses(build(&self.device.clone().autodiff()), forward, loss)?;
        }
        Ok(())
    }

    fn input<const R: usize>(&self, name: &str, shape: &[usize], device: &Device) -> Tensor<R> {
        let values = formula::data(name, self.reference.json("seed"), shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape.to_vec()), device)
    }

    fn compare_logits<const D: usize>(&self, index: usize, y: Tensor<D>) -> Result<(), Failed> {
        let tensors = &self.reference.tensors;
        let expected = &tensors[&format!("logits{index}")].data;
        let largest = tensors[&format!("logits{index}_max")].data[0];
        let shape = y.dims();
        let all = y
            .into_data()
            .convert::<f32>()
            .try_to_vec::<f32>()
            .expect("floats");
        // Of a map every 61st value is stored.
        let step = if D == 2 { 1 } else { 61 };
        let actual: Vec<f32> = all.into_iter().step_by(step).collect();
        assert_eq!(actual.len(), expected.len(), "{shape:?}");
        let worst = actual
            .iter()
            .zip(expected)
            .map(|(a, e)| (a - e).abs())
            .fold(
                0.0,
                |m: f32, d| if d.is_nan() { f32::INFINITY } else { m.max(d) },
            );
        match worst <= LOGITS * largest {
            true => Ok(()),
            false => Err(format!("logits{index}: off by {worst:e}, largest {largest:e}").into()),
        }
    }

    /// The saved file has the names, the shapes and the values of the source's.
    fn compare_saved<M: Module>(&self, net: &M) -> Result<(), Failed> {
        let folder = std::env::temp_dir().join(format!("burn-skip-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!(
            "{}.safetensors",
            self.reference.metadata["network"]
        ));
        save(net, &path, &self.architecture.names())?;
        let saved = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        let source = self.reference.weights();
        let [saved, source] = [&saved, &source].map(|bytes| {
            let file = safetensors::SafeTensors::deserialize(bytes).expect("a safetensors file");
            let mut tensors = file.tensors();
            tensors.sort_by(|a, b| a.0.cmp(&b.0));
            tensors
        });
        // (Stages that the network has not.)
        let unread = match self.architecture {
            Architecture::Smp { unread, .. } => &unread[..],
            _ => &[],
        };
        let is_read = |name: &str| !unread.iter().any(|stage| name.starts_with(stage.as_str()));
        let source: Vec<_> = source
            .into_iter()
            .filter(|(name, _)| is_read(name))
            .collect();
        for ((a, x), (b, y)) in saved.iter().zip(&source) {
            if a != b || x.shape() != y.shape() || x.data() != y.data() {
                return Err(format!("saved: {a} {:?} for {b} {:?}", x.shape(), y.shape()).into());
            }
        }
        match saved.len() == source.len() {
            true => Ok(()),
            false => Err(format!("saved: {} of {} tensors", saved.len(), source.len()).into()),
        }
    }

    /// Three steps of SGD give the losses of the source.
    fn compare_losses<M: Module, const R: usize, const D: usize>(
        &self,
        mut net: M,
        forward: impl Fn(&M, Tensor<R>) -> Tensor<D>,
        loss: impl Fn(Tensor<D>) -> Tensor<1>,
    ) -> Result<(), Failed> {
        self.file.load_into(&mut net, &self.architecture.names())?;
        let device = self.device.clone().autodiff();
        let shape: Vec<usize> = self.reference.json("train_shape");
        let rate: f64 = self.reference.json("lr");
        let mut optimizer = SgdConfig::new().init();
        let mut losses = Vec::new();
        for step in 0..4 {
            let value = loss(forward(&net, self.input("train", &shape, &device)));
            losses.push(value.clone().into_scalar::<f32>());
            if step < 3 {
                let gradients = GradientsParams::from_grads(value.backward(), &net);
                net = optimizer.step(rate, net, gradients);
            }
        }
        let expected = &self.reference.tensors["losses"].data;
        // How far the source's own losses are from those in f64: batch norms over few values make
        // much of rounding.
        let rounding = &self.reference.tensors["losses_error"].data;
        let close = |(a, (e, r)): (&f32, (&f32, &f32))| (a - e).abs() <= LOSSES * e.abs() + 2.0 * r;
        match losses.iter().zip(expected.iter().zip(rounding)).all(close) {
            true => Ok(()),
            false => Err(format!("losses {losses:?}, expected {expected:?}").into()),
        }
    }
}
