//! What holds for all transforms.

use std::collections::HashSet;

use burn_skip::augment::{
    AugmentConfig, AugmentStep, Blur, Brightness, Contrast, Crop, CutOut, Elastic, Flip, Gamma,
    ImageAxis, ImageView, LowResolution, Noise, Rotate, Scale, Transform,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Pair, always};

use ImageAxis::{Depth, Height, Width};

/// Every transform, with options that change much.
fn all() -> AugmentConfig {
    let axes = [Depth, Height, Width];
    let rotate = Rotate::default()
        .with_degrees([-180.0, 180.0])
        .with_about(axes);
    let scale = Scale::default().with_per_axis(true).with_axes(axes);
    let steps = [
        Transform::Flip(Flip::default()),
        Transform::Transpose,
        Transform::QuarterTurn,
        Transform::Rotate(rotate),
        Transform::Scale(scale),
        Transform::Elastic(Elastic::default().with_spacing(5.0).with_axes(axes)),
        Transform::Gamma(Gamma::default()),
        Transform::Contrast(Contrast::default()),
        Transform::Brightness(Brightness::default()),
        Transform::Noise(Noise::default()),
        Transform::Blur(Blur::default()),
        Transform::LowResolution(LowResolution::default()),
        Transform::CutOut(CutOut::default()),
    ];
    AugmentConfig(steps.map(|step| AugmentStep::new(0.6, step)).into())
}

/// Images and volumes of several channels, each with a crop.
fn cases() -> Vec<(Pair, Crop)> {
    vec![
        (Pair::new(1, &[17, 23]), Crop::new([2, 5], [12, 12])),
        (Pair::new(3, &[9, 8]), Crop::whole(&[9, 8])),
        (Pair::new(1, &[1, 7]), Crop::whole(&[1, 7])),
        (
            Pair::new(2, &[6, 14, 13]),
            Crop::new([1, 0, 3], [4, 10, 10]),
        ),
        (Pair::new(1, &[1, 5, 6]), Crop::whole(&[1, 5, 6])),
    ]
}

#[test]
fn a_mask_never_gets_a_value_that_it_did_not_have() {
    for (mut pair, crop) in cases() {
        // Few values that are far apart, and others in each channel: a mean or a mixture would be new.
        let pixels: usize = pair.size.iter().product();
        for (n, value) in pair.mask.iter_mut().enumerate() {
            *value = 1000 * (n / pixels) as u32 + [0, 17, 255][n * n % 3];
        }
        let channels = pair.mask.chunks(pixels);
        let known: Vec<HashSet<u32>> = channels.map(|map| map.iter().copied().collect()).collect();
        let cropped: usize = crop.size.iter().product();
        for seed in 0..200 {
            let found = pair.augment(&all(), &crop, seed);
            assert_eq!(found.mask.len(), pair.channels * cropped);
            for (map, known) in found.mask.chunks(cropped).zip(&known) {
                assert!(map.iter().all(|value| known.contains(value)), "seed {seed}");
            }
            assert!(found.image.iter().all(|value| value.is_finite()));
        }
    }
}

/// The image of a mask moves as the mask does.
#[test]
fn image_and_mask_stay_on_each_other() {
    let mut pair = Pair::new(1, &[40, 40]);
    // A disc, which is smooth enough for the linear image to cross 1/2 at the edge of the nearest mask.
    for n in 0..1600 {
        let [y, x] = [n / 40, n % 40].map(|at| at as f32 - 22.3);
        let inside = ((x * x + y * y).sqrt() - 11.0).clamp(-2.0, 2.0);
        pair.image[n] = 0.5 - inside / 4.0;
        pair.mask[n] = u32::from(pair.image[n] > 0.5);
    }
    let spatial = all()
        .0
        .into_iter()
        .filter(|step| step.transform.is_spatial());
    let spatial = AugmentConfig(spatial.collect());
    for seed in 0..100 {
        let found = pair.augment(&spatial, &Crop::new([4, 4], [32, 32]), seed);
        for (value, class) in found.image.iter().zip(&found.mask) {
            let is_clear = (value - 0.5).abs() > 0.25;
            assert!(
                !is_clear || (*value > 0.5) == (*class == 1),
                "seed {seed}: {value} {class}"
            );
        }
    }
}

