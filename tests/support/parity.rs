//! One golden case on one device: the same numbers, forward and backward.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::Identity;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use burn_skip::block::ConvNormAct;
use burn_skip::gate::Gate;
use burn_skip::neck::Neck;
use burn_skip::resize::resize;
use burn_skip::weights::{Names, WeightsFile};
use burn_skip::{FlattenPadReshape, Layer, SkipAdd, SkipConcat, UpsampleConcat};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::golden::{Case, Golden, LayerCase, Tensors};

/// How far values and gradients may be off, relative to the largest of their tensor.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub forward: f32,
    pub gradient: f32,
}

/// Runs a case.
///
/// # Errors
/// All that differs, a line each.
pub fn run(
    case: &Case,
    tensors: &Tensors,
    device: &Device,
    tolerance: Tolerance,
) -> Result<(), String> {
    match case.rank {
        3 => Run::<3>::new(case, tensors, device, tolerance).layer(),
        4 => Run::<4>::new(case, tensors, device, tolerance).layer(),
        5 => Run::<5>::new(case, tensors, device, tolerance).layer(),
        rank => Err(format!("rank {rank}")),
    }
}

struct Run<'a, const R: usize> {
    case: &'a Case,
    tensors: &'a Tensors,
    device: Device,
    tolerance: Tolerance,
}

impl<'a, const R: usize> Run<'a, R> {
    fn new(case: &'a Case, tensors: &'a Tensors, device: &Device, tolerance: Tolerance) -> Self {
        Self {
            case,
            tensors,
            device: device.clone().autodiff(),
            tolerance,
        }
    }

    /// Builds the layer of the case, and checks it.
    fn layer(&self) -> Result<(), String> {
        let device = &self.device;
        match &self.case.layer {
            LayerCase::Resize { mode, size } => {
                self.check_one(Identity::new(), |_, x| resize(x, size, *mode))
            }
            LayerCase::Fit { fit, size } => {
                self.check_one(Identity::new(), |_, x| fit.forward(x, size))
            }
            LayerCase::Pool(config) => self.check_layer(config.init()),
            LayerCase::Merge(merge) => self.check(Identity::new(), |_, x| merge.forward(x)),
            LayerCase::WeightedSum(config) => {
                self.check(config.init(device), |sum, x| sum.forward(x))
            }
            LayerCase::Asff(config) => {
                self.check(config.init::<R>(device), |fuse, x| fuse.forward(x))
            }
            LayerCase::PaFpn { config, channels } => {
                self.check_neck(config.init::<R>(channels, device))
            }
            LayerCase::BiFpn { config, channels } => {
                self.check_neck(config.init::<R>(channels, device))
            }
            LayerCase::HrFuse { config, channels } => {
                self.check_neck(config.init::<R>(channels, device))
            }
            LayerCase::Conv(config) => self.check_layer(config.init::<R>(device)),
            LayerCase::ConvTranspose { config, size } => {
                self.check_one(config.init::<R>(device), |layer, x| match size {
                    Some(size) => layer.forward_to(x, size),
                    None => layer.forward(x),
                })
            }
            LayerCase::Up { up, channels, size } => {
                self.check_one(up.init::<R>(*channels, device), |layer, x| match size {
                    Some(size) => layer.forward_to(x, size),
                    None => layer.forward(x),
                })
            }
            LayerCase::Down { down, channels } => {
                self.check_layer(down.init::<R>(*channels, device))
            }
            LayerCase::ConvNormAct(config) => self.check_layer(config.init::<R>(device)),
            LayerCase::SkipAdd { config, block } => {
                let block: Vec<ConvNormAct<R>> = block.iter().map(|c| c.init(device)).collect();
                let layer: SkipAdd<_, R> = config.init(block, device);
                self.check_layer(layer)
            }
            LayerCase::SkipConcat { config, block } => {
                let block: Vec<ConvNormAct<R>> = block.iter().map(|c| c.init(device)).collect();
                let layer: SkipConcat<_> = config.init(block);
                self.check_layer(layer)
            }
            LayerCase::UpsampleConcat(config) => {
                let layer: UpsampleConcat<R> = config.init(device);
                self.check(layer, |layer, x| layer.forward(x[0].clone(), x[1].clone()))
            }
            LayerCase::BatchNorm { norm, channels } => {
                let norm = norm.init(*channels, device);
                // Steps one after the other; the gradients are those of the last.
                self.check(norm, |norm, x| {
                    let outputs = x.into_iter().map(|x| norm.forward(x));
                    outputs.last().expect("a step")
                })
            }
            LayerCase::FlattenPadReshape { size } => {
                let layer = FlattenPadReshape::new(*size);
                self.check(layer, |layer, x| {
                    let [a, b]: [Tensor<4>; 2] = [&x[0], &x[1]].map(|x| reinterpret(x.clone()));
                    reinterpret(layer.forward(a, b))
                })
            }
            LayerCase::Gate {
                gate,
                channels,
                guide_channels,
            } => {
                let gate = gate.init::<R>(*channels, *guide_channels, device);
                self.check(gate, |gate, x| gate.forward(x[0].clone(), x[1].clone()))
            }
        }
    }

