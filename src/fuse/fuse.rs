//! [`Fuse`]: the general fusion, n maps in and one out.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::{Content, Module, ModuleDisplay};
use burn::nn::Identity;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::align::Alignment;
use crate::fuse::fit::{Fit, Target};
use crate::fuse::gate::{Gate, GateConfig};
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect};

const NAME: &str = "Fuse";

/// One branch of a [`FuseConfig`].
///
/// # Example
/// ```
/// use burn_skip::{BranchConfig, FuseConfig, fit::Fit, merge::Merge};
///
/// // The deep map gets the channels of the skip, and then its size.
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
    pub project: Option<usize>,
    /// The norm after the projection, or none. It needs a projection. Default: none.
    pub norm: Option<NormConfig>,
    /// How the map is brought to the common size. Default: [`Fit::Exact`].
    pub fit: Fit,
    /// What weighs the map before the merge, or nothing. Default: nothing.
    pub gate: Option<BranchGate>,
}

setters!(
    BranchConfig:
    with_project(project: impl Into<Option<usize>>),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_fit(fit: Fit),
    with_gate(gate: impl Into<Option<BranchGate>>),
);

/// The gate of a branch.
///
/// # Example
/// ```
/// use burn_skip::{BranchConfig, FuseConfig, gate::GateConfig, merge::Merge, skip::BranchGate};
///
/// // The branch 0, the deep map, says what of the branch 1, the skip, counts.
/// let gate = BranchGate { gate: GateConfig::Attention { hidden_channels: 4 }, guide: 0 };
/// let branches = vec![BranchConfig::new(16), BranchConfig::new(8).with_gate(gate)];
/// let config = FuseConfig::new(branches, Merge::concat());
/// assert_eq!(config.output_shape(&[[1, 16, 9, 9], [1, 8, 9, 9]]).unwrap(), [1, 24, 9, 9]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BranchGate {
    /// The gate.
    pub gate: GateConfig,
    /// The index of the branch that guides it, as that is after its projection and fit.
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

    fn projection(&self) -> Option<ConvNormActConfig> {
        let output = self.project?;
        Some(
            ConvNormActConfig::new([self.channels, output], 1)
                .with_norm(self.norm.clone())
                .with_activation(None),
        )
    }

    /// The channels of the branch when it comes to the merge.
    fn out_channels(&self) -> usize {
        self.project.unwrap_or(self.channels)
    }
}

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
    /// How they become one map.
    pub merge: Merge,
    /// The size that they are fitted to; a merge by concat along a spatial axis leaves that axis
    /// as it is. Default: [`Target::Skip`], that of the last branch.
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
        if self.branches.is_empty() {
            return Err(ShapeError::new(
                NAME,
                "there are no branches",
                "Give at least one",
            ));
        }
        self.target.validate(R)?;
        self.merge.validate(R)?;
        for (index, branch) in self.branches.iter().enumerate() {
            self.validate_branch::<R>(branch)
                .map_err(|e| e.within(format!("branches.{index}")))?;
        }
        Ok(())
    }

    fn validate_branch<const R: usize>(&self, branch: &BranchConfig) -> Result<(), ShapeError> {
        check_positive(NAME, "channels", branch.channels)?;
        if branch.norm.is_some() && branch.project.is_none() {
            return Err(ShapeError::new(
                NAME,
                "there is a norm but no projection that it could follow",
                "Set project, or leave the norm out",
            ));
        }
        if let Some(projection) = branch.projection() {
            projection.validate::<R>()?;
        }
        let Some(BranchGate { gate, guide }) = &branch.gate else {
            return Ok(());
        };
        gate.validate(branch.out_channels())?;
        let count = self.branches.len();
        if *guide < count {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!("the guide {guide} is none of {count} branches"),
            format!("Choose 0 to {}", count - 1),
        ))
    }

    /// The shapes of the maps after their projections.
    fn projected<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        let count = self.branches.len();
        if inputs.len() != count {
            return Err(ShapeError::new(
                NAME,
                format!("{} maps came, for {count} branches", inputs.len()),
                format!("Give {count} maps"),
            ));
        }
        let mut shapes = Vec::with_capacity(count);
        for (index, (branch, &input)) in self.branches.iter().zip(inputs).enumerate() {
            let at_branch = |e: ShapeError| e.within(format!("branches.{index}"));
            check_channels(NAME, input, branch.channels).map_err(at_branch)?;
            shapes.push(match branch.projection() {
                Some(projection) => projection.output_shape(input).map_err(at_branch)?,
                None => input,
            });
        }
        Ok(shapes)
    }

    fn meeting(&self) -> Alignment<'_> {
        Alignment {
            fits: self.branches.iter().map(|branch| &branch.fit).collect(),
            target: &self.target,
            merge: self.merge,
        }
    }

    /// The shape of the merged map, before the block.
    ///
    /// # Errors
    /// When there are too many or too few maps, channels differ, an axis is empty, or the maps
    /// cannot be brought to one size.
    pub fn output_shape<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<[usize; R], ShapeError> {
        self.validate::<R>()?;
        let meeting = self.meeting();
        let branch_name = |index| format!("branches.{index}");
        let fitted = meeting.fitted(&self.projected(inputs)?, branch_name)?;
        for (index, branch) in self.branches.iter().enumerate() {
            if let Some(BranchGate { gate, guide }) = &branch.gate {
                gate.output_shape(fitted[index], fitted[*guide])
                    .map_err(|e| e.within(format!("branches.{index}.gate")))?;
            }
        }
        let merged = meeting.merge.output_shape(&fitted);
        merged.map_err(|e| e.told_by(NAME))
    }

    /// Tells the planner of the branches, of the merge, and of what `block` makes of it.
    fn trace_with<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        block: impl FnOnce(&mut Planner, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| {
            let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
            self.output_shape(&shapes)?;
            let mut projected = Vec::new();
            for (index, (branch, map)) in self.branches.iter().zip(maps).enumerate() {
                let part = planner.at(format!("branches.{index}.projection"));
                projected.push(branch.projection().trace(part, map)?);
            }
            let meeting = self.meeting();
            let name = |index| format!("branches.{index}.fit");
            let maps: Vec<&Map<R>> = projected.iter().collect();
            let fitted = meeting.trace_fits(planner, &maps, name)?;
            let mut gated = fitted.clone();
            for (index, branch) in self.branches.iter().enumerate() {
                if let Some(BranchGate { gate, guide }) = &branch.gate {
                    let part = planner.at(format!("branches.{index}.gate"));
                    gated[index] = gate.trace(part, &fitted[index], &fitted[*guide])?;
                }
            }
            let maps: Vec<&Map<R>> = gated.iter().collect();
            let names: Vec<_> = (0..maps.len())
                .map(|index| format!("branch {index}"))
                .collect();
            let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
            let merged = meeting.trace_merge(planner, &maps, &names)?;
            block(planner.at("block"), &merged)
        })
    }

    /// The [plan](crate::plan) for maps of the given shapes, without a block.
    pub fn plan<const R: usize>(&self, inputs: &[[usize; R]]) -> Plan {
        Plan::of_maps(inputs, |planner, maps| {
            let map = self.trace_with(planner, maps, |_, x| Ok(x.clone()))?;
            Ok(vec![map])
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
        });
        Fuse {
            branches: branches.collect(),
            block,
            config: self.clone(),
        }
    }
}

