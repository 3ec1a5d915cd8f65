"""The score card as Markdown and JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from archsr.evaluate.measures import Measure
from archsr.evaluate.statistics import FEWEST_SCENES, Difference, paired
from archsr.evaluate.suite import Scores

_UNTAGGED = "(no tag)"


def mean(scores: Scores, name: str, measure: str) -> float:
    """Mean over the pictures in which the figure could be taken; NaN if there is none."""
    values = [v for row in scores.rows if not math.isnan(v := row.values[name][measure])]
    return sum(values) / len(values) if values else math.nan


def difference(scores: Scores, measure: Measure, new: str, old: str) -> Difference | None:
    """Paired difference new − old of a measure; None if no picture has both."""
    by_scene: dict[str, list[float]] = {}
    for row in scores.rows:
        change = row.values[new][measure.name] - row.values[old][measure.name]
        if not math.isnan(change):
            by_scene.setdefault(row.scene, []).append(change)
    return paired(by_scene, higher_is_better=measure.higher_is_better) if by_scene else None


def markdown(scores: Scores, *, title: str, protocol: str, missing: dict[str, str]) -> str:
    """The whole report: means, what they say, how they were taken, and every picture."""
    new, old = scores.contenders[-1][0], scores.contenders[-2][0]
    lines = [f"# {title}", "", *_means(scores), "", *_verdicts(scores, new, old), "", f"*{protocol}*", ""]
    lines += [f"- {name} could not be computed: {reason}" for name, reason in missing.items()]
    if len(split := by_tag(scores)) > 1:
        lines += ["", "## By tag", "", *_tags(split, new, old)]
    return "\n".join([*lines, "", "## Per picture", "", *_pictures(scores)]) + "\n"


def by_tag(scores: Scores) -> dict[str, Scores]:
    """The pictures with each tag, and those with none, as evaluations of their own. A picture may be in several."""
    tags = sorted({tag for row in scores.rows for tag in row.tags})
    parts = {tag: [row for row in scores.rows if tag in row.tags] for tag in tags}
    rest = [row for row in scores.rows if not row.tags]
    if rest and tags:
        parts[_UNTAGGED] = rest
    return {tag: replace(scores, rows=rows, patches=[]) for tag, rows in parts.items()}


def _tags(parts: dict[str, Scores], new: str, old: str) -> list[str]:
    measures = next(iter(parts.values())).measures
    lines = [
        f"Means of {old} → {new}, their difference, and the verdict over the scenes of the tag.",
        "",
        "| tag | pictures | scenes | " + " | ".join(m.title for m in measures) + " |",
        "|---|---:|---:|" + "---|" * len(measures),
    ]
    for tag, part in parts.items():
        cells = [_change(part, m, new, old) for m in measures]
        scenes = len({row.scene for row in part.rows})
        lines.append(f"| {tag.replace('|', '/')} | {len(part.rows)} | {scenes} | " + " | ".join(cells) + " |")
    return lines


def _change(part: Scores, measure: Measure, new: str, old: str) -> str:
    found = difference(part, measure, new, old)
    if found is None:
        return "–"
    means = f"{_figure(mean(part, old, measure.name))} → {_figure(mean(part, new, measure.name))}"
    return f"{means}, {found.mean:+.4f}: {found.verdict(higher_is_better=measure.higher_is_better)}"


def _means(scores: Scores) -> list[str]:
    titles = [m.title + (" ↑" if m.higher_is_better else " ↓") for m in scores.measures]
    blind = [m for m in scores.measures if not m.needs_gt]
    titles += [f"{m.title} − originals'" for m in blind]
    rows = [f"| mean of {len(scores.rows)} pictures | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for name, title in [*scores.contenders, ("gt", "originals (ground truth)")]:
        cells = [_figure(mean(scores, name, m.name)) for m in scores.measures]
        cells += [_figure(mean(scores, name, m.name) - mean(scores, "gt", m.name), signed=True) for m in blind]
        rows.append(f"| {title} | " + " | ".join(cells) + " |")
    return rows


def _verdicts(scores: Scores, new: str, old: str) -> list[str]:
    titles = dict(scores.contenders)
    lines = [f"**{titles[new]}** against **{titles[old]}**, picture by picture:", ""]
    for measure in scores.measures:
        found = difference(scores, measure, new, old)
        if found is None:
            lines.append(f"- {measure.title}: no picture is large enough")
            continue
        verdict = found.verdict(higher_is_better=measure.higher_is_better)
        if found.scenes < FEWEST_SCENES:
            span = f"{found.scenes} scene{'s' if found.scenes > 1 else ''}; fewer than {FEWEST_SCENES} show nothing"
        else:
            span = f"95 % interval {found.low:+.4f} to {found.high:+.4f} over {found.scenes} scenes"
        lines.append(
            f"- {measure.title}: **{verdict}**; {found.mean:+.4f} ({span}), better in {found.wins:.0%} of "
            f"{found.images} pictures"
        )
    return lines


def _pictures(scores: Scores) -> list[str]:
    heads = [f"{name} {m.title}" for m in scores.measures for name, _ in [*scores.contenders]]
    heads += [f"originals {m.title}" for m in scores.measures if not m.needs_gt]
    lines = ["| picture | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for row in scores.rows:
        cells = [_figure(row.values[name][m.name]) for m in scores.measures for name, _ in scores.contenders]
        cells += [_figure(row.values["gt"][m.name]) for m in scores.measures if not m.needs_gt]
        lines.append(f"| {row.key} | " + " | ".join(cells) + " |")
    return lines


def _figure(value: float, *, signed: bool = False) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:+.4f}" if signed else f"{value:.4f}"


def as_json(scores: Scores, *, protocol: str, missing: dict[str, str]) -> str:
    """Everything in the report for programs; figures that could not be taken are null."""
    new, old = scores.contenders[-1][0], scores.contenders[-2][0]
    names = [name for name, _ in scores.contenders] + ["gt"]
    plain = {
        "protocol": protocol,
        "models": dict(scores.contenders),
        **_summary(scores, names, new, old),
        "by_tag": {tag: _summary(part, names, new, old) for tag, part in by_tag(scores).items()},
        "pictures": [{"key": r.key, "scene": r.scene, "tags": r.tags, "values": r.values} for r in scores.rows],
        "missing": missing,
    }
    return json.dumps(_without_nan(plain), indent=1) + "\n"


def _summary(scores: Scores, names: Sequence[str], new: str, old: str) -> dict[str, Any]:
    found = {m: difference(scores, m, new, old) for m in scores.measures}
    return {
        "means": {name: {m.name: mean(scores, name, m.name) for m in scores.measures} for name in names},
        "differences": {
            m.name: {**vars(d), "verdict": d.verdict(higher_is_better=m.higher_is_better), "new": new, "old": old}
            for m, d in found.items()
            if d is not None
        },
    }


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - plain JSON data
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(v) for v in value]
    return value
