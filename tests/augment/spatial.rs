//! The transforms that move pixels.

use burn_skip::augment::{
    AugmentConfig, AugmentStep, Crop, Elastic, Flip, ImageAxis, Rotate, Scale, Transform,
};

use super::{Pair, always, assert_close};

use ImageAxis::{Depth, Height, Width};

/// The pixels of a size, as `[slice, row, column]`.
fn pixels(size: &[usize]) -> Vec<[usize; 3]> {
    let depth = if size.len() == 3 { size[0] } else { 1 };
    let [height, width] = [size[size.len() - 2], size[size.len() - 1]];
    let count = depth * height * width;
    (0..count)
        .map(|n| [n / width / height, n / width % height, n % width])
        .collect()
}

/// Checks that the whole image becomes the one whose pixel `p` is the pixel `from(p)`.
#[track_caller]
fn assert_moved(pair: &Pair, transform: Transform, from: impl Fn([usize; 3]) -> [usize; 3]) {
    let found = pair.whole(transform, 1);
    let channels = (0..pair.channels).flat_map(|channel| {
        let at = |p| pair.at(channel, from(p));
        pixels(&pair.size).into_iter().map(at).collect::<Vec<_>>()
    });
    let at: Vec<usize> = channels.collect();
    let image: Vec<f32> = at.iter().map(|&at| pair.image[at]).collect();
    let mask: Vec<u32> = at.iter().map(|&at| pair.mask[at]).collect();
    assert_eq!(found.image, image);
    assert_eq!(found.mask, mask);
}

/// The value at any position, by linear interpolation with reflected borders; the corners one by one.
fn linear(pair: &Pair, channel: usize, at: [f64; 3]) -> f32 {
    let mut sum = 0.0;
    for corner in 0..8 {
        let mut weight = 1.0;
        let mut place = [0; 3];
        for axis in 0..3 {
            let (low, bit) = (at[axis].floor(), corner >> axis & 1);
            let part = at[axis] - low;
            weight *= if bit == 1 { part } else { 1.0 - part };
            place[axis] = reflected(low as i64 + bit, length(pair, axis));
        }
        sum += weight * f64::from(pair.image[pair.at(channel, place)]);
    }
    sum as f32
}

fn nearest(pair: &Pair, channel: usize, at: [f64; 3]) -> u32 {
    let place = [0, 1, 2].map(|axis| {
        let place = (at[axis] + 0.5).floor() as i64;
        reflected(place, length(pair, axis))
    });
    pair.mask[pair.at(channel, place)]
}

fn length(pair: &Pair, axis: usize) -> usize {
    match pair.size.len() {
        3 => pair.size[axis],
        _ => [1, pair.size[0], pair.size[1]][axis],
    }
}

fn reflected(mut at: i64, length: usize) -> usize {
    let length = length as i64;
    while !(0..length).contains(&at) {
        at = if at < 0 { -1 - at } else { 2 * length - 1 - at };
    }
    at as usize
}

/// Checks that a crop shows at each pixel what is at `from(pixel)` of the image.
#[track_caller]
fn assert_read(
    pair: &Pair,
    config: &AugmentConfig,
    crop: &Crop,
    from: impl Fn([usize; 3]) -> [f64; 3],
) {
    let found = pair.augment(config, crop, 3);
    let pixels = pixels(&crop.size);
    let all = || (0..pair.channels).flat_map(|c| pixels.iter().map(move |&p| (c, p)));
    let image: Vec<f32> = all().map(|(c, p)| linear(pair, c, from(p))).collect();
    let mask: Vec<u32> = all().map(|(c, p)| nearest(pair, c, from(p))).collect();
    assert_close(&found.image, &image);
    assert_eq!(found.mask, mask);
}

fn flip(axes: &[ImageAxis]) -> Transform {
    Transform::Flip(Flip::default().with_axes(axes))
}

#[test]
fn flips_mirror_their_axes() {
    let image = Pair::new(2, &[3, 4]);
    assert_moved(&image, flip(&[Width]), |[z, y, x]| [z, y, 3 - x]);
    assert_moved(&image, flip(&[Height]), |[z, y, x]| [z, 2 - y, x]);
    assert_moved(&image, flip(&[Depth]), |p| p);
    let volume = Pair::new(1, &[2, 3, 4]);
    assert_moved(&volume, flip(&[Depth, Width]), |[z, y, x]| {
        [1 - z, y, 3 - x]
    });
}

