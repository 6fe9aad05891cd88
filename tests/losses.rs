//! The losses: the values and gradients of PyTorch, segmentation_models.pytorch and MONAI on every device, and what
//! holds for all of them.
//!
//! The references lie in `tests/golden/losses`, or in the folder `losses` of `GOLDEN_DIR`; `scripts/generate_losses.py`
//! draws them.

use crate::devices;
use crate::golden;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use burn_skip::loss::{
    BinaryCrossEntropyLoss, BoundaryLoss, ClDiceLoss, CrossEntropyLoss, DeepSupervision, DiceLoss,
    FocalLoss, GeneralizedDiceLoss, JaccardLoss, Loss, LossConfig, LossSum, LovaszLoss, MccLoss,
    Mode, Scope, Term, TverskyLoss,
};
use golden::{Golden, Tensors};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How far values and gradients may be off, relative to the value and to the largest gradient.
const VALUE: f32 = 1e-5;
const GRADIENT: f32 = 1e-4;
/// Values and gradients below these are compared as if they were these.
const SMALLEST_VALUE: f32 = 1e-1;
const SMALLEST_GRADIENT: f32 = 1e-3;

/// A case of the golden file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    loss: CaseLoss,
    value: f32,
}

#[derive(Debug, Deserialize)]
enum CaseLoss {
    Loss(LossConfig),
    DeepSupervision(DeepSupervision),
}

#[test]
fn values_and_gradients_are_those_of_the_sources() {
    let path = golden::folder_of("losses").join("losses.safetensors");
    let (metadata, tensors) = golden::read(&path);
    let cases: Vec<Case> = serde_json::from_str(&metadata["cases"]).expect("the cases");
    assert!(cases.len() >= 80, "{} cases are too few", cases.len());
    for (name, device) in devices::devices() {
        let check = |(n, case)| {
            let prefix = format!("{n}/");
            let of_case = |(name, golden): (&String, &Golden)| {
                let name = name.strip_prefix(&prefix)?.to_string();
                Some((name, golden.clone()))
            };
            let tensors: Tensors = tensors.iter().filter_map(of_case).collect();
            let error = check_case(case, &tensors, &device, name).err()?;
            Some(format!("{n} {:?}: {error}", case.loss))
        };
        let failures: Vec<String> = cases.iter().enumerate().filter_map(check).collect();
        println!(
            "{name}: {} of {} cases agree",
            cases.len() - failures.len(),
            cases.len()
        );
        assert!(
            failures.is_empty(),
            "on {name}, {} cases differ:\n{}",
            failures.len(),
            failures.join("\n")
        );
        // A driver at work when the process ends may crash it.
        device.sync().expect("a device that finishes");
    }
}

fn check_case(case: &Case, tensors: &Tensors, device: &Device, name: &str) -> Result<(), String> {
    match tensors["labels"].shape.len() {
        3 => check_ranked::<3>(case, tensors, device, name),
        4 => check_ranked::<4>(case, tensors, device, name),
        5 => check_ranked::<5>(case, tensors, device, name),
        rank => Err(format!("rank {rank}")),
    }
}

fn check_ranked<const R: usize>(
    case: &Case,
    tensors: &Tensors,
    device: &Device,
    name: &str,
) -> Result<(), String> {
    let device = device.clone().autodiff();
    let tensor = |golden: &Golden| {
        let data = TensorData::new(golden.data.clone(), golden.shape.clone());
        Tensor::<R>::from_data(data, &device)
    };
    let labels = tensor(&tensors["labels"]).int();
    let logits: Vec<Tensor<R>> = (0..)
        .map_while(|level| tensors.get(&format!("logits{level}")))
        .map(|golden| tensor(golden).require_grad())
        .collect();
    let loss = match &case.loss {
        CaseLoss::Loss(loss) => loss.forward(logits[0].clone(), labels),
        CaseLoss::DeepSupervision(loss) => loss.forward(logits.clone(), labels),
    };
    let gradients = loss.backward();
    let value = loss.into_scalar::<f32>();
    let factor = if name == "wgpu" { 10.0 } else { 1.0 };
    if !is_close(&[value], &[case.value], factor * VALUE, SMALLEST_VALUE) {
        return Err(format!("{value}, expected {}", case.value));
    }
    for (level, logits) in logits.iter().enumerate() {
        let gradient = logits.grad(&gradients).ok_or("there is no gradient")?;
        let gradient = floats(gradient);
        let expected = &tensors[&format!("gradient{level}")].data;
        if !is_close(&gradient, expected, factor * GRADIENT, SMALLEST_GRADIENT) {
            return Err(format!(
                "gradient {level}: {gradient:?}, expected {expected:?}"
            ));
        }
    }
    Ok(())
}

