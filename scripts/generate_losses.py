#!/usr/bin/env python3
"""Writes the values and gradients of PyTorch's, segmentation_models.pytorch's and MONAI's losses.

    python scripts/generate_losses.py [--seed N] [--out DIR] [--count N]

A case is a loss of burn-skip as its file describes it, logits and labels. The options, the shapes, the ignored
positions, saturated logits and images without foreground are drawn; each seed gives others, and burn-skip agrees with
all of them. References are computed in float64 where the source allows it. A position that the source cannot ignore
is taken out before it runs.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai import losses as monai
from segmentation_models_pytorch import losses as smp
from torch import Tensor
from torch.nn import functional

from reference.writer import save

PACKAGES = ("torch", "segmentation-models-pytorch", "monai")
LARGEST_BYTES = 150_000
SMP_MODES = {"Binary": "binary", "MultiClass": "multiclass", "MultiLabel": "multilabel"}
# Two errors nearer than this may change places in float32.
NEAREST_ERRORS = 2e-6
ATTEMPTS = 200

# Logits and labels as in burn-skip, to the loss.
Reference = Callable[[Tensor, Tensor], Tensor]


class Redraw(Exception):
    """Rounding decides about these values: draw again."""


@dataclass
class Draw:
    """The random choices of one case."""

    random: np.random.Generator

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.random.random() < probability)

    def choice(self, options: list[Any]) -> Any:
        return options[int(self.random.integers(len(options)))]

    def number(self, low: float, high: float) -> float:
        return round(float(self.random.uniform(low, high)), 3)

    def weights(self, classes: int) -> list[float]:
        """Weights of classes, one of them sometimes 0."""
        weights = [self.number(0.2, 3.0) for _ in range(classes)]
        if classes > 1 and self.chance(0.3):
            weights[0] = 0.0
        return weights


@dataclass
class Map:
    """Logits and labels, and what they mean."""

    draw: Draw
    mode: str
    axes: int
    ignore: int | None
    logits: np.ndarray = field(init=False)
    labels: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        draw, random = self.draw, self.draw.random
        classes = 1 if self.mode == "Binary" else int(random.integers(2, 5))
        batch = int(random.integers(1, 4))
        high = {1: 18, 2: 7, 3: 5}[self.axes]
        low = {1: 2, 2: 3, 3: 2}[self.axes]
        size = [int(random.integers(low, high)) for _ in range(self.axes)]
        self.logits = (2 * random.standard_normal((batch, classes, *size))).astype(np.float32)
        if draw.chance(0.3):
            at = tuple(int(random.integers(n)) for n in self.logits.shape)
            self.logits[at] = draw.choice([-60.0, 60.0])
        channels = classes if self.mode == "MultiLabel" else 1
        numbers = classes if self.mode == "MultiClass" else 2
        labels = random.integers(0, numbers, (batch, channels, *size))
        if draw.chance():
            # Boxes on background, as maps of objects are.
            labels[:] = 0
            for _ in range(3 * batch * channels):
                start = [int(random.integers(n)) for n in size]
                box = tuple(slice(s, s + int(random.integers(1, 5))) for s in start)
                place = (int(random.integers(batch)), int(random.integers(channels)))
                labels[place + box] = random.integers(1, numbers)
        if draw.chance(0.25):
            labels[int(random.integers(batch))] = 0
        if self.ignore is not None:
            labels[random.random(labels.shape) < 0.2] = self.ignore
        self.labels = labels

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    def counted(self, labels: Tensor) -> Tensor:
        """Where labels are not ignored."""
        if self.ignore is None:
            return torch.ones_like(labels, dtype=torch.bool)
        return labels != self.ignore

    def options(self, **others: Any) -> dict[str, Any]:
        """The fields that all losses with a mode have."""
        options = {"mode": self.mode, **others}
        if self.ignore is not None:
            options["ignore_label"] = self.ignore
        return {name: value for name, value in options.items() if value is not None}


def one_hot(labels: Tensor, mode: str, classes: int) -> Tensor:
    """A channel of 0 and 1 for each class."""
    if mode != "MultiClass":
        return labels.double()
    hot = functional.one_hot(labels[:, 0].long(), classes)
    return hot.movedim(-1, 1).double()


def probabilities(logits: Tensor, mode: str) -> Tensor:
    return logits.softmax(1) if mode == "MultiClass" else logits.sigmoid()


def kept(map_: Map, run: Reference, scope: str) -> Reference:
    """Runs a loss that does not care where positions lie on those that are not ignored."""

    def reference(logits: Tensor, labels: Tensor) -> Tensor:
        groups = [(logits, labels)]
        if scope == "Sample":
            groups = [(logits[n : n + 1], labels[n : n + 1]) for n in range(len(logits))]
        values = []
        for x, y in groups:
            x, y = (t.transpose(0, 1).flatten(1)[None] for t in (x, y))
            counted = map_.counted(y).all(1)[0]
            if not counted.any():
                raise Redraw
            values.append(run(x[:, :, counted], y[:, :, counted]))
        return torch.stack(values).mean()

    return reference


def flat(axes: int, run: Reference) -> Reference:
    """Runs a loss that has no maps of one axis: the second is one position long."""
    return (lambda x, y: run(x[..., None], y[..., None])) if axes == 1 else run


# Each of the following draws the options of one loss: (name of the variant, its fields, the reference).
Case = tuple[str, dict[str, Any], Reference]


def overlap(kind: str, loss: type) -> Callable[[Map], Case]:
    """Dice, Jaccard and Tversky of segmentation_models.pytorch."""

    def case(m: Map) -> Case:
        draw = m.draw
        weights = None if m.mode == "Binary" or draw.chance() else draw.weights(m.classes)
        smooth = draw.choice([0.0, 0.0, draw.number(0.1, 2.0)])
        log = draw.chance(0.3)
        ours: dict[str, Any] = {"smooth": smooth, "log": log, "class_weights": weights}
        theirs: dict[str, Any] = {
            "smooth": smooth,
            "log_loss": log,
            "class_weights": weights,
            "ignore_index": m.ignore,
        }
        if kind == "Tversky":
            more = {"alpha": draw.number(0.1, 1), "beta": draw.number(0.1, 1)}
            more["gamma"] = draw.choice([1.0, 1.5, 0.75])
            ours |= more
            theirs |= more
        return kind, m.options(**ours), loss(SMP_MODES[m.mode], **theirs)

    return case


def monai_dice(m: Map) -> Case:
    """MONAI's Dice and Jaccard, which score a class that is absent."""
    smooth = m.draw.choice([1e-5, m.draw.number(0.1, 2.0)])
    scope = m.draw.choice(["Batch", "Sample"])
    kind = m.draw.choice(["Dice", "Jaccard"])
    loss = monai.DiceLoss(
        jaccard=kind == "Jaccard", smooth_nr=2 * smooth, smooth_dr=2 * smooth, batch=scope == "Batch"
    )

    def run(x: Tensor, y: Tensor) -> Tensor:
        return loss(probabilities(x, m.mode), one_hot(y, m.mode, m.classes))

    ours = {"scope": scope, "smooth": smooth, "absent_class": "Score"}
    return kind, m.options(**ours), kept(m, run, scope)


