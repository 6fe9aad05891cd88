//! ONNX models of every operation, of every pair of an encoder and a decoder, and of the known networks.
//!
//! With `BURN_SKIP_ONNX_DIR`, each model is written to that folder with inputs of two sizes and the outputs of this crate,
//! and `scripts/check_onnx.py` compares what ONNX Runtime computes. Without it, all are exported, and nothing is computed.

mod fusions;
mod layers;

use std::path::PathBuf;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use burn_skip::activation::ActivationConfig;
use burn_skip::net::{
    AnyEncoder, AnySegmentationModel, Classifier, ClassifierConfig, DenseNetEncoderConfig,
    EncoderConfig, HiddenConfig, ResNetEncoderConfig, SegmentationConfig, UnetConfig,
};
use burn_skip::onnx::{OnnxOptions, export_traced};
use burn_skip::plan::{Map, Planner};
use burn_skip::{Layer, ShapeError};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::every_pair::{encoders, every_pair};

/// The folder that models are written to.
fn folder() -> Option<PathBuf> {
    std::env::var_os("BURN_SKIP_ONNX_DIR").map(PathBuf::from)
}

/// Sets the numbers that norms start with to others, so that they are tested.
struct Randomize<'a> {
    path: Vec<String>,
    device: &'a Device,
}

impl ModuleMapper for Randomize<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let spread = match self.path.last().map(|name| &name[..]) {
            Some("running_var" | "gamma" | "alpha" | "layer_scale") => (0.5, 1.5),
            Some("running_mean" | "beta" | "bias" | "weights") => (-0.5, 0.5),
            _ => return param,
        };
        let device = self.device;
        param.map(|tensor| {
            Tensor::random(
                tensor.dims(),
                Distribution::Uniform(spread.0, spread.1),
                device,
            )
        })
    }
}

fn randomized<M: Module>(module: M, device: &Device) -> M {
    module.map(&mut Randomize {
        path: Vec::new(),
        device,
    })
}

/// Exports what `trace` records of `net`, and writes the inputs of these shapes and what `forward` makes of them.
fn check<const R: usize, const O: usize, M: Module>(
    name: &str,
    net: M,
    shapes: &[[usize; R]],
    trace: impl Fn(&M, &mut Planner, &Map<R>) -> Result<Vec<Map<O>>, ShapeError>,
    forward: impl Fn(&M, Tensor<R>) -> Vec<Tensor<O>>,
) {
    let device = Device::flex();
    device.seed(1);
    let net = randomized(net, &device);
    let model = export_traced(&net, shapes[0], &OnnxOptions::new(), |planner, x| {
        trace(&net, planner, x)
    });
    let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
    let Some(folder) = folder() else { return };
    let name = name.replace(' ', "_");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.onnx")), model.into_bytes()).unwrap();
    for (index, shape) in shapes.iter().enumerate() {
        let x = Tensor::random(*shape, Distribution::Normal(0.0, 1.0), &device);
        let outputs = forward(&net, x.clone());
        let mut tensors = vec![("input".to_string(), x.into_data())];
        let count = outputs.len();
        for (n, y) in outputs.into_iter().enumerate() {
            let name = match count {
                1 => "output".into(),
                _ => format!("output_{n}"),
            };
            tensors.push((name, y.into_data()));
        }
        let path = folder.join(format!("{name}.{index}.safetensors"));
        std::fs::write(path, safetensors_of(&tensors)).unwrap();
    }
}

fn safetensors_of(tensors: &[(String, TensorData)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, data)| {
            let values: Vec<f32> = data.clone().try_to_vec().unwrap();
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, data), bytes)| {
        let view = TensorView::new(Dtype::F32, data.shape().to_vec(), bytes).unwrap();
        (name.clone(), view)
    });
    safetensors::serialize(views, None).unwrap()
}

