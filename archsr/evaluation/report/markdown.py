"""Write the score card as Markdown and JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from archsr.evaluation.report.headline import headline
from archsr.evaluation.report.verdict_table import HOW, VERDICT_HEADS, verdict_rows
from archsr.evaluation.report.words import about
from archsr.evaluation.statistics.verdicts import NO_VERDICT, findings
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import (
    breakdowns,
    by_difficulty,
    by_strength,
    by_tag,
    compared_networks,
    difference,
    figure,
    groups_note,
    groups_table,
    in_words,
    main_model,
    main_models,
    mean,
    meanings,
    means_table,
    sentence,
    titles_of,
)

_FIRST = 3  # metrics that the Markdown lists for each image
_LISTED = 200  # images that the Markdown lists one by one; all are in scores.parquet


def markdown(
    scores: Scores, *, title: str, protocol: str, notes: Sequence[str] = (), advice: Sequence[str] = ()
) -> str:
    """Return the whole report: means, verdicts, protocol and images. `notes`: sentences about votes and seeds.

    `advice`: sentences about what to do, at the end.
    """
    old, new = scores.baseline, main_model(scores)
    lines = [f"# {title}", ""]
    lines += [
        line
        for name in main_models(scores)
        for line in (f"**{name} against {old}: {headline(scores, name, old)}**", "")
    ]
    lines += [line for name in compared_networks(scores)
              for line in (in_words(scores, name, old), "", sentence(scores, name, old), "")]  # fmt: skip
    lines += [line for note in notes for line in (note, "")]
    lines += [*_means(scores), "", f"*{protocol}*", ""]
    lines += [f"- {name} could not be computed: {reason}" for name, reason in scores.missing.items()]
    for name in scores.challengers:
        lines += ["", f"## {dict(scores.compared_models)[name]} against {dict(scores.compared_models)[old]}", ""]
        lines += _verdicts(scores, name, old)
    lines += ["", HOW, "", "## What the metrics mean", ""]
    lines += [f"- **{title}**: {meaning}" for title, meaning in meanings(scores)]
    for head, parts in breakdowns(scores):
        lines += ["", f"## By {head}", "", *_parts(parts, new, old)]
    if len(scores.rows) <= _LISTED:
        lines += ["", f"## Per {scores.unit.removesuffix('s')}", "", *_images(scores)]
    if advice:
        lines += ["", "## What to do", "", *(line for said in advice for line in (said, ""))]
    return "\n".join(lines).rstrip() + "\n"


def _parts(parts: Mapping[str, Scores], new: str, old: str) -> list[str]:
    titles, rows = groups_table(parts, new, old)
    lines = [groups_note(new, old), "", f"| {' | '.join(titles)} |", "|---|---:|---:|" + "---|" * (len(titles) - 3)]
    return lines + [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]


def _means(scores: Scores) -> list[str]:
    return markdown_table(*means_table(scores))


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; all columns but the first are aligned to the right."""
    cells = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1), *cells]


def _verdicts(scores: Scores, new: str, old: str) -> list[str]:
    lines = ["| " + " | ".join(VERDICT_HEADS) + " |", "|---|---|" + "---:|" * (len(VERDICT_HEADS) - 2)]
    for title, verdict, *rest in verdict_rows(scores, new, old):
        lines.append("| " + " | ".join([title, f"**{verdict}**", *rest]) + " |")
    return lines


def _images(scores: Scores) -> list[str]:
    """Return the first metrics of each image; the page and scores.parquet have all."""
    metrics = scores.metrics[:_FIRST]
    names = [f"{name} {m.title}" for m in metrics for name, _ in [*scores.compared_models]]
    lines = [f"| {scores.unit.removesuffix('s')} | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in scores.rows:
        cells = [
            figure(row.values[name][m.name], about(m.name).digits)
            for m in metrics
            for name, _ in scores.compared_models
        ]
        lines.append(f"| {row.key} | " + " | ".join(cells) + " |")
    return lines


def as_json(
    scores: Scores, *, protocol: str, judged: Mapping[str, str], headlines: Mapping[str, str] | None = None
) -> str:
    """Return the whole report as JSON, by the schema of configs/README.md; missing values are null.

    `judged` is the identity of each model except blends (`people.identity_of`). `headlines` are the results in one line
    by model, by default of the verdicts.
    """
    if headlines is None:
        headlines = {name: headline(scores, name, scores.baseline) for name in scores.challengers}
    plain = {
        "protocol": protocol,
        "models": dict(scores.compared_models),
        "judged": dict(judged),
        "baseline": scores.baseline,
        "primary": scores.primary,
        "unjudged": scores.unjudged,
        "titles": {m.name: m.title for m in scores.metrics},
        "means": _means_of(scores),
        "headlines": dict(headlines),
        "differences": {name: _findings(scores, name) for name in scores.challengers},
        "by_tag": {tag: _summary(part) for tag, part in by_tag(scores).items()},
        "by_strength": {name: _summary(part) for name, part in by_strength(scores).items()},
        "by_difficulty": {name: _summary(part) for name, part in by_difficulty(scores).items()},
        "images": [asdict(row) for row in scores.rows],
        "paths": scores.paths,
        "missing": scores.missing,
    }
    return json.dumps(_without_nan(plain), indent=1) + "\n"


def _means_of(scores: Scores) -> dict[str, dict[str, float]]:
    return {name: {m.name: mean(scores, name, m.name) for m in scores.metrics} for name in titles_of(scores)}


def _findings(scores: Scores, new: str) -> dict[str, Any]:
    found = findings(scores, new, scores.baseline)
    return {m.name: found[m.name].plain() for m in scores.metrics if m.name in found}


def _summary(scores: Scores) -> dict[str, Any]:
    """Return the results of a group, which has no verdicts."""
    return {
        "means": _means_of(scores),
        "differences": {name: _differences(scores, name) for name in scores.challengers},
    }


def _differences(scores: Scores, new: str) -> dict[str, Any]:
    found = {m.name: difference(scores, m, new, scores.baseline) for m in scores.metrics}
    return {name: {**vars(d), "verdict": NO_VERDICT} for name, d in found.items() if d is not None}


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - plain JSON data
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(v) for v in value]
    return value