/// What a branch has to learn.
///
/// # Example
/// ```
/// use burn::{module::Module, tensor::Device};
/// use burn_skip::{BranchConfig, Fuse, FuseConfig, merge::Merge};
///
/// let branches = vec![BranchConfig::new(16).with_project(8), BranchConfig::new(8)];
/// let fuse: Fuse = FuseConfig::new(branches, Merge::Add).init(&Device::flex());
/// assert_eq!(fuse.branches[0].num_params(), 16 * 8 + 8);
/// assert_eq!(fuse.branches[1].num_params(), 0); // it is taken as it is
/// ```
#[derive(Module, Debug)]
pub struct Branch<const R: usize = 4> {
    /// The 1x1 convolution.
    pub projection: Option<ConvNormAct<R>>,
    /// The gate.
    pub gate: Option<Gate<R>>,
}

/// Brings maps to the same channels and size, merges them and refines the result:
/// `y = block(merge_i(gate_i(fit_i(project_i(x_i)))))`.
///
/// The named fusions of this crate are this sentence with some parts left out.
///
/// # Shapes
/// - inputs: `[batch, channels_i, spatial_i...]`, from the deepest map to the skip
/// - output: what the block makes of the merged map
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{BranchConfig, Fuse, FuseConfig, fit::Fit, merge::Merge, resize::ResizeMode};
///
/// let device = Device::flex();
/// let level = |channels| BranchConfig::new(channels)
///     .with_project(64)
///     .with_fit(Fit::Resize(ResizeMode::linear()));
/// let fuse: Fuse = FuseConfig::new(vec![level(256), level(128), level(64)], Merge::Mean).init(&device);
/// let maps = [(256, 5), (128, 9), (64, 17)].map(|(c, n)| Tensor::zeros([1, c, n, n], &device));
/// assert_eq!(fuse.forward(maps.to_vec()).dims(), [1, 64, 17, 17]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Fuse<const R: usize = 4, M = Identity> {
    /// The projections and gates of the branches.
    pub branches: Vec<Branch<R>>,
    /// What refines the merged map.
    pub block: M,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: FuseConfig,
}