#[test]
fn squares_are_transposed_and_turned() {
    let image = Pair::new(2, &[4, 4]);
    assert_moved(&image, Transform::Transpose, |[z, y, x]| [z, x, y]);
    let volume = Pair::new(1, &[3, 4, 4]);
    assert_moved(&volume, Transform::Transpose, |[z, y, x]| [z, x, y]);
    assert_moved(&Pair::new(1, &[3, 4]), Transform::Transpose, |p| p);

    // Each number of quarter turns occurs: numpy.rot90(k) of 1, 2 and 3.
    let turned = |k: usize, [z, y, x]: [usize; 3]| match k {
        1 => [z, x, 3 - y],
        2 => [z, 3 - y, 3 - x],
        _ => [z, 3 - x, y],
    };
    let mut seen = [false; 3];
    for seed in 0..20 {
        let found = image.whole(Transform::QuarterTurn, seed).mask;
        let is_turned = |k: usize| {
            let mut pixels = pixels(&[4, 4]).into_iter().zip(&found);
            pixels.all(|(p, &value)| value == image.mask[image.at(0, turned(k, p))])
        };
        let k = (1..=3).find(|&k| is_turned(k)).expect("a quarter turn");
        seen[k - 1] = true;
    }
    assert_eq!(seen, [true; 3]);
    let oblong = Pair::new(1, &[3, 4]);
    assert_moved(&oblong, Transform::QuarterTurn, |[z, y, x]| {
        [z, 2 - y, 3 - x]
    });
}

fn rotate(degrees: f64, about: &[ImageAxis]) -> AugmentConfig {
    let rotate = Rotate::default().with_degrees([degrees; 2]);
    always(Transform::Rotate(rotate.with_about(about)))
}

#[test]
fn a_rotation_reads_around_the_crop_and_reflects_outside_of_the_image() {
    let (sin, cos) = 30f64.to_radians().sin_cos();
    let image = Pair::new(2, &[9, 11]);
    for (start, size) in [([2, 3], [5, 4]), ([0, 0], [9, 11])] {
        let center = [0, 1].map(|axis| (size[axis] as f64 - 1.0) / 2.0);
        let crop = Crop::new(start, size);
        assert_read(&image, &rotate(30.0, &[Depth]), &crop, |[_, y, x]| {
            let [y, x] = [y as f64 - center[0], x as f64 - center[1]];
            let from = [x * sin + y * cos + center[0], x * cos - y * sin + center[1]];
            [0.0, from[0] + start[0] as f64, from[1] + start[1] as f64]
        });
    }
    // A turn counter-clockwise takes the right side up.
    let found = image.augment(&rotate(90.0, &[Depth]), &Crop::whole(&[9, 11]), 1);
    assert_eq!(found.mask[5], image.mask[image.at(0, [0, 4, 9])]);
}

#[test]
fn slices_of_a_volume_turn_in_their_plane_unless_another_is_asked_for() {
    let (sin, cos) = (-20f64).to_radians().sin_cos();
    let volume = Pair::new(1, &[5, 6, 7]);
    let crop = Crop::new([1, 1, 2], [3, 4, 3]);
    let offset = |p: [usize; 3]| {
        let [z, y, x] = p.map(|at| at as f64);
        [z - 1.0, y - 1.5, x - 1.0]
    };
    let place = |[z, y, x]: [f64; 3]| [z + 2.0, y + 2.5, x + 3.0];
    assert_read(&volume, &rotate(-20.0, &[Depth]), &crop, |p| {
        let [z, y, x] = offset(p);
        place([z, x * sin + y * cos, x * cos - y * sin])
    });
    assert_read(&volume, &rotate(-20.0, &[Height]), &crop, |p| {
        let [z, y, x] = offset(p);
        place([x * sin + z * cos, y, x * cos - z * sin])
    });
    assert_read(&volume, &rotate(-20.0, &[Width]), &crop, |p| {
        let [z, y, x] = offset(p);
        place([y * sin + z * cos, y * cos - z * sin, x])
    });
    // An image has no such planes.
    let image = Pair::new(1, &[5, 5]);
    let found = image.augment(&rotate(20.0, &[Height, Width]), &Crop::whole(&[5, 5]), 1);
    assert_eq!((found.image, found.mask), (image.image, image.mask));
}

