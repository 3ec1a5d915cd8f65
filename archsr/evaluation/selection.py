"""The rule that chooses weights: in training, for the share of fine-tuning, in studies and in blends.

"balance" first drops candidates that are less faithful than the start (PSNR more than `floor` dB lower) or less natural
(NIQE farther from the photographs'). Of the rest it takes the smallest perceptual distance; at a tie, the one whose
NIQE is nearer to the photographs'. A newer candidate must win by more than the noise: the standard error of the paired
difference over scenes. "Farther" and ties use the same noise, "nearer" twice as much. Any other name is a metric, whose
mean must improve by more than its noise. All compared values come from the same images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from archsr.errors import UserError
from archsr.evaluation.architecture import architecture
from archsr.evaluation.metrics import Metric, extra, perceptual, pyiqa_is_installed, standard
from archsr.evaluation.suite import Scores
from archsr.models.download import cached

BALANCE = "balance"
PERCEPTUAL = ("lpips", "dists", "features")  # the first one that was measured is the perceptual distance
_NATURAL = "niqe_distance"
_WATCHED = ("colour", "false_texture", "consistency")  # without lines, which take seconds
_FILES = {"lpips": ("alexnet",), "dists": ("vgg16", "dists")}  # files needed for a distance to be the default
K = TypeVar("K")
Scenes = dict[str, list[float]]  # by scene, the values of its images
Figures = dict[str, Scenes]  # by metric; images are in the same order for all metrics


@dataclass(frozen=True)
class Rule:
    """`best_by` is "balance" or a metric; PSNR may fall by `floor` dB; `higher` says which metrics should be high."""

    best_by: str
    floor: float
    higher: Mapping[str, bool]

    @classmethod
    def of(cls, best: str, floor: float, metrics: Sequence[Metric]) -> "Rule":
        """Return the rule for these metrics."""
        return cls(best, floor, {m.name: m.higher_is_better for m in metrics})

    def leading(self, figures: Figures) -> str:
        """Return the metric that decides between allowed candidates."""
        if self.best_by != BALANCE:
            return self.best_by
        return next(name for name in PERCEPTUAL if name in figures)

    def objections(self, new: Figures, start: Figures) -> list[str]:
        """Return the reasons why `new` may not be chosen; empty if it may."""
        if self.best_by != BALANCE:
            return []
        found: list[str] = []
        lost = -change(new, start, "psnr").mean
        if lost > self.floor:
            found.append(f"PSNR is {lost:.2f} dB below the start's (allowed: {self.floor:g})")
        if _NATURAL in new:
            farther = change(new, start, _NATURAL)
            if farther.mean > farther.noise:
                found.append(f"NIQE is {farther.mean:.2f} farther from the photographs' than the start's")
        return found

    def score(self, new: Figures, start: Figures) -> float | None:
        """Return the mean of the leading metric, negated if lower is better; None if `new` may not be chosen."""
        if self.objections(new, start):
            return None
        name = self.leading(new)
        value = mean(new[name])
        return value if self.higher[name] else -value

    def wins(self, new: Figures, old: Figures | None, start: Figures, *, least: float = 0.0) -> bool:
        """Return whether `new` replaces `old` (None: nothing was chosen yet), by more than `least` and the noise."""
        if self.objections(new, start):
            return False
        if old is None:
            return True
        gain = self._gain(new, old)
        return gain.mean > max(least, gain.noise) or (abs(gain.mean) <= gain.noise and self._is_nearer(new, old))

    def best(self, found: Mapping[K, Figures], start: Figures) -> K | None:
        """Return the best candidate, whatever their order; None if none is allowed."""
        scores = {key: self.score(figures, start) for key, figures in found.items()}
        marks = {key: score for key, score in scores.items() if score is not None}
        if not marks:
            return None
        first = max(marks, key=marks.__getitem__)
        gains = {key: self._gain(found[key], found[first]) for key in marks}
        alike = [key for key, gain in gains.items() if gain.mean >= -gain.noise]
        nearer = [key for key in alike if self._is_nearer(found[key], found[first])]
        return min(nearer, key=lambda key: mean(found[key][_NATURAL]), default=first)

    def _gain(self, new: Figures, old: Figures) -> "Change":
        name = self.leading(new)
        found = change(new, old, name)
        return found if self.higher[name] else Change(-found.mean, found.noise)

    def _is_nearer(self, new: Figures, old: Figures) -> bool:
        """Return whether `new` is more natural than `old` by twice the noise. This only decides ties of "balance"."""
        if self.best_by != BALANCE or _NATURAL not in new:
            return False
        farther = change(new, old, _NATURAL)
        return -farther.mean > 2 * farther.noise


def best_perceptual() -> str:
    """Return LPIPS or DISTS if its files and library are on this machine, else the one that needs no download."""
    able = {name: files for name, files in _FILES.items() if name != "dists" or pyiqa_is_installed()}
    return next((name for name, files in able.items() if all(cached(f) for f in files)), "features")


def distance_for(best: str, named: str = "auto") -> str:
    """Return the perceptual distance: `best` if it is one, else `named`; "auto" is the best available one."""
    wanted = best if best in PERCEPTUAL else named
    return best_perceptual() if wanted == "auto" else wanted


def metrics_of(scale: int, distance: str) -> list[Metric]:
    """Return the metrics for choosing weights. Raises `UserError` if the perceptual `distance` is not available."""
    if distance == "features":
        found = perceptual()
    else:
        found, missing = extra([distance])
        if missing:
            raise UserError(f"validation.perceptual: {distance} cannot be measured: {missing[distance]}")
    return [*standard(scale), *found, *(m for m in architecture() if m.name in _WATCHED)]


def figures_of(scores: Scores, model: str) -> Figures:
    """Return all values of a model by metric and scene."""
    figures: Figures = {m.name: {} for m in scores.metrics}
    for row in scores.rows:
        for name, scenes in figures.items():
            scenes.setdefault(row.scene, []).append(row.values[model][name])
    return figures


@dataclass(frozen=True)
class Change:
    """The mean paired difference over images, and its standard error over scenes (0 for one scene)."""

    mean: float
    noise: float


def change(new: Figures, old: Figures, name: str) -> Change:
    """Return `new` minus `old` for a metric; images without a value in either are left out."""
    pairs = [list(zip(new[name][scene], old[name][scene], strict=True)) for scene in old[name]]
    groups = [np.array([a - b for a, b in scene if not math.isnan(a - b)]) for scene in pairs]
    groups = [g for g in groups if len(g)]
    if not groups:
        return Change(0.0, 0.0)
    average = float(np.concatenate(groups).mean())
    count, scenes = sum(map(len, groups)), len(groups)
    if scenes == 1:
        return Change(average, 0.0)
    spread = sum(float((g - average).sum()) ** 2 for g in groups) * scenes / (scenes - 1)
    return Change(average, math.sqrt(spread) / count)


def mean(scenes: Scenes) -> float:
    """Return the mean over all images that have a value."""
    values = [v for scene in scenes.values() for v in scene if not math.isnan(v)]
    return math.fsum(values) / len(values) if values else math.nan


def mean_of_common(figures: Figures, other: Figures, name: str) -> float:
    """Return the mean of a metric over the images for which both have a value."""
    pairs = [zip(figures[name][scene], other[name][scene], strict=True) for scene in figures[name]]
    values = [a for scene in pairs for a, b in scene if not math.isnan(a - b)]
    return math.fsum(values) / len(values) if values else math.nan


def changes_in_words(new: Figures, start: Figures, metrics: Sequence[Metric]) -> str:
    """Say which metrics got better and which worse by more than twice the noise, with values."""
    better: list[str] = []
    worse: list[str] = []
    alike: list[str] = []
    for metric in metrics:
        if metric.name not in new or metric.name == "niqe" or math.isnan(mean(start[metric.name])):
            continue
        found = change(new, start, metric.name)
        gain = found.mean if metric.higher_is_better else -found.mean
        title = metric.title.split(",")[0]
        if abs(found.mean) <= 2 * found.noise or found.mean == 0:
            alike.append(title)
            continue
        before, after = mean_of_common(start, new, metric.name), mean_of_common(new, start, metric.name)
        shown = f"{title} {before:.3g} → {after:.3g}"
        (better if gain > 0 else worse).append(shown)
    parts = [f"{word} in {', '.join(some)}" for word, some in (("better", better), ("worse", worse)) if some]
    parts += [f"alike in {', '.join(alike)}"] if alike else []
    return "; ".join(parts)
