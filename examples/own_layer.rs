//! A layer of your own inside the skip connections of this crate.
//!
//! ```text
//! cargo run --example own_layer
//! ```
//!
//! `LayerScale` multiplies each channel by a learned factor that starts small, so that a deep residual network
//! begins near the identity (arXiv:2103.17239). Two traits make it a layer: `Trace` records what it does to a
//! shape, from which checks and plans follow, and `Layer` computes it.

mod support;

use std::error::Error;

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::plan::{Map, Planner};
use burn_skip::{Layer, ShapeError, SkipAdd, SkipAddConfig, SkipConcat, Trace};

/// `y = gain * x`, with a factor for each channel.
#[derive(Module, Debug)]
struct LayerScale {
    gain: Param<Tensor<1>>,
}

impl LayerScale {
    fn new(channels: usize, device: &Device) -> Self {
        let gain = Param::from_tensor(Tensor::full([channels], 0.1, device));
        Self { gain }
    }

    fn channels(&self) -> usize {
        self.gain.lazy_shape()[0]
    }
}

impl Trace<4> for LayerScale {
    fn trace(&self, planner: &mut Planner, x: &Map<4>) -> Result<Map<4>, ShapeError> {
        let (channels, found) = (self.channels(), x.shape[1]);
        let output = match found == channels {
            true => Ok(x.shape),
            false => Err(ShapeError::new(
                "LayerScale",
                format!("channels are {found}, and must be {channels}"),
                "Give the layer as many channels as the map has",
            )),
        };
        // The name, the input, the number of parameters, and the shape of the output.
        planner.opaque("LayerScale", x, channels, output)
    }
}

impl Layer for LayerScale {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        x * self.gain.val().reshape([1, self.channels(), 1, 1])
    }
}

/// A tuple of layers is a layer: a convolution, and the factors after it.
type Block = (ConvNormAct, LayerScale);

fn block([input, output]: [usize; 2], device: &Device) -> Block {
    (
        ConvNormActConfig::new([input, output], 3).init(device),
        LayerScale::new(output, device),
    )
}

fn main() -> std::process::ExitCode {
    support::main(
        "A layer of your own inside the residual and the dense connection of this crate.",
        &[],
        run,
    )
}

fn run() -> Result<(), Box<dyn Error>> {
    let device = support::device()?;
    // A residual and a dense connection around it, one after the other.
    let residual: SkipAdd<Block> =
        SkipAddConfig::new([16, 16]).init(block([16, 16], &device), &device);
    let dense: SkipConcat<Block> = SkipConcat::new(block([16, 8], &device));
    let net = (residual, dense);

    // What comes out is known before anything runs, and an input that does not fit is refused with the reason.
    println!("{}", net.plan([1, 16, 32, 32]));
    assert_eq!(net.output_shape([1, 16, 32, 32])?, [1, 24, 32, 32]);
    let error = net.output_shape([1, 12, 32, 32]).unwrap_err();
    println!("an input of 12 channels: {error}\n");

    let x = Tensor::random([1, 16, 32, 32], Distribution::Default, &device);
    let y = net.forward(x);
    println!("output {:?}, of {} parameters", y.dims(), net.num_params());

    // The gain is a parameter like any other: it has a gradient.
    let layer = LayerScale::new(16, &device.clone().autodiff());
    let x = Tensor::ones([1, 16, 4, 4], &device.autodiff());
    let gradients = layer.forward(x).sum().backward();
    let gradient = layer.gain.val().grad(&gradients);
    assert!(gradient.is_some_and(|gradient| gradient.into_data().iter::<f32>().all(|g| g == 16.0)));
    Ok(())
}