fn is_close(actual: &[f32], expected: &[f32], tolerance: f32, smallest: f32) -> bool {
    let largest = expected.iter().fold(smallest, |m, v| m.max(v.abs()));
    let close = |(a, e): (&f32, &f32)| (a - e).abs() <= tolerance * largest;
    actual.len() == expected.len() && actual.iter().zip(expected).all(close)
}

fn floats<const R: usize>(x: Tensor<R>) -> Vec<f32> {
    x.cast(FloatDType::F32)
        .into_data()
        .try_to_vec()
        .expect("f32")
}

/// Every loss with this mode, ignoring 255.
fn losses(mode: Mode) -> Vec<LossConfig> {
    let weights = || match mode {
        Mode::Binary => None,
        _ => Some(vec![1.0, 0.0, 2.0]),
    };
    let dice = DiceLoss::new(mode).with_scope(Scope::Sample);
    let mut losses = vec![
        LossConfig::Dice(dice.with_ignore_label(255)),
        LossConfig::Jaccard(
            JaccardLoss::new(mode)
                .with_log(true)
                .with_class_weights(weights())
                .with_ignore_label(255),
        ),
        LossConfig::Tversky(
            TverskyLoss::new(mode)
                .with_alpha(0.3)
                .with_beta(0.7)
                .with_gamma(1.5)
                .with_ignore_label(255),
        ),
        LossConfig::GeneralizedDice(
            GeneralizedDiceLoss::new(mode)
                .with_class_weights(weights())
                .with_ignore_label(255),
        ),
        LossConfig::Focal(
            FocalLoss::new(mode)
                .with_alpha(0.3)
                .with_gamma(0.5)
                .with_normalized(true)
                .with_ignore_label(255),
        ),
        LossConfig::Lovasz(LovaszLoss::new(mode).with_ignore_label(255)),
        LossConfig::Mcc(
            MccLoss::new(mode)
                .with_class_weights(weights())
                .with_ignore_label(255),
        ),
        LossConfig::ClDice(
            ClDiceLoss::new(mode)
                .with_class_weights(weights())
                .with_ignore_label(255),
        ),
        LossConfig::Boundary(
            BoundaryLoss::new(mode)
                .with_class_weights(weights())
                .with_ignore_label(255),
        ),
    ];
    losses.push(match mode {
        Mode::MultiClass => LossConfig::CrossEntropy(
            CrossEntropyLoss::new()
                .with_smoothing(0.2)
                .with_class_weights(weights())
                .with_ignore_label(255),
        ),
        Mode::Binary | Mode::MultiLabel => LossConfig::BinaryCrossEntropy(
            BinaryCrossEntropyLoss::new()
                .with_smoothing(0.2)
                .with_class_weights(weights())
                .with_ignore_label(255),
        ),
    });
    let terms = [losses[0].clone(), losses[7].clone()];
    let terms = terms.into_iter().map(|loss| Term::new(0.5, loss));
    losses.push(LossConfig::Sum(LossSum(terms.collect())));
    losses
}

const MODES: [Mode; 3] = [Mode::Binary, Mode::MultiClass, Mode::MultiLabel];