def background_weights(m: Map) -> list[float] | None:
    """Weights that leave the background out, as `include_background=False` does."""
    if m.mode == "Binary" or m.draw.chance():
        return None
    return [0.0] + [1.0] * (m.classes - 1)


def generalized_dice(m: Map) -> Case:
    scope = m.draw.choice(["Batch", "Sample"])
    kind = m.draw.choice(["Square", "Simple", "Uniform"])
    weights = background_weights(m)
    loss = monai.GeneralizedDiceLoss(
        include_background=weights is None, w_type=kind.lower(), batch=scope == "Batch"
    )

    def run(x: Tensor, y: Tensor) -> Tensor:
        return loss(probabilities(x, m.mode), one_hot(y, m.mode, m.classes))

    ours = {"scope": scope, "volume_weight": kind, "class_weights": weights}
    return "GeneralizedDice", m.options(**ours), kept(m, run, scope)


def focal(m: Map) -> Case:
    draw = m.draw
    if m.mode == "MultiLabel":
        # The source cannot ignore what is ignored in one class only.
        m.labels[m.labels == m.ignore] = 0
        m.ignore = None
    options = {
        "alpha": draw.choice([None, draw.number(0.1, 0.9)]),
        "gamma": draw.choice([0.0, 1.0, 2.0, 2.5]),
        "normalized": draw.chance(0.3),
        "class_weights": None if m.mode == "Binary" or draw.chance() else draw.weights(m.classes),
    }
    loss = smp.FocalLoss(SMP_MODES[m.mode], ignore_index=m.ignore, **options)

    def run(x: Tensor, y: Tensor) -> Tensor:
        return loss(x, y[:, 0] if m.mode == "MultiClass" else y)

    return "Focal", m.options(**options), run


