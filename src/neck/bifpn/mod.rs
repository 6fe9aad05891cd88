//! [`BiFpn`]: a pyramid whose levels are added with learned weights, in both directions and several times.

mod config;
mod nodes;

pub use config::BiFpnConfig;
pub use nodes::PyramidNode;

use alloc::vec::Vec;

use burn::module::Module;
use burn::tensor::Tensor;

use super::frame::BuiltNeck;
use crate::fuse::WeightedSum;
use crate::fuse::fit::Fit;
use crate::layers::activation::Activation;
use crate::layers::block::ConvNormAct;
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::shape::spatial;
use nodes::levels_of;

const NAME: &str = "BiFpn";

/// How a map is brought to the size of its node: up, and down where the pools miss it.
const FIT: Fit = Fit::Resize(ResizeMode::Nearest);

/// The bidirectional feature pyramid network of EfficientDet (arXiv:1911.09070, section 3), as effdet's `BiFpn`.
///
/// A graph of [nodes](PyramidNode), repeated with weights of their own. Each node is
/// `separable(act(sum_i w_i resample(project(x_i))))`: its maps are projected by a 1x1 convolution where their channels
/// differ, brought to its level by max pools or nearest enlargement, added by a [`WeightedSum`], and convolved by a
/// [separable](crate::block::ConvNormActConfig::separable) 3x3 convolution. Extra levels below the coarsest map are max
/// pools, the first of a projection. The last node of each level is its output.
///
/// The maps may have any sizes: those that the pools miss, such as halves that were rounded down, are resized.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first, each about half the size of the one before it
/// - output: `[batch, channels, spatial...]` of the size of each of them, and of the extra levels
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::neck::{BiFpn, BiFpnConfig, Neck};
///
/// let device = Device::flex();
/// let neck: BiFpn = BiFpnConfig::new(16).with_repeats(2).with_extra(1).init(&[8, 32], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 32, 8, 6], &device)];
/// let dims: Vec<_> = neck.forward(maps).iter().map(Tensor::dims).collect();
/// assert_eq!(dims, [[1, 16, 17, 11], [1, 16, 8, 6], [1, 16, 4, 3]]);
/// ```
#[derive(Module, Debug)]
pub struct BiFpn<const R: usize = 4> {
    /// The projection of the coarsest map, of which the extra levels are made; none where there are none, or it has the
    /// channels already.
    pub extra: Option<ConvNormAct<R>>,
    /// The nodes of each repetition.
    pub cells: Vec<Vec<BiFpnNode<R>>>,
    /// The options that the neck was built with.
    #[module(skip)]
    pub config: BiFpnConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

/// A node of a [`BiFpn`].
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::neck::{BiFpn, BiFpnConfig};
///
/// let neck: BiFpn = BiFpnConfig::new(16).init(&[8, 16], &Device::flex());
/// let node = &neck.cells[0][0];
/// let is_projected: Vec<bool> = node.projections.iter().map(Option::is_some).collect();
/// assert_eq!(is_projected, [true, false]);
/// assert_eq!(node.sum.config.maps, 2);
/// ```
#[derive(Module, Debug)]
pub struct BiFpnNode<const R: usize = 4> {
    /// The 1x1 convolution of each map, none where it has the channels already.
    pub projections: Vec<Option<ConvNormAct<R>>>,
    /// The sum.
    pub sum: WeightedSum,
    /// The activation of the sum.
    pub activation: Option<Activation>,
    /// The separable convolution: depthwise, and pointwise.
    pub conv: Vec<ConvNormAct<R>>,
}

impl<const R: usize> BiFpn<R> {
    /// A node whose maps lie `pools` levels above it, each.
    fn node(
        &self,
        node: &BiFpnNode<R>,
        maps: Vec<Tensor<R>>,
        pools: &[usize],
        size: &[usize],
    ) -> Tensor<R> {
        let pool = self.config.pool.init();
        let read = maps.into_iter().zip(&node.projections).zip(pools);
        let fitted = read.map(|((map, projection), &pools)| {
            let map = projection.forward(map);
            let map = (0..pools).fold(map, |map, _| pool.forward(map));
            FIT.forward(map, size)
        });
        let sum = node.sum.forward(fitted.collect());
        node.conv.forward(node.activation.forward(sum))
    }
}

impl<const R: usize> BuiltNeck<R> for BiFpn<R> {
    type Config = BiFpnConfig;

    fn built(&self) -> (&BiFpnConfig, &[usize]) {
        (&self.config, &self.channels)
    }

