//! The contract of a layer: one [`Row`] drives every check.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::store::ModuleRecord;
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use burn_skip::plan::Plan;
use burn_skip::{Layer, ShapeError, Trace};

use super::devices::devices;
use super::reference::Array;

/// The law of a layer with any number of inputs.
pub type ShapeLaw<M, const R: usize> = fn(&M, &[[usize; R]]) -> Result<[usize; R], ShapeError>;

/// The plan of a layer with any number of inputs.
pub type PlanLaw<M, const R: usize> = fn(&M, &[[usize; R]]) -> Plan;

/// A layer, inputs for it, and what it must make of them.
pub struct Row<M, const R: usize> {
    pub name: &'static str,
    pub build: fn(&Device) -> M,
    /// The shapes of the inputs for a spatial size of about `n`.
    pub inputs: fn(usize) -> Vec<[usize; R]>,
    /// A small size for gradients, and the output's shape there.
    pub small: (usize, [usize; R]),
    /// Odd sizes at which the values are checked.
    pub odd: Vec<usize>,
    pub forward: fn(&M, Vec<Tensor<R>>) -> Tensor<R>,
    pub shape: ShapeLaw<M, R>,
    /// The plan, of what can be planned by itself.
    pub plan: Option<PlanLaw<M, R>>,
    pub reference: fn(&M, &[Array]) -> Array,
    /// Inputs that do not fit, and the error's text.
    pub misfit: (Vec<[usize; R]>, &'static str),
}

impl<M: Layer<R>, const R: usize> Row<M, R> {
    /// A row for a layer with one input.
    pub fn layer(
        name: &'static str,
        build: fn(&Device) -> M,
        inputs: fn(usize) -> Vec<[usize; R]>,
        small: (usize, [usize; R]),
        reference: fn(&M, &[Array]) -> Array,
        misfit: ([usize; R], &'static str),
    ) -> Self {
        Self {
            name,
            build,
            inputs,
            small,
            odd: odd_sizes(R),
            forward: |layer, mut x| layer.forward(x.remove(0)),
            shape: |layer, shapes| layer.output_shape(shapes[0]),
            plan: Some(|layer, shapes| Trace::plan(layer, shapes[0])),
            reference,
            misfit: (vec![misfit.0], misfit.1),
        }
    }
}

/// Odd sizes from 33 to 63: all of them on one axis, some on two, one on three.
pub fn odd_sizes(rank: usize) -> Vec<usize> {
    match rank {
        3 => (33..=63).step_by(2).collect(),
        4 => vec![33, 47, 63],
        _ => vec![33],
    }
}

/// The checks, for rows of every type.
pub trait Contract: Sync {
    fn name(&self) -> &'static str;
    fn values(&self);
    fn odd_sizes(&self);
    fn gradients(&self);
    fn finite_differences(&self);
    fn moved_layers_are_trained(&self);
    fn save_and_load(&self);
    fn misfit(&self);
    fn plan(&self);
}

/// Reproducible numbers in `(-1, 1)`.
fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

fn tensor<const R: usize>(
    seed: u64,
    shape: [usize; R],
    device: &Device,
    dtype: DType,
) -> Tensor<R> {
    let data = TensorData::new(noise(seed, shape.iter().product()), shape);
    Tensor::from_data(data, (device, dtype))
}

fn inputs<const R: usize>(shapes: &[[usize; R]], device: &Device, dtype: DType) -> Vec<Tensor<R>> {
    let shapes = shapes.iter().enumerate();
    shapes
        .map(|(i, &shape)| tensor(100 + i as u64, shape, device, dtype))
        .collect()
}

/// Sets every parameter and every running statistic to reproducible numbers; variances positive.
struct Fill {
    dtype: DType,
    path: Vec<String>,
    count: u64,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.count += 1;
        let variance = self.path.last().is_some_and(|name| name == "running_var");
        param.map(|value| {
            let filled = tensor(self.count, value.dims(), &value.device(), self.dtype);
            if variance { filled.abs() + 0.5 } else { filled }
        })
    }
}

fn filled<M: Module>(module: M, dtype: DType) -> M {
    module.map(&mut Fill {
        dtype,
        path: vec![],
        count: 0,
    })
}

/// Moves the parameter number `index` by `step` times reproducible numbers.
struct Move {
    index: usize,
    step: f64,
    seen: usize,
}

impl ModuleMapper for Move {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seen += 1;
        if self.seen - 1 != self.index {
            return param;
        }
        param.map(|value| {
            let way = tensor(DIRECTION, value.dims(), &value.device(), value.dtype());
            value + way * self.step
        })
    }
}

const DIRECTION: u64 = 77;

/// The gradients of all parameters, with their number among parameters and running statistics.
struct Collect<'a> {
    gradients: &'a Gradients,
    statistic: bool,
    seen: usize,
    found: Vec<(usize, Option<Array>)>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.statistic = name.starts_with("running_");
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.statistic {
            let gradient = param.val().grad(self.gradients).map(|g| Array::of(&g));
            self.found.push((self.seen, gradient));
        }
        self.seen += 1;
    }
}