#[test]
fn a_seed_gives_the_same_numbers_and_another_one_others() {
    for config in [all(), AugmentConfig::standard()] {
        for (pair, crop) in cases() {
            let augmented = |seed| pair.augment(&config, &crop, seed);
            assert!((0..20).all(|seed| augmented(seed) == augmented(seed)));
            let differ = (0..20).filter(|&seed| augmented(seed) != augmented(seed + 1));
            assert!(differ.count() > 12);
        }
    }
}

/// A change of these numbers changes every training that is repeated from its seed.
#[test]
fn the_numbers_of_a_seed_are_fixed() {
    let pair = Pair::new(1, &[12, 12]);
    let found = pair.augment(&all(), &Crop::new([2, 2], [8, 8]), 11);
    let sum: f64 = found.image.iter().map(|&value| f64::from(value)).sum();
    let classes: u32 = found.mask.iter().sum();
    assert!((sum - 22.668_233).abs() < 1e-3, "{sum}");
    assert_eq!(classes, 4526);
}

#[test]
fn without_strength_nothing_changes() {
    let axes = [Depth, Height, Width];
    let elastic = Elastic::default().with_deviation([0.0; 2]).with_axes(axes);
    let steps = [
        Transform::Rotate(Rotate::default().with_degrees([0.0; 2]).with_about(axes)),
        Transform::Scale(Scale::default().with_factor([1.0; 2]).with_axes(axes)),
        Transform::Elastic(elastic),
        Transform::Gamma(Gamma::default().with_exponent([1.0; 2])),
        Transform::Contrast(Contrast::default().with_factor([1.0; 2])),
        Transform::Brightness(Brightness::default().with_factor([1.0; 2])),
        Transform::Noise(Noise::default().with_deviation([0.0; 2])),
        Transform::Blur(Blur::default().with_deviation([0.0; 2])),
        Transform::LowResolution(LowResolution::default().with_scale([1.0; 2])),
        Transform::CutOut(CutOut::default().with_count(0)),
        Transform::CutOut(CutOut::default().with_side([0.0; 2])),
    ];
    let together = AugmentConfig(steps.clone().map(|step| AugmentStep::new(1.0, step)).into());
    let never = AugmentConfig(
        all()
            .0
            .into_iter()
            .map(|s| AugmentStep::new(0.0, s.transform))
            .collect(),
    );
    let configs = steps.map(always).into_iter();
    for config in configs.chain([together, never, AugmentConfig::none()]) {
        for (pair, crop) in cases() {
            let plain = pair.augment(&AugmentConfig::none(), &crop, 1);
            assert_eq!(pair.augment(&config, &crop, 1), plain, "{config:?}");
        }
    }
    // No transform is the crop itself.
    let pair = Pair::new(1, &[3, 4]);
    let found = pair.augment(&AugmentConfig::none(), &Crop::new([1, 1], [2, 3]), 1);
    assert_eq!(found.mask, [5, 6, 7, 9, 10, 11]);
}

/// What a training did before there were options: three coins, and a fourth for volumes.
#[test]
fn flips_are_the_symmetries_of_three_coins() {
    for (size, depth) in [(&[5, 5][..], 1), (&[3, 5, 5], 3), (&[4, 5], 1)] {
        let pair = Pair::new(1, size);
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let [mirror, flip, transpose] = random.random::<[bool; 3]>();
            let [height, width] = pair.plane();
            let reverse = size.len() == 3 && random.random();
            let mut expected = Vec::new();
            for n in 0..depth * height * width {
                let [mut z, mut y, mut x] = [n / width / height, n / width % height, n % width];
                if transpose && height == width {
                    (y, x) = (x, y);
                }
                x = if mirror { width - 1 - x } else { x };
                y = if flip { height - 1 - y } else { y };
                z = if reverse { depth - 1 - z } else { z };
                expected.push(pair.mask[pair.at(0, [z, y, x])]);
            }
            let found = pair.augment(&AugmentConfig::flips(), &Crop::whole(size), seed);
            assert_eq!(found.mask, expected, "seed {seed}");
        }
    }
}

