"""The one rule by which weights are chosen: during training, for the share of fine-tuning, in studies, in blends.

"balance": among what is not less faithful than the start (its PSNR at most `floor` dB lower) and not less natural (its
NIQE not farther from the photographs' own), the smallest perceptual distance; of two whose distances are alike, the one
whose NIQE is nearer to the photographs'. Something new must win by more than the noise, the standard error of the
paired difference over scenes; "not farther" and "alike" mean so, too, and "nearer" by twice as much. Any other name is
a metric, whose better mean wins by more than its noise. Every value that is compared belongs to the same images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from archsr.errors import UserError
from archsr.evaluation.architecture import architecture
from archsr.evaluation.metrics import Metric, extra, perceptual, standard
from archsr.evaluation.suite import Scores
from archsr.models.download import cached

BALANCE = "balance"
PERCEPTUAL = ("lpips", "dists", "features")  # the first that was taken is the perceptual distance
_NATURAL = "niqe_distance"
_WATCHED = ("colour", "false_texture", "consistency")  # of architecture's; lines take seconds
_FILES = {"lpips": ("alexnet",), "dists": ("vgg16", "dists")}  # what must be here for a distance to be taken unasked
K = TypeVar("K")
Scenes = dict[str, list[float]]  # the values of a scene's images
Figures = dict[str, Scenes]  # by metric; every image of every metric, in one order


@dataclass(frozen=True)
class Rule:
    """`best_by`: "balance" or a metric. `floor`: dB that PSNR may fall. `higher`: metrics better when higher."""

    best_by: str
    floor: float
    higher: Mapping[str, bool]

    @classmethod
    def of(cls, best: str, floor: float, metrics: Sequence[Metric]) -> "Rule":
        """The rule over these metrics."""
        return cls(best, floor, {m.name: m.higher_is_better for m in metrics})

    def leading(self, figures: Figures) -> str:
        """The metric that decides among what is allowed."""
        if self.best_by != BALANCE:
            return self.best_by
        return next(name for name in PERCEPTUAL if name in figures)

    def objections(self, new: Figures, start: Figures) -> list[str]:
        """Why `new` may not be chosen, in words; nothing where it may."""
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
        """The mean of the leading metric, negated where lower is better; None for what may not be chosen."""
        if self.objections(new, start):
            return None
        name = self.leading(new)
        value = mean(new[name])
        return value if self.higher[name] else -value

    def wins(self, new: Figures, old: Figures | None, start: Figures, *, least: float = 0.0) -> bool:
        """Whether `new` takes the place of `old` (None: nothing was chosen yet), by more than `least` and the noise."""
        if self.objections(new, start):
            return False
        if old is None:
            return True
        gain = self._gain(new, old)
        return gain.mean > max(least, gain.noise) or (abs(gain.mean) <= gain.noise and self._is_nearer(new, old))

    def best(self, found: Mapping[K, Figures], start: Figures) -> K | None:
        """Which of several is chosen, whatever their order; None where none may be."""
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
        """Of the leading metric, positive where `new` is better."""
        name = self.leading(new)
        found = change(new, old, name)
        return found if self.higher[name] else Change(-found.mean, found.noise)

    def _is_nearer(self, new: Figures, old: Figures) -> bool:
        """Whether balance finds `new` more natural than `old`: by twice the noise, for it is asked only at a tie."""
        if self.best_by != BALANCE or _NATURAL not in new:
            return False
        farther = change(new, old, _NATURAL)
        return -farther.mean > 2 * farther.noise


def best_perceptual() -> str:
    """LPIPS or DISTS where their files are on this machine, else the distance that needs no download."""
    return next((name for name, files in _FILES.items() if all(cached(f) for f in files)), "features")


def distance_for(best: str, named: str = "auto") -> str:
    """The perceptual distance that is taken: `best` where it is one, else `named`; "auto": the best that is here."""
    wanted = best if best in PERCEPTUAL else named
    return best_perceptual() if wanted == "auto" else wanted


def metrics_of(scale: int, distance: str) -> list[Metric]:
    """What weights are judged by, `distance` being the perceptual one. Raises `UserError` where it cannot be had."""
    if distance == "features":
        found = perceptual()
    else:
        found, missing = extra([distance])
        if missing:
            raise UserError(f"validation.perceptual: {distance} cannot be measured: {missing[distance]}")
    return [*standard(scale), *found, *(m for m in architecture() if m.name in _WATCHED)]


def figures_of(scores: Scores, model: str) -> Figures:
    """Every value of a model by metric and scene."""
    figures: Figures = {m.name: {} for m in scores.metrics}
    for row in scores.rows:
        for name, scenes in figures.items():
            scenes.setdefault(row.scene, []).append(row.values[model][name])
    return figures


@dataclass(frozen=True)
class Change:
    """The mean paired difference over images, and its standard error over scenes (0 where there is one scene)."""

    mean: float
    noise: float


def change(new: Figures, old: Figures, name: str) -> Change:
    """Of a metric, `new` minus `old`; images without a value in either are left out."""
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
    """Over all images that have a value."""
    values = [v for scene in scenes.values() for v in scene if not math.isnan(v)]
    return math.fsum(values) / len(values) if values else math.nan


def changes_in_words(new: Figures, start: Figures, metrics: Sequence[Metric]) -> str:
    """What got better and what worse by more than twice the noise, with figures; never one metric alone."""
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
        shown = f"{title} {mean(start[metric.name]):.3g} → {mean(new[metric.name]):.3g}"
        (better if gain > 0 else worse).append(shown)
    parts = [f"{word} in {', '.join(some)}" for word, some in (("better", better), ("worse", worse)) if some]
    parts += [f"alike in {', '.join(alike)}"] if alike else []
    return "; ".join(parts)