/// The output, and the gradients of `sum(y * noise)` to the inputs and the parameters.
struct Pass {
    loss: f64,
    output: Array,
    to_inputs: Vec<Option<Array>>,
    to_params: Vec<(usize, Option<Array>)>,
}

fn pass<M: Module, const R: usize>(row: &Row<M, R>, module: &M, x: Vec<Tensor<R>>) -> Pass {
    let x: Vec<_> = x.into_iter().map(Tensor::require_grad).collect();
    let y = (row.forward)(module, x.clone());
    let weights = tensor(55, y.dims(), &y.device(), y.dtype());
    let output = Array::of(&y.clone().detach());
    let loss = (y * weights).sum();
    let value = Array::of(&loss.clone().detach()).data[0];
    let gradients = loss.backward();
    let mut collect = Collect {
        gradients: &gradients,
        statistic: false,
        seen: 0,
        found: vec![],
    };
    module.visit(&mut collect);
    Pass {
        loss: value,
        output,
        to_inputs: x
            .iter()
            .map(|x| x.grad(&gradients).map(|g| Array::of(&g)))
            .collect(),
        to_params: collect.found,
    }
}

fn assert_close(actual: &Array, expected: &Array, tolerance: f64, what: &str) {
    assert_eq!(actual.shape, expected.shape, "{what}: shapes");
    let scale = expected.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let worst = actual
        .data
        .iter()
        .zip(&expected.data)
        .map(|(a, e)| (a - e).abs())
        .fold(0.0, f64::max);
    assert!(
        actual.data.iter().all(|v| v.is_finite()),
        "{what}: not finite"
    );
    assert!(
        worst <= tolerance * scale,
        "{what}: off by {worst:e} at a scale of {scale:e}"
    );
}

fn assert_not_zero(array: &Array, what: &str) {
    assert!(
        array.data.iter().any(|v| v.abs() > 1e-12),
        "{what} is zero everywhere"
    );
}

fn panic_text(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("it did not panic");
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .expect("a panic with a text")
}

impl<M: Module, const R: usize> Row<M, R> {
    fn small_shapes(&self) -> Vec<[usize; R]> {
        (self.inputs)(self.small.0)
    }

    fn check_values(&self, shapes: &[[usize; R]], device: &Device, device_name: &str) -> Array {
        let what = format!("{} on {device_name} at {shapes:?}", self.name);
        let module = filled((self.build)(device), DType::F32);
        let x = inputs(shapes, device, DType::F32);
        let arrays: Vec<Array> = x.iter().map(Array::of).collect();
        let y = (self.forward)(&module, x);
        assert_eq!(
            (self.shape)(&module, shapes),
            Ok(y.dims()),
            "{what}: the law"
        );
        let y = Array::of(&y);
        assert_not_zero(&y, &what);
        assert_close(&y, &(self.reference)(&module, &arrays), 1e-4, &what);
        y
    }
}

