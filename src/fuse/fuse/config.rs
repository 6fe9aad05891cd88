//! [`FuseConfig`]: the options of a fusion, and its trace.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::nn::Identity;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{Fuse, NAME, check_gates};
use crate::fuse::align::Alignment;
use crate::fuse::branch::{Branch, BranchConfig, BranchGate};
use crate::fuse::fit::Target;
use crate::fuse::gate::{self, GateConfig, TraceGate};
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::layer::Layer;
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect};

/// Configuration of [`Fuse`].
///
/// # Example
/// ```
/// use burn_skip::{BranchConfig, FuseConfig, fit::{Fit, Target}, merge::Merge};
///
/// let branches = vec![BranchConfig::new(8).with_fit(Fit::pad_or_crop()); 3];
/// let config = FuseConfig::new(branches, Merge::concat());
/// let maps = [[1, 8, 5, 5], [1, 8, 9, 9], [1, 8, 17, 17]];
/// assert_eq!(config.output_shape(&maps).unwrap(), [1, 24, 17, 17]);
/// let config = config.with_target(Target::Size(vec![12, 12]));
/// assert_eq!(config.output_shape(&maps).unwrap(), [1, 24, 12, 12]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FuseConfig {
    /// The branches, from the deepest map to the skip.
    pub branches: Vec<BranchConfig>,
    /// How the branches become one map.
    pub merge: Merge,
    /// The size that the maps are fitted to. With a concat along a spatial axis each map keeps its size
    /// on that axis. Default: [`Target::Skip`], that of the last branch.
    #[serde(default = "Target::skip")]
    pub target: Target,
}

setters!(
    FuseConfig:
    with_target(target: Target),
);

impl Config for FuseConfig {}

impl FuseConfig {
    /// A fusion of `branches` by `merge`, at the size of the last branch.
    pub fn new(branches: Vec<BranchConfig>, merge: Merge) -> Self {
        Self {
            branches,
            merge,
            target: Target::Skip,
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no branch, a projection or a gate is invalid, or a guide is no branch.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        let channels: Vec<_> = self.branches.iter().map(|branch| branch.channels).collect();
        Planner::check_options(&channels, |planner, maps: &[Map<R>]| {
            self.trace(planner, maps)
        })
    }

    /// Checks what no part of the fusion checks.
    fn check_branches(&self) -> Result<(), ShapeError> {
        if self.branches.is_empty() {
            return Err(ShapeError::new(
                NAME,
                "there are no branches",
                "Give at least one",
            ));
        }
        let check = |branch: &BranchConfig| {
            check_positive(NAME, "channels", branch.channels)?;
            if branch.norm.is_some() && branch.project.is_none() {
                return Err(ShapeError::new(
                    NAME,
                    "there is a norm but no projection that it could follow",
                    "Set project, or leave the norm out",
                ));
            }
            Ok(())
        };
        for (index, branch) in self.branches.iter().enumerate() {
            check(branch).map_err(|e| e.within(format!("branches.{index}")))?;
        }
        Ok(())
    }

    pub(super) fn alignment(&self) -> Alignment<'_> {
        Alignment {
            fits: self.branches.iter().map(|branch| &branch.fit).collect(),
            target: &self.target,
            merge: self.merge,
        }
    }

    /// The gate of each branch.
    fn gates(&self) -> Vec<Option<BranchGate<&GateConfig>>> {
        let gates = self.branches.iter().map(|branch| {
            let BranchGate { gate, guide } = branch.gate.as_ref()?;
            Some(BranchGate {
                gate,
                guide: *guide,
            })
        });
        gates.collect()
    }

