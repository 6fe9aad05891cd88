//! [`Work`]: what is done with a row of the table: described, run, written.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use burn_skip::net::{
    AnyEncoder, AnySegmentationModel, Classifier, ClassifierConfig, Decoder, SegmentationConfig,
    SegmentationModel, Unet, UnetConfig,
};
use burn_skip::plan::Plan;
use burn_skip::weights::{Names, save};
use burn_skip::{Layer, Trace, UpsampleConcat, UpsampleConcatConfig};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::json;

use crate::part::{Part, PartConfig, chain};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A network that can be built: its configuration.
pub trait Network<const R: usize> {
    type Module: Run<R>;

    fn build(&self, device: &Device) -> Self::Module;
}

/// A network that can be run.
pub trait Run<const R: usize>: Module + 'static {
    /// The output, all axes but the batch in one.
    fn run(&self, maps: Vec<Tensor<R>>) -> Tensor<2>;

    fn plan(&self, maps: &[[usize; R]]) -> Plan;
}

impl<const R: usize> Network<R> for UnetConfig {
    type Module = Unet<R>;

    fn build(&self, device: &Device) -> Unet<R> {
        self.init(device)
    }
}

impl<const R: usize> Network<R> for SegmentationConfig {
    type Module = AnySegmentationModel<R>;

    fn build(&self, device: &Device) -> Self::Module {
        self.init(device)
    }
}

impl<D, const R: usize, H> Run<R> for SegmentationModel<AnyEncoder<R>, D, R, H>
where
    D: Decoder<R> + 'static,
    H: Layer<R> + 'static,
{
    fn run(&self, maps: Vec<Tensor<R>>) -> Tensor<2> {
        Layer::forward(self, only(maps)).flatten(1, R - 1)
    }

    fn plan(&self, maps: &[[usize; R]]) -> Plan {
        Trace::plan(self, maps[0])
    }
}

impl<const R: usize> Network<R> for ClassifierConfig {
    type Module = Classifier<AnyEncoder<R>>;

    fn build(&self, device: &Device) -> Self::Module {
        self.init(device)
    }
}

impl<const R: usize> Run<R> for Classifier<AnyEncoder<R>> {
    fn run(&self, maps: Vec<Tensor<R>>) -> Tensor<2> {
        self.forward(only(maps))
    }

    fn plan(&self, maps: &[[usize; R]]) -> Plan {
        self.plan(maps[0])
    }
}

impl<const R: usize> Network<R> for UpsampleConcatConfig {
    type Module = UpsampleConcat<R>;

    fn build(&self, device: &Device) -> Self::Module {
        self.init(device)
    }
}

impl<const R: usize> Run<R> for UpsampleConcat<R> {
    fn run(&self, maps: Vec<Tensor<R>>) -> Tensor<2> {
        let [deep, skip] = maps.try_into().expect("a decoder step takes two maps");
        self.forward(deep, skip).flatten(1, R - 1)
    }

    fn plan(&self, maps: &[[usize; R]]) -> Plan {
        self.plan(maps[0], maps[1])
    }
}

impl<const R: usize> Network<R> for Vec<PartConfig> {
    type Module = Vec<Part<R>>;

    fn build(&self, device: &Device) -> Self::Module {
        chain(self, device)
    }
}

impl<const R: usize> Run<R> for Vec<Part<R>> {
    fn run(&self, maps: Vec<Tensor<R>>) -> Tensor<2> {
        Layer::forward(self, only(maps)).flatten(1, R - 1)
    }

    fn plan(&self, maps: &[[usize; R]]) -> Plan {
        Trace::plan(self, maps[0])
    }
}

fn only<const R: usize>(mut maps: Vec<Tensor<R>>) -> Tensor<R> {
    assert_eq!(maps.len(), 1, "the network takes one map");
    maps.remove(0)
}

/// A network at the shapes of its inputs, of any number of axes.
pub trait Work {
    /// Runs it once, to be repeated.
    fn infer(&self, batch: usize, device: &Device) -> Box<dyn FnMut()>;

    /// A training step: forward, and backward of the mean.
    fn train(&self, batch: usize, device: &Device) -> Box<dyn FnMut()>;

    /// Writes its graph, its weights, and the values that a peer must find.
    fn write(&self, folder: &Path, device: &Device) -> Result<()>;
}

