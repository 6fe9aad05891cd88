//! [`BiFpnConfig`]: the options of a [`BiFpn`](super::BiFpn), and its trace.

use alloc::{borrow::Cow, format, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::nodes::{PyramidNode, check_nodes, levels_of};
use super::{BiFpn, BiFpnNode, FIT, NAME};
use crate::fuse::{WeightedSumConfig, Weighting};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormActConfig, ConvStyle};
use crate::layers::norm::NormConfig;
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::neck::frame::{NeckSpec, check_any_map, neck_methods};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect, spatial};

/// Configuration of [`BiFpn`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::neck::BiFpnConfig;
///
/// let maps = [[1, 40, 64, 64], [1, 112, 32, 32], [1, 320, 16, 16]];
/// let shapes = BiFpnConfig::new(64).with_extra(2).output_shapes(&maps).unwrap();
/// let sizes: Vec<usize> = shapes.iter().map(|shape| shape[2]).collect();
/// assert_eq!((shapes[4], sizes), ([1, 64, 4, 4], vec![64, 32, 16, 8, 4]));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BiFpnConfig {
    /// The channels of all outputs. EfficientDet-D0: 64.
    pub channels: usize,
    /// How often the nodes are repeated, each time with weights of their own. Default: 3.
    #[serde(default = "crate::defaults::bifpn_repeats")]
    pub repeats: usize,
    /// How many levels are added below the coarsest map. Default: 0.
    #[serde(default)]
    pub extra: usize,
    /// The nodes, or none for those of [`PyramidNode::bidirectional`]. Default: none.
    #[serde(default)]
    pub nodes: Option<Vec<PyramidNode>>,
    /// How the weights of a node's maps are normalised. Default: [`Weighting::fast`].
    #[serde(default = "Weighting::fast")]
    pub weighting: Weighting,
    /// The activation of a node's sum, or none. Default: SiLU.
    #[serde(default = "silu")]
    pub activation: Option<ActivationConfig>,
    /// The 1x1 convolutions of the inputs, and the [separable](ConvNormActConfig::separable) 3x3 convolutions of the
    /// nodes. Default: bias, [`NormConfig::keras_batch`], no activation.
    #[serde(default = "style")]
    pub style: ConvStyle,
    /// How a map is brought one level down; what it misses of the size is resized (nearest). Default: a max pool of 3
    /// with a stride of 2 and a padding of 1.
    #[serde(default = "pool")]
    pub pool: PoolConfig,
}

fn silu() -> Option<ActivationConfig> {
    Some(ActivationConfig::Silu)
}

fn style() -> ConvStyle {
    ConvStyle::new()
        .with_norm(NormConfig::keras_batch())
        .with_activation(None)
        .with_bias(true)
}

fn pool() -> PoolConfig {
    PoolConfig::new(PoolKind::Max, 3)
        .with_stride(2)
        .with_padding(Padding::explicit(1))
}

setters!(
    BiFpnConfig:
    with_repeats(repeats: usize),
    with_extra(extra: usize),
    with_nodes(nodes: impl Into<Option<Vec<PyramidNode>>>),
    with_weighting(weighting: Weighting),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
    with_style(style: ConvStyle),
    with_pool(pool: PoolConfig),
);

impl Config for BiFpnConfig {}

/// The parts of a node.
pub(super) struct NodeConfig {
    /// The projection of each map, none where it has the channels already.
    projections: Vec<Option<ConvNormActConfig>>,
    sum: WeightedSumConfig,
    /// The separable convolution.
    conv: [ConvNormActConfig; 2],
}

impl BiFpnConfig {
    /// EfficientDet's, of maps of `channels` channels each.
    pub fn new(channels: usize) -> Self {
        Self {
            channels,
            repeats: crate::defaults::bifpn_repeats(),
            extra: 0,
            nodes: None,
            weighting: Weighting::fast(),
            activation: silu(),
            style: style(),
            pool: pool(),
        }
    }

