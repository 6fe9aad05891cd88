//! [`StagedDecoder`]: a decoder whose steps are given one by one, each with its up layer, its merge and its blocks.

mod config;
mod step;

pub use config::{StagedDecoderConfig, StepOrder};
pub use step::{StagedStep, StagedStepConfig};

use alloc::vec::Vec;

use burn::module::Module;
use burn::tensor::Tensor;

use super::frame::{Built, BuiltDecoder, pop_deepest};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::net::stage::Stage;

const NAME: &str = "StagedDecoder";

/// The decoder of U-Nets whose levels differ: each step has its own enlargement, merge and [`Stage`]. Those of nnU-Net
/// (arXiv:1809.10486), SegResNet (arXiv:1810.11654), V-Net (arXiv:1606.04797) and the residual U-Net of Kerfoot et al. 2018
/// are of this kind.
///
/// `y = stage(merge(act(norm(up(project(deep)))), gate(skip)))`, or with the merge [before](StepOrder::MergeFirst) the
/// projection.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, channels, spatial...]`, of the size of the finest map, or with [`StepOrder::MergeFirst`] of the
///   image
/// - [steps](super::Decoder::forward_steps): the output, and that of each coarser step, the finest first
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, StageConfig, StagedDecoder, StagedDecoderConfig, StagedStepConfig};
///
/// let device = Device::flex();
/// let step = StagedStepConfig::new(8).with_stage(StageConfig::new(8));
/// let decoder: StagedDecoder = StagedDecoderConfig::new(vec![step]).init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 16, 9, 6], &device)];
/// assert_eq!(decoder.forward(maps, &[33, 22]).dims(), [1, 8, 17, 11]);
/// ```
#[derive(Module, Debug)]
pub struct StagedDecoder<const R: usize = 4> {
    /// The steps, the finest first.
    pub steps: Vec<StagedStep<R>>,
    /// What follows the finest step.
    pub last: Option<Stage<R>>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: StagedDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> StagedDecoder<R> {
    /// Runs all steps; what each but the finest gives goes through `pass`.
    fn run_each(
        &self,
        mut maps: Vec<Tensor<R>>,
        image: &[usize],
        mut pass: impl FnMut(LazyConcat<R>) -> LazyConcat<R>,
    ) -> LazyConcat<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        let deepest = pop_deepest(&mut maps);
        let order = self.config.order;
        let steps = self.steps.iter().zip(maps).enumerate().rev();
        let deep = steps.fold(deepest.into(), |deep, (index, (step, skip))| {
            let target = self.config.target(&shapes, image, index);
            let y = step.forward_parts(order, deep, skip, target);
            if index > 0 { pass(y) } else { y }
        });
        self.last.forward_parts(deep)
    }
}

