"""Tables and sentences of a report: means, differences with verdicts, and groups of images."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from archsr.evaluation.compared_models import INTERPOLATIONS
from archsr.evaluation.metrics import Metric
from archsr.evaluation.report.words import GROUND_TRUTH, about, listed
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES, INCONCLUSIVE, Difference, paired
from archsr.evaluation.statistics.strata import DIFFICULTY, STRENGTH, thirds
from archsr.evaluation.statistics.verdicts import (
    NO_VERDICT,
    NOT_TESTED,
    MetricFinding,
    by_scene,
    findings,
    why_no_verdicts,
)
from archsr.evaluation.suite import ImageScores, Scores

_UNTAGGED = "(no tag)"
_TENDENCY = 0.8  # share of the images from which a tendency is reported without a verdict
_TRUTH = "photographs"  # the ground truth; "original" is the model that a run began with


def titles_of(scores: Scores) -> dict[str, str]:
    """Return the titles of all models by name, and of the ground truth if there is one."""
    return {**dict(scores.compared_models), **({"gt": GROUND_TRUTH} if scores.truth else {})}


def mean(scores: Scores, name: str, metric: str) -> float:
    """Return the mean over the images that have a value; NaN if none has."""
    values = [v for row in scores.rows if not math.isnan(v := row.values[name][metric])]
    return math.fsum(values) / len(values) if values else math.nan


@lru_cache(maxsize=1024)
def difference(scores: Scores, metric: Metric, new: str, old: str) -> Difference | None:
    """Return the paired difference new − old of a metric; None if no image has both."""
    changes = by_scene(scores, metric, new, old)
    return paired(changes, higher_is_better=metric.higher_is_better) if changes else None


def sentence(scores: Scores, new: str, old: str) -> str:
    """Return the verdicts about two models in one sentence."""
    titles = dict(scores.compared_models)
    names = f"{titles[new]} against {titles[old]}"
    of = f"{len(scores.rows)} {scores.unit} of {scene_count(scores)}"
    if reason := why_no_verdicts(scores, new, old):
        return f"{names}: **{NO_VERDICT}** ({of}). {reason}"
    said = {"better": [], "worse": [], INCONCLUSIVE: [], NOT_TESTED: []}
    for name, found in findings(scores, new, old).items():
        said[found.verdict].append(short_title(scores, name) + (" (primary)" if name == scores.primary else ""))
    parts = [f"**{verdict}** by {', '.join(some)}" for verdict, some in said.items() if some and verdict != NOT_TESTED]
    rest = f" {_NOT_TESTED}: {', '.join(said[NOT_TESTED])}." if said[NOT_TESTED] else ""
    return f"{names}: {'; '.join(parts)} ({of}).{rest}"


_NOT_TESTED = "Not tested, as the primary metric is inconclusive"


def short_title(scores: Scores, name: str) -> str:
    """Return a metric's title without its unit."""
    return next(m.title for m in scores.metrics if m.name == name).split(",")[0]


def scene_count(scores: Scores) -> str:
    """Return the number of scenes in words: `10 scenes`."""
    count = len({row.scene for row in scores.rows})
    return f"{count} scene{'s' * (count != 1)}"


def in_words(scores: Scores, new: str, old: str) -> str:
    """Summarise the verdicts without names of metrics; if they are inconclusive, describe these images."""
    reason = why_no_verdicts(scores, new, old)
    found = findings(scores, new, old)
    first = found.get(scores.primary)
    if reason or first is None:
        return f"In words: {reason}{_blurred(scores, new)}"
    if first.verdict == INCONCLUSIVE:
        return f"In words: {_uncertain(scores, first, new, old)}{_seen(scores, found, new, old)}{_blurred(scores, new)}"
    said: dict[str, list[str]] = {"better": [], "worse": []}
    unsure = False
    for name, each in found.items():
        words = about(name)
        if words.better or name == scores.primary:
            unsure = unsure or each.verdict == INCONCLUSIVE
            if each.verdict in said:
                told = words.better if each.verdict == "better" else words.worse
                said[each.verdict].append(told or f"is {each.verdict} by {short_title(scores, name)}")
    parts = [listed(said["better"])] if said["better"] else []
    parts += [("but " if parts else "") + listed(said["worse"])] if said["worse"] else []
    rest = " The rest is inconclusive." if unsure else ""
    warned = f" Caution: by the primary metric, {' and '.join(first.warnings)}." if first.warnings else ""
    return f"In words: compared with {old}, {new} {', '.join(parts)}.{rest}{warned}{_blurred(scores, new)}"


def _uncertain(scores: Scores, first: MetricFinding, new: str, old: str) -> str:
    title, digits = short_title(scores, scores.primary), about(scores.primary).digits + 1
    if first.difference.scenes < FEWEST_SCENES:
        why = f": fewer than {FEWEST_SCENES} scenes prove nothing"
    else:
        why = f"; they would have shown a difference of {figure(first.smallest, digits)} four times in five"
    of = f"{len(scores.rows)} {scores.unit} of {scene_count(scores)}"
    return f"{of} are inconclusive about {new} and {old} by the primary metric, {title}{why}."


def _seen(scores: Scores, found: Mapping[str, MetricFinding], new: str, old: str) -> str:
    """Say in how many of these images `new` is better or worse, where it is in most."""
    tendencies: list[str] = []
    for metric in scores.metrics:
        words = about(metric.name)
        if metric.name not in found or not words.better:
            continue
        wins, losses = _counted(scores, metric, new, old)
        images = found[metric.name].difference.images
        if max(wins, losses) >= _TENDENCY * images:
            tendencies.append(f"{words.better if wins > losses else words.worse} in {max(wins, losses)} of {images}")
    return f" In these {scores.unit}, though, {new} {listed(tendencies)}." if tendencies else ""