impl<M: Module + Sync, const R: usize> Contract for Row<M, R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn values(&self) {
        for (name, device) in devices() {
            let y = self.check_values(&self.small_shapes(), &device, name);
            assert_eq!(y.shape, self.small.1, "{}: the expected shape", self.name);
        }
    }

    fn odd_sizes(&self) {
        for &n in &self.odd {
            self.check_values(&(self.inputs)(n), &Device::flex(), "flex");
        }
    }

    fn gradients(&self) {
        let run = |device: Device| {
            let module = filled((self.build)(&device), DType::F32).train();
            let x = inputs(&self.small_shapes(), &device.autodiff(), DType::F32);
            pass(self, &module, x)
        };
        let mut passes = devices()
            .into_iter()
            .map(|(name, device)| (name, run(device)));
        let (_, first) = passes.next().expect("flex is always there");
        for (i, gradient) in first.to_inputs.iter().enumerate() {
            let what = format!("{}: the gradient to input {i}", self.name);
            assert_not_zero(
                gradient
                    .as_ref()
                    .unwrap_or_else(|| panic!("{what} is missing")),
                &what,
            );
        }
        for (i, gradient) in &first.to_params {
            let what = format!("{}: the gradient to parameter {i}", self.name);
            gradient
                .as_ref()
                .unwrap_or_else(|| panic!("{what} is missing"));
        }
        for (name, other) in passes {
            let what = format!("{}: flex and {name}", self.name);
            assert_close(&other.output, &first.output, 1e-4, &what);
            for (a, b) in other.to_inputs.iter().zip(&first.to_inputs) {
                assert_close(
                    a.as_ref().unwrap(),
                    b.as_ref().unwrap(),
                    1e-4,
                    &format!("{what}, to inputs"),
                );
            }
            for ((i, a), (_, b)) in other.to_params.iter().zip(&first.to_params) {
                assert_close(
                    a.as_ref().unwrap(),
                    b.as_ref().unwrap(),
                    1e-4,
                    &format!("{what}, to parameter {i}"),
                );
            }
        }
    }

    fn finite_differences(&self) {
        let plain = Device::flex();
        let device = plain.clone().autodiff();
        let module = filled((self.build)(&plain), DType::F64).train();
        let x = inputs(&self.small_shapes(), &device, DType::F64);
        let exact = pass(self, &module, x.clone());
        let step = 1e-6;
        let check = |what: String, gradient: &Array, loss: &dyn Fn(f64) -> f64| {
            let way = noise(DIRECTION, gradient.data.len());
            let along: f64 = gradient.data.iter().zip(&way).map(|(g, w)| g * w).sum();
            let difference = (loss(step) - loss(-step)) / (2.0 * step);
            let scale = along.abs().max(difference.abs()).max(1.0);
            assert!(
                (along - difference).abs() < 1e-5 * scale,
                "{}: {what}: the gradient says {along}, differences say {difference}",
                self.name
            );
        };
        for (i, gradient) in exact.to_inputs.iter().enumerate() {
            check(format!("input {i}"), gradient.as_ref().unwrap(), &|step| {
                let mut x = x.clone();
                let way = tensor(DIRECTION, x[i].dims(), &device, DType::F64);
                x[i] = x[i].clone() + way * step;
                pass(self, &module, x).loss
            });
        }
        for (i, gradient) in &exact.to_params {
            check(
                format!("parameter {i}"),
                gradient.as_ref().unwrap(),
                &|step| {
                    // Built anew: a clone would share its running statistics.
                    let moved = filled((self.build)(&plain), DType::F64)
                        .map(&mut Move {
                            index: *i,
                            step,
                            seen: 0,
                        })
                        .train();
                    pass(self, &moved, x.clone()).loss
                },
            );
        }
    }

    fn moved_layers_are_trained(&self) {
        let module = (self.build)(&Device::flex().autodiff());
        let device = super::devices::another().autodiff();
        let module = module.to_device(&device);
        let x = inputs(&self.small_shapes(), &device, DType::F32);
        for (i, gradient) in pass(self, &module, x).to_params {
            assert!(
                gradient.is_some(),
                "{}: parameter {i} is not trained",
                self.name
            );
        }
    }

    fn save_and_load(&self) {
        let device = Device::flex();
        let x = inputs(&self.small_shapes(), &device, DType::F32);
        let saved = filled((self.build)(&device), DType::F32);
        let expected = Array::of(&(self.forward)(&saved, x.clone()));
        let bytes = saved
            .into_record()
            .into_bytes()
            .expect("a record in memory");
        let record = ModuleRecord::from_bytes(bytes).expect("the same record");
        let loaded = (self.build)(&device).load_record(record);
        let actual = Array::of(&(self.forward)(&loaded, x));
        assert_eq!(actual, expected, "{}: after loading", self.name);
    }

    fn misfit(&self) {
        let device = Device::flex();
        let module = (self.build)(&device);
        let (shapes, text) = &self.misfit;
        let error = (self.shape)(&module, shapes).expect_err(self.name);
        assert_eq!(error.to_string(), *text, "{}", self.name);
        if shapes.iter().all(|shape| !shape.contains(&0)) {
            let x = inputs(shapes, &device, DType::F32);
            let panicked = panic_text(|| drop((self.forward)(&module, x)));
            assert_eq!(panicked, *text, "{}: forward obeys the law", self.name);
        }
    }

    /// A plan ends as the law says, and costs what the layer has to learn.
    fn plan(&self) {
        let Some(plan) = self.plan else { return };
        let device = Device::flex().autodiff();
        let module = (self.build)(&device);
        for n in core::iter::once(self.small.0).chain(self.odd.iter().copied()) {
            let shapes = (self.inputs)(n);
            let plan = plan(&module, &shapes);
            let wanted = (self.shape)(&module, &shapes).expect(self.name);
            let found = plan.root.outputs.last().map(|map| &map.shape[..]);
            // (A classifier's law has ones for the axes that its logits lack.)
            let len = found.map_or(0, <[usize]>::len);
            assert_eq!(found, Some(&wanted[..len]), "{} at {n}", self.name);
        }
        let shapes = (self.inputs)(self.small.0);
        let root = plan(&module, &shapes).root;
        let statistics = RunningStatistics::of(&module);
        assert_eq!(
            root.total_parameters() + statistics as u64,
            module.num_params() as u64,
            "{}",
            self.name
        );
        let (shapes, text) = &self.misfit;
        let plan = plan(&module, shapes);
        let error = plan
            .error()
            .unwrap_or_else(|| panic!("{} is planned", self.name));
        assert_eq!(
            error.to_string(),
            *text,
            "{}: the plan obeys the law",
            self.name
        );
    }
}

/// Counts what is stored and not learned: the statistics of batch norms.
struct RunningStatistics(usize);

impl RunningStatistics {
    fn of(module: &impl Module) -> usize {
        let mut counter = Self(0);
        module.visit(&mut counter);
        counter.0
    }
}

impl ModuleVisitor for RunningStatistics {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            self.0 += param.lazy_shape().num_elements();
        }
    }
}
