//! Damaged configurations and weight files, and plans at random and extreme shapes: an error or a plan, never a
//! panic. `BURN_SKIP_FUZZ_CASES` and `BURN_SKIP_FUZZ_SEED` run more of them, from another seed.

use std::panic::catch_unwind;

use burn_skip::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, NetConfig, PlainEncoderConfig,
    ResNetEncoderConfig, UnetConfig,
};
use burn_skip::plan::Memory;
use burn_skip::weights::WeightsFile;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn cases() -> u64 {
    number("BURN_SKIP_FUZZ_CASES", 300)
}

fn generator(test: u64, case: u64) -> StdRng {
    StdRng::seed_from_u64(number("BURN_SKIP_FUZZ_SEED", 1) + 1_000_003 * test + case)
}

fn networks() -> Vec<Value> {
    let resnet = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    let densenet = EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121());
    let plain = EncoderConfig::Plain(PlainEncoderConfig::new(3, vec![4, 8]));
    let nets = [
        NetConfig::Unet(UnetConfig::new(3, 2, vec![4, 8, 16])),
        NetConfig::Unet(UnetConfig::unpadded(1, 2, vec![4, 8])),
        NetConfig::Unet(UnetConfig::monai_basic(1, 2, [4, 4, 8, 8, 16, 4])),
        NetConfig::Unet(UnetConfig::smp(resnet.clone(), 1)),
        NetConfig::Unet(UnetConfig::smp(densenet.clone(), 1)),
        NetConfig::Classifier(ClassifierConfig::new(resnet, 10)),
        NetConfig::Classifier(ClassifierConfig::new(densenet, 10)),
        NetConfig::Classifier(ClassifierConfig::new(plain, 10)),
    ];
    let value = |net| serde_json::to_value(net).expect("a configuration is written");
    nets.iter().map(value).collect()
}

/// Changes one place of a file.
fn damage(value: &mut Value, random: &mut StdRng) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let index = random.random_range(0..fields.len());
            let Some(key) = fields.keys().nth(index).cloned() else {
                return;
            };
            if random.random_range(0..8) == 0 {
                fields.remove(&key);
            } else if let Some(field) = fields.get_mut(&key) {
                damage(field, random);
            }
        }
        Value::Array(items) if !items.is_empty() => match random.random_range(0..5) {
            0 => items.truncate(random.random_range(0..items.len())),
            1 => items.extend_from_within(..),
            _ => {
                let index = random.random_range(0..items.len());
                damage(&mut items[index], random);
            }
        },
        other => {
            const NUMBERS: [u64; 10] = [
                0,
                1,
                2,
                3,
                7,
                1 << 20,
                (1 << 20) + 1,
                u32::MAX as u64,
                1 << 48,
                u64::MAX,
            ];
            *other = match random.random_range(0..6) {
                0 => Value::Null,
                1 => Value::from(random.random_range(-2.0..2.0_f64)),
                2 => Value::from("Valid"),
                3 => Value::from(random.random_bool(0.5)),
                _ => Value::from(NUMBERS[random.random_range(0..NUMBERS.len())]),
            };
        }
    }
}

fn shape(random: &mut StdRng) -> Vec<usize> {
    let axes = random.random_range(2..7);
    let size = |random: &mut StdRng| match random.random_range(0..12) {
        0 => 0,
        1 => usize::MAX,
        2 => 1 << 48,
        3 => u32::MAX as usize,
        _ => random.random_range(1..70),
    };
    let mut shape: Vec<usize> = (0..axes).map(|_| size(random)).collect();
    shape[1] = [1, 3, 3, shape[1]][random.random_range(0..4)];
    shape
}

/// Runs a case; a panic is reported with what caused it.
fn run(what: impl Fn() -> String, case: impl FnOnce() + std::panic::UnwindSafe) {
    assert!(catch_unwind(case).is_ok(), "panicked: {}", what());
}

#[test]
fn damaged_networks_at_extreme_shapes_are_planned_or_refused() {
    let networks = networks();
    let mut read = 0;
    for case in 0..cases() {
        let mut random = generator(0, case);
        let mut file = networks[case as usize % networks.len()].clone();
        for _ in 0..random.random_range(0..3) {
            damage(&mut file, &mut random);
        }
        let Ok(net) = serde_json::from_value::<NetConfig>(file.clone()) else {
            continue;
        };
        read += 1;
        let input = shape(&mut random);
        run(
            || format!("{file} at {input:?}"),
            || {
                if let Ok(plan) = net.plan(&input) {
                    let _ = (plan.to_string(), plan.diagram().svg());
                    let Memory { weights, .. } = plan.memory;
                    let fits = plan.error().is_none();
                    assert!(!fits || weights > 0, "a network has weights");
                }
            },
        );
    }
    assert!(read > cases() / 4, "only {read} files were read");
}

#[test]
fn damaged_weight_files_are_refused() {
    let folder = std::env::temp_dir().join(format!("burn-skip-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the files");
    let whole = std::fs::read("examples/data/nuclei/monai_basic_unet.pth").expect("the file");
    for case in 0..cases() / 10 {
        let mut random = generator(1, case);
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        if random.random_bool(0.3) {
            bytes.truncate(random.random_range(0..bytes.len()));
        }
        let path = folder.join("damaged.pth");
        std::fs::write(&path, bytes).expect("a damaged file");
        run(
            || format!("case {case}"),
            || {
                let _ = WeightsFile::open(&path);
            },
        );
    }
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}
