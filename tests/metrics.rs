//! Metrics: the numbers of segmentation-models-pytorch, MONAI and scipy for drawn masks
//! (`scripts/generate_metrics.py`), from `tests/golden` or the folder `GOLDEN_DIR`, and laws over random masks.

use crate::devices;
use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_skip::metric::{
    Connectivity, Counts, LabelMap, Mode, Overlap, OverlapCounts, PanopticCounts, Reduction,
    Segments, Surface, SurfaceDistances, ZeroDivision,
};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    overlap: Vec<OverlapCase>,
    surface: Vec<SurfaceCase>,
    transform: Vec<TransformCase>,
    components: Vec<ComponentsCase>,
    panoptic: Vec<PanopticCase>,
}

/// A number, or `"nan"` or `"inf"`.
#[derive(Clone, Copy, Debug)]
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(Self(value)),
            Written::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlapCase {
    mode: String,
    shape: Vec<usize>,
    threshold: Option<f64>,
    ignored: Option<i64>,
    scores: Vec<f64>,
    labels: Vec<i64>,
    weights: Vec<f64>,
    zero_division: f64,
    beta: f64,
    counts: Vec<u64>,
    results: BTreeMap<String, Results>,
}

/// The scores of an overlap case by one metric.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Results {
    micro: Number,
    r#macro: Number,
    weighted: Number,
    micro_imagewise: Number,
    macro_imagewise: Number,
    weighted_imagewise: Number,
    none: Vec<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SurfaceCase {
    size: Vec<usize>,
    predicted: Vec<i64>,
    truth: Vec<i64>,
    spacing: Vec<f64>,
    percentile: f64,
    tolerance: f64,
    hausdorff: Vec<Number>,
    hausdorff_percentile: Vec<Number>,
    directed: Vec<Number>,
    average: Vec<Number>,
    average_symmetric: Vec<Number>,
    surface_dice: Vec<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransformCase {
    size: Vec<usize>,
    mask: Vec<i64>,
    spacing: Vec<f64>,
    distances: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentsCase {
    size: Vec<usize>,
    mask: Vec<i64>,
    faces: Vec<i64>,
    full: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PanopticCase {
    size: Vec<usize>,
    instances: Vec<i64>,
    classes: Vec<i64>,
    predicted_instances: Vec<i64>,
    predicted_classes: Vec<i64>,
    counts: Vec<f64>,
}

/// The cases of `GOLDEN_DIR` if it has some, or those in the repository.
fn golden() -> Golden {
    let given =
        std::env::var_os("GOLDEN_DIR").map(|folder| Path::new(&folder).join("metrics.json"));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.json");
    let path = given.filter(|path| path.is_file()).unwrap_or(own);
    let text = std::fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn map(size: &[usize], labels: &[i64]) -> LabelMap {
    LabelMap::new(size, labels.to_vec()).unwrap()
}

fn labels<const L: usize>(shape: &[usize], labels: &[i64], device: &Device) -> Tensor<L, Int> {
    Tensor::from_data(TensorData::new(labels.to_vec(), shape.to_vec()), device)
}

/// Equal to `tolerance`, relative to numbers above 1; NaN and infinity are equal to themselves.
#[track_caller]
fn assert_close(found: f64, Number(expected): Number, tolerance: f64, what: &str) {
    let same = found == expected || found.is_nan() && expected.is_nan();
    let off = (found - expected).abs();
    assert!(
        same || off <= tolerance * expected.abs().max(1.0),
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn overlaps_are_those_of_smp() {
    let cases = golden().overlap;
    assert!(cases.len() >= 18);
    for (name, device) in devices::devices() {
        for (number, case) in cases.iter().enumerate() {
            let what = format!("{name}, case {number}, {} {:?}", case.mode, case.shape);
            match case.shape.len() {
                3 => check_overlap::<3, 2>(case, &device, &what),
                4 => check_overlap::<4, 3>(case, &device, &what),
                5 => check_overlap::<5, 4>(case, &device, &what),
                rank => panic!("rank {rank}"),
            }
        }
    }
}

/// `R` is the rank of the scores, `L` one less.
fn check_overlap<const R: usize, const L: usize>(case: &OverlapCase, device: &Device, what: &str) {
    let classes = case.shape[1];
    let threshold = case.threshold.unwrap_or(0.0);
    let mode = match case.mode.as_str() {
        "multiclass" => Mode::MultiClass { classes },
        "binary" => Mode::Binary { threshold },
        "multilabel" => Mode::MultiLabel { classes, threshold },
        mode => panic!("{mode}"),
    };
    let zero_division = ZeroDivision::Value(case.zero_division);
    let mut counts = OverlapCounts::of(mode).with_zero_division(zero_division);
    if let Some(ignored) = case.ignored {
        counts = counts.ignoring(ignored);
    }
    let data = TensorData::new(case.scores.clone(), case.shape.clone());
    let scores = Tensor::<R>::from_data(data, device);
    // Image by image: what is counted of a batch is the same.
    let empty = counts.clone();
    if case.mode == "multiclass" {
        let shape = [&case.shape[..1], &case.shape[2..]].concat();
        let truth = labels::<L>(&shape, &case.labels, device);
        for image in 0..case.shape[0] {
            let (scores, truth) = (
                scores.clone().narrow(0, image, 1),
                truth.clone().narrow(0, image, 1),
            );
            counts.add_scores(&scores, &truth);
        }
        let mut batch = empty.clone();
        batch.add(&scores.argmax(1), &truth);
        assert_eq!(batch, counts, "{what}");
    } else {
        let truth = labels::<R>(&case.shape, &case.labels, device);
        for image in 0..case.shape[0] {
            let (scores, truth) = (
                scores.clone().narrow(0, image, 1),
                truth.clone().narrow(0, image, 1),
            );
            let mut one = empty.clone();
            one.add_scores(&scores, &truth);
            counts.merge(&one);
        }
        let mut batch = empty.clone();
        batch.add(&scores.greater_equal_elem(threshold).int(), &truth);
        assert_eq!(batch, counts, "{what}");
    }
    let found = counts.images().iter().flatten().flat_map(|c| {
        [
            c.true_positives,
            c.false_positives,
            c.false_negatives,
            c.true_negatives,
        ]
    });
    assert_eq!(found.collect::<Vec<_>>(), case.counts, "{what}");
    assert_eq!(case.results.len(), 8);
    for (name, expected) in &case.results {
        let text = match name.as_str() {
            "FBeta" => format!(r#"{{"FBeta": {{"beta": {}}}}}"#, case.beta),
            name => format!("{name:?}"),
        };
        let overlap: Overlap = serde_json::from_str(&text).unwrap();
        check_scores(&counts, case, overlap, expected, what);
    }
}

fn check_scores(
    counts: &OverlapCounts,
    case: &OverlapCase,
    overlap: Overlap,
    expected: &Results,
    what: &str,
) {
    let check = |reduction: Reduction, expected: Number| {
        let found = counts.score(overlap, &reduction);
        assert_close(
            found,
            expected,
            1e-6,
            &format!("{what}, {overlap} {reduction}"),
        );
    };
    let weights = || case.weights.clone();
    // SMP leaves 0 / 0 of the sum over everything as it is.
    let micro = match expected.micro {
        Number(value) if value.is_nan() => Number(case.zero_division),
        value => value,
    };
    check(Reduction::Micro, micro);
    check(Reduction::Macro, expected.r#macro);
    check(
        Reduction::Weighted { weights: weights() },
        expected.weighted,
    );
    check(Reduction::MicroImagewise, expected.micro_imagewise);
    check(Reduction::MacroImagewise, expected.macro_imagewise);
    // SMP divides the weighted mean by the number of classes once more.
    let Number(divided) = expected.weighted_imagewise;
    let weighted = Number(divided * case.shape[1] as f64);
    check(
        Reduction::WeightedImagewise { weights: weights() },
        weighted,
    );
    let each: Vec<f64> = counts.per_image(overlap).concat();
    assert_eq!(each.len(), expected.none.len());
    for (found, expected) in each.iter().zip(&expected.none) {
        assert_close(*found, *expected, 1e-6, &format!("{what}, {overlap} none"));
    }
    for (class, found) in counts.per_class(overlap).into_iter().enumerate() {
        assert_eq!(found, counts.score(overlap, &Reduction::Class { class }));
    }
}

#[test]
fn surface_distances_are_those_of_monai() {
    let cases = golden().surface;
    assert!(cases.len() >= 24);
    for (number, case) in cases.iter().enumerate() {
        let what = format!("case {number}, {:?}", case.size);
        let (predicted, truth) = (
            map(&case.size, &case.predicted),
            map(&case.size, &case.truth),
        );
        // Labels 1 and 2; MONAI has no background.
        for place in 0..2 {
            let label = place as i64 + 1;
            let distances =
                SurfaceDistances::between(&predicted, &truth, label, &case.spacing).unwrap();
            let check = |surface: Surface, expected: Number| {
                let what = format!("{what}, label {label}, {surface}");
                assert_close(distances.score(surface), expected, 1e-6, &what);
            };
            let largest = 100.0;
            let hausdorff = case.hausdorff[place];
            check(
                Surface::Hausdorff {
                    percentile: largest,
                },
                hausdorff,
            );
            // MONAI interpolates between infinite numbers, and has NaN.
            let percentile = match hausdorff {
                Number(value) if value.is_infinite() => hausdorff,
                _ => case.hausdorff_percentile[place],
            };
            check(
                Surface::Hausdorff {
                    percentile: case.percentile,
                },
                percentile,
            );
            check(
                Surface::DirectedHausdorff {
                    percentile: largest,
                },
                case.directed[place],
            );
            check(Surface::AverageDistance, case.average[place]);
            check(
                Surface::AverageSymmetricDistance,
                case.average_symmetric[place],
            );
            check(
                Surface::Dice {
                    tolerance: case.tolerance,
                },
                case.surface_dice[place],
            );
        }
    }
}

#[test]
fn distance_transforms_are_those_of_scipy() {
    let cases = golden().transform;
    assert!(cases.len() >= 12);
    for (number, case) in cases.iter().enumerate() {
        let mask = map(&case.size, &case.mask);
        let found = mask.distance_transform(&case.spacing).unwrap();
        assert_eq!(found.len(), case.distances.len());
        for (found, expected) in found.iter().zip(&case.distances) {
            let what = format!("case {number}, {:?}", case.size);
            assert_close(*found, Number(*expected), 1e-8, &what);
        }
    }
}

#[test]
fn components_are_those_of_scipy() {
    let cases = golden().components;
    assert!(cases.len() >= 12);
    for (number, case) in cases.iter().enumerate() {
        let mask = map(&case.size, &case.mask);
        for (connectivity, expected) in [
            (Connectivity::Faces, &case.faces),
            (Connectivity::Full, &case.full),
        ] {
            let found = mask.connected_components(connectivity);
            let what = format!("case {number}, {:?} {connectivity:?}", case.size);
            assert_eq!(found.map.labels(), expected, "{what}");
            assert_eq!(
                found.count as i64,
                *expected.iter().max().unwrap(),
                "{what}"
            );
        }
    }
}

#[test]
fn panoptic_counts_are_those_of_monai() {
    let cases = golden().panoptic;
    assert!(cases.len() >= 15);
    for (number, case) in cases.iter().enumerate() {
        let segments = |instances: &[i64], classes: &[i64]| {
            Segments::new(&map(&case.size, instances), &map(&case.size, classes)).unwrap()
        };
        let truth = segments(&case.instances, &case.classes);
        let predicted = segments(&case.predicted_instances, &case.predicted_classes);
        let mut counts = PanopticCounts::new(2);
        counts.add(&predicted, &truth);
        for (found, expected) in counts.per_class().iter().zip(case.counts.chunks(4)) {
            let what = format!("case {number}, {:?}", case.size);
            let whole = [
                found.true_positives,
                found.false_positives,
                found.false_negatives,
            ];
            assert_eq!(whole.map(|count| count as f64)[..], expected[..3], "{what}");
            assert_close(found.iou, Number(expected[3]), 1e-6, &what);
        }
    }
}

/// The labels of two batches of images, `[batch, positions]`.
fn batches(classes: i64) -> impl Strategy<Value = (usize, Vec<i64>, Vec<i64>)> {
    (1..4usize, 1..30usize).prop_flat_map(move |(batch, positions)| {
        let labels = || prop::collection::vec(0..classes, batch * positions);
        (Just(batch), labels(), labels())
    })
}

fn count(counts: OverlapCounts, batch: usize, predicted: &[i64], truth: &[i64]) -> OverlapCounts {
    let device = Device::flex();
    let shape = [batch, truth.len() / batch];
    let mut counts = counts;
    counts.add(
        &labels::<2>(&shape, predicted, &device),
        &labels::<2>(&shape, truth, &device),
    );
    counts
}

fn mask() -> impl Strategy<Value = (Vec<usize>, Vec<i64>, Vec<f64>)> {
    prop::collection::vec(1..7usize, 1..4).prop_flat_map(|size| {
        let positions: usize = size.iter().product();
        let labels = prop::collection::vec(prop_oneof![1 => Just(0i64), 4 => Just(1)], positions);
        let spacing = prop::collection::vec(0.3..3.0f64, size.len());
        (Just(size), labels, spacing)
    })
}

/// The position of each element on each axis.
fn coordinates(size: &[usize]) -> Vec<Vec<f64>> {
    size.iter().fold(vec![vec![]], |found, &len| {
        let extend = |start: &Vec<f64>, place: usize| [&start[..], &[place as f64]].concat();
        found
            .iter()
            .flat_map(|start| (0..len).map(move |place| extend(start, place)))
            .collect()
    })
}

fn distance(a: &[f64], b: &[f64], spacing: &[f64]) -> f64 {
    let axes = a.iter().zip(b).zip(spacing);
    let squares = axes.map(|((a, b), spacing)| ((a - b) * spacing).powi(2));
    squares.sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_distance_transform_is_the_nearest_of_all((size, labels, spacing) in mask()) {
        let found = map(&size, &labels).distance_transform(&spacing).unwrap();
        let places = coordinates(&size);
        for (place, found) in places.iter().zip(found) {
            let background = places.iter().zip(&labels).filter(|(_, label)| **label == 0);
            let distances = background.map(|(other, _)| distance(place, other, &spacing));
            let expected = distances.fold(f64::INFINITY, f64::min);
            prop_assert!(found == expected || (found - expected).abs() < 1e-9, "{found}, {expected}");
        }
    }

    #[test]
    fn iou_is_at_most_dice((batch, predicted, truth) in batches(3)) {
        let counts = count(OverlapCounts::new(3), batch, &predicted, &truth);
        let (iou, dice) = (counts.per_class(Overlap::Iou), counts.per_class(Overlap::Dice));
        for (iou, dice) in iou.into_iter().zip(dice) {
            prop_assert!(iou <= dice);
            prop_assert!((dice - 2.0 * iou / (1.0 + iou)).abs() < 1e-12);
        }
        let positions = (truth.len() / batch) as u64;
        for c in counts.images().iter().flatten() {
            let all = c.true_positives + c.false_positives + c.false_negatives + c.true_negatives;
            prop_assert_eq!(all, positions);
        }
    }

    #[test]
    fn permuting_the_classes_permutes_their_scores((batch, predicted, truth) in batches(3)) {
        let turn = |labels: &[i64]| labels.iter().map(|label| (label + 1) % 3).collect::<Vec<_>>();
        let counts = count(OverlapCounts::new(3), batch, &predicted, &truth);
        let turned = count(OverlapCounts::new(3), batch, &turn(&predicted), &turn(&truth));
        for overlap in [Overlap::Iou, Overlap::Precision, Overlap::BalancedAccuracy] {
            let mut expected = counts.per_class(overlap);
            expected.rotate_right(1);
            prop_assert_eq!(turned.per_class(overlap), expected);
            let [a, b] = [&counts, &turned].map(|counts| counts.score(overlap, &Reduction::Macro));
            prop_assert!((a - b).abs() < 1e-12);
        }
    }

    /// An ignored position might as well not be there.
    #[test]
    fn ignored_positions_are_left_out((_, predicted, truth) in batches(4)) {
        let ignoring = || OverlapCounts::new(3).ignoring(3);
        let predicted: Vec<i64> = predicted.iter().map(|label| label % 3).collect();
        let all = count(ignoring(), 1, &predicted, &truth);
        let keep = |labels: &[i64]| -> Vec<i64> {
            let positions = labels.iter().zip(&truth);
            positions.filter(|(_, truth)| **truth != 3).map(|(label, _)| *label).collect()
        };
        let rest = count(ignoring(), 1, &keep(&predicted), &keep(&truth));
        prop_assert_eq!(all, rest);
    }

    /// A class that is left out leaves the scores of the others alone.
    #[test]
    fn a_left_out_class_is_in_no_mean((batch, predicted, truth) in batches(3)) {
        let counts = count(OverlapCounts::new(3).without_class(0), batch, &predicted, &truth);
        let each = counts.per_class(Overlap::Dice);
        let expected = (each[1] + each[2]) / 2.0;
        prop_assert!((counts.dice(Reduction::Macro) - expected).abs() < 1e-12);
        let sum: Counts = counts.total()[1..].iter().copied().sum();
        prop_assert_eq!(counts.dice(Reduction::Micro), count_or_one(sum));
    }

    /// Distances do not change with the order of the axes, and those of a region to itself are 0.
    #[test]
    fn surfaces_do_not_depend_on_the_direction((size, labels, spacing) in mask()) {
        let whole = map(&size, &vec![1; labels.len()]);
        let region = map(&size, &labels);
        let own = SurfaceDistances::between(&region, &region, 1, &spacing).unwrap();
        prop_assert!(own.from_predicted().iter().all(|&distance| distance == 0.0));
        let [there, back] = [(&whole, &region), (&region, &whole)]
            .map(|(a, b)| SurfaceDistances::between(a, b, 1, &spacing).unwrap());
        prop_assert_eq!(there.from_predicted(), back.from_truth());
        prop_assert_eq!(there.hausdorff().to_bits(), back.hausdorff().to_bits());
    }

    /// An image compared with itself is of quality 1, whatever the numbers of its objects are.
    #[test]
    fn the_same_objects_are_found((size, labels, _) in mask()) {
        let classes = map(&size, &labels);
        let instances = classes.connected_components(Connectivity::Full);
        let renumbered: Vec<i64> = instances.map.labels().iter().map(|label| label * 7).collect();
        let mut counts = PanopticCounts::new(1);
        counts.add(
            &Segments::of_one_class(&map(&size, &renumbered)),
            &Segments::new(&instances.map, &classes).unwrap(),
        );
        prop_assert_eq!(counts.class(1).true_positives, instances.count as u64);
        let quality = counts.mean();
        prop_assert!(quality.pq == 1.0 || instances.count == 0 && quality.pq.is_nan());
    }
}

/// The Dice coefficient, and 1 for 0 / 0.
fn count_or_one(counts: Counts) -> f64 {
    match Overlap::Dice.of(&counts) {
        dice if dice.is_nan() => 1.0,
        dice => dice,
    }
}

#[test]
fn what_cannot_be_counted_is_refused_and_not_counted() {
    let device = Device::flex();
    let mut counts = OverlapCounts::new(2);
    let of = |shape: [usize; 2], values: &[i64]| labels::<2>(&shape, values, &device);
    let text = |result: Result<(), burn_skip::ShapeError>| result.unwrap_err().to_string();
    let two = of([2, 1], &[0, 1]);
    assert_eq!(
        text(counts.try_add(&two, &of([2, 1], &[1, 2]))),
        "OverlapCounts: a label is 2, and there are 2 classes. Use labels from 0 to 1, or ignore this one."
    );
    assert_eq!(
        text(counts.try_add(&of([2, 1], &[0, -1]), &two)),
        "OverlapCounts: a predicted label is -1, and there are 2 classes. Use labels from 0 to 1, or ignore this one."
    );
    assert_eq!(
        text(counts.try_add(&two, &of([1, 2], &[0, 1]))),
        "OverlapCounts: the prediction has the shape [2, 1], the labels [1, 2]. Give both as [batch, spatial...], of one size."
    );
    let scores = Tensor::<3>::zeros([2, 3, 1], &device);
    assert_eq!(
        text(counts.try_add_scores(&scores, &two)),
        "OverlapCounts: scores of the shape [2, 3, 1] for 2 classes. Give scores [batch, 2, spatial...]."
    );
    assert!(counts.images().is_empty());
    let mut several = OverlapCounts::multi_label(3);
    assert_eq!(
        text(several.try_add(&two, &two)),
        "OverlapCounts: the prediction has the shape [2, 1], the labels [2, 1]. Give both as [batch, 3, spatial...]."
    );
    let error = Mode::Binary {
        threshold: f64::NAN,
    }
    .validate()
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "OverlapCounts: threshold is NaN. Choose a number, such as 0 for logits."
    );
}

/// Labels may have an axis of one channel; a batch without an image or without a position is none.
#[test]
fn shapes_that_are_the_same_positions() {
    let device = Device::flex();
    let scores = Tensor::<4>::from_floats([[[[1.0, -1.0]]], [[[2.0, 3.0]]]], &device);
    let mut flat = OverlapCounts::binary();
    flat.add_scores(&scores, &labels::<3>(&[2, 1, 2], &[1, 1, 0, 1], &device));
    let mut with_channel = OverlapCounts::binary();
    with_channel.add_scores(&scores, &labels::<4>(&[2, 1, 1, 2], &[1, 1, 0, 1], &device));
    assert_eq!(flat, with_channel);
    assert_eq!(flat.per_image(Overlap::Precision), [[1.0], [0.5]]);
    let mut maps = OverlapCounts::binary();
    maps.add_map(&map(&[1, 2], &[1, 0]), &map(&[1, 2], &[1, 1]));
    maps.add_map(&map(&[1, 2], &[1, 1]), &map(&[1, 2], &[0, 1]));
    assert_eq!(flat, maps);
    let none = labels::<2>(&[0, 3], &[], &device);
    flat.add(&none, &none);
    assert_eq!(flat.images().len(), 2);
    let empty = labels::<2>(&[1, 0], &[], &device);
    flat.add(&empty, &empty);
    assert_eq!(flat.images()[2], [Counts::default()]);
}