impl<const R: usize, M: Layer<R>> Fuse<R, M> {
    /// The shape of the output for maps of the given shapes.
    ///
    /// # Errors
    /// As [`FuseConfig::output_shape`], and when the block does not take the merged map.
    pub fn output_shape(&self, inputs: &[[usize; R]]) -> Result<[usize; R], ShapeError> {
        let merged = self.config.output_shape(inputs)?;
        self.block
            .output_shape(merged)
            .map_err(|e| e.within("block"))
    }

    /// The [plan](crate::plan) for maps of the given shapes.
    pub fn plan(&self, inputs: &[[usize; R]]) -> Plan {
        Plan::of_maps(inputs, |planner, maps| {
            let block = |planner: &mut Planner, x: &Map<R>| self.block.trace(planner, x);
            let map = self.config.trace_with(planner, maps, block)?;
            Ok(vec![map])
        })
    }

    /// Fuses the maps.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward(&self, maps: Vec<Tensor<R>>) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes));
        let branches = self.branches.iter();
        let projected = maps
            .into_iter()
            .zip(branches)
            .map(|(map, branch)| branch.projection.forward(map));
        let meeting = self.config.meeting();
        let fitted = meeting.fit(projected.collect());
        let gated = self.branches.iter().enumerate().map(|(index, branch)| {
            let map = fitted[index].clone();
            match (&branch.gate, &self.config.branches[index].gate) {
                (Some(gate), Some(config)) => gate.forward(map, fitted[config.guide].clone()),
                _ => map,
            }
        });
        self.block
            .forward(self.config.merge.forward(gated.collect()))
    }
}

