//! The transforms that change intensities.

use burn_skip::augment::{
    Blur, Brightness, Contrast, CutOut, CutOutFill, Gamma, ImageAxis, LowResolution, Noise,
    Transform,
};

use super::{Pair, assert_close};

/// Checks what becomes of each channel; the mask must stay as it is.
#[track_caller]
fn assert_channels(pair: &Pair, transform: Transform, expected: impl Fn(&[f32]) -> Vec<f32>) {
    let found = pair.whole(transform, 1);
    let pixels: usize = pair.size.iter().product();
    let channels = pair.image.chunks(pixels).flat_map(expected);
    assert_close(&found.image, &channels.collect::<Vec<_>>());
    assert_eq!(found.mask, pair.mask);
}

fn mean(map: &[f32]) -> f32 {
    map.iter().sum::<f32>() / map.len() as f32
}

fn deviation(map: &[f32]) -> f32 {
    let mean = mean(map);
    let squares = map.iter().map(|x| (x - mean).powi(2));
    (squares.sum::<f32>() / map.len() as f32).sqrt()
}

fn bounds(map: &[f32]) -> [f32; 2] {
    let least = map.iter().copied().fold(f32::MAX, f32::min);
    let most = map.iter().copied().fold(f32::MIN, f32::max);
    [least, most]
}

#[test]
fn gamma_is_a_power_between_the_least_and_the_greatest_value() {
    let pair = Pair::new(2, &[5, 6]);
    let gamma = Gamma::default().with_exponent([1.4; 2]);
    let plain = gamma.clone().with_retain_statistics(false);
    let power = |x: f32, [least, most]: [f32; 2]| {
        ((x - least) / (most - least)).powf(1.4) * (most - least) + least
    };
    assert_channels(&pair, Transform::Gamma(plain.clone()), |map| {
        map.iter().map(|&x| power(x, bounds(map))).collect()
    });
    // The power of the negative, and the negative of that.
    assert_channels(&pair, Transform::Gamma(plain.with_invert(true)), |map| {
        let [least, most] = bounds(map);
        map.iter().map(|&x| -power(-x, [-most, -least])).collect()
    });
    assert_channels(&pair, Transform::Gamma(gamma), |map| {
        let powers: Vec<f32> = map.iter().map(|&x| power(x, bounds(map))).collect();
        let (center, ratio) = (mean(&powers), deviation(map) / deviation(&powers));
        powers
            .iter()
            .map(|y| (y - center) * ratio + mean(map))
            .collect()
    });
}

#[test]
fn contrast_stretches_about_the_mean_and_keeps_the_range() {
    let contrast = Contrast::default().with_factor([1.6; 2]);
    assert_channels(
        &Pair::new(3, &[2, 3, 4]),
        Transform::Contrast(contrast),
        |map| {
            let [least, most] = bounds(map);
            let center = mean(map);
            let stretched = map.iter().map(|x| (x - center) * 1.6 + center);
            stretched.map(|y| y.clamp(least, most)).collect()
        },
    );
}

#[test]
fn brightness_multiplies_and_adds() {
    let brightness = Brightness::default()
        .with_factor([1.2; 2])
        .with_shift([-0.3; 2]);
    assert_channels(
        &Pair::new(2, &[4, 4]),
        Transform::Brightness(brightness),
        |map| map.iter().map(|x| 1.2 * x - 0.3).collect(),
    );
}

#[test]
fn noise_has_its_deviation_and_is_white() {
    let pair = Pair::new(2, &[100, 100]);
    let found = pair.whole(
        Transform::Noise(Noise::default().with_deviation([0.5; 2])),
        1,
    );
    let noise: Vec<f32> = found
        .image
        .iter()
        .zip(&pair.image)
        .map(|(y, x)| y - x)
        .collect();
    assert!(mean(&noise).abs() < 0.02);
    assert!((deviation(&noise) - 0.5).abs() < 0.02);
    let products: Vec<f32> = noise.windows(2).map(|pair| pair[0] * pair[1]).collect();
    assert!(mean(&products).abs() < 0.02);
    let channels: Vec<f32> = (0..10_000).map(|n| noise[n] * noise[n + 10_000]).collect();
    assert!(mean(&channels).abs() < 0.02);
    assert_eq!(found.mask, pair.mask);
}

/// The image, blurred along one axis, as a sum of all that the kernel reaches.
fn blurred(map: &[f32], size: [usize; 3], axis: usize, deviation: f64) -> Vec<f32> {
    let radius = (4.0 * deviation + 0.5).floor() as i64;
    let at = |[z, y, x]: [usize; 3]| (z * size[1] + y) * size[2] + x;
    let blurred = (0..map.len()).map(|n| {
        let place = [n / size[2] / size[1], n / size[2] % size[1], n % size[2]];
        let (mut sum, mut weights) = (0.0, 0.0);
        for k in -radius..=radius {
            let mut from = place[axis] as i64 + k;
            let length = size[axis] as i64;
            while !(0..length).contains(&from) {
                from = if from < 0 {
                    -1 - from
                } else {
                    2 * length - 1 - from
                };
            }
            let mut source = place;
            source[axis] = from as usize;
            let weight = (-(k * k) as f64 / (2.0 * deviation * deviation)).exp();
            sum += weight * f64::from(map[at(source)]);
            weights += weight;
        }
        (sum / weights) as f32
    });
    blurred.collect()
}