#[test]
fn a_factor_enlarges_about_the_centre() {
    let scale = |axes: &[ImageAxis]| {
        let scale = Scale::default().with_factor([1.5; 2]).with_axes(axes);
        always(Transform::Scale(scale))
    };
    let image = Pair::new(2, &[9, 8]);
    let crop = Crop::new([3, 1], [5, 6]);
    assert_read(&image, &scale(&[Width, Height]), &crop, |[_, y, x]| {
        let [y, x] = [y as f64 - 2.0, x as f64 - 2.5];
        [0.0, y / 1.5 + 5.0, x / 1.5 + 3.5]
    });
    let volume = Pair::new(1, &[4, 3, 3]);
    assert_read(
        &volume,
        &scale(&[Depth]),
        &Crop::whole(&[4, 3, 3]),
        |[z, y, x]| [(z as f64 - 1.5) / 1.5 + 1.5, y as f64, x as f64],
    );
}

#[test]
fn transforms_are_composed_into_one_resampling() {
    let turn = rotate(30.0, &[Depth]).0.remove(0);
    let scale = Scale::default().with_factor([2.0; 2]).with_axes([Width]);
    let steps = vec![
        turn,
        AugmentStep::new(1.0, Transform::Scale(scale)),
        AugmentStep::new(1.0, flip(&[Height])),
    ];
    let (sin, cos) = 30f64.to_radians().sin_cos();
    let image = Pair::new(1, &[9, 9]);
    assert_read(
        &image,
        &AugmentConfig(steps),
        &Crop::whole(&[9, 9]),
        |[_, y, x]| {
            let [y, x] = [-(y as f64 - 4.0), (x as f64 - 4.0) / 2.0];
            [0.0, x * sin + y * cos + 4.0, x * cos - y * sin + 4.0]
        },
    );
}

/// An image whose values are its coordinates shows where its pixels come from.
fn coordinates(size: &[usize]) -> Pair {
    let mut pair = Pair::new(3, size);
    let all: Vec<_> = (0..3)
        .flat_map(|axis| pixels(size).into_iter().map(move |p| p[axis]))
        .collect();
    pair.image = all.into_iter().map(|at| at as f32).collect();
    pair
}

#[test]
fn an_elastic_field_has_its_deviation_is_smooth_and_keeps_slices() {
    let elastic = Elastic::default()
        .with_deviation([2.0; 2])
        .with_spacing(8.0);
    let pair = coordinates(&[3, 160, 160]);
    // Far from the borders, where nothing is reflected.
    let crop = Crop::new([0, 16, 16], [3, 128, 128]);
    let found = pair.augment(&always(Transform::Elastic(elastic)), &crop, 5);
    let pixels = pixels(&crop.size);
    let count = pixels.len();
    let offset = |axis: usize, n: usize| {
        let from = f64::from(found.image[axis * count + n]);
        from - (pixels[n][axis] + crop.start[axis]) as f64
    };
    assert!((0..count).all(|n| offset(0, n) == 0.0));
    for axis in [1, 2] {
        let offsets: Vec<f64> = (0..count).map(|n| offset(axis, n)).collect();
        // At the points of the grid the deviation is that of the option.
        let at_points = pixels.iter().zip(&offsets);
        let at_points = at_points.filter(|(p, _)| p[1] % 8 == 0 && p[2] % 8 == 0);
        let squares: Vec<f64> = at_points.map(|(_, offset)| offset * offset).collect();
        let deviation = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        assert!((deviation - 2.0).abs() < 0.3, "{deviation}");
        let slice = 128 * 128;
        for n in 0..count - slice {
            assert!((offsets[n] - offsets[n + slice]).abs() < 1e-4);
            let steps = offsets[n + 1] - offsets[n];
            assert!(pixels[n][2] == 127 || steps.abs() < 2.0, "{steps}");
        }
    }
    let [rows, columns] = [1, 2].map(|axis| offset(axis, 700));
    assert_ne!(rows, columns);
}

#[test]
fn an_elastic_volume_moves_along_the_axes_that_are_named() {
    let elastic = Elastic::default()
        .with_deviation([1.0; 2])
        .with_spacing(4.0);
    let pair = coordinates(&[20, 20, 20]);
    let found = pair.whole(Transform::Elastic(elastic.with_axes([Depth])), 5);
    let moved = |axis: usize| {
        let mut values = found.image[axis * 8000..]
            .iter()
            .zip(&pair.image[axis * 8000..])
            .take(8000);
        values.any(|(found, was)| (found - was).abs() > 1e-4)
    };
    assert_eq!([moved(0), moved(1), moved(2)], [true, false, false]);
}
