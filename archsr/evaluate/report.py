"""The score card as Markdown and JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from archsr.evaluate.measures import Measure
from archsr.evaluate.statistics import FEWEST_SCENES, Difference, paired
from archsr.evaluate.suite import Row, Scores, thirds

_UNTAGGED = "(no tag)"
_LISTED = 200  # pictures that the Markdown lists one by one; all are in scores.parquet


def mean(scores: Scores, name: str, measure: str) -> float:
    """Mean over the pictures in which the figure could be taken; NaN if there is none."""
    values = [v for row in scores.rows if not math.isnan(v := row.values[name][measure])]
    return math.fsum(values) / len(values) if values else math.nan


def difference(scores: Scores, measure: Measure, new: str, old: str) -> Difference | None:
    """Paired difference new − old of a measure; None if no picture has both."""
    by_scene: dict[str, list[float]] = {}
    for row in scores.rows:
        change = row.values[new][measure.name] - row.values[old][measure.name]
        if not math.isnan(change):
            by_scene.setdefault(row.scene, []).append(change)
    return paired(by_scene, higher_is_better=measure.higher_is_better) if by_scene else None


def sentence(scores: Scores, new: str, old: str) -> str:
    """What the figures say about two models, in one sentence."""
    groups: dict[str, list[str]] = {"better": [], "worse": [], "cannot tell": []}
    for measure in scores.measures:
        if (found := difference(scores, measure, new, old)) is not None:
            groups[found.verdict(higher_is_better=measure.higher_is_better)].append(measure.title.split(",")[0])
    said = [f"**{verdict}** by {', '.join(names)}" for verdict, names in groups.items() if names]
    titles = dict(scores.contenders)
    scenes = len({row.scene for row in scores.rows})
    return f"{titles[new]} against {titles[old]}: {'; '.join(said)} ({len(scores.rows)} pictures of {scenes} scenes)."


def markdown(scores: Scores, *, title: str, protocol: str) -> str:
    """The whole report: means, what they say, how they were taken, and the pictures."""
    old, new = scores.baseline, primary(scores)
    lines = [f"# {title}", ""]
    lines += [line for name in scores.challengers if name not in ("bicubic", "lanczos")
              for line in (sentence(scores, name, old), "")]  # fmt: skip
    lines += [*_means(scores), "", f"*{protocol}*", ""]
    lines += [f"- {name} could not be computed: {reason}" for name, reason in scores.missing.items()]
    for name in scores.challengers:
        lines += ["", f"## {dict(scores.contenders)[name]} against {dict(scores.contenders)[old]}", ""]
        lines += _verdicts(scores, name, old)
    lines += ["", *_HOW]
    for head, parts in (("tag", by_tag(scores)), ("strength of the degradation", by_strength(scores))):
        if len(parts) > 1:
            lines += ["", f"## By {head}", "", *_parts(parts, new, old)]
    if len(scores.rows) <= _LISTED:
        lines += ["", "## Per picture", "", *_pictures(scores)]
    return "\n".join(lines) + "\n"


_HOW = [
    "Differences are taken picture by picture. The interval contains the mean difference 95 times in 100: whole scenes "
    "are resampled 10,000 times, and the percentiles widened for few scenes. The p-values are of the sign test and of "
    "the test by changes of sign, over scenes. *Needed* is the number of scenes with which a true difference of the "
    "observed size would be seen four times in five. Many measures are compared at once: of twenty, one is outside its "
    "interval by luck.",
]


def primary(scores: Scores) -> str:
    """The model that the breakdowns are about: the last that is compared with the baseline, or the baseline itself."""
    return (scores.challengers or [scores.baseline])[-1]


def by_tag(scores: Scores) -> dict[str, Scores]:
    """The pictures with each tag, and those with none, as evaluations of their own. A picture may be in several."""
    tags = sorted({tag for row in scores.rows for tag in row.tags})
    parts = {tag: [row for row in scores.rows if tag in row.tags] for tag in tags}
    rest = [row for row in scores.rows if not row.tags]
    if rest and tags:
        parts[_UNTAGGED] = rest
    return _of(scores, parts)


def by_strength(scores: Scores) -> dict[str, Scores]:
    """The pictures by how much they were degraded."""
    return _of(scores, thirds(scores.rows))


def _of(scores: Scores, parts: Mapping[str, list[Row]]) -> dict[str, Scores]:
    return {name: replace(scores, rows=rows) for name, rows in parts.items() if rows}


def _parts(parts: dict[str, Scores], new: str, old: str) -> list[str]:
    measures = next(iter(parts.values())).measures
    lines = [
        f"Means of {old} → {new}, their difference, and the verdict over the scenes of the group.",
        "",
        "| group | pictures | scenes | " + " | ".join(m.title for m in measures) + " |",
        "|---|---:|---:|" + "---|" * len(measures),
    ]
    for name, part in parts.items():
        cells = [_change(part, m, new, old) for m in measures]
        scenes = len({row.scene for row in part.rows})
        lines.append(f"| {name.replace('|', '/')} | {len(part.rows)} | {scenes} | " + " | ".join(cells) + " |")
    return lines


def _change(part: Scores, measure: Measure, new: str, old: str) -> str:
    found = difference(part, measure, new, old)
    if found is None:
        return "–"
    means = f"{figure(mean(part, old, measure.name))} → {figure(mean(part, new, measure.name))}"
    return f"{means}, {found.mean:+.4f}: {found.verdict(higher_is_better=measure.higher_is_better)}"


def heads(scores: Scores) -> list[str]:
    """Titles of the columns of the table of means."""
    titles = [m.title + (" ↑" if m.higher_is_better else " ↓") for m in scores.measures]
    return titles + [f"{m.title} − originals'" for m in scores.measures if not m.needs_gt]


def means_table(scores: Scores) -> list[tuple[str, list[str]]]:
    """A row for each model and one for the original photographs: title and cells."""
    blind = [m for m in scores.measures if not m.needs_gt]
    rows: list[tuple[str, list[str]]] = []
    for name, title in [*scores.contenders, ("gt", "originals (ground truth)")]:
        cells = [figure(mean(scores, name, m.name)) for m in scores.measures]
        cells += [figure(mean(scores, name, m.name) - mean(scores, "gt", m.name), signed=True) for m in blind]
        rows.append((title, cells))
    return rows


def _means(scores: Scores) -> list[str]:
    titles = heads(scores)
    rows = [f"| mean of {len(scores.rows)} pictures | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    return rows + [f"| {title} | " + " | ".join(cells) + " |" for title, cells in means_table(scores)]


VERDICT_HEADS = [
    "measure",
    "verdict",
    "difference",
    "95 % interval",
    "better in",
    "sign test",
    "signs changed",
    "needed",
]


def verdict_rows(scores: Scores, new: str, old: str) -> list[list[str]]:
    """For each measure: title, verdict, mean difference, interval, share of pictures, both p-values, scenes needed."""
    rows: list[list[str]] = []
    for measure in scores.measures:
        found = difference(scores, measure, new, old)
        if found is None:
            rows.append([measure.title, "no picture is large enough", *["–"] * 6])
            continue
        verdict = found.verdict(higher_is_better=measure.higher_is_better)
        span = f"{found.low:+.4f} to {found.high:+.4f}"
        if found.scenes < FEWEST_SCENES:
            span = f"{found.scenes} scene{'s' if found.scenes > 1 else ''}; fewer than {FEWEST_SCENES} show nothing"
        needed = "–" if found.needed is None else f"{found.needed:,} scenes (here {found.scenes})"
        rows.append([measure.title, verdict, f"{found.mean:+.4f}", span, f"{found.wins:.0%} of {found.images}",
                     f"p = {found.sign_p:.3f}", f"p = {found.permutation_p:.3f}", needed])  # fmt: skip
    return rows


def _verdicts(scores: Scores, new: str, old: str) -> list[str]:
    lines = ["| " + " | ".join(VERDICT_HEADS) + " |", "|---|---|" + "---:|" * (len(VERDICT_HEADS) - 2)]
    for title, verdict, *rest in verdict_rows(scores, new, old):
        lines.append("| " + " | ".join([title, f"**{verdict}**", *rest]) + " |")
    return lines


def _pictures(scores: Scores) -> list[str]:
    names = [f"{name} {m.title}" for m in scores.measures for name, _ in [*scores.contenders]]
    names += [f"originals {m.title}" for m in scores.measures if not m.needs_gt]
    lines = ["| picture | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in scores.rows:
        cells = [figure(row.values[name][m.name]) for m in scores.measures for name, _ in scores.contenders]
        cells += [figure(row.values["gt"][m.name]) for m in scores.measures if not m.needs_gt]
        lines.append(f"| {row.key} | " + " | ".join(cells) + " |")
    return lines


def figure(value: float, *, signed: bool = False) -> str:
    """A number of a table, – where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:+.4f}" if signed else f"{value:.4f}"


