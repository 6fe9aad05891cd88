//! Changing how parameters start.

use alloc::{string::String, string::ToString, vec::Vec};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// Replaces the value of a parameter, which goes on being trained as it was.
pub(crate) fn with_value<const D: usize>(
    param: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    param.map(|value| {
        let trained = value.is_require_grad();
        change(value).detach().set_require_grad(trained)
    })
}

/// Sets the scale of the last norm of a module to zero, so that the module starts by giving the
/// norm's shift, zero. Without a norm, nothing changes.
pub(crate) fn zero_last_norm<M: Module>(module: M) -> M {
    let mut gammas = Gammas::default();
    module.visit(&mut gammas);
    match gammas.found.pop() {
        Some(id) => module.map(&mut Zero(id)),
        None => module,
    }
}

/// Finds the scales of Burn's norms: the parameters that are called `gamma`.
#[derive(Default)]
struct Gammas {
    path: Vec<String>,
    found: Vec<ParamId>,
}

impl ModuleVisitor for Gammas {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.last().is_some_and(|name| name == "gamma") {
            self.found.push(param.id);
        }
    }
}

struct Zero(ParamId);

impl ModuleMapper for Zero {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if param.id == self.0 {
            with_value(param, |value| value.zeros_like())
        } else {
            param
        }
    }
}