/// Checks a layer with one output of the same rank.
fn check_layer<const R: usize>(name: &str, layer: impl Layer<R>, shapes: &[[usize; R]]) {
    check(
        name,
        layer,
        shapes,
        |layer, planner, x| Ok(vec![layer.trace(planner, x)?]),
        |layer, x| vec![layer.forward(x)],
    );
}

fn check_net(name: &str, net: AnySegmentationModel, shapes: &[[usize; 4]]) {
    check_layer(name, net, shapes);
}

#[test]
fn unet() {
    let net: AnySegmentationModel =
        segmentation(UnetConfig::new(3, 2, vec![4, 8, 8, 12])).init(&Device::flex());
    check_net("unet", net, &[[1, 3, 32, 48], [2, 3, 45, 61]]);
}

fn segmentation(config: UnetConfig) -> SegmentationConfig {
    config.into()
}

/// The networks of `burn-skip plan --template`.
#[test]
fn templates() {
    let device = Device::flex();
    let resnet18 = || EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    let shapes = |channels| [[1, channels, 64, 64], [2, channels, 75, 53]];
    let unets = [
        (
            "template unet",
            UnetConfig::new(3, 2, vec![32, 64, 128, 256]),
            shapes(3),
        ),
        (
            "template unet-unpadded",
            UnetConfig::unpadded(1, 2, vec![64, 128, 256, 512, 1024]),
            [[1, 1, 188, 188], [1, 1, 205, 191]],
        ),
        (
            "template smp-unet-resnet18",
            UnetConfig::smp(resnet18(), 1),
            shapes(3),
        ),
        (
            "template monai-basic-unet",
            UnetConfig::monai_basic(1, 2, [32, 32, 64, 128, 256, 32]),
            shapes(1),
        ),
    ];
    for (name, config, shapes) in unets {
        check_net(name, segmentation(config).init(&device), &shapes);
    }
    let classifiers = [
        ("template resnet18", resnet18()),
        (
            "template resnet50",
            EncoderConfig::ResNet(ResNetEncoderConfig::resnet50()),
        ),
        (
            "template densenet121",
            EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121()),
        ),
    ];
    for (name, encoder) in classifiers {
        let net = ClassifierConfig::new(encoder, 1000).init::<4>(&device);
        check_classifier(name, net, &shapes(3));
    }
}

fn check_classifier(name: &str, net: Classifier<AnyEncoder>, shapes: &[[usize; 4]]) {
    check(
        name,
        net,
        shapes,
        |net, planner, x| Ok(vec![net.trace(planner, x)?]),
        |net, x| vec![net.forward(x)],
    );
}

#[test]
fn images() {
    let shapes = [[1, 3, 64, 96], [2, 3, 45, 61]];
    every_pair(|name, config| {
        check_net(&format!("2d {name}"), config.init(&Device::flex()), &shapes);
    });
}

#[test]
fn signals() {
    every_pair(|name, config| {
        let net: AnySegmentationModel<3> = config.init(&Device::flex());
        check_layer(
            &format!("1d {name}"),
            net,
            &[[1, 3, 64], [2, 3, 77], [1, 3, 531]],
        );
    });
}

#[test]
fn volumes() {
    every_pair(|name, config| {
        let net: AnySegmentationModel<5> = config.init(&Device::flex());
        let shapes = [[1, 3, 32, 32, 32], [1, 3, 35, 33, 41]];
        check_layer(&format!("3d {name}"), net, &shapes);
    });
}

#[test]
fn classifiers() {
    for (name, encoder) in encoders() {
        let hidden = HiddenConfig::new(6, ActivationConfig::HardSwish);
        let config = ClassifierConfig::new(encoder, 5)
            .with_norm(1e-6)
            .with_hidden(hidden);
        let net = config.init::<4>(&Device::flex());
        check_classifier(
            &format!("classifier {name}"),
            net,
            &[[1, 3, 64, 64], [2, 3, 53, 47]],
        );
    }
}