impl<const R: usize> BuiltDecoder<R> for StagedDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        self.run_each(maps, image, |map| map)
    }

    fn run_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        let mut steps = Vec::new();
        let output = self.run_each(maps, image, |map| {
            let map = map.into_tensor();
            steps.push(map.clone());
            map.into()
        });
        steps.push(output.into_tensor());
        steps.reverse();
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::gate::{AttentionGateConfig, GateConfig};
    use crate::fuse::merge::Merge;
    use crate::layers::activation::ActivationConfig;
    use crate::layers::norm::NormConfig;
    use crate::layers::up::UpConfig;
    use crate::net::{Decoder, DecoderConfig, StageConfig};
    use alloc::{string::ToString, vec};
    use burn::tensor::{Device, TensorData};

    const MAPS: [[usize; 4]; 2] = [[2, 4, 9, 8], [2, 8, 5, 4]];

    fn text(config: StagedDecoderConfig, channels: &[usize]) -> alloc::string::String {
        let config = DecoderConfig::from(config);
        config.validate::<4>(channels).unwrap_err().to_string()
    }

    #[test]
    fn every_option_in_both_orders() {
        let full = StagedStepConfig::new(6)
            .with_project(true)
            .with_norm(NormConfig::batch())
            .with_activation(ActivationConfig::Relu)
            .with_gate(GateConfig::attention(2))
            .with_stage(StageConfig::new(5));
        let linear = StagedStepConfig::new(4)
            .with_project(true)
            .with_up(UpConfig::linear())
            .with_merge(Merge::Add);
        let biased = AttentionGateConfig::new(2).with_bias(true);
        let biased = full.clone().with_gate(GateConfig::Attention(biased));
        for order in [StepOrder::UpFirst, StepOrder::MergeFirst] {
            for step in [&full, &biased, &linear, &StagedStepConfig::new(3)] {
                let step = step.clone();
                if order == StepOrder::MergeFirst && step.merge == Merge::Add {
                    continue; // 8 and 4 channels
                }
                let deep = if order == StepOrder::UpFirst { 1 } else { 0 };
                let maps = [MAPS[0], [2, 8, MAPS[deep][2], MAPS[deep][3]]];
                let image = [17, 15];
                let config = StagedDecoderConfig::new(vec![step])
                    .with_order(order)
                    .with_last(StageConfig::new(7));
                let device = Device::flex();
                let decoder: StagedDecoder = config.init(&[4, 8], &device);
                let planned = DecoderConfig::from(config).plan(&maps, &image);
                assert!(planned.error().is_none(), "{:?}", planned.error());
                let plan = Decoder::plan(&decoder, &maps, &image);
                assert_eq!(plan.root, planned.root);
                let tensors = maps.map(|shape| Tensor::ones(shape, &device));
                let y = decoder.forward(tensors.into(), &image);
                assert_eq!(y.dims(), planned.root.outputs[0].shape[..]);
            }
        }
    }

    #[test]
    fn the_sum_of_an_enlarged_map_and_a_skip() {
        let device = Device::flex();
        let step = StagedStepConfig::new(1)
            .with_up(UpConfig::nearest())
            .with_merge(Merge::Add);
        let decoder: StagedDecoder<3> = StagedDecoderConfig::new(vec![step]).init(&[1, 1], &device);
        let skip = Tensor::from_floats([[[1.0, 2.0, 3.0]]], &device);
        let deep = Tensor::from_floats([[[10.0, 20.0]]], &device);
        let y = decoder.forward(vec![skip, deep], &[3]);
        y.to_data()
            .assert_eq(&TensorData::from([[[11.0f32, 12.0, 23.0]]]), true);
    }

    #[test]
    fn the_steps_are_the_output_and_what_leads_to_it() {
        let device = Device::flex();
        let step = || {
            StagedStepConfig::new(1)
                .with_up(UpConfig::nearest())
                .with_merge(Merge::Add)
        };
        let config = StagedDecoderConfig::new(vec![step(), step()]);
        let decoder: StagedDecoder<3> = config.init(&[1, 1, 1], &device);
        let maps = || {
            let fine = Tensor::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &device);
            let middle = Tensor::from_floats([[[10.0, 20.0]]], &device);
            vec![fine, middle, Tensor::from_floats([[[100.0]]], &device)]
        };
        let steps = decoder.forward_steps(maps(), &[4]);
        assert_eq!(steps.len(), 2);
        let output = TensorData::from([[[111.0f32, 112.0, 123.0, 124.0]]]);
        steps[0].to_data().assert_eq(&output, true);
        steps[1]
            .to_data()
            .assert_eq(&TensorData::from([[[110.0f32, 120.0]]]), true);
        // What follows the finest step belongs to the output.
        let config = config.with_last(StageConfig::new(7));
        let channels = DecoderConfig::from(config.clone()).step_channels::<3>(&[1, 1, 1]);
        assert_eq!(channels.unwrap(), [7, 1]);
        let decoder: StagedDecoder<3> = config.init(&[1, 1, 1], &device);
        let steps = decoder.forward_steps(maps(), &[4]);
        assert_eq!(steps[0].dims(), [1, 7, 4]);
        let output = decoder.forward(maps(), &[4]).to_data();
        steps[0].to_data().assert_eq(&output, true);
    }

    #[test]
    fn errors() {
        let steps = || vec![StagedStepConfig::new(4)];
        assert_eq!(
            text(StagedDecoderConfig::new(steps()), &[4, 8, 16]),
            "StagedDecoder: 1 steps for 3 maps. Give 2 steps, the finest first."
        );
        let no_width = vec![StagedStepConfig::new(0)];
        assert_eq!(
            text(StagedDecoderConfig::new(no_width), &[4, 8]),
            "steps.0.StagedStep: width is 0. Set width to 1 or more."
        );
        let add = vec![StagedStepConfig::new(6).with_merge(Merge::Add)];
        assert_eq!(
            text(StagedDecoderConfig::new(add), &[4, 8]),
            "steps.0.StagedStep: channels differ: deep 6, skip 4. Project deep to 4 channels with a 1x1 convolution, or \
             merge by concat."
        );
        let merge_first = StagedDecoderConfig::new(steps()).with_order(StepOrder::MergeFirst);
        let error = DecoderConfig::from(merge_first).output_shape(&MAPS, &[17, 15]);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("steps.0.StagedStep: height differs: deep 5, skip 9.")
        );
    }
}
