//! Keras models, exported by `scripts/export_keras.py`, in networks of this crate: the same outputs,
//! the same losses for three steps of training, the same running statistics after them.
//!
//! The models lie in `tests/golden/keras`; `scripts/generate_keras.py` makes them.

use crate::devices;
use crate::formula;
use crate::golden;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Relu};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use burn_skip::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use burn_skip::conv::TransposedPadding;
use burn_skip::merge::Order;
use burn_skip::net::{Unet, UnetConfig};
use burn_skip::norm::NormConfig;
use burn_skip::up::UpConfig;
use burn_skip::weights::{Names, WeightsFile, save};
use burn_skip::{Layer, UpsampleConcat, UpsampleConcatConfig};

/// `Conv2D(32, 3) - BatchNormalization - relu - MaxPooling2D(2)`, of Burn's own layers.
type Stage = (Conv2d, BatchNorm, Relu, MaxPool2d);

fn stage([input, output]: [usize; 2], device: &Device) -> Stage {
    (
        Conv2dConfig::new([input, output], [3, 3]).init(device),
        BatchNormConfig::new(output)
            .with_epsilon(1e-3)
            .with_momentum(0.01)
            .init(device),
        Relu::new(),
        MaxPool2dConfig::new([2, 2]).init(),
    )
}

/// Two stages, whose maps of 15x15 and 6x6 meet after a `Conv2DTranspose(32, 5, strides=2)`.
#[derive(Module, Debug)]
struct Pipeline {
    first: Stage,
    second: Stage,
    merge: UpsampleConcat<4, ConvNormAct>,
}

impl Pipeline {
    fn new(device: &Device) -> Self {
        let up = UpConfig::ConvTranspose {
            kernel_size: 5.into(),
            stride: 2.into(),
            padding: TransposedPadding::Valid,
            bias: true,
        };
        let block = ConvNormActConfig::new([64, 32], 3).with_norm(None);
        Self {
            first: stage([3, 32], device),
            second: stage([32, 32], device),
            merge: UpsampleConcatConfig::new(32, 32, 32)
                .with_up(up)
                .with_order(Order::SkipFirst)
                .init_with(block.init::<4>(device), device),
        }
    }

    fn names() -> Names {
        Names::new([
            ("first.0", "first_conv"),
            ("first.1", "first_norm"),
            ("second.0", "second_conv"),
            ("second.1", "second_norm"),
            ("merge.up.layer", "up"),
            ("merge.block.conv", "merged_conv"),
        ])
    }

    fn maps(&self, x: Tensor<4>) -> [Tensor<4>; 3] {
        let first = self.first.forward(x);
        let second = self.second.forward(first.clone());
        let output = self.merge.forward(second.clone(), first.clone());
        [first, second, output]
    }
}

fn unet(device: &Device) -> Unet {
    let style = ConvStyle::new()
        .with_norm(NormConfig::keras_batch())
        .with_bias(true);
    let up = UpConfig::ConvTranspose {
        kernel_size: 3.into(),
        stride: 2.into(),
        padding: TransposedPadding::Same,
        bias: true,
    };
    UnetConfig::new(1, 2, vec![4, 8, 16])
        .with_style(style)
        .with_up(up)
        .init(device)
}

fn unet_names() -> Names {
    Names::new([
        ("encoder.stem.first.conv", "encoder_0_conv_0"),
        ("encoder.stem.first.norm", "encoder_0_norm_0"),
        ("encoder.stem.second.conv", "encoder_0_conv_1"),
        ("encoder.stem.second.norm", "encoder_0_norm_1"),
        (
            "encoder.levels.{i}.block.first.conv",
            "encoder_{i+1}_conv_0",
        ),
        (
            "encoder.levels.{i}.block.first.norm",
            "encoder_{i+1}_norm_0",
        ),
        (
            "encoder.levels.{i}.block.second.conv",
            "encoder_{i+1}_conv_1",
        ),
        (
            "encoder.levels.{i}.block.second.norm",
            "encoder_{i+1}_norm_1",
        ),
        ("decoder.steps.{i}.up.layer", "decoder_{i}_up"),
        ("decoder.steps.{i}.block.first.conv", "decoder_{i}_conv_0"),
        ("decoder.steps.{i}.block.first.norm", "decoder_{i}_norm_0"),
        ("decoder.steps.{i}.block.second.conv", "decoder_{i}_conv_1"),
        ("decoder.steps.{i}.block.second.norm", "decoder_{i}_norm_1"),
        ("head", "head"),
    ])
}

/// What Keras computed, by name.
struct Reference {
    name: &'static str,
    metadata: std::collections::HashMap<String, String>,
    tensors: golden::Tensors,
}