def check_order(errors: Tensor, floor: float, ceiling: float) -> None:
    """Refuses errors that may change places by rounding, if either has a gradient."""
    errors = errors.detach().double().sort().values
    errors = errors[(errors > floor) & (errors < ceiling)]
    if len(errors) > 1 and (errors[1:] - errors[:-1]).min() < NEAREST_ERRORS:
        raise Redraw
    if floor == 0 and len(errors) and errors[0] < NEAREST_ERRORS:
        raise Redraw


def lovasz(m: Map) -> Case:
    per_image = m.draw.chance()
    loss = smp.LovaszLoss(SMP_MODES[m.mode], per_image=per_image, ignore_index=m.ignore)

    def run(x: Tensor, y: Tensor) -> Tensor:
        # (The source makes float32 of the labels, and takes logits of one axis for those of one class.)
        x, y = x.float(), y.long()
        if m.mode == "MultiClass":
            hot = (y == torch.arange(m.classes).view(1, -1, *[1] * m.axes)).float()
            for c in range(m.classes):
                check_order((hot - x.softmax(1))[:, c].abs().flatten(), 1e-6, 1 - 1e-6)
        else:
            check_order((1 - x * (2 * y - 1)).flatten(), 0, float("inf"))
        if not m.counted(y).flatten(1).any(1).all():
            raise Redraw
        return loss(x[..., None], (y[:, 0] if m.mode == "MultiClass" else y)[..., None])

    return "Lovasz", m.options(scope="Sample" if per_image else "Batch"), run


def mcc(m: Map) -> Case:
    """One class as in the source, and the mean of several."""
    scope = m.draw.choice(["Batch", "Sample"])
    weights = None if m.mode == "Binary" or m.draw.chance() else m.draw.weights(m.classes)

    def run(x: Tensor, y: Tensor) -> Tensor:
        p, t = probabilities(x, m.mode), one_hot(y, m.mode, m.classes)
        values = torch.stack([smp.MCCLoss()(p[:, c], t[:, c]) for c in range(m.classes)])
        factors = torch.tensor(weights or [1.0] * m.classes).double()
        return (values * factors).sum() / factors.sum()

    return "Mcc", m.options(scope=scope, class_weights=weights), kept(m, run, scope)


def cross_entropy(m: Map) -> Case:
    smoothing = m.draw.choice([0.0, m.draw.number(0.05, 0.4)])
    options = m.options(smoothing=smoothing)
    del options["mode"]
    if m.draw.chance():
        options["mean_over"] = "All"
        loss = smp.SoftCrossEntropyLoss(smooth_factor=smoothing, ignore_index=m.ignore)
        return "CrossEntropy", options, lambda x, y: loss(x, y[:, 0].long())
    weights = None if m.draw.chance() else m.draw.weights(m.classes)
    if weights is not None:
        options["class_weights"] = weights
    ignore = -100 if m.ignore is None else m.ignore

    def run(x: Tensor, y: Tensor) -> Tensor:
        factors = None if weights is None else torch.tensor(weights).double()
        value = functional.cross_entropy(
            x, y[:, 0].long(), factors, ignore_index=ignore, label_smoothing=smoothing
        )
        if not value.isfinite():
            raise Redraw
        return value

    return "CrossEntropy", options, run