def as_json(scores: Scores, *, protocol: str) -> str:
    """Everything in the report for programs; figures that could not be taken are null."""
    plain = {
        "protocol": protocol,
        "models": dict(scores.contenders),
        "baseline": scores.baseline,
        **_summary(scores),
        "by_tag": {tag: _summary(part) for tag, part in by_tag(scores).items()},
        "by_strength": {name: _summary(part) for name, part in by_strength(scores).items()},
        "pictures": [asdict(row) for row in scores.rows],
        "missing": scores.missing,
    }
    return json.dumps(_without_nan(plain), indent=1) + "\n"


def _summary(scores: Scores) -> dict[str, Any]:
    names = [name for name, _ in scores.contenders] + ["gt"]
    return {
        "means": {name: {m.name: mean(scores, name, m.name) for m in scores.measures} for name in names},
        "differences": {name: _differences(scores, name) for name in scores.challengers},
    }


def _differences(scores: Scores, new: str) -> dict[str, Any]:
    found = {m: difference(scores, m, new, scores.baseline) for m in scores.measures}
    return {
        m.name: {**vars(d), "verdict": d.verdict(higher_is_better=m.higher_is_better)}
        for m, d in found.items()
        if d is not None
    }


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - plain JSON data
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(v) for v in value]
    return value
