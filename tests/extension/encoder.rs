//! The inverted blocks of MobileNetV2 (arXiv:1801.04381).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_skip::activation::ActivationConfig;
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::net::Encoder;
use burn_skip::plan::{Map, Planner};
use burn_skip::{Layer, ShapeError, Trace};

/// A convolution, and blocks that expand the channels, filter each with stride 2, and project them.
#[derive(Module, Debug)]
pub struct MobileEncoder<const R: usize = 4> {
    stem: ConvNormAct<R>,
    blocks: Vec<[ConvNormAct<R>; 3]>,
}

impl<const R: usize> MobileEncoder<R> {
    pub fn new(in_channels: usize, widths: &[usize], device: &Device) -> Self {
        let relu6 = |channels, kernel_size: usize| {
            ConvNormActConfig::new(channels, kernel_size).with_activation(ActivationConfig::Relu6)
        };
        let block = |widths: &[usize]| {
            let expanded = 6 * widths[0];
            let depthwise = relu6([expanded, expanded], 3).with_groups(expanded);
            [
                relu6([widths[0], expanded], 1).init(device),
                depthwise.with_stride(2).init(device),
                relu6([expanded, widths[1]], 1)
                    .with_activation(None)
                    .init(device),
            ]
        };
        Self {
            stem: relu6([in_channels, widths[0]], 3).init(device),
            blocks: widths.windows(2).map(block).collect(),
        }
    }
}

impl<const R: usize> Encoder<R> for MobileEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        let mut maps = vec![self.stem.forward(x)];
        for block in &self.blocks {
            maps.push(block.forward(maps[maps.len() - 1].clone()));
        }
        maps
    }

    fn feature_channels(&self) -> Vec<usize> {
        let last_convs = self.blocks.iter().map(|[.., project]| project);
        let convs = [&self.stem].into_iter().chain(last_convs);
        convs.map(|conv| conv.conv.config.channels[1]).collect()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes("MobileEncoder", &[x], |planner| {
            let mut maps = vec![self.stem.trace(planner.at("stem"), x)?];
            for (index, block) in self.blocks.iter().enumerate() {
                let name = format!("blocks.{index}");
                maps.push(block.trace(planner.at(name), &maps[index])?);
            }
            Ok(maps)
        })
    }
}