    /// The shape of the merged map, before the block.
    ///
    /// # Errors
    /// When there are too many or too few maps, channels differ, an axis is empty, the maps
    /// cannot be brought to one size, or an option is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(inputs, |planner, maps| self.trace(planner, maps))
    }

    /// Records the fusion of `maps`, without a block.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        self.trace_with(planner, maps, &self.gates(), |_, x| Ok(x.clone()))
    }

    /// Records the projections, the fits, the `gates` of the branches, the merge, and `block`.
    pub(super) fn trace_with<const R: usize, G: TraceGate<R>>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        gates: &[Option<BranchGate<&G>>],
        block: impl FnOnce(&mut Planner, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| {
            self.check_branches()?;
            check_gates(gates, self.branches.len())?;
            let projected = self.trace_projections(planner, maps)?;
            let alignment = self.alignment();
            let maps: Vec<&Map<R>> = projected.iter().collect();
            let fit_name = |index| format!("branches.{index}.fit").into();
            let fitted = alignment.trace_fits(planner, &maps, fit_name)?;
            let gated = trace_gates(planner, &fitted, gates)?;
            let maps: Vec<&Map<R>> = gated.iter().collect();
            let names: Vec<_> = (0..maps.len())
                .map(|index| format!("branch {index}"))
                .collect();
            let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
            let merged = alignment.trace_merge(planner, NAME, &maps, &names)?;
            block(planner.at("block"), &merged)
        })
    }

    /// Records the projections, and returns the map of each branch after its own.
    fn trace_projections<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        let count = self.branches.len();
        if maps.len() != count {
            return Err(ShapeError::new(
                NAME,
                format!("{} maps came, for {count} branches", maps.len()),
                format!("Give {count} maps"),
            ));
        }
        let project = |((index, branch), map): ((usize, &BranchConfig), &Map<R>)| {
            check_channels(NAME, map.shape, branch.channels)
                .map_err(|e| e.within(format!("branches.{index}")))?;
            let part = planner.at(format!("branches.{index}.projection"));
            branch.projection().trace(part, map)
        };
        let branches = self.branches.iter().enumerate();
        branches.zip(maps).map(project).collect()
    }

    /// The [plan](crate::plan) for maps of the given shapes, without a block.
    pub fn plan<const R: usize>(&self, inputs: &[[usize; R]]) -> Plan {
        Plan::of_maps(inputs, |planner, maps| {
            self.trace(planner, maps).map(|map| vec![map])
        })
    }

    /// Builds the fusion, without a block after it.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Fuse<R> {
        self.init_with(Identity::new(), device)
    }

    /// Builds the fusion, refined by `block`.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init_with<const R: usize, M: Layer<R>>(&self, block: M, device: &Device) -> Fuse<R, M> {
        expect(self.validate::<R>());
        let init_gate = |branch: &BranchConfig, gate: &BranchGate| {
            let guide = self.branches[gate.guide].out_channels();
            gate.gate.init(branch.out_channels(), guide, device)
        };
        let branches = self.branches.iter().map(|branch| Branch {
            projection: branch.projection().map(|conv| conv.init(device)),
            gate: branch.gate.as_ref().map(|gate| init_gate(branch, gate)),
            guide: branch.gate.as_ref().map_or(0, |gate| gate.guide),
        });
        Fuse {
            branches: branches.collect(),
            block,
            config: self.clone(),
        }
    }
}

/// Refuses a guide that is none of `count` branches.
pub(super) fn check_guide(guide: usize, count: usize) -> Result<(), ShapeError> {
    if guide < count {
        return Ok(());
    }
    Err(ShapeError::new(
        NAME,
        format!("the guide {guide} is none of {count} branches"),
        format!("Choose 0 to {}", count.saturating_sub(1)),
    ))
}

/// Records the gates of the branches, and returns the map of each branch after its gate. There is a map for each
/// branch, and the guides are branches.
fn trace_gates<const R: usize, G: TraceGate<R>>(
    planner: &mut Planner,
    maps: &[Map<R>],
    gates: &[Option<BranchGate<&G>>],
) -> Result<Vec<Map<R>>, ShapeError> {
    let trace = |(index, (map, gate)): (usize, (&Map<R>, &Option<BranchGate<&G>>))| {
        let Some(BranchGate { gate, guide }) = gate else {
            return Ok(map.clone());
        };
        let name = format!("branches.{index}.gate");
        gate::trace_part(planner, name.into(), *gate, map, &maps[*guide])
    };
    maps.iter().zip(gates).enumerate().map(trace).collect()
}
