//! The branches of a [`Fuse`](super::Fuse): [`BranchConfig`], [`BranchGate`] and [`Branch`].

use burn::module::{Content, Module, ModuleDisplay};
use serde::{Deserialize, Serialize};

use crate::fuse::fit::Fit;
use crate::fuse::gate::{AnyGate, GateConfig};
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::norm::NormConfig;
use crate::setters::setters;

/// One branch of a [`FuseConfig`](super::FuseConfig).
///
/// # Example
/// ```
/// use burn_skip::{BranchConfig, FuseConfig, fit::Fit, merge::Merge};
///
/// // The deep map is projected to the channels of the skip and padded to its size.
/// let deep = BranchConfig::new(128).with_project(64).with_fit(Fit::pad());
/// let config = FuseConfig::new(vec![deep, BranchConfig::new(64)], Merge::Add);
/// assert_eq!(config.output_shape(&[[1, 128, 6, 6], [1, 64, 15, 15]]).unwrap(), [1, 64, 15, 15]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BranchConfig {
    /// The channels of the map.
    pub channels: usize,
    /// The channels that a 1x1 convolution projects it to, or none. Default: none.
    #[serde(default)]
    pub project: Option<usize>,
    /// The norm after the projection, or none. It needs a projection. Default: none.
    #[serde(default)]
    pub norm: Option<NormConfig>,
    /// How the map is brought to the common size. Default: [`Fit::Exact`].
    #[serde(default)]
    pub fit: Fit,
    /// What weighs the map before the merge, or none. Default: none.
    #[serde(default)]
    pub gate: Option<BranchGate>,
}

setters!(
    BranchConfig:
    with_project(project: impl Into<Option<usize>>),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_fit(fit: Fit),
    with_gate(gate: impl Into<Option<BranchGate>>),
);

/// The gate of a branch, and the branch that guides it.
///
/// # Example
/// ```
/// use burn_skip::{BranchConfig, FuseConfig, fuse::BranchGate, gate::GateConfig, merge::Merge};
///
/// // Branch 0, the deep map, guides the gate of branch 1, the skip.
/// let gate = BranchGate { gate: GateConfig::attention(4), guide: 0 };
/// let branches = vec![BranchConfig::new(16), BranchConfig::new(8).with_gate(gate)];
/// let config = FuseConfig::new(branches, Merge::concat());
/// assert_eq!(config.output_shape(&[[1, 16, 9, 9], [1, 8, 9, 9]]).unwrap(), [1, 24, 9, 9]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BranchGate<G = GateConfig> {
    /// The gate, or its configuration.
    pub gate: G,
    /// The index of the branch that guides it, after its projection and fit.
    pub guide: usize,
}

impl BranchConfig {
    /// A map with `channels` channels, taken as it is.
    pub fn new(channels: usize) -> Self {
        Self {
            channels,
            project: None,
            norm: None,
            fit: Fit::Exact,
            gate: None,
        }
    }

    /// The 1x1 convolution, if there is one.
    pub(super) fn projection(&self) -> Option<ConvNormActConfig> {
        let output = self.project?;
        Some(
            ConvNormActConfig::new([self.channels, output], 1)
                .with_norm(self.norm.clone())
                .with_activation(None),
        )
    }

    /// The channels that the branch brings to the merge.
    pub(super) fn out_channels(&self) -> usize {
        self.project.unwrap_or(self.channels)
    }
}

/// The layers of a branch.
///
/// # Example
/// ```
/// use burn::{module::Module, tensor::Device};
/// use burn_skip::{BranchConfig, Fuse, FuseConfig, merge::Merge};
///
/// let branches = vec![BranchConfig::new(16).with_project(8), BranchConfig::new(8)];
/// let fuse: Fuse = FuseConfig::new(branches, Merge::Add).init(&Device::flex());
/// assert_eq!(fuse.branches[0].num_params(), 16 * 8 + 8);
/// assert_eq!(fuse.branches[1].num_params(), 0); // it has no layers
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Branch<const R: usize = 4, G = AnyGate<R>> {
    /// The 1x1 convolution.
    pub projection: Option<ConvNormAct<R>>,
    /// The gate.
    pub gate: Option<G>,
    /// The index of the branch that guides the gate, if there is one.
    #[module(skip)]
    pub guide: usize,
}

impl<const R: usize, G: Module + ModuleDisplay> ModuleDisplay for Branch<R, G> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        let content = content
            .add("projection", &self.projection)
            .add("gate", &self.gate);
        match &self.gate {
            Some(_) => content.add("guide", &self.guide).optional(),
            None => content.optional(),
        }
    }
}
