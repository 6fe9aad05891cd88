#!/usr/bin/env python3
"""Writes metrics.json: what segmentation-models-pytorch, MONAI and scipy compute of drawn masks.

    python scripts/generate_metrics.py --seed 1               # to tests/golden
    python scripts/generate_metrics.py --seed 2 --out DIR     # GOLDEN_DIR=DIR cargo test --test all metrics

Overlap counts and scores are SMP's, surface distances and panoptic counts MONAI's, distance transforms and connected
components scipy's. Sizes are uneven, some regions are empty.
"""

import argparse
import json
import math
import warnings
from pathlib import Path

import monai
import numpy as np
import scipy
import segmentation_models_pytorch as smp
import torch
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden"
SCORES = {
    "Iou": smp.metrics.iou_score,
    "Dice": smp.metrics.f1_score,
    "Precision": smp.metrics.precision,
    "Recall": smp.metrics.recall,
    "Specificity": smp.metrics.specificity,
    "Accuracy": smp.metrics.accuracy,
    "BalancedAccuracy": smp.metrics.balanced_accuracy,
}
REDUCTIONS = [
    "micro",
    "macro",
    "weighted",
    "micro-imagewise",
    "macro-imagewise",
    "weighted-imagewise",
]


def number(value):
    """A float for JSON: 9 digits, and texts for what JSON has no number for."""
    value = float(value)
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf"
    return float(f"{value:.9g}")


def numbers(values):
    """A flat list of them."""
    return [number(value) for value in np.asarray(values).reshape(-1)]


def integers(values):
    """A flat list of integers."""
    return [int(value) for value in np.asarray(values).reshape(-1)]


def size_of(rng, axes):
    """Uneven sizes, smaller the more axes there are."""
    largest = {1: 24, 2: 9, 3: 6}[axes]
    return [int(rng.integers(2, largest + 1)) for _ in range(axes)]


def blobs(rng, size, classes):
    """Labels that hang together: a smooth noise for each class, the largest wins."""
    noise = rng.normal(size=[classes, *size])
    smooth = ndimage.gaussian_filter(noise, [0] + [1.0] * len(size))
    return smooth.argmax(0)


def overlap_case(rng, mode, ignores):
    """Scores of a batch, its labels (some of them ignored), and what SMP makes of them."""
    axes = int(rng.integers(1, 4))
    size = size_of(rng, axes)
    batch = int(rng.integers(1, 4))
    classes = 1 if mode == "binary" else int(rng.integers(2, 5))
    threshold = None if mode == "multiclass" else float(rng.choice([0.0, 0.25, -0.5]))
    scores = np.round(rng.normal(size=[batch, classes, *size]), 2)
    ignored = None
    if mode == "multiclass":
        # Some classes do not occur.
        labels = rng.integers(0, int(rng.integers(1, classes + 1)), size=[batch, *size])
        scores[:, -1] -= float(rng.choice([0.0, 10.0]))
        if ignores:
            ignored = int(rng.choice([255, -1]))
            labels[rng.random(labels.shape) < 0.3] = ignored
        if batch > 1 and rng.random() < 0.3:
            labels[0] = 0 if ignored is None else ignored
        output = torch.from_numpy(scores.argmax(1))
    else:
        labels = (rng.random([batch, classes, *size]) < 0.4).astype(int)
        if rng.random() < 0.6:
            labels[:, -1] = 0
            scores[:, -1] -= 10.0
        output = (torch.from_numpy(scores).float() >= threshold).long()
    counts = smp.metrics.get_stats(
        output,
        torch.from_numpy(labels),
        mode=mode,
        ignore_index=ignored,
        num_classes=classes,
    )
    weights = [number(weight) for weight in np.round(rng.random(classes) + 0.1, 2)]
    zero_division = float(rng.choice([1.0, 0.0, 0.5]))
    beta = float(rng.choice([0.5, 2.0]))

    def score(name, reduction, class_weights):
        function = SCORES.get(name, smp.metrics.fbeta_score)
        options = {"beta": beta} if name == "FBeta" else {}
        return function(
            *counts,
            reduction=reduction,
            class_weights=class_weights,
            zero_division=zero_division,
            **options,
        )

    results = {}
    for name in [*SCORES, "FBeta"]:
        results[name] = {
            reduction: number(
                score(name, reduction, weights if "weighted" in reduction else None)
            )
            for reduction in REDUCTIONS
        }
        results[name]["none"] = numbers(score(name, None, None))
    return {
        "mode": mode,
        "shape": [batch, classes, *size],
        "threshold": threshold,
        "ignored": ignored,
        "scores": numbers(scores),
        "labels": integers(labels),
        "weights": weights,
        "zero_division": zero_division,
        "beta": beta,
        # [image, class, tp fp fn tn]
        "counts": integers(torch.stack(counts, -1)),
        "results": results,
    }


def spacing_of(rng, axes):
    """One number, or one for each axis."""
    count = axes if rng.random() < 0.7 else 1
    return [number(value) for value in np.round(rng.uniform(0.5, 3.0, size=count), 2)]


