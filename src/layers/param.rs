//! Changing how parameters start. They stay lazy, so that a network can still be moved before it is used.

use alloc::vec::Vec;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::shape::ShapeError;

/// Rows that start as copies of each other.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// How often each row stands in the parameter.
    pub copies: usize,
    /// Whether the copies of a row follow each other, or all rows are repeated as a whole.
    pub side_by_side: bool,
    /// The inputs and the outputs of a position, for the initializer.
    pub fans: [usize; 2],
}

impl Rows {
    /// A parameter of shape `[rows * copies, rest...]`; the rows start as `initializer` says.
    pub fn param<const D: usize>(
        self,
        initializer: &Initializer,
        shape: [usize; D],
        device: &Device,
    ) -> Param<Tensor<D>> {
        let initializer = initializer.clone();
        let init = move |device: &Device, require_grad: bool| {
            let mut rows = shape;
            rows[0] /= self.copies;
            let (count, rest) = (rows[0], rows[1..].iter().product());
            let [fan_in, fan_out] = self.fans.map(Some);
            let (single, copied) = match self.side_by_side {
                true => ([count, 1, rest], [count, self.copies, rest]),
                false => ([1, count, rest], [self.copies, count, rest]),
            };
            let values = initializer
                .init_with::<D, _>(rows, fan_in, fan_out, device)
                .into_value()
                .reshape(single)
                .expand(copied)
                .reshape(shape)
                .detach();
            if require_grad {
                values.require_grad()
            } else {
                values
            }
        };
        Param::uninitialized(ParamId::new(), init, device.clone(), true, shape.into())
    }
}

/// Lets the scale of the last of Burn's norms in a module start at zero.
///
/// # Errors
/// When there is no norm that has a scale.
pub(crate) fn zero_last_norm<M: Module>(module: M) -> Result<M, ShapeError> {
    let mut scales = Scales::default();
    module.visit(&mut scales);
    match scales.found.pop() {
        Some(id) => Ok(module.map(&mut Zero(id))),
        None => Err(ShapeError::new(
            "Norm",
            "no norm with a scale was found that could start at zero",
            "Give the block a norm with a scale, or set zero_init_last_norm to false",
        )),
    }
}

/// Finds the scales of Burn's norms.
#[derive(Default)]
struct Scales {
    inside: Vec<bool>,
    found: Vec<ParamId>,
}

impl ModuleVisitor for Scales {
    fn enter_module(&mut self, name: &str, container: &str) {
        let norms = [
            "Struct:BatchNorm",
            "Struct:GroupNorm",
            "Struct:InstanceNorm",
        ];
        self.inside
            .push(name == "gamma" && norms.contains(&container));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.inside.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.inside.last() == Some(&true) {
            self.found.push(param.id);
        }
    }
}

/// Starts one parameter anew, at zero.
struct Zero(ParamId);

impl ModuleMapper for Zero {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if param.id == self.0 {
            Initializer::Zeros.init(param.lazy_shape(), &param.lazy_device())
        } else {
            param
        }
    }
}