#[test]
fn options_out_of_range_are_refused_with_a_remedy() {
    for (step, expected) in [
        (
            r#"{"probability": 1.5, "transform": "Transpose"}"#,
            "Augment.1: probability is 1.5. Give a number from 0 to 1.",
        ),
        (
            r#"{"probability": 1, "transform": {"Rotate": {"degrees": [0, 400]}}}"#,
            "Augment.1.Rotate: degrees is [0.0, 400.0]. Give the lowest and the highest number, both from -360 to 360.",
        ),
        (
            r#"{"probability": 1, "transform": {"Scale": {"factor": [0, 1]}}}"#,
            "Augment.1.Scale: factor is [0.0, 1.0]. Give the lowest and the highest number, both from 0.01 to 100.",
        ),
        (
            r#"{"probability": 1, "transform": {"Gamma": {"exponent": [1.5, 0.7]}}}"#,
            "Augment.1.Gamma: exponent is [1.5, 0.7]. Give the lowest number first.",
        ),
        (
            r#"{"probability": 1, "transform": {"Elastic": {"spacing": 0}}}"#,
            "Augment.1.Elastic: spacing is 0. Give a number from 1 to 10000.",
        ),
        (
            r#"{"probability": 1, "transform": {"Flip": {"axes": []}}}"#,
            "Augment.1.Flip: axes is []. Name one or more of Depth, Height and Width, each once.",
        ),
        (
            r#"{"probability": 1, "transform": {"Blur": {"axes": ["Width", "Width"]}}}"#,
            "Augment.1.Blur: axes is [Width, Width]. Name one or more of Depth, Height and Width, each once.",
        ),
        (
            r#"{"probability": 1, "transform": {"CutOut": {"count": 1001}}}"#,
            "Augment.1.CutOut: count is 1001. Give a number from 0 to 1000.",
        ),
    ] {
        let file = format!(r#"[{{"probability": 0.5, "transform": {{"Noise": {{}}}}}}, {step}]"#);
        let config: AugmentConfig = serde_json::from_str(&file).unwrap();
        assert_eq!(config.check().unwrap_err().to_string(), expected);
        // Nothing is computed with them.
        let image = ImageView {
            channels: 1,
            size: &[1, 1],
            values: &[0.0],
        };
        let mut random = StdRng::seed_from_u64(1);
        let crop = Crop::whole(&[1, 1]);
        assert!(config.augment(image, image, &crop, &mut random).is_err());
    }
    for nan in [[f64::NAN, 1.0], [0.0, f64::NAN]] {
        let noise = Transform::Noise(Noise::default().with_deviation(nan));
        assert!(always(noise).check().is_err());
    }
    let nan = AugmentConfig(vec![AugmentStep::new(f64::NAN, Transform::Transpose)]);
    assert!(nan.check().is_err());
}

#[test]
fn files_hold_what_differs_from_the_defaults() {
    for config in [
        AugmentConfig::none(),
        AugmentConfig::flips(),
        AugmentConfig::standard(),
        all(),
    ] {
        config.check().unwrap();
        let file = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<AugmentConfig>(&file).unwrap(),
            config
        );
    }
    let short = r#"[{"probability": 0.2, "transform": {"Rotate": {}}}]"#;
    let read: AugmentConfig = serde_json::from_str(short).unwrap();
    let rotate = Transform::Rotate(Rotate::default());
    assert_eq!(read, AugmentConfig(vec![AugmentStep::new(0.2, rotate)]));
    for wrong in [
        r#"[{"transform": {"Rotate": {}}}]"#,
        r#"[{"probability": 0.2, "transform": {"Rotate": {"degree": [0, 1]}}}]"#,
        r#"[{"probability": 0.2, "transform": {"Rotation": {}}}]"#,
        r#"[{"probability": 0.2, "transform": {"Flip": {"axes": ["Column"]}}}]"#,
    ] {
        assert!(
            serde_json::from_str::<AugmentConfig>(wrong).is_err(),
            "{wrong}"
        );
    }
}