def surface_case(rng, axes):
    """Two label maps, and MONAI's distances between the regions of each label but 0."""
    size = size_of(rng, axes)
    classes = 3
    truth = blobs(rng, size, classes)
    predicted = truth.copy()
    if rng.random() < 0.5:
        predicted = np.roll(predicted, int(rng.integers(0, 3)), axis=0)
    else:
        predicted = blobs(rng, size, classes)
    emptied = rng.random()
    if emptied < 0.2:
        truth[truth == 2] = 0
    elif emptied < 0.4:
        predicted[predicted == 2] = 0
    elif emptied < 0.5:
        truth[truth == 2] = predicted[predicted == 2] = 0
    spacing = spacing_of(rng, axes)
    each_axis = spacing if len(spacing) == axes else spacing * axes
    percentile = float(rng.choice([50.0, 75.0, 90.0, 95.0]))
    tolerance = number(np.round(rng.uniform(0.0, 3.0), 2))

    def one_hot(labels):
        maps = [torch.from_numpy(labels == label).float() for label in range(classes)]
        return torch.stack(maps)[None]

    y_pred, y = one_hot(predicted), one_hot(truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def hausdorff(**options):
            return numbers(
                monai.metrics.compute_hausdorff_distance(y_pred, y, spacing=each_axis, **options)
            )

        def average(**options):
            return numbers(
                monai.metrics.compute_average_surface_distance(
                    y_pred, y, spacing=each_axis, **options
                )
            )

        if axes == 1:
            # MONAI's function refuses one axis; its distances do not.
            surface_dice = []
            for label in range(1, classes):
                _, distances, _ = get_edge_surface_distance(
                    y_pred[0, label], y[0, label], spacing=each_axis, symmetric=True
                )
                distances = torch.cat(distances)
                surface_dice.append(number((distances <= tolerance).float().mean()))
        else:
            surface_dice = numbers(
                monai.metrics.compute_surface_dice(
                    y_pred, y, class_thresholds=[tolerance] * (classes - 1), spacing=each_axis
                )
            )
        return {
            "size": size,
            "predicted": integers(predicted),
            "truth": integers(truth),
            "spacing": spacing,
            "percentile": percentile,
            "tolerance": tolerance,
            "hausdorff": hausdorff(),
            "hausdorff_percentile": hausdorff(percentile=percentile),
            "directed": hausdorff(directed=True),
            "average": average(),
            "average_symmetric": average(symmetric=True),
            "surface_dice": surface_dice,
        }


def transform_case(rng, axes):
    """A mask and scipy's distance transform of it."""
    size = size_of(rng, axes)
    mask = (rng.random(size) < rng.choice([0.5, 0.8, 0.95])).astype(int)
    mask.reshape(-1)[int(rng.integers(0, mask.size))] = 0
    spacing = spacing_of(rng, axes)
    sampling = spacing if len(spacing) == axes else spacing[0]
    return {
        "size": size,
        "mask": integers(mask),
        "spacing": spacing,
        "distances": numbers(ndimage.distance_transform_edt(mask, sampling=sampling)),
    }


def components_case(rng, axes):
    """A mask and scipy's regions of it."""
    size = size_of(rng, axes)
    mask = (rng.random(size) < 0.5).astype(int)
    full = ndimage.generate_binary_structure(axes, axes)
    return {
        "size": size,
        "mask": integers(mask),
        "faces": integers(ndimage.label(mask)[0]),
        "full": integers(ndimage.label(mask, full)[0]),
    }


def panoptic_case(rng, axes):
    """Objects of two classes, and MONAI's counts."""
    size = size_of(rng, axes)
    classes = 2

    def objects(regions):
        """Regions with classes; object 0 is background."""
        class_of = rng.integers(0, classes + 1, size=regions.max() + 1)
        return regions, class_of[regions]

    regions = blobs(rng, size, 6)
    instances, labels = objects(regions)
    moved = np.roll(regions, int(rng.integers(0, 2)), axis=0)
    predicted_labels = np.roll(labels, int(rng.integers(0, 2)), axis=0)
    noise = rng.random(size) < 0.1
    moved[noise] = int(rng.integers(0, 6))
    true_map = torch.from_numpy(np.stack([instances, labels]))[None]
    predicted_map = torch.from_numpy(np.stack([moved, predicted_labels]))[None]
    if axes == 1:
        true_map, predicted_map = true_map[..., None], predicted_map[..., None]
    metric = monai.metrics.PanopticQualityMetric(num_classes=classes)
    counts = metric._compute_tensor(predicted_map, true_map)[0]
    return {
        "size": size,
        "instances": integers(instances),
        "classes": integers(labels),
        "predicted_instances": integers(moved),
        "predicted_classes": integers(predicted_labels),
        # [class, tp fp fn iou]
        "counts": numbers(counts),
    }


def main():
    """Writes all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    ranks = [1, 2, 3]
    cases = {
        "overlap": [
            overlap_case(rng, mode, ignores)
            for ignores in [True, False] * 3
            for mode in ["multiclass", "binary", "multilabel"]
        ],
        "surface": [surface_case(rng, axes) for _ in range(8) for axes in ranks],
        "transform": [transform_case(rng, axes) for _ in range(4) for axes in ranks],
        "components": [components_case(rng, axes) for _ in range(4) for axes in ranks],
        "panoptic": [panoptic_case(rng, axes) for _ in range(5) for axes in ranks],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "metrics.json"
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    print(
        f"{path}: {sum(map(len, cases.values()))} cases, {path.stat().st_size} bytes, "
        f"SMP {smp.__version__}, MONAI {monai.__version__}, scipy {scipy.__version__}"
    )


if __name__ == "__main__":
    main()
