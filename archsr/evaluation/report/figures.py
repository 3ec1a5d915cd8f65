"""Figures for papers: the same crops across models, chosen by a rule, with captions and a box in the whole image."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.metrics import Metric
from archsr.evaluation.pairs import Pairs, TestPair
from archsr.evaluation.suite import ImageScores, Scores, quantised
from archsr.images.pixels import Pixels, tensor_to_pixels, to_float
from archsr.utils.atomic import replacing
from archsr.utils.progress import progress

SIDE = 128  # side of a crop in pixels of the ground truth
_NEAR = 5  # images near the median that `representative_image` considers
_TAGS = 4  # most tags that get a row
_BRIGHT = 98  # percentile of the differences that gets the brightest shade


@dataclass(frozen=True)
class ChosenImage:
    """An image to show, and the rule that chose it."""

    number: int
    why: str


@dataclass(frozen=True)
class FigureCrop:
    """A chosen image: the whole, the position of its crop (top, left), and the pixels of every column."""

    why: str
    key: str
    whole: Pixels
    top: int
    left: int
    images: dict[str, Pixels]
    captions: dict[str, str]

    def around(self, side: int) -> dict[str, Pixels]:
        """Return a square of `side` around the crop from every column, smaller if the image is, not scaled."""
        height, width = self.whole.shape[:2]
        half = min(SIDE, height, width) // 2 - side // 2
        top, left = (max(0, min(at + half, size - side)) for at, size in ((self.top, height), (self.left, width)))
        return {name: p[top : top + side, left : left + side] for name, p in self.images.items()}


def choose_images(scores: Scores, metric: Metric, new: str) -> list[ChosenImage]:
    """Return the images with the largest, the median and the smallest gain, and the median image of each tag.

    The rule leaves no choice by hand, and shows what got worse next to what got better.
    """
    gains = _gains(scores.rows, metric, new, scores.baseline)
    if not gains:
        return []
    best = "most improved" if gains[-1][0] > 0 else "least damaged"
    worst = "most damaged" if gains[0][0] < 0 else "least improved"
    picks = [(best, gains[-1]), ("median", gains[len(gains) // 2]), (worst, gains[0])]
    for tag in sorted({t for row in scores.rows for t in row.tags})[:_TAGS]:
        inside = _gains([r for r in scores.rows if tag in r.tags], metric, new, scores.baseline)
        picks += [(f"median of {tag}", inside[len(inside) // 2])] if inside else []
    chosen: dict[int, str] = {}
    for why, (gain, number) in picks:
        text = f"{why}, {metric.title.split(',')[0]} {gain if metric.higher_is_better else -gain:+.3g}"
        chosen.setdefault(number, text)
    return [ChosenImage(number, why) for number, why in chosen.items()]


def representative_image(
    scores: Scores,
    metric: Metric,
    pairs: Pairs,
    compared_models: Sequence[ComparedModel],
    *,
    new: str,
    shown_model: str,
) -> list[ChosenImage]:
    """Return at most one image: of the few nearest to the median difference, the one that changed most.

    Changes are measured in the square that differs most. `shown_model` is the model that is restored for `new`.
    """
    gains = _gains(scores.rows, metric, new, scores.baseline)
    median = gains[len(gains) // 2][0] if gains else math.nan
    near = sorted(gains, key=lambda gain: abs(gain[0] - median))[:_NEAR]
    two = [c for c in compared_models if c.name in (shown_model, scores.baseline)]
    found: dict[int, float] = {}
    with progress("choosing the image to show", len(near) * len(two), unit="image") as advance:
        for pair in pairs.read(sorted(number for _, number in near)):
            made = list(_restored(two, pair, advance).values())
            found[pair.number] = most_changed(made[0], made[-1])[0]
    if not found:
        return []
    best = max(found, key=found.__getitem__)
    gain = next(g for g, number in near if number == best)
    change = gain if metric.higher_is_better else -gain
    why = (
        f"of the {len(found)} nearest the median by {metric.title.split(',')[0]}" if len(found) > 1 else "the only one"
    )
    return [ChosenImage(best, f"{why}, the one in which the two differ most ({change:+.3g})")]


def _restored(models: Sequence[ComparedModel], pair: TestPair, advance: Callable[[float], None]) -> dict[str, Tensor]:
    """Return the pair restored by each model, by name. `advance` counts the restored images."""
    made: dict[str, Tensor] = {}
    for model in models:
        made[model.name] = quantised(model.restore(to_float(pair.lq)[None]))
        advance(1)
    return made


def _gains(rows: Sequence[ImageScores], metric: Metric, new: str, old: str) -> list[tuple[float, int]]:
    """Return gain (positive is better) and number of each image, smallest gain first."""
    sign = 1 if metric.higher_is_better else -1
    changes = [(sign * (r.values[new][metric.name] - r.values[old][metric.name]), r.number) for r in rows]
    return sorted(c for c in changes if not math.isnan(c[0]))


def figure_crops(
    chosen: Sequence[ChosenImage], pairs: Pairs, compared_models: Sequence[ComparedModel], scores: Scores, *, new: str
) -> list[FigureCrop]:
    """Restore the chosen images again; each crop is where `new` and the baseline differ most."""
    rows = {row.number: row for row in scores.rows}
    whys = {c.number: c.why for c in reversed(chosen)}  # the first reason for an image wins
    found: dict[int, FigureCrop] = {}
    with progress("restoring images to show", len(whys) * len(compared_models), unit="image") as advance:
        for pair in pairs.read(sorted(whys)):
            lq, gt = to_float(pair.lq)[None], to_float(pair.gt)[None]
            restored = _restored(compared_models, pair, advance)
            _, top, left = most_changed(restored[new], restored[scores.baseline])
            columns = {"input": F.interpolate(lq, size=gt.shape[2:], mode="nearest"), **restored, "ground truth": gt}
            found[pair.number] = FigureCrop(
                why=whys[pair.number],
                key=pair.key,
                whole=tensor_to_pixels(gt),
                top=top,
                left=left,
                images={name: tensor_to_pixels(p) for name, p in columns.items()},
                captions={name: _caption(rows[pair.number], name, scores.metrics[:2]) for name in columns},
            )
    return [found[number] for number in dict.fromkeys(c.number for c in chosen)]


def most_changed(new: Tensor, old: Tensor) -> tuple[float, int, int]:
    """Return the largest mean absolute difference of two images in a square of `SIDE`, and its top and left.

    Squares are a quarter of a side apart. A smaller image is one square.
    """
    side = min(SIDE, *new.shape[2:])
    step = max(1, side // 4)
    change = F.avg_pool2d((new - old).abs().mean(1, keepdim=True), side, stride=step)[0, 0]
    row, column = divmod(int(change.argmax()), change.shape[1])
    return float(change[row, column]), row * step, column * step


def _caption(row: ImageScores, name: str, metrics: Sequence[Metric]) -> str:
    values = row.values.get(name, {})
    shown = [f"{values[m.name]:.2f} dB" if "dB" in m.title else f"{m.title} {values[m.name]:.3f}"
             for m in metrics if not math.isnan(values.get(m.name, math.nan))]  # fmt: skip
    return ", ".join(shown)


def write_figures(folder: Path, crops: Sequence[FigureCrop], *, truth: bool = True) -> list[str]:
    """Write `comparison` and, with ground `truth`, `differences` as PNG, PDF and SVG; return the PNG names."""
    with mpl.rc_context({"font.size": 7, "font.family": "DejaVu Sans", "svg.hashsalt": "archsr"}):
        made = {"comparison": _comparison(crops), **({"differences": _maps(crops)} if truth else {})}
        for name, figure in made.items():
            for ending in ("png", "pdf", "svg"):
                with replacing(folder / f"{name}.{ending}") as temporary:
                    # without a date, the same evaluation gives the same files
                    about = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[ending]
                    figure.savefig(temporary, dpi=200, bbox_inches="tight", metadata=cast(Any, about), format=ending)
    return [f"{name}.png" for name in made]


def _grid(rows: int, columns: int) -> tuple[Figure, NDArray[Any]]:
    figure = Figure(figsize=(1.35 * columns, 1.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        each.set_xticks([])
        each.set_yticks([])
    return figure, axes


def _comparison(crops: Sequence[FigureCrop]) -> Figure:
    names = list(crops[0].images)
    figure, axes = _grid(len(crops), len(names) + 1)
    for row, (one, line) in enumerate(zip(crops, axes, strict=True)):
        side = min(SIDE, *one.whole.shape[:2])
        line[0].imshow(one.whole)
        line[0].add_patch(Rectangle((one.left, one.top), side, side, fill=False, edgecolor="red", linewidth=1))
        line[0].set_xlabel(f"{_shortened(one.key)}\n{one.why}")
        for name, axis in zip(names, line[1:], strict=True):
            crop = one.images[name][one.top : one.top + side, one.left : one.left + side]
            axis.imshow(crop, interpolation="nearest")
            axis.set_xlabel(one.captions[name])
            if row == 0:
                axis.set_title(name)
    return figure


def _maps(crops: Sequence[FigureCrop]) -> Figure:
    names = [n for n in crops[0].images if n not in ("input", "ground truth")]
    errors = [[np.abs(one.images[n].astype(np.float32) - one.whole).mean(2) for n in names] for one in crops]
    values = np.concatenate([error.ravel() for line in errors for error in line])
    brightest = max(1.0, float(np.percentile(values, _BRIGHT)))
    figure, axes = _grid(len(crops), len(names) + 1)
    image = None
    for row, (one, line) in enumerate(zip(crops, axes, strict=True)):
        line[0].imshow(one.whole)
        line[0].set_xlabel(_shortened(one.key))
        for name, error, axis in zip(names, errors[row], line[1:], strict=True):
            image = axis.imshow(error, cmap="magma", vmin=0, vmax=brightest)
            axis.set_xlabel(f"mean {error.mean():.2f}")
            if row == 0:
                axis.set_title(name)
    if image is not None:
        figure.colorbar(image, ax=axes[:, 1:], shrink=0.6, label="|difference from the photograph|, levels of 255")
    return figure


def _shortened(key: str) -> str:
    return key if len(key) <= 20 else f"{key[:10]}…{key[-8:]}"
