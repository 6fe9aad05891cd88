//! Every encoder with every decoder, on one, two and three axes: the shape of the output, the plan, the gradient of every
//! parameter, the file of the configuration and that of the weights. (Their memory is measured in tests/memory.rs.)

use crate::devices;
use crate::every_pair::every_pair;
use burn::config::{Config, config_to_json};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Distribution, Gradients, Tensor};
use burn_skip::net::{AnySegmentationModel, SegmentationConfig};
use burn_skip::weights::{Names, WeightsFile, save};
use burn_skip::{Layer, Trace};

/// The number of parameters that have no gradient.
struct Missing<'a> {
    gradients: &'a Gradients,
    count: usize,
}

impl ModuleVisitor for Missing<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if tensor.is_require_grad() && tensor.grad(self.gradients).is_none() {
            self.count += 1;
        }
    }
}

fn check_rank<const R: usize>(
    name: &str,
    config: &SegmentationConfig,
    shape: [usize; R],
    device: &Device,
) {
    let mut output = shape;
    output[1] = 2;
    assert_eq!(
        config.output_shape(shape),
        Ok(output),
        "{name} at {shape:?}"
    );
    let recording = device.clone().autodiff();
    let net: AnySegmentationModel<R> = config.init(&recording);
    let plan = Trace::plan(&net, shape);
    assert!(plan.error().is_none(), "{name}: {:?}", plan.error());
    assert_eq!(plan.root, config.plan(shape).root, "{name}");
    assert_eq!(
        plan.root.total_parameters() as usize + buffers(&plan.root),
        net.num_params(),
        "{name}"
    );
    let x = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &recording);
    let y = net.forward(x);
    assert_eq!(y.dims(), output, "{name} at {shape:?}");
    let gradients = y.powi_scalar(2).mean().backward();
    let mut missing = Missing {
        gradients: &gradients,
        count: 0,
    };
    net.visit(&mut missing);
    assert_eq!(missing.count, 0, "{name}: parameters without a gradient");
}

/// The numbers that are not learned.
fn buffers(node: &burn_skip::plan::Node) -> usize {
    let own = node
        .parameters
        .iter()
        .filter(|parameter| !parameter.is_learned);
    let own: usize = own.map(|parameter| parameter.len).sum();
    own + node.children.iter().map(buffers).sum::<usize>()
}

#[test]
fn images_of_odd_sizes() {
    // (What a GPU computes is compared layer by layer, in tests/contract.rs.)
    for (_, device) in devices::devices()
        .into_iter()
        .filter(|(name, _)| *name != "wgpu")
    {
        every_pair(|name, config| check_rank(name, &config, [2, 3, 45, 62], &device));
    }
}

#[test]
fn signals() {
    every_pair(|name, config| check_rank(name, &config, [2, 3, 61], &Device::flex()));
}

#[test]
fn volumes() {
    every_pair(|name, config| check_rank(name, &config, [2, 3, 35, 33, 34], &Device::flex()));
}

#[test]
fn every_size_from_33_to_63() {
    every_pair(|name, config| {
        for n in 33..=63 {
            for shape in [[1, 3, n, 40], [1, 3, 40, n], [1, 3, n, n]] {
                let expected = Ok([1, 2, shape[2], shape[3]]);
                assert_eq!(config.output_shape(shape), expected, "{name} at {shape:?}");
            }
        }
    });
}

#[test]
fn files() {
    let device = Device::flex();
    let folder = std::env::temp_dir().join(format!("burn-skip-pairs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    every_pair(|name, config| {
        let text = config_to_json(&config);
        let read = SegmentationConfig::load_binary(text.as_bytes()).unwrap();
        assert_eq!(config_to_json(&read), text, "{name}");
        let [net, mut other]: [AnySegmentationModel; 2] =
            [config.init(&device), read.init(&device)];
        let path = folder.join("weights.safetensors");
        save(&net, &path, &Names::own()).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        file.load_into(&mut other, &Names::own()).unwrap();
        let x = Tensor::random([1, 3, 37, 40], Distribution::Normal(0.0, 1.0), &device);
        let (y, again) = (net.forward(x.clone()), other.forward(x));
        y.into_data().assert_eq(&again.into_data(), true);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}