#[test]
fn a_blur_is_a_gaussian_filter_on_each_axis() {
    let blur = Blur::default().with_deviation([0.9; 2]);
    assert_channels(
        &Pair::new(2, &[3, 7]),
        Transform::Blur(blur.clone()),
        |map| {
            let rows = blurred(map, [1, 3, 7], 2, 0.9);
            blurred(&rows, [1, 3, 7], 1, 0.9)
        },
    );
    let deep = blur.with_axes([ImageAxis::Depth]);
    assert_channels(&Pair::new(1, &[6, 2, 3]), Transform::Blur(deep), |map| {
        blurred(map, [6, 2, 3], 0, 0.9)
    });
}

#[test]
fn low_resolution_keeps_some_pixels_and_interpolates_between_them() {
    // 4 of 8 columns: pixels 1, 3, 5 and 7, which lie at 0.5, 2.5, 4.5 and 6.5.
    let mut pair = Pair::new(1, &[1, 8]);
    pair.image = vec![0.0, 1.0, 0.0, 5.0, 0.0, -3.0, 0.0, 1.0];
    let low = LowResolution::default().with_scale([0.5; 2]);
    let found = pair.whole(Transform::LowResolution(low), 1);
    assert_close(&found.image, &[1.0, 2.0, 4.0, 3.0, -1.0, -2.0, 0.0, 1.0]);
    // One pixel of three is the middle one.
    let mut pair = Pair::new(1, &[1, 3]);
    pair.image = vec![2.0, 4.0, 8.0];
    let low = LowResolution::default().with_scale([0.0; 2]);
    assert_eq!(pair.whole(Transform::LowResolution(low), 1).image, [4.0; 3]);
}

#[test]
fn holes_are_boxes_of_one_value() {
    let pair = Pair::new(2, &[20, 30]);
    let hole = CutOut::default().with_side([0.5; 2]);
    let value = hole.clone().with_fill(CutOutFill::Value(7.0));
    let mut areas = Vec::new();
    for seed in 0..30 {
        let found = pair.whole(Transform::CutOut(value.clone()), seed);
        assert_eq!(found.mask, pair.mask);
        let inside: Vec<usize> = (0..600).filter(|&n| found.image[n] == 7.0).collect();
        let [rows, columns] = [30, 1].map(|step| {
            let at = |n: &usize| if step == 30 { n / 30 } else { n % 30 };
            let least = inside.iter().map(at).min().expect("a hole");
            least..=inside.iter().map(at).max().expect("a hole")
        });
        let sides = [rows.clone().count(), columns.clone().count()];
        assert!(sides[0] <= 10 && sides[1] <= 15 && sides[0] >= 5 && sides[1] >= 7);
        areas.push(sides[0] * sides[1]);
        for n in 0..600 {
            let is_inside = rows.contains(&(n / 30)) && columns.contains(&(n % 30));
            for at in [n, n + 600] {
                let expected = if is_inside { 7.0 } else { pair.image[at] };
                assert_eq!(found.image[at], expected);
            }
        }
    }
    assert!(areas.contains(&150) && areas.iter().any(|&area| area < 150));
    // Of an image, a small box is as deep as the image; of a volume, a pixel at least.
    for size in [&[20, 30][..], &[3, 20, 30]] {
        let small = CutOut::default()
            .with_side([0.1; 2])
            .with_fill(CutOutFill::Value(7.0));
        let found = Pair::new(1, size).whole(Transform::CutOut(small), 2).image;
        let count = found.iter().filter(|x| **x == 7.0).count();
        assert!((2..=6).contains(&count), "{count}");
    }
    let found = pair.whole(Transform::CutOut(hole), 1).image;
    for channel in [0..600, 600..1200] {
        let mean = mean(&pair.image[channel.clone()]);
        assert!(found[channel].iter().any(|x| (x - mean).abs() < 1e-6));
    }
}

#[test]
fn channels_are_changed_alike_or_each_by_itself() {
    let mut pair = Pair::new(2, &[6, 6]);
    let (first, second) = pair.image.split_at_mut(36);
    second.copy_from_slice(first);
    let are_alike = |transform: Transform| {
        let found = pair.whole(transform, 1).image;
        assert_ne!(found[..36], pair.image[..36]);
        found[..36] == found[36..]
    };
    for per_channel in [false, true] {
        let gamma = Gamma::default().with_per_channel(per_channel);
        let contrast = Contrast::default().with_per_channel(per_channel);
        let brightness = Brightness::default().with_per_channel(per_channel);
        let blur = Blur::default().with_per_channel(per_channel);
        let low = LowResolution::default().with_scale([0.2, 0.9]);
        for transform in [
            Transform::Gamma(gamma),
            Transform::Contrast(contrast),
            Transform::Brightness(brightness),
            Transform::Blur(blur),
            Transform::LowResolution(low.with_per_channel(per_channel)),
        ] {
            assert_eq!(are_alike(transform), !per_channel);
        }
    }
}

#[test]
fn images_of_one_value_or_without_a_number_do_no_harm() {
    for value in [0.0, 3.0, f32::NAN, f32::INFINITY] {
        let mut pair = Pair::new(1, &[4, 4]);
        pair.image.fill(value);
        for transform in [
            Transform::Gamma(Gamma::default()),
            Transform::Contrast(Contrast::default()),
            Transform::Blur(Blur::default()),
            Transform::LowResolution(LowResolution::default()),
            Transform::CutOut(CutOut::default()),
        ] {
            let found = pair.whole(transform, 1).image;
            let is_same = |x: &f32| (x - value).abs() < 1e-6 || x.is_nan() || *x == value;
            assert!(found.iter().all(is_same), "{found:?}");
        }
    }
}