def binary_cross_entropy(m: Map) -> Case:
    smoothing = m.draw.choice([None, m.draw.number(0.05, 0.4)])
    weights = None if m.draw.chance() else m.draw.weights(m.classes)
    options = m.options(smoothing=smoothing, positive_weights=weights)
    del options["mode"]
    positive = torch.tensor(weights or [1.0] * m.classes).double().view(-1, *[1] * m.axes)
    soft = {"smooth_factor": smoothing, "pos_weight": positive, "ignore_index": m.ignore}
    loss = smp.SoftBCEWithLogitsLoss(**soft, reduction="sum")
    if m.draw.chance():
        options["mean_over"] = "All"
        return "BinaryCrossEntropy", options, lambda x, y: loss(x, y.double()) / x.numel()
    class_weights = None if m.draw.chance() else m.draw.weights(m.classes)
    if class_weights is not None:
        options["class_weights"] = class_weights

    def run(x: Tensor, y: Tensor) -> Tensor:
        factors = torch.tensor(class_weights or [1.0] * m.classes).double()
        factors = factors.view(1, -1, *[1] * m.axes)
        total = (m.counted(y) * factors).sum()
        weighted = smp.SoftBCEWithLogitsLoss(**soft, weight=factors, reduction="sum")
        if total == 0:
            raise Redraw
        return weighted(x, y.double()) / total

    return "BinaryCrossEntropy", options, run


def cl_dice(m: Map) -> Case:
    weights = background_weights(m)
    iterations = m.draw.choice([0, 1, 2, 3])
    smooth = m.draw.choice([1.0, m.draw.number(0.1, 2.0)])
    loss = monai.SoftclDiceLoss(
        iterations, smooth_nr=smooth, smooth_dr=smooth, include_background=weights is None
    )

    def run(x: Tensor, y: Tensor) -> Tensor:
        return loss(probabilities(x, m.mode), one_hot(y, m.mode, m.classes))

    ours = {"iterations": iterations, "smooth": smooth, "class_weights": weights}
    return "ClDice", m.options(**ours), flat(m.axes, run)


def boundary(m: Map) -> Case:
    weights = background_weights(m)
    loss = monai.BoundaryLoss(include_background=weights is None)

    def run(x: Tensor, y: Tensor) -> Tensor:
        return loss(probabilities(x, m.mode), one_hot(y, m.mode, m.classes))

    return "Boundary", m.options(class_weights=weights), flat(m.axes, run)


def sum_of_two(m: Map) -> Case:
    """MONAI's sum of Dice and centerline Dice."""
    alpha = m.draw.number(0.2, 0.8)
    loss = monai.SoftDiceclDiceLoss(alpha=alpha)
    dice = m.options(scope="Sample", smooth=0.5, absent_class="Score")
    terms = [
        {"weight": 1 - alpha, "loss": {"Dice": dice}},
        {"weight": alpha, "loss": {"ClDice": m.options()}},
    ]

    def run(x: Tensor, y: Tensor) -> Tensor:
        return loss(probabilities(x, m.mode), one_hot(y, m.mode, m.classes))

    return "Sum", terms, flat(m.axes, run)


# The losses, and the modes that they have. Those that know places cannot ignore some.
EVERY = ["Binary", "MultiClass", "MultiLabel"]
IGNORING: list[tuple[Callable[[Map], Case], list[str]]] = [
    (overlap("Dice", smp.DiceLoss), EVERY),
    (overlap("Jaccard", smp.JaccardLoss), EVERY),
    (overlap("Tversky", smp.TverskyLoss), EVERY),
    (monai_dice, ["Binary", "MultiClass"]),
    (generalized_dice, ["Binary", "MultiClass"]),
    (focal, EVERY),
    (lovasz, EVERY),
    (mcc, ["Binary", "MultiClass"]),
    (cross_entropy, ["MultiClass"]),
    (binary_cross_entropy, ["Binary", "MultiLabel"]),
]
KNOWING_PLACES = [(cl_dice, EVERY), (boundary, EVERY), (sum_of_two, EVERY)]