/// A network, and the shapes of its inputs with a batch of one.
pub struct At<N, const R: usize> {
    pub network: N,
    pub maps: Vec<[usize; R]>,
    /// Whether the inputs have gradients, as those of a part of a network.
    pub input_gradients: bool,
}

impl<N: Network<R>, const R: usize> At<N, R> {
    fn shapes(&self, batch: usize) -> Vec<[usize; R]> {
        let with_batch = |shape: &[usize; R]| {
            let mut shape = *shape;
            shape[0] = batch;
            shape
        };
        self.maps.iter().map(with_batch).collect()
    }

    fn inputs(&self, batch: usize, device: &Device) -> Vec<Tensor<R>> {
        let normal = Distribution::Normal(0.0, 1.0);
        let shapes = self.shapes(batch).into_iter();
        shapes
            .map(|shape| Tensor::random(shape, normal, device))
            .collect()
    }
}

/// How many samples the values of a peer are checked with.
const CHECKED_BATCH: usize = 2;

impl<N: Network<R>, const R: usize> Work for At<N, R> {
    fn infer(&self, batch: usize, device: &Device) -> Box<dyn FnMut()> {
        let (net, maps) = (self.network.build(device), self.inputs(batch, device));
        Box::new(move || drop(std::hint::black_box(net.run(maps.clone()).into_data())))
    }

    fn train(&self, batch: usize, device: &Device) -> Box<dyn FnMut()> {
        let device = device.clone().autodiff();
        let net = self.network.build(&device);
        let mut maps = self.inputs(batch, &device);
        if self.input_gradients {
            maps = maps.into_iter().map(Tensor::require_grad).collect();
        }
        Box::new(move || {
            drop(std::hint::black_box(
                net.run(maps.clone()).mean().backward(),
            ))
        })
    }

    fn write(&self, folder: &Path, device: &Device) -> Result<()> {
        device.seed(SEED);
        let device = device.clone().autodiff();
        let net = self.network.build(&device);
        let plan = net.plan(&self.shapes(CHECKED_BATCH));
        if let Some(error) = plan.error() {
            return Err(error.to_string().into());
        }
        let graph = json!({"plan": plan.root, "input_gradients": self.input_gradients});
        std::fs::write(folder.join("graph.json"), graph.to_string())?;
        save(&net, folder.join("weights.safetensors"), &Names::own())?;

        let mut values = Values::default();
        let maps = self.inputs(CHECKED_BATCH, &device);
        for (index, map) in maps.iter().enumerate() {
            values.insert(format!("input.{index}"), map.clone());
        }
        // Before the training step: it moves the running statistics.
        let inferring = net.valid();
        let inner = maps.iter().map(|map| map.clone().inner()).collect();
        values.insert("output", inferring.run(inner));
        let maps: Vec<_> = maps.into_iter().map(Tensor::require_grad).collect();
        let output = net.run(maps.clone());
        values.insert("train.output", output.clone());
        // The mean would hide what a norm takes out.
        let weight = Tensor::random(output.dims(), Distribution::Normal(0.0, 1.0), &device);
        values.insert("train.weight", weight.clone());
        let gradients = (output * weight).sum().backward();
        for (index, map) in maps.iter().enumerate() {
            let gradient = map.grad(&gradients).ok_or("an input has no gradient")?;
            values.insert(format!("train.input_gradient.{index}"), gradient);
        }
        values.write(&folder.join("values.safetensors"))
    }
}

const SEED: u64 = 1;

/// Tensors by name.
#[derive(Default)]
struct Values(HashMap<String, (Vec<usize>, Vec<u8>)>);

impl Values {
    fn insert<const R: usize>(&mut self, name: impl Into<String>, tensor: Tensor<R>) {
        let data = tensor.into_data();
        let shape = data.shape().to_vec();
        let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        self.0.insert(name.into(), (shape, bytes));
    }

    fn write(self, path: &Path) -> Result<()> {
        let mut views = HashMap::new();
        for (name, (shape, bytes)) in &self.0 {
            views.insert(
                name.clone(),
                TensorView::new(Dtype::F32, shape.clone(), bytes)?,
            );
        }
        Ok(serialize_to_file(views, None, path)?)
    }
}