    fn check_layer<L: Layer<R>>(&self, layer: L) -> Result<(), String> {
        self.check_one(layer, |layer, x| layer.forward(x))
    }

    /// The values of all maps, as a map of one row.
    fn check_neck<N: Neck<R>>(&self, neck: N) -> Result<(), String> {
        self.check(neck, |neck, x| {
            let rows = neck.forward(x).into_iter().map(|map| {
                let mut row = [1; R];
                row[R - 1] = map.dims().iter().product();
                map.reshape(row)
            });
            Tensor::cat(rows.collect(), R - 1)
        })
    }

    fn check_one<M: Module>(
        &self,
        module: M,
        forward: impl Fn(&M, Tensor<R>) -> Tensor<R>,
    ) -> Result<(), String> {
        self.check(module, |module, mut x| forward(module, x.remove(0)))
    }

    /// Loads the weights, runs forward and backward, and compares all that the case holds.
    fn check<M: Module>(
        &self,
        module: M,
        forward: impl Fn(&M, Vec<Tensor<R>>) -> Tensor<R>,
    ) -> Result<(), String> {
        let module = self.loaded(module)?;
        // A module starts in training. Frozen, its norms use their statistics; its weights are asked
        // for their gradients all the same.
        let module = match self.case.train {
            true => module,
            false => module.freeze().set_require_grad(true),
        };
        let x: Vec<Tensor<R>> = (0..)
            .map_while(|n| self.tensors.get(&format!("x{n}")))
            .map(|golden| tensor(golden, &self.device).require_grad())
            .collect();
        let y = forward(&module, x.clone());
        let mut compared = Compared::default();
        compared.add("y", &y, &self.tensors["y"], self.tolerance.forward);
        let upstream = cotangent(y.dims(), &self.device);
        let gradients = (y * upstream).sum().backward();
        for (n, x) in x.iter().enumerate() {
            let name = format!("grad/x{n}");
            if let Some(golden) = self.tensors.get(&name) {
                match x.grad(&gradients) {
                    Some(gradient) => {
                        compared.add(&name, &gradient, golden, self.tolerance.gradient);
                    }
                    None => compared.differs(&name, "there is none"),
                }
            }
        }
        let mut visit = Visit {
            run: self,
            gradients: &gradients,
            path: Vec::new(),
            compared: &mut compared,
        };
        // What a thread has added to the statistics of a norm is taken over by `valid`.
        let _ = module.valid();
        module.visit(&mut visit);
        compared.all_seen(self.tensors)
    }

    fn loaded<M: Module>(&self, mut module: M) -> Result<M, String> {
        let params = self.tensors.iter().filter_map(|(name, golden)| {
            let bytes: Vec<u8> = golden.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            let name = name.strip_prefix("param/")?.to_string();
            Some((name, golden.shape.clone(), bytes))
        });
        let params: Vec<_> = params.collect();
        if params.is_empty() {
            return Ok(module);
        }
        let views = params.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.expect("bytes of this shape"))
        });
        let bytes = safetensors::serialize(views, None).expect("a file in memory");
        let file = WeightsFile::from_safetensors(bytes).map_err(|e| e.to_string())?;
        file.load_into(&mut module, &Names::own())
            .map_err(|e| e.to_string())?;
        Ok(module)
    }
}

