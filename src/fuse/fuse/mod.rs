//! [`Fuse`]: the general fusion, n maps in and one out.

mod config;

pub use config::FuseConfig;

use alloc::{format, vec, vec::Vec};

use burn::module::{Content, Module, ModuleDisplay};
use burn::nn::Identity;
use burn::tensor::Tensor;

use super::branch::{Branch, BranchGate};
use crate::fuse::gate::{AnyGate, Gate};
use crate::graph::{Map, Planner};
use crate::layers::layer::Layer;
use crate::plan::Plan;
use crate::shape::{ShapeError, expect};
use config::check_guide;

const NAME: &str = "Fuse";

/// Brings maps to the same channels and size, merges them and refines the result:
/// `y = block(merge_i(gate_i(fit_i(project_i(x_i)))))`.
///
/// The other fusions of this crate are special cases of this formula.
///
/// # Shapes
/// - inputs: `[batch, channels_i, spatial_i...]`, from the deepest map to the skip
/// - output: the output of the block for the merged map
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
pub struct Fuse<const R: usize = 4, M = Identity, G = AnyGate<R>> {
    /// The projections and gates of the branches.
    pub branches: Vec<Branch<R, G>>,
    /// The block after the merge.
    pub block: M,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: FuseConfig,
}

impl<const R: usize, M, G> Fuse<R, M, G> {
    /// Replaces the gates: one or none for each branch, in their order.
    ///
    /// # Panics
    /// When there are more or fewer than branches, or a guide is no branch.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use burn_skip::{BranchConfig, Fuse, FuseConfig, fuse::BranchGate, merge::Merge};
    /// use burn_skip::gate::{AnyGate, GateConfig};
    ///
    /// let device = Device::flex();
    /// // Any type that implements `Gate`, here one of this crate's.
    /// let AnyGate::Se(gate) = GateConfig::se(2).init::<4>(8, 8, &device) else { unreachable!() };
    /// let fuse: Fuse = FuseConfig::new(vec![BranchConfig::new(8); 2], Merge::Add).init(&device);
    /// let fuse = fuse.with_gates([None, Some(BranchGate { gate, guide: 0 })]);
    /// let maps = vec![Tensor::<4>::ones([1, 8, 5, 5], &device); 2];
    /// assert_eq!(fuse.forward(maps).dims(), [1, 8, 5, 5]);
    /// ```
    pub fn with_gates<H: Gate<R>>(
        self,
        gates: impl IntoIterator<Item = Option<BranchGate<H>>>,
    ) -> Fuse<R, M, H> {
        let count = self.branches.len();
        let gates: Vec<_> = gates.into_iter().collect();
        expect(check_gates(&gates, count));
        let branch = |(branch, gate): (Branch<R, G>, Option<BranchGate<H>>)| Branch {
            projection: branch.projection,
            guide: gate.as_ref().map_or(0, |gate| gate.guide),
            gate: gate.map(|gate| gate.gate),
        };
        Fuse {
            branches: self.branches.into_iter().zip(gates).map(branch).collect(),
            block: self.block,
            config: self.config,
        }
    }
}

/// Refuses gates that are not one or none for each of `count` branches, or whose guides are no branches.
fn check_gates<H>(gates: &[Option<BranchGate<H>>], count: usize) -> Result<(), ShapeError> {
    if gates.len() != count {
        return Err(ShapeError::new(
            NAME,
            format!("{} gates came, for {count} branches", gates.len()),
            format!("Give {count}, with None for a branch without a gate"),
        ));
    }
    for (index, gate) in gates.iter().enumerate() {
        if let Some(gate) = gate {
            let guide = check_guide(gate.guide, count);
            guide.map_err(|e| e.within(format!("branches.{index}")))?;
        }
    }
    Ok(())
}