impl<const R: usize, M: Module + ModuleDisplay> ModuleDisplay for Fuse<R, M> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("branches", &self.branches)
            .add_debug_attribute("fits", &self.config.meeting().fits)
            .add_debug_attribute("merge", &self.config.merge)
            .add_debug_attribute("target", &self.config.target)
            .add("block", &self.block)
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::TensorData;

    #[test]
    fn a_spatial_concat_leaves_its_axis_alone() {
        let merge = Merge::Concat {
            axis: crate::Axis::Spatial(0),
            order: crate::fuse::merge::Order::DeepFirst,
        };
        let branch = BranchConfig::new(2).with_fit(Fit::pad());
        let fuse: Fuse = FuseConfig::new(vec![branch.clone(), branch], merge).init(&Device::flex());
        assert_eq!(
            fuse.output_shape(&[[1, 2, 6, 3], [1, 2, 15, 5]]),
            Ok([1, 2, 21, 5])
        );
    }

    #[test]
    fn values() {
        let device = Device::flex();
        let branches = vec![
            BranchConfig::new(1).with_fit(Fit::pad()),
            BranchConfig::new(1),
        ];
        let fuse: Fuse<3> = FuseConfig::new(branches, Merge::Sub).init(&device);
        let maps = vec![
            Tensor::from_floats([[[5.0, 6.0]]], &device),
            Tensor::from_floats([[[1.0, 2.0, 3.0]]], &device),
        ];
        fuse.forward(maps)
            .to_data()
            .assert_eq(&TensorData::from([[[4.0f32, 4.0, -3.0]]]), true);
    }

    #[test]
    fn errors() {
        let text = |branches, shapes: &[[usize; 4]]| {
            let config = FuseConfig::new(branches, Merge::Add);
            config.output_shape(shapes).unwrap_err().to_string()
        };
        let plain = || vec![BranchConfig::new(2), BranchConfig::new(2)];
        assert_eq!(
            text(vec![], &[]),
            "Fuse: there are no branches. Give at least one."
        );
        assert_eq!(
            text(plain(), &[[1, 2, 4, 4]]),
            "Fuse: 1 maps came, for 2 branches. Give 2 maps."
        );
        assert_eq!(
            text(plain(), &[[1, 2, 4, 4], [1, 2, 4, 8]]),
            "Fuse: width differs: deep 4, skip 8. Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop) or upsample deep by 2."
        );
        let normed = BranchConfig::new(2).with_norm(NormConfig::batch());
        assert_eq!(
            text(vec![normed], &[]),
            "branches.0.Fuse: there is a norm but no projection that it could follow. Set project, or leave the norm out."
        );
        let gate = BranchGate {
            gate: GateConfig::Scse { reduction: 1 },
            guide: 3,
        };
        assert_eq!(
            text(vec![BranchConfig::new(2).with_gate(gate)], &[]),
            "branches.0.Fuse: the guide 3 is none of 1 branches. Choose 0 to 0."
        );
    }

    #[test]
    fn a_gate_whose_guide_has_another_size_is_refused() {
        let gate = BranchGate {
            gate: GateConfig::Attention { hidden_channels: 2 },
            guide: 0,
        };
        let merge = Merge::Concat {
            axis: crate::Axis::Spatial(0),
            order: crate::fuse::merge::Order::DeepFirst,
        };
        let branches = vec![BranchConfig::new(2), BranchConfig::new(2).with_gate(gate)];
        let error = FuseConfig::new(branches, merge)
            .output_shape(&[[1, 2, 3, 5], [1, 2, 4, 5]])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "branches.1.gate.Gate: height differs: map 4, guide 3. Fit both to one size before the gate."
        );
    }

    #[test]
    fn a_given_size_is_not_ignored() {
        let text = |fit: Fit, size: Vec<usize>| {
            let config = FuseConfig::new(vec![BranchConfig::new(2).with_fit(fit)], Merge::Add)
                .with_target(Target::Size(size));
            config
                .output_shape(&[[1, 2, 4, 4]])
                .map_err(|e| e.to_string())
        };
        assert_eq!(text(Fit::pad(), vec![9, 9]), Ok([1, 2, 9, 9]));
        assert_eq!(
            text(Fit::Exact, vec![9, 9]).unwrap_err(),
            "branches.0.Fit: height is 4, and 9 is wanted. Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop)."
        );
        assert_eq!(
            text(Fit::pad(), vec![9]).unwrap_err(),
            "Target: size [9] has 1 numbers, a tensor of rank 4 has 2 spatial axes. Give one number, or 2."
        );
    }

    #[test]
    fn display() {
        let config = FuseConfig::new(vec![BranchConfig::new(2)], Merge::Max);
        let expected = "\
Fuse {
  branches: Vec<0..1> {
    0: Branch {
      projection: None
      gate: None
    }
  }
  fits: [Exact]
  merge: Max
  target: Skip
  block: Identity
}";
        assert_eq!(config.init::<4>(&Device::flex()).to_string(), expected);
    }
}