/// The gradient that comes from above: small fractions that f32 holds exactly.
fn cotangent<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| (((i * 37) % 17) as f32 - 8.0) / 8.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), device)
}

fn tensor<const R: usize>(golden: &Golden, device: &Device) -> Tensor<R> {
    let data = TensorData::new(golden.data.clone(), golden.shape.clone());
    Tensor::from_data(data, device)
}

/// A tensor of rank 4 as one of rank `B`, which is 4.
fn reinterpret<const A: usize, const B: usize>(x: Tensor<A>) -> Tensor<B> {
    let shape: Vec<usize> = x.dims().to_vec();
    x.reshape(<[usize; B]>::try_from(shape).expect("the same rank"))
}

/// What was compared, and what differs.
#[derive(Default)]
struct Compared {
    seen: Vec<String>,
    differences: Vec<String>,
}

impl Compared {
    fn add<const D: usize>(
        &mut self,
        name: &str,
        actual: &Tensor<D>,
        golden: &Golden,
        tolerance: f32,
    ) {
        let data = actual.to_data().convert::<f32>();
        let actual = data.try_to_vec::<f32>().expect("floats");
        self.seen.push(name.to_string());
        if data.shape()[..] != golden.shape[..] {
            let (actual, golden) = (data.shape().to_vec(), &golden.shape);
            return self.differs(name, &format!("shape {actual:?}, expected {golden:?}"));
        }
        let largest = golden.data.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = |(a, g): (&f32, &f32)| {
            if a.is_nan() {
                f32::INFINITY
            } else {
                (a - g).abs()
            }
        };
        let worst = actual.iter().zip(&golden.data).map(off).fold(0.0, f32::max);
        if worst > tolerance * largest.max(SMALLEST_SCALE) {
            self.differs(name, &format!("off by {worst:e}, largest {largest:e}"));
        }
    }

    fn differs(&mut self, name: &str, how: &str) {
        self.seen.push(name.to_string());
        self.differences.push(format!("{name}: {how}"));
    }

    /// Sees that nothing of what the case expects was passed over.
    fn all_seen(mut self, tensors: &Tensors) -> Result<(), String> {
        let expected = tensors
            .keys()
            .filter(|name| name.starts_with("grad/") || name.starts_with("after/") || *name == "y");
        for name in expected {
            if !self.seen.contains(name) {
                self.differences.push(format!("{name}: not compared"));
            }
        }
        match self.differences.is_empty() {
            true => Ok(()),
            false => Err(self.differences.join("; ")),
        }
    }
}

/// Tensors whose largest value is below this are compared as if it were this: a gradient that is zero
/// but for rounding has no scale of its own.
const SMALLEST_SCALE: f32 = 1e-1;

/// Compares the gradients of the weights, and the statistics after the run.
struct Visit<'a, 'b, const R: usize> {
    run: &'a Run<'a, R>,
    gradients: &'a Gradients,
    path: Vec<(String, bool)>,
    compared: &'b mut Compared,
}

impl<const R: usize> ModuleVisitor for Visit<'_, '_, R> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path
            .push((name.to_string(), container.starts_with("Enum:")));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let fields = self.path.iter().filter(|(_, variant)| !variant);
        let torch = HashMap::from([("gamma", "weight"), ("beta", "bias")]);
        let path: Vec<&str> = fields
            .map(|(name, _)| torch.get(name.as_str()).copied().unwrap_or(name))
            .collect();
        let path = path.join(".");
        if path.contains("running_") {
            let name = format!("after/{path}");
            if let Some(golden) = self.run.tensors.get(&name) {
                let tolerance = self.run.tolerance.forward;
                self.compared.add(&name, &param.val(), golden, tolerance);
            }
            return;
        }
        let name = format!("grad/{path}");
        match (
            self.run.tensors.get(&name),
            param.val().grad(self.gradients),
        ) {
            (Some(golden), Some(gradient)) => {
                let tolerance = self.run.tolerance.gradient;
                self.compared.add(&name, &gradient, golden, tolerance);
            }
            (None, _) => self.compared.differs(&name, "the case does not have it"),
            (_, None) => self.compared.differs(&name, "there is none"),
        }
    }
}