impl<const R: usize, M: Layer<R>, G: Gate<R>> Fuse<R, M, G> {
    /// The shape of the output for maps of the given shapes.
    ///
    /// # Errors
    /// As [`FuseConfig::output_shape`], and when the merged map does not fit the block.
    pub fn output_shape(&self, inputs: &[[usize; R]]) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(inputs, |planner, maps| self.trace(planner, maps))
    }

    /// Records the fusion of `maps`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace(&self, planner: &mut Planner, maps: &[Map<R>]) -> Result<Map<R>, ShapeError> {
        let gates = self.branches.iter().map(|branch| {
            Some(BranchGate {
                gate: branch.gate.as_ref()?,
                guide: branch.guide,
            })
        });
        let gates: Vec<_> = gates.collect();
        let block = |planner: &mut Planner, x: &Map<R>| self.block.trace(planner, x);
        self.config.trace_with(planner, maps, &gates, block)
    }

    /// The [plan](crate::plan) for maps of the given shapes.
    pub fn plan(&self, inputs: &[[usize; R]]) -> Plan {
        Plan::of_maps(inputs, |planner, maps| {
            self.trace(planner, maps).map(|map| vec![map])
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
        let alignment = self.config.alignment();
        let fitted = alignment.fit(projected.collect());
        let gated = self.branches.iter().enumerate().map(|(index, branch)| {
            let map = fitted[index].clone();
            match &branch.gate {
                Some(gate) => gate.forward(map, fitted[branch.guide].clone()),
                None => map,
            }
        });
        let merged = alignment.merge(gated.collect());
        self.block.forward_parts(merged).into_tensor()
    }
}

impl<const R: usize, M, G> ModuleDisplay for Fuse<R, M, G>
where
    M: Module + ModuleDisplay,
    G: Module + ModuleDisplay,
{
    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("branches", &self.branches)
            .add_debug_attribute("fits", &self.config.alignment().fits)
            .add_debug_attribute("merge", &self.config.merge)
            .add_debug_attribute("target", &self.config.target)
            .add("block", &self.block)
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::branch::BranchConfig;
    use crate::fuse::fit::{Fit, Target};
    use crate::fuse::gate::{self, GateConfig};
    use crate::fuse::merge::Merge;
    use crate::layers::norm::NormConfig;
    use alloc::string::ToString;
    use burn::tensor::{Device, TensorData};

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
            gate: GateConfig::scse(1),
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
            gate: GateConfig::attention(2),
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
            "branches.0.fit.Fit: height is 4, and 9 is wanted. Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop)."
        );
        assert_eq!(
            text(Fit::pad(), vec![9]).unwrap_err(),
            "Target: size [9] has 1 numbers, a tensor of rank 4 has 2 spatial axes. Give one number, or 2."
        );
    }

    #[test]
    fn gates_that_are_not_one_for_each_branch_are_refused() {
        let gate = |guide| {
            let gate = GateConfig::se(1).init::<4>(2, 2, &Device::flex());
            Some(BranchGate { gate, guide })
        };
        assert_eq!(
            check_gates(&[gate(0)], 2).unwrap_err().to_string(),
            "Fuse: 1 gates came, for 2 branches. Give 2, with None for a branch without a gate."
        );
        assert_eq!(
            check_gates(&[None, gate(2)], 2).unwrap_err().to_string(),
            "branches.1.Fuse: the guide 2 is none of 2 branches. Choose 0 to 1."
        );
    }

    #[test]
    fn a_gate_of_another_type_weighs_its_branch() {
        let device = Device::flex();
        let config = FuseConfig::new(vec![BranchConfig::new(2); 2], Merge::Add);
        let gate = GateConfig::scse(1).init::<3>(2, 2, &device);
        let AnyGate::Scse(scse) = gate.clone() else {
            unreachable!()
        };
        let gate = BranchGate {
            gate: scse,
            guide: 0,
        };
        let fuse: Fuse<3, Identity, gate::Scse<3>> =
            config.init(&device).with_gates([None, Some(gate)]);
        let maps = [1.0, 2.0].map(|value| Tensor::<3>::full([1, 2, 4], value, &device));
        let [a, b] = maps.clone();
        let expected =
            a.clone() + AnyGate::Scse(fuse.branches[1].gate.clone().unwrap()).forward(b, a);
        let y = fuse.forward(maps.to_vec()).to_data();
        y.assert_eq(&expected.to_data(), true);
        let plan = fuse.plan(&[[1, 2, 4], [1, 2, 4]]);
        assert_eq!(plan.nodes()[1].0, "branches.1.gate");
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