    fn run(&self, mut maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let pool = self.config.pool.init();
        for index in 0..self.config.extra {
            let mut map = maps[maps.len() - 1].clone();
            if index == 0 {
                map = self.extra.forward(map);
            }
            maps.push(pool.forward(map));
        }
        let nodes = self.config.nodes_of(maps.len());
        let levels = levels_of(maps.len(), &nodes);
        for cell in &self.cells {
            let mut found = maps.clone();
            for (layer, node) in cell.iter().zip(nodes.iter()) {
                let inputs = node.inputs.iter();
                let pools = inputs
                    .clone()
                    .map(|&input| node.level.saturating_sub(levels[input]));
                let pools: Vec<usize> = pools.collect();
                let read = inputs.map(|&input| found[input].clone()).collect();
                let size = maps[node.level].dims();
                found.push(self.node(layer, read, &pools, spatial(&size)));
            }
            for (&level, map) in levels.iter().zip(found) {
                maps[level] = map;
            }
        }
        maps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::Weighting;
    use crate::layers::block::ConvStyle;
    use crate::neck::Neck;
    use alloc::{string::ToString, vec};
    use burn::module::Param;
    use burn::tensor::Device;

    #[test]
    fn values() {
        let device = Device::flex();
        let config = BiFpnConfig::new(1)
            .with_repeats(1)
            .with_activation(None)
            .with_weighting(Weighting::Unbounded)
            .with_style(ConvStyle::bare().with_bias(false));
        let mut neck: BiFpn<3> = config.init(&[1, 1], &device);
        for node in &mut neck.cells[0] {
            let depthwise = Tensor::from_floats([[[0.0, 1.0, 0.0]]], &device);
            node.conv[0].conv.weight = Param::from_tensor(depthwise);
            node.conv[1].conv.weight = Param::from_tensor(Tensor::full([1, 1, 1], 2.0, &device));
        }
        let maps = vec![
            Tensor::from_floats([[[1.0, 5.0, 3.0]]], &device),
            Tensor::from_floats([[[10.0, 20.0]]], &device),
        ];
        // 2 ((1, 5, 3) + (10, 10, 20)) and 2 ((10, 20) + the larger of 22, 30 and of 30, 46).
        let pyramid = neck.forward(maps);
        let values = |map: &Tensor<3>| map.to_data().try_to_vec::<f32>().unwrap();
        assert_eq!(values(&pyramid[0]), [22.0, 30.0, 46.0]);
        assert_eq!(values(&pyramid[1]), [80.0, 132.0]);
    }

    #[test]
    fn any_size_on_three_axes() {
        let config = BiFpnConfig::new(4).with_repeats(2).with_extra(2);
        let neck: BiFpn<5> = config.init(&[2, 4, 3], &Device::flex());
        let shapes = [[1, 2, 9, 6, 5], [1, 4, 4, 3, 2], [1, 3, 3, 1, 1]];
        let maps = shapes.map(|shape| Tensor::zeros(shape, &Device::flex()));
        let dims: Vec<_> = neck
            .forward(maps.to_vec())
            .iter()
            .map(Tensor::dims)
            .collect();
        let expected = [
            [1, 4, 9, 6, 5],
            [1, 4, 4, 3, 2],
            [1, 4, 3, 1, 1],
            [1, 4, 2, 1, 1],
            [1, 4, 1, 1, 1],
        ];
        assert_eq!(dims, expected);
        assert_eq!(neck.output_shapes(&shapes).unwrap(), expected);
    }

    #[test]
    fn nodes_of_ones_own() {
        // Only from the coarsest level up, over three levels, and the last reads the first directly.
        let node = |level, inputs: &[usize]| PyramidNode {
            level,
            inputs: inputs.to_vec(),
        };
        let nodes = vec![node(2, &[0, 2]), node(1, &[1, 3]), node(0, &[0, 4])];
        let config = BiFpnConfig::new(2).with_nodes(nodes);
        let neck: BiFpn<3> = config.init(&[2, 2, 2], &Device::flex());
        let maps =
            [[1, 2, 9], [1, 2, 5], [1, 2, 3]].map(|shape| Tensor::ones(shape, &Device::flex()));
        let dims: Vec<_> = neck
            .forward(maps.to_vec())
            .iter()
            .map(Tensor::dims)
            .collect();
        assert_eq!(dims, [[1, 2, 9], [1, 2, 5], [1, 2, 3]]);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: BiFpnConfig, channels: &[usize]| {
            config.validate::<4>(channels).unwrap_err().to_string()
        };
        assert_eq!(
            text(BiFpnConfig::new(4), &[]),
            "BiFpn: there are no maps. Give the maps of an encoder, the finest first."
        );
        assert_eq!(
            text(BiFpnConfig::new(4), &[2]),
            "BiFpn: there are 1 levels: 1 maps and 0 extra. Give two levels at least, and 64 at most."
        );
        assert_eq!(
            text(BiFpnConfig::new(4).with_repeats(0), &[2, 3]),
            "BiFpn: repeats is 0. Set repeats to 1 or more."
        );
        let neck: BiFpn = BiFpnConfig::new(4).init(&[2, 3], &Device::flex());
        assert_eq!(
            neck.output_shapes(&[[1, 2, 8, 8], [2, 3, 4, 4]])
                .unwrap_err()
                .to_string(),
            "cells.0.0.sum.WeightedSum: batch differs: deep 1, skip 2. Give all maps the same batch."
        );
    }
}
