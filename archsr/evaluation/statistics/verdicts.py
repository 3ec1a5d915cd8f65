"""Decide verdicts: the primary metric at 5 %, the others by Holm's correction.

The others are only tested if the primary metric has a verdict. If each scene is as likely to gain as to lose, at most
five in a hundred comparisons of equal models contain a false verdict, however many metrics there are and however they
correlate (tests/measure/verdict_simulations.py; configs/RESULTS.md has other cases).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsr.checkpoint import about_snapshot
from archsr.data.remote import place_of
from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.metrics import Metric
from archsr.evaluation.pairs import Pairs, ShardPairs
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES, INCONCLUSIVE, LEVEL, Difference, holm_levels, paired
from archsr.evaluation.suite import Scores
from archsr.runs.folders import is_run, run_config

EXPLORATORY = (
    "This share of the fine-tuning was not chosen before the evaluation, so its results are exploratory and have "
    "no verdicts; `archsr blend` chooses a share on the validation images."
)


def without_verdicts(compared_models: Sequence[ComparedModel], pairs: Pairs) -> dict[str, str]:
    """Return the models that get no verdicts, each with the reason as a sentence."""
    found = {c.name: EXPLORATORY for c in compared_models if not c.weights}
    chosen = [c.name for c in compared_models if c.weights and was_chosen_on(c.weights, pairs)]
    return found | {name: _chosen(name) for name in chosen}


def _chosen(name: str) -> str:
    return (
        f"{name} was chosen on these validation images, so its results on them are too good and have no verdicts; the "
        "test images (`--split test`) give verdicts."
    )


def was_chosen_on(weights: str, pairs: Pairs) -> bool:
    """Return whether these validation images chose the weights of a file, or the share of fine-tuning in it."""
    file = Path(weights)
    if not isinstance(pairs, ShardPairs) or pairs.split != "val" or not file.is_file():
        return False
    about = about_snapshot(file)
    if not about.get("step", 1):
        return False  # the initial weights of a run
    run = str(file.parent.parent)
    if file.parent.name != "snapshots" or not is_run(run):
        return pairs.fingerprint in (about.get("fingerprint"), about.get("blend", {}).get("chosen_on"))
    config = run_config(run)
    if file.stem.startswith("last") and all(s.until == "iterations" for s in config.training.stages):
        return False
    return about.get("fingerprint") == pairs.fingerprint or place_of(config.data.shards, config.data) == pairs.place


@dataclass(frozen=True)
class LeaveOneOut:
    """How a difference changes without one scene: `least` and `most` are the extreme means.

    `scene` contributes most to the mean, a `share` of it (1 is all). `changed` is a scene whose removal changes the
    verdict, and the new verdict; None if there is none, or if one scene fewer could show nothing.
    """

    least: float
    most: float
    scene: str
    share: float
    changed: tuple[str, str] | None


def leave_one_out(
    differences: Mapping[str, Sequence[float]], *, higher_is_better: bool, level: float = LEVEL
) -> LeaveOneOut:
    """Recompute the mean and the verdict without each scene in turn.

    `differences` maps each scene, of two or more, to the differences of its images.
    """
    groups = {name: d for name, d in differences.items() if len(d)}
    names, sums = list(groups), np.array([np.sum(d) for d in groups.values()])
    counts = np.array([len(d) for d in groups.values()])
    means = (sums.sum() - sums) / (counts.sum() - counts)
    shares = sums / sums.sum() if sums.sum() else np.zeros(len(sums))
    heaviest = int(np.argmax(shares))
    changed = None
    if 2.0 ** (2 - len(names)) <= level and len(names) > FEWEST_SCENES:
        before = paired(groups, higher_is_better=higher_is_better).verdict(
            higher_is_better=higher_is_better, level=level
        )
        # only the two scenes that change the mean most need testing
        for index in (int(np.argmin(means)), int(np.argmax(means))):
            rest = {name: d for name, d in groups.items() if name != names[index]}
            found = paired(rest, higher_is_better=higher_is_better)
            after = found.verdict(higher_is_better=higher_is_better, level=level)
            changed = changed or ((names[index], after) if after != before else None)
    return LeaveOneOut(float(means.min()), float(means.max()), names[heaviest], float(shares[heaviest]), changed)


NOT_TESTED = "not tested"  # because the primary metric is inconclusive
NO_VERDICT = "no verdict"  # for the reason that `why_no_verdicts` gives
_HALF = 0.5  # of the mean: a scene that contributes more is reported


@dataclass(frozen=True)
class MetricFinding:
    """A metric's difference and verdict. `level` is the significance level, NaN if there are no verdicts.

    `smallest` is the true difference that these scenes would show four times in five at that level.
    """

    difference: Difference
    verdict: str
    level: float
    smallest: float
    leave_one_out: LeaveOneOut | None

    @property
    def possible(self) -> bool:
        """Whether so many scenes can give a verdict at all: of n scenes, two of the 2ⁿ sign flips are most extreme."""
        return 2.0 ** (1 - self.difference.scenes) <= self.level

    @property
    def warnings(self) -> list[str]:
        """Say if the result depends on one scene."""
        rest = self.leave_one_out
        if rest is None or self.verdict in (NOT_TESTED, NO_VERDICT):
            return []
        clear = self.verdict != INCONCLUSIVE
        said = [f"{rest.scene} alone contributes {_share(rest.share)}"] if clear and rest.share > _HALF else []
        return said + ([f"without {rest.changed[0]} {rest.changed[1]}"] if rest.changed else [])

    def plain(self) -> dict[str, Any]:
        """Return plain data for JSON; the schema is in configs/README.md."""
        of, rest = self.difference, self.leave_one_out
        mean, low, high = of.standardised
        return {
            **vars(of),
            "standardised": {"mean": mean, "low": low, "high": high},
            "without_one_scene": None if rest is None else {"low": rest.least, "high": rest.most},
            "heaviest_scene": None if rest is None else {"scene": rest.scene, "share": rest.share},
            "verdict": self.verdict,
            "level": self.level,
            "smallest": self.smallest,
            "warnings": self.warnings,
        }


def _share(share: float) -> str:
    return f"{share:.0%} of the mean" if share <= 1 else "more than the whole mean"


def by_scene(scores: Scores, metric: Metric, new: str, old: str) -> dict[str, list[float]]:
    """Return the differences new − old by scene, of images that have the metric for both."""
    found: dict[str, list[float]] = {}
    for row in scores.rows:
        change = row.values[new][metric.name] - row.values[old][metric.name]
        if not math.isnan(change):
            found.setdefault(row.scene, []).append(change)
    return found


def why_no_verdicts(scores: Scores, new: str, old: str) -> str:
    """Return the reason why a comparison of two models has no verdicts, or an empty string."""
    for name in (new, old):
        if name in scores.unjudged:
            return scores.unjudged[name]
    taken = {m.name for m in scores.metrics if by_scene(scores, m, new, old)}
    if scores.primary not in taken:
        return f"The primary metric, {scores.primary}, could not be computed, so there are no verdicts."
    return ""


@lru_cache(maxsize=64)  # all parts of a report use it
def findings(scores: Scores, new: str, old: str) -> Mapping[str, MetricFinding]:
    """Return the result of each metric that could be computed, the primary metric first."""
    first = sorted(scores.metrics, key=lambda m: m.name != scores.primary)
    found = {m: changes for m in first if (changes := by_scene(scores, m, new, old))}
    pairs = {m: paired(changes, higher_is_better=m.higher_is_better) for m, changes in found.items()}
    if why_no_verdicts(scores, new, old):
        return MappingProxyType(
            {m.name: MetricFinding(d, NO_VERDICT, math.nan, math.nan, None) for m, d in pairs.items()}
        )
    p = np.array([d.permutation_p for d in pairs.values()])
    clear = np.array([d.low > 0 or d.high < 0 for d in pairs.values()])
    levels, called = levels_and_verdicts(p, clear)
    result: dict[str, MetricFinding] = {}
    for n, (metric, difference) in enumerate(pairs.items()):
        level, up = float(levels[n]), metric.higher_is_better
        verdict = difference.verdict(higher_is_better=up, level=level)
        if n and not called[0]:
            verdict = NOT_TESTED
        rest = leave_one_out(found[metric], higher_is_better=up, level=level) if difference.scenes > 1 else None
        result[metric.name] = MetricFinding(difference, verdict, level, difference.smallest(level), rest)
    return MappingProxyType(result)


def levels_and_verdicts(
    p: NDArray[np.float64], clear: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return levels and whether there is a verdict, both (..., metrics), the primary metric first.

    `p` are the p-values of permutation tests; `clear` says whether the 95 % interval excludes zero.
    """
    first = np.full((*p.shape[:-1], 1), LEVEL)
    levels = np.concatenate([first, holm_levels(p[..., 1:])], axis=-1) if p.shape[-1] > 1 else first
    called = (p <= levels) & clear
    called[..., 1:] &= called[..., :1]
    return levels, called
