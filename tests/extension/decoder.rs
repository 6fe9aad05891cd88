//! A decoder whose steps have the crate's own gate.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_skip::block::DoubleConv;
use burn_skip::net::Decoder;
use burn_skip::plan::{Map, Op, Planner, Record};
use burn_skip::resize::{ResizeMode, resize};
use burn_skip::{ShapeError, UpsampleConcat, UpsampleConcatConfig};

use crate::EcaGate;

/// Merges each map with the coarser ones, its channels weighed, and resizes the result to the image.
#[derive(Module, Debug)]
pub struct LadderDecoder<const R: usize = 4> {
    steps: Vec<UpsampleConcat<R, DoubleConv<R>, EcaGate>>,
}

impl<const R: usize> LadderDecoder<R> {
    /// A decoder for maps of `channels` channels, the finest first, which are those of the steps too.
    pub fn new(channels: &[usize], device: &Device) -> Self {
        let step = |pair: &[usize]| {
            let step = UpsampleConcatConfig::new(pair[1], pair[0], pair[0]).init(device);
            step.with_gate(EcaGate::new(3, device))
        };
        Self {
            steps: channels.windows(2).map(step).collect(),
        }
    }
}

impl<const R: usize> Decoder<R> for LadderDecoder<R> {
    fn forward(&self, mut maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R> {
        let deepest = maps.pop().expect("an encoder has a map");
        let steps = self.steps.iter().zip(maps).rev();
        let y = steps.fold(deepest, |deep, (step, skip)| step.forward(deep, skip));
        resize(y, image, ResizeMode::Nearest)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node("LadderDecoder", &inputs, |planner| {
            let Some((deepest, skips)) = maps
                .split_last()
                .filter(|(_, skips)| skips.len() == self.steps.len())
            else {
                return Err(ShapeError::new(
                    "LadderDecoder",
                    format!("{} maps for {} steps", maps.len(), self.steps.len()),
                    "Build the decoder for the channels of its encoder",
                ));
            };
            let mut y = deepest.clone();
            for (index, (step, skip)) in self.steps.iter().zip(skips).enumerate().rev() {
                y = step.trace(planner.at(format!("steps.{index}")), &y, skip)?;
            }
            let mut output = y.shape;
            output[2..].copy_from_slice(image);
            let record = || Ok(Record::new(Op::Resize(ResizeMode::Nearest), output));
            planner.leaf("Resize", &[&y], record)
        })
    }
}