impl Reference {
    fn read(name: &'static str) -> Self {
        let path = golden::folder_of("keras").join(format!("{name}_reference.safetensors"));
        let (metadata, tensors) = golden::read(&path);
        Self {
            name,
            metadata,
            tensors,
        }
    }

    fn tensor(&self, name: &str, device: &Device) -> Tensor<4> {
        let golden = &self.tensors[name];
        let data = TensorData::new(golden.data.clone(), golden.shape.clone());
        Tensor::from_data(data, device)
    }

    /// Loads the exported weights.
    fn load<M: Module>(&self, mut net: M, names: &Names) -> M {
        let path = golden::folder_of("keras").join(format!("{}.safetensors", self.name));
        let file = WeightsFile::open(path).unwrap_or_else(|e| panic!("{e}"));
        let report = file
            .load_into(&mut net, names)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(report.loaded.len(), file.tensors().count());
        net
    }

    /// Each value of `actual` is within `tolerance` times the largest that Keras has.
    fn compare(&self, name: &str, actual: &[f32], tolerance: f32, device: &str) {
        let expected = &self.tensors[name].data;
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert_eq!(actual.len(), expected.len(), "{name} on {device}");
        for (a, e) in actual.iter().zip(expected) {
            let off = (a - e).abs();
            assert!(
                off <= tolerance * largest,
                "{name} on {device}: {a}, Keras has {e}"
            );
        }
    }

    /// Three steps of SGD on the mean square, and the running statistics after them.
    fn compare_training<M: Module>(
        &self,
        mut net: M,
        names: &Names,
        forward: impl Fn(&M, Tensor<4>) -> Tensor<4>,
        device: &Device,
    ) {
        let seed = self.metadata["seed"].parse().expect("a number");
        let shape: [usize; 4] =
            serde_json::from_str(&self.metadata["train_shape"]).expect("a shape");
        let data = |name: &str, shape: [usize; 4]| {
            let values = formula::data(name, seed, shape.iter().product());
            Tensor::<4>::from_data(TensorData::new(values, shape), device)
        };
        let mut optimizer = SgdConfig::new().init();
        let rate: f64 = self.metadata["lr"].parse().expect("a number");
        let mut losses = Vec::new();
        for step in 0..4 {
            if step == 3 {
                // The statistics are those after three steps, before the last look at the loss.
                self.compare_statistics(&net, names);
            }
            let y = forward(&net, data("train", shape));
            let target = data("target", y.dims());
            let loss = (y - target).powi_scalar(2).mean();
            losses.push(loss.clone().into_scalar::<f32>());
            if step < 3 {
                let gradients = GradientsParams::from_grads(loss.backward(), &net);
                net = optimizer.step(rate, net, gradients);
            }
        }
        self.compare("losses", &losses, 1e-3, "flex");
    }

    fn compare_statistics<M: Module>(&self, net: &M, names: &Names) {
        let file = format!(
            "burn-skip-keras-{}-{}.safetensors",
            self.name,
            std::process::id()
        );
        let path = std::env::temp_dir().join(file);
        save(net, &path, names).unwrap_or_else(|e| panic!("{e}"));
        let (_, saved) = golden::read(&path);
        std::fs::remove_file(path).expect("a file to remove");
        for (name, golden) in saved.iter().filter(|(name, _)| name.contains(".running_")) {
            self.compare(&format!("after/{name}"), &golden.data, 1e-4, "flex");
        }
    }
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("floats")
}

#[test]
fn the_pipeline_that_it_began_with() {
    let keras = Reference::read("pipeline");
    for (name, device) in devices::devices() {
        let net = keras.load(Pipeline::new(&device), &Pipeline::names());
        let [first, second, output] = net.maps(keras.tensor("input", &device));
        assert_eq!(
            [first.dims(), second.dims()],
            [[1, 32, 15, 15], [1, 32, 6, 6]]
        );
        keras.compare("after_first", &values(first), 1e-5, name);
        keras.compare("after_second", &values(second), 1e-5, name);
        keras.compare("output", &values(output), 1e-5, name);
    }
    let device = Device::flex().autodiff();
    let net = keras.load(Pipeline::new(&device), &Pipeline::names());
    let last = |net: &Pipeline, x| net.maps(x)[2].clone();
    keras.compare_training(net, &Pipeline::names(), last, &device);
}

#[test]
fn a_unet() {
    let keras = Reference::read("unet");
    for (name, device) in devices::devices() {
        let net = keras.load(unet(&device), &unet_names());
        let output = net.forward(keras.tensor("input", &device));
        keras.compare("output", &values(output), 1e-5, name);
    }
    let device = Device::flex().autodiff();
    let net = keras.load(unet(&device), &unet_names());
    keras.compare_training(net, &unet_names(), Unet::forward, &device);
}