    /// The nodes of so many levels.
    pub(super) fn nodes_of(&self, levels: usize) -> Cow<'_, [PyramidNode]> {
        match &self.nodes {
            Some(nodes) => Cow::Borrowed(nodes),
            None => Cow::Owned(PyramidNode::bidirectional(levels)),
        }
    }

    /// The 1x1 convolution of a map of `input` channels, if it needs one.
    fn projection(&self, input: usize) -> Option<ConvNormActConfig> {
        let conv = ConvNormActConfig::new([input, self.channels], 1);
        (input != self.channels).then(|| conv.with_style(self.style.clone()))
    }

    /// The node that adds maps of these channels.
    fn node(&self, inputs: &[usize]) -> NodeConfig {
        let conv = ConvNormActConfig::new([self.channels; 2], 3).with_style(self.style.clone());
        NodeConfig {
            projections: inputs.iter().map(|&input| self.projection(input)).collect(),
            sum: WeightedSumConfig::new(inputs.len()).with_weighting(self.weighting),
            conv: conv.separable(),
        }
    }

    fn check(&self, maps: usize) -> Result<(), ShapeError> {
        check_positive(NAME, "channels", self.channels)?;
        check_positive(NAME, "repeats", self.repeats)?;
        check_any_map(NAME, maps)?;
        let levels = maps.saturating_add(self.extra);
        if !(2..=MAX_LEVELS).contains(&levels) {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "there are {levels} levels: {maps} maps and {} extra",
                    self.extra
                ),
                format!("Give two levels at least, and {MAX_LEVELS} at most"),
            ));
        }
        check_nodes(levels, &self.nodes_of(levels))
    }

    /// Records a node that reads some of the maps `found`, of which the first are those of the levels.
    fn trace_node<const R: usize>(
        &self,
        planner: &mut Planner,
        node: &PyramidNode,
        found: &[Map<R>],
        levels: usize,
    ) -> Result<Map<R>, ShapeError> {
        let read: Vec<&Map<R>> = node.inputs.iter().map(|&input| &found[input]).collect();
        let channels: Vec<usize> = read.iter().map(|map| map.shape[1]).collect();
        let parts = self.node(&channels);
        let size = spatial(&found[node.level].shape);
        let level_of = levels_of(levels, &self.nodes_of(levels));
        planner.node("BiFpnNode", &read, |planner| {
            let mut fitted = Vec::with_capacity(read.len());
            for (index, (&map, conv)) in read.iter().zip(&parts.projections).enumerate() {
                let mut map = conv.trace(planner.at(format!("projections.{index}")), map)?;
                for _ in level_of[node.inputs[index]]..node.level {
                    map = self.pool.trace(planner.at(""), &map)?;
                }
                fitted.push(FIT.trace(planner.at(""), &map, size)?);
            }
            let fitted: Vec<&Map<R>> = fitted.iter().collect();
            let sum = parts.sum.trace(planner.at("sum"), &fitted)?;
            let active = self.activation.trace(planner.at("activation"), &sum)?;
            parts.conv.trace(planner.at("conv"), &active)
        })
    }

    /// Builds the neck for maps with `channels` channels, the finest first.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> BiFpn<R> {
        expect(self.validate::<R>(channels));
        let levels = channels.len() + self.extra;
        let nodes = self.nodes_of(levels);
        let coarsest = self.projection(channels[channels.len() - 1]);
        let extra = coarsest.filter(|_| self.extra > 0);
        let cell = |repeat: usize| {
            let node = |node: &PyramidNode| {
                let channels = node.inputs.iter().map(|&input| match channels.get(input) {
                    Some(&channels) if repeat == 0 => channels,
                    _ => self.channels,
                });
                self.node(&channels.collect::<Vec<_>>())
                    .init(self.activation.as_ref(), device)
            };
            nodes.iter().map(node).collect()
        };
        BiFpn {
            extra: extra.map(|conv| conv.init(device)),
            cells: (0..self.repeats).map(cell).collect(),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl NeckSpec for BiFpnConfig {
    const NAME: &'static str = NAME;

    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.check(maps.len())?;
        let mut maps = maps.to_vec();
        for index in 0..self.extra {
            let mut map = maps[maps.len() - 1].clone();
            if index == 0 {
                map = self
                    .projection(map.shape[1])
                    .trace(planner.at("extra"), &map)?;
            }
            maps.push(self.pool.trace(planner.at(""), &map)?);
        }
        let nodes = self.nodes_of(maps.len());
        for repeat in 0..self.repeats {
            let mut found = maps.clone();
            for (index, node) in nodes.iter().enumerate() {
                let at = planner.at(format!("cells.{repeat}.{index}"));
                let map = self.trace_node(at, node, &found, maps.len())?;
                found.push(map);
            }
            for (level, map) in levels_of(maps.len(), &nodes).into_iter().zip(found) {
                maps[level] = map;
            }
        }
        Ok(maps)
    }
}

neck_methods!(BiFpnConfig);

/// More levels than maps halve to one position.
const MAX_LEVELS: usize = 64;

impl NodeConfig {
    fn init<const R: usize>(
        &self,
        activation: Option<&ActivationConfig>,
        device: &Device,
    ) -> BiFpnNode<R> {
        let projections = self.projections.iter();
        BiFpnNode {
            projections: projections
                .map(|conv| conv.as_ref().map(|conv| conv.init(device)))
                .collect(),
            sum: self.sum.init(device),
            activation: activation.map(|activation| activation.init(device)),
            conv: self.conv.iter().map(|conv| conv.init(device)).collect(),
        }
    }
}