/// Numbers in `[-1, 1)` that look random.
fn noise(seed: usize, count: usize) -> Vec<f64> {
    let value = |i: usize| ((i as f64 + 1.0) * 12.9898 + seed as f64 * 78.233).sin() * 43_758.545_3;
    (0..count)
        .map(|i| 2.0 * value(i).rem_euclid(1.0) - 1.0)
        .collect()
}

/// Logits and labels of two samples of 5x4, a sixth of which is ignored.
fn map(mode: Mode, device: &Device, dtype: DType) -> (Tensor<4>, Tensor<4, Int>) {
    let classes = if mode == Mode::Binary { 1 } else { 3 };
    let channels = if mode == Mode::MultiLabel { classes } else { 1 };
    let numbers = if mode == Mode::MultiClass { 3 } else { 2 };
    let shape = [2, classes, 5, 4];
    let logits = noise(1, shape.iter().product());
    let logits: Vec<f64> = logits.into_iter().map(|v| 3.0 * v).collect();
    let labels: Vec<i32> = (0..2 * channels * 20)
        .map(|i| match i % 6 {
            2 => 255,
            _ => ((i / 3 + i / 7) % numbers) as i32,
        })
        .collect();
    let labels = TensorData::new(labels, [2, channels, 5, 4]);
    let logits = TensorData::new(logits, shape);
    (
        Tensor::from_data(logits, (device, dtype)),
        Tensor::from_data(labels, device),
    )
}

/// The loss, and its gradient.
fn pass(loss: &LossConfig, logits: Tensor<4>, labels: Tensor<4, Int>) -> (f64, Tensor<4>) {
    let logits = logits.detach().require_grad();
    let value = loss.forward(logits.clone(), labels);
    let gradient = logits.grad(&value.backward()).expect("a gradient");
    let value = value.cast(FloatDType::F64).into_data();
    (value.try_to_vec::<f64>().expect("f64")[0], gradient)
}

#[test]
fn what_is_ignored_adds_nothing() {
    for mode in MODES {
        for loss in losses(mode) {
            let device = Device::flex().autodiff();
            let (logits, labels) = map(mode, &device, DType::F32);
            let (value, gradient) = pass(&loss, logits.clone(), labels.clone());
            let ignored = labels.clone().equal_scalar(255).expand(logits.dims());
            let elsewhere = gradient.clone().mask_fill(ignored.clone(), 0.0);
            let [there, all] = [&elsewhere, &gradient].map(|g| floats(g.clone()));
            assert_eq!(there, all, "{loss:?} has gradients where it ignores");
            assert!(
                all.iter().any(|g| *g != 0.0),
                "{loss:?} has gradients elsewhere"
            );
            for other in [100.0, f32::INFINITY, f32::NAN] {
                let changed = logits.clone().mask_fill(ignored.clone(), other);
                let (other_value, other_gradient) = pass(&loss, changed, labels.clone());
                assert_eq!(value, other_value, "{loss:?}");
                assert_eq!(all, floats(other_gradient), "{loss:?}");
            }
        }
    }
}