def _counted(scores: Scores, metric: Metric, new: str, old: str) -> tuple[int, int]:
    """Return in how many images `new` is better and worse than `old`. Ties and missing values count as neither."""
    changes = [row.values[new][metric.name] - row.values[old][metric.name] for row in scores.rows]
    up, down = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
    return (up, down) if metric.higher_is_better else (down, up)


def _blurred(scores: Scores, new: str) -> str:
    """Return a caution if plain interpolation has the better PSNR."""
    names = [name for name, _ in scores.compared_models]
    if "bicubic" not in names or all(m.name != "psnr" for m in scores.metrics) or new == "bicubic":
        return ""
    blurred, ours = mean(scores, "bicubic", "psnr"), mean(scores, new, "psnr")
    if not blurred > ours:
        return ""
    return (
        f" PSNR alone would put bicubic interpolation ({blurred:.2f} dB) before {new} ({ours:.2f} dB): it forgives "
        "blur. Judge by all metrics, and by the images."
    )


def meanings(scores: Scores) -> list[tuple[str, str]]:
    """Return title and meaning of each metric that has an explanation, and of the columns beside them."""
    found = [(m.title, about(m.name).meaning) for m in scores.metrics if about(m.name).meaning]
    blind = scores.truth and any(not m.needs_gt for m in scores.metrics)
    return [*found, *([(f"− {_TRUTH}'", "how far from the photographs' own value")] if blind else [])]


def main_model(scores: Scores) -> str:
    """Return the model that the page is about: the last of `main_models`, else the baseline."""
    names = main_models(scores) or [scores.baseline]
    return names[-1]


def compared_networks(scores: Scores) -> list[str]:
    """Return the networks that are compared with the baseline."""
    return [name for name in scores.challengers if name not in INTERPOLATIONS]


def main_models(scores: Scores) -> list[str]:
    """Return the models for the top of a report: networks with verdicts, else all compared models."""
    networks = compared_networks(scores) or scores.challengers
    return [name for name in networks if name not in scores.unjudged] or networks


def breakdowns(scores: Scores) -> list[tuple[str, Mapping[str, Scores]]]:
    """Return the ways to group the images that give more than one group."""
    found = [("tag", by_tag(scores)), ("strength of the degradation (from the recipe)", by_strength(scores)),
             ("difficulty (from the photograph)", by_difficulty(scores))]  # fmt: skip
    return [(head, parts) for head, parts in found if len(parts) > 1]


@lru_cache(maxsize=8)
def by_tag(scores: Scores) -> Mapping[str, Scores]:
    """Group the images by tag, with one group for those without. An image may be in several."""
    tags = sorted({tag for row in scores.rows for tag in row.tags})
    parts = {tag: [row for row in scores.rows if tag in row.tags] for tag in tags}
    rest = [row for row in scores.rows if not row.tags]
    if rest and tags:
        parts[_UNTAGGED] = rest
    return _of(scores, parts)


@lru_cache(maxsize=8)
def by_strength(scores: Scores) -> Mapping[str, Scores]:
    """Group the images by how much their recipes degrade; empty if no recipe is stored."""
    return _of(scores, thirds(scores.rows, lambda row: row.strength, STRENGTH))


@lru_cache(maxsize=8)
def by_difficulty(scores: Scores) -> Mapping[str, Scores]:
    """Group the images by the PSNR of bicubic upscaling after clean downsampling."""
    return _of(scores, thirds(scores.rows, lambda row: row.difficulty, DIFFICULTY))


def _of(scores: Scores, parts: Mapping[str, list[ImageScores]]) -> dict[str, Scores]:
    return {name: replace(scores, rows=rows) for name, rows in parts.items() if rows}


def groups_table(parts: Mapping[str, Scores], new: str, old: str) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows: each group's images and scenes, and both means and the difference of each metric."""
    metrics = next(iter(parts.values())).metrics
    rows = [
        [
            name,
            str(len(part.rows)),
            str(len({row.scene for row in part.rows})),
            *(_change(part, m, new, old) for m in metrics),
        ]
        for name, part in parts.items()
    ]
    return ["group", next(iter(parts.values())).unit, "scenes", *(m.title for m in metrics)], rows


def groups_note(new: str, old: str) -> str:
    """Explain the table of groups."""
    return f"Means of {old} → {new} and their difference. This is descriptive: groups have no verdicts."


def _change(part: Scores, metric: Metric, new: str, old: str) -> str:
    found = difference(part, metric, new, old)
    if found is None:
        return "–"
    digits = about(metric.name).digits
    means = f"{figure(mean(part, old, metric.name), digits)} → {figure(mean(part, new, metric.name), digits)}"
    return f"{means}, {figure(found.mean, digits + 1, signed=True)}"


def means_table(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows: for each metric its title and the mean of each model and of the photographs."""
    names = list(titles_of(scores))
    heads = [GROUND_TRUTH if name == "gt" else name for name in names]
    rows: list[list[str]] = []
    for metric in scores.metrics:
        means, digits = [mean(scores, name, metric.name) for name in names], about(metric.name).digits
        rows.append([metric.title + (" ↑" if metric.higher_is_better else " ↓"), *(figure(m, digits) for m in means)])
        if scores.truth and not metric.needs_gt:
            signed = [figure(m - means[-1], digits, signed=True) for m in means]
            rows.append([f"{metric.title} − {_TRUTH}'", *signed])
    return [f"mean of {len(scores.rows)} {scores.unit}", *heads], rows


def figure(value: float, digits: int = 4, *, signed: bool = False) -> str:
    """Format a number for a table, – for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
