use super::*;

const PLAIN: InstanceOptions = InstanceOptions {
    threshold: 0.5,
    split: Split::None,
    cleaning: Cleaning {
        min_size: 0,
        keep_largest: false,
    },
};
const SPLIT: InstanceOptions = InstanceOptions {
    split: Split::Distance { min_distance: 3.0 },
    ..PLAIN
};

/// Probabilities of 0.9 within balls, each of a centre and a radius, and 0.1 elsewhere; `steps` is the spacing.
fn balls(size: &[usize], steps: &[f64], balls: &[(&[f64], f64)]) -> Raster {
    let place = |mut at: usize| {
        let mut place = vec![0.0; size.len()];
        for axis in (0..size.len()).rev() {
            place[axis] = (at % size[axis]) as f64 * steps[axis];
            at /= size[axis];
        }
        place
    };
    let within = |place: &[f64]| {
        balls.iter().any(|(centre, radius)| {
            let squares = place.iter().zip(*centre).map(|(a, b)| (a - b) * (a - b));
            squares.sum::<f64>() <= radius * radius
        })
    };
    let value = |at: usize| if within(&place(at)) { 0.9 } else { 0.1 };
    Raster {
        channels: 1,
        size: size.to_vec(),
        values: (0..size.iter().product())
            .map(value)
            .collect::<Vec<_>>()
            .into(),
    }
}

fn at(instances: &Instances, place: &[usize]) -> usize {
    let size = &instances.labels.size;
    let index = place
        .iter()
        .zip(size)
        .fold(0, |index, (&x, &axis)| index * axis + x);
    instances.labels.values[index] as usize
}

#[test]
fn two_discs_that_touch_are_split_in_two() {
    let discs: [(&[f64], f64); 2] = [(&[12.0, 10.0], 8.0), (&[12.0, 24.0], 8.0)];
    let image = balls(&[25, 36], &[1.0; 2], &discs);
    assert_eq!(PLAIN.find(&image, None).unwrap().count, 1);
    let found = SPLIT.find(&image, None).unwrap();
    assert_eq!(found.count, 2);
    // Each pixel belongs to the disc whose centre is nearer; the column between them to the first or the second.
    for (index, &label) in found.labels.values.iter().enumerate() {
        let column = index % 36;
        let expected: &[f32] = match (image.values[index] > 0.5, column) {
            (false, _) => &[0.0],
            (true, 0..17) => &[1.0],
            (true, 17) => &[1.0, 2.0],
            (true, _) => &[2.0],
        };
        assert!(
            expected.contains(&label),
            "row {}, column {column}: {label}",
            index / 36
        );
    }
    // Maxima at a distance of 14 are one where nearer ones are.
    let far = InstanceOptions {
        split: Split::Distance { min_distance: 16.0 },
        ..PLAIN
    };
    assert_eq!(far.find(&image, None).unwrap().count, 1);
}

#[test]
fn two_balls_that_touch_are_split_in_two_in_the_unit_of_the_spacing() {
    // Slices are twice as far from each other as pixels.
    let steps = [0.5, 0.25, 0.25];
    let spheres: [(&[f64], f64); 2] = [(&[3.0, 3.0, 3.0], 2.0), (&[3.0, 3.0, 6.25], 2.0)];
    let volume = balls(&[13, 25, 40], &steps, &spheres);
    let spacing = Spacing {
        per_axis: steps.to_vec(),
        unit: "mm".into(),
        of_all_axes: true,
    };
    assert_eq!(PLAIN.find(&volume, Some(&spacing)).unwrap().count, 1);
    let found = SPLIT.find(&volume, Some(&spacing)).unwrap();
    assert_eq!(found.count, 2);
    assert_eq!([at(&found, &[6, 12, 12]), at(&found, &[6, 12, 25])], [1, 2]);
    let sizes = [1.0, 2.0].map(|n| found.labels.values.iter().filter(|&&v| v == n).count());
    assert!(sizes[0].abs_diff(sizes[1]) < sizes[0] / 10, "{sizes:?}");
    assert_eq!(relative(Some(&spacing)), [2.0, 1.0, 1.0]);
    assert_eq!(relative(None), [1.0; 3]);
}

#[test]
fn a_thin_line_is_removed_by_its_size() {
    let mut image = balls(&[20, 30], &[1.0; 2], &[(&[8.0, 8.0], 5.0)]);
    image.values[18 * 30 + 2..18 * 30 + 28].fill(0.8);
    let found = PLAIN.find(&image, None).unwrap();
    assert_eq!((found.count, at(&found, &[18, 5])), (2, 2));
    let cleaned = |cleaning| {
        let options = InstanceOptions { cleaning, ..PLAIN };
        options.find(&image, None).unwrap()
    };
    let found = cleaned(Cleaning {
        min_size: 27,
        ..Cleaning::default()
    });
    assert_eq!(
        (found.count, at(&found, &[18, 5]), at(&found, &[8, 8])),
        (1, 0, 1)
    );
    let found = cleaned(Cleaning {
        keep_largest: true,
        ..Cleaning::default()
    });
    assert_eq!((found.count, at(&found, &[18, 5])), (1, 0));
    let sure = InstanceOptions {
        threshold: 0.85,
        ..PLAIN
    };
    assert_eq!(at(&sure.find(&image, None).unwrap(), &[18, 5]), 0);
}

#[test]
fn the_inside_of_three_classes_is_the_seed() {
    // Background, inside and border along a line: two insides that touch by their borders, and a border alone.
    let classes = [0, 2, 1, 1, 2, 2, 1, 1, 2, 0, 2, 0];
    let channel = |class: i32| {
        let p = move |&found: &i32| if found == class { 0.8 } else { 0.1 };
        classes.iter().map(p)
    };
    let image = Raster {
        channels: 3,
        size: vec![1, 12],
        values: (0..3).flat_map(channel).collect::<Vec<_>>().into(),
    };
    let by = |split| {
        let options = InstanceOptions { split, ..PLAIN };
        options.find(&image, None).unwrap().labels.values
    };
    let expected = [0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 3, 0];
    assert_eq!(by(Split::Inside), expected.map(|n| n as f32));
    let expected = [0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 2, 0];
    assert_eq!(by(Split::None), expected.map(|n| n as f32));
    let one_class = balls(&[3, 3], &[1.0; 2], &[]);
    let options = InstanceOptions {
        split: Split::Inside,
        ..PLAIN
    };
    let error = options.find(&one_class, None).err().unwrap().to_string();
    assert!(error.contains("this one has 1 class"), "{error}");
}

#[test]
fn an_image_without_a_border_or_without_objects() {
    for (value, count) in [(0.9, 1), (0.1, 0)] {
        let image = Raster {
            channels: 1,
            size: vec![3, 4],
            values: vec![value; 12].into(),
        };
        assert_eq!(SPLIT.find(&image, None).unwrap().count, count);
    }
}