#[test]
fn where_everything_is_ignored_nothing_is_nan() {
    for mode in MODES {
        for loss in losses(mode) {
            let device = Device::flex().autodiff();
            let (logits, labels) = map(mode, &device, DType::F32);
            let (value, gradient) = pass(&loss, logits, labels.full_like(255));
            assert!(value.is_finite(), "{loss:?}: {value}");
            assert!(floats(gradient).iter().all(|g| *g == 0.0), "{loss:?}");
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for mode in MODES {
        for loss in losses(mode) {
            let device = Device::flex().autodiff();
            let (logits, labels) = map(mode, &device, DType::F64);
            let (_, gradient) = pass(&loss, logits.clone(), labels.clone());
            let shape = logits.dims();
            let way = noise(2, shape.iter().product());
            let way = Tensor::<4>::from_data(TensorData::new(way, shape), (&device, DType::F64));
            let along = (gradient * way.clone()).sum().into_scalar::<f64>();
            let step = 1e-6;
            let moved =
                |step: f64| pass(&loss, logits.clone() + way.clone() * step, labels.clone());
            let difference = (moved(step).0 - moved(-step).0) / (2.0 * step);
            assert!(
                (along - difference).abs() < 1e-7,
                "{loss:?}: the gradient says {along}, differences say {difference}"
            );
        }
    }
}

#[test]
fn half_precision_is_computed_in_f32() {
    for mode in MODES {
        for loss in losses(mode) {
            let device = Device::flex().autodiff();
            let (logits, labels) = map(mode, &device, DType::F32);
            // So that both are the same numbers, which f16 holds.
            let half = (logits * 100.0).cast(FloatDType::F16);
            let (expected, _) = pass(&loss, half.clone().cast(FloatDType::F32), labels.clone());
            let (value, gradient) = pass(&loss, half, labels);
            assert_eq!(value, expected, "{loss:?}");
            assert_eq!(gradient.dtype(), DType::F16);
            assert!(floats(gradient).iter().all(|g| g.is_finite()), "{loss:?}");
        }
    }
}

#[test]
fn all_samples_of_a_batch_are_seen() {
    for mode in MODES {
        for loss in losses(mode) {
            let device = Device::flex().autodiff();
            let (logits, labels) = map(mode, &device, DType::F32);
            let (_, gradient) = pass(&loss, logits, labels);
            for sample in 0..2 {
                let gradient = floats(gradient.clone().narrow(0, sample, 1));
                assert!(
                    gradient.iter().any(|g| *g != 0.0),
                    "{loss:?}: sample {sample} has no gradient"
                );
            }
        }
    }
}

#[test]
fn a_file_holds_the_same_loss() {
    for mode in MODES {
        for loss in losses(mode) {
            let text = serde_json::to_string(&loss).unwrap();
            let read: LossConfig = serde_json::from_str(&text).unwrap();
            assert_eq!(read, loss, "{text}");
        }
    }
    let text = r#"{"Dice": {"mode": "Binary", "ignore_index": 255}}"#;
    let error = serde_json::from_str::<LossConfig>(text).unwrap_err();
    assert!(
        error.to_string().contains("unknown field `ignore_index`"),
        "{error}"
    );
}

#[test]
fn what_a_file_leaves_out_is_what_new_sets() {
    fn check<L: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(new: L, short: &str) {
        assert_eq!(serde_json::from_str::<L>(short).unwrap(), new);
    }
    let mode = Mode::Binary;
    let short = r#"{"mode": "Binary"}"#;
    check(DiceLoss::new(mode), short);
    check(JaccardLoss::new(mode), short);
    check(TverskyLoss::new(mode), short);
    check(GeneralizedDiceLoss::new(mode), short);
    check(FocalLoss::new(mode), short);
    check(LovaszLoss::new(mode), short);
    check(MccLoss::new(mode), short);
    check(ClDiceLoss::new(mode), short);
    check(BoundaryLoss::new(mode), short);
    check(CrossEntropyLoss::new(), "{}");
    check(BinaryCrossEntropyLoss::new(), "{}");
    let dice = LossConfig::Dice(DiceLoss::new(mode));
    check(
        DeepSupervision::new(dice.clone()),
        r#"{"loss": {"Dice": {"mode": "Binary"}}}"#,
    );
    check(
        Term::new(1.0, dice),
        r#"{"loss": {"Dice": {"mode": "Binary"}}}"#,
    );
}

#[test]
fn the_schema_lists_every_loss() {
    let schema = serde_json::to_value(schemars::schema_for!(LossConfig)).unwrap();
    let text = schema.to_string();
    for loss in MODES.into_iter().flat_map(losses) {
        let loss = serde_json::to_value(&loss).unwrap();
        let name = loss.as_object().unwrap().keys().next().unwrap().clone();
        assert!(text.contains(&format!("\"{name}\"")), "{name}");
    }
}