@dataclass
class Written:
    """A case as the file has it."""

    case: dict[str, Any]
    tensors: dict[str, np.ndarray]


def finish(loss: dict[str, Any], value: Tensor, logits: list[Tensor], labels: np.ndarray) -> Written:
    """Differentiates, and sees that all is finite."""
    value.backward()
    tensors = {"labels": labels}
    for level, x in enumerate(logits):
        tensors |= {f"logits{level}": x.detach().numpy(), f"gradient{level}": x.grad.numpy()}
    if not all(np.isfinite(values).all() for values in tensors.values()):
        raise Redraw
    return Written({"loss": loss, "value": value.item()}, tensors)


def single(draw: Draw, index: int) -> Written:
    """One loss of one map."""
    recipes = IGNORING + KNOWING_PLACES
    recipe, modes = recipes[index % len(recipes)]
    ignore = None
    if index % len(recipes) < len(IGNORING) and draw.chance():
        ignore = draw.choice([255, -1, -100])
    m = Map(draw, draw.choice(modes), draw.choice([1, 2, 3]), ignore)
    kind, options, run = recipe(m)
    x = torch.from_numpy(m.logits).double().requires_grad_()
    value = run(x, torch.from_numpy(m.labels))
    if not value.requires_grad:
        raise Redraw
    return finish({"Loss": {kind: options}}, value, [x], m.labels)


def deep(draw: Draw, index: int) -> Written:
    """MONAI's deep supervision, with a Dice loss of segmentation_models.pytorch."""
    m = Map(draw, draw.choice(EVERY), draw.choice([1, 2, 3]), draw.choice([None, 255]))
    loss = smp.DiceLoss(SMP_MODES[m.mode], ignore_index=m.ignore)
    levels = [torch.from_numpy(m.logits).double().requires_grad_()]
    for _ in range(int(draw.random.integers(1, 3))):
        size = [max(1, n // 2) for n in levels[-1].shape[2:]]
        values = 2 * draw.random.standard_normal((*m.logits.shape[:2], *size))
        levels.append(torch.from_numpy(values.astype(np.float32)).double().requires_grad_())
    run = monai.DeepSupervisionLoss(lambda x, y: loss(x, y.long()), "exp")
    labels = torch.from_numpy(m.labels).float()
    value = run(levels, labels) / sum(run.get_weights(len(levels)))
    config = {"loss": {"Dice": m.options()}}
    return finish({"DeepSupervision": config}, value, levels, m.labels)


def draw_case(seed: int, index: int, count: int) -> Written:
    """The first draw that does not hang on rounding."""
    recipe = deep if index >= count - 4 else single
    for attempt in range(ATTEMPTS):
        draw = Draw(np.random.default_rng([seed, index, attempt]))
        try:
            return recipe(draw, index)
        except Redraw:
            continue
    raise SystemExit(f"case {index}: no draw in {ATTEMPTS} was fit to compare")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("tests/golden"))
    parser.add_argument("--count", type=int, default=82)
    options = parser.parse_args()
    cases, tensors = [], {}
    for index in range(options.count):
        written = draw_case(options.seed, index, options.count)
        cases.append(written.case)
        for name, values in written.tensors.items():
            tensors[f"{index}/{name}"] = np.ascontiguousarray(values, np.float32)
    made_with = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    metadata = {
        "cases": json.dumps(cases, separators=(",", ":")),
        "made_with": made_with,
        "seed": str(options.seed),
    }
    folder = options.out / "losses"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "losses.safetensors"
    save(path, tensors, metadata)
    size = path.stat().st_size
    print(f"{path}: {len(cases)} cases, {size} bytes")
    assert options.count > 82 or size < LARGEST_BYTES, "the file is too large"


if __name__ == "__main__":
    main()
