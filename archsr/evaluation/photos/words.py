"""Sentences and tables for results without ground truth: values and changes, never "better"."""

import math
from collections.abc import Sequence

from archsr.evaluation.report.markdown import markdown_table
from archsr.evaluation.report.words import about
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES
from archsr.evaluation.statistics.verdicts import findings
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import figure, mean, meanings, means_table, scene_count, short_title, titles_of

NO_TRUTH = "Without ground truth nothing here says which result is truer, so there are no verdicts."
HOW_TO_READ = (
    "Agreement falls where a model changes what was given: rightly, where it removes noise and JPEG blocks, wrongly, "
    "where it invents; no figure tells which. NIQE and other metrics without reference prefer crisp images, also where "
    "crispness is an artefact. Sharpness counts noise and halos. An interval says how far a difference holds for other "
    "photographs, not whether it is good."
)
HOW = (
    "Differences are taken photograph by photograph. The 95 % interval is of the mean difference: whole scenes are "
    "resampled 10,000 times, and the percentiles widened for few scenes; fewer than six scenes have none. p is that of "
    "the test by changes of sign over scenes, not corrected for the number of metrics."
)
_HEADLINE = ("agreement", "agreement_colour", "niqe", "sharpness")  # metrics in the line of a model
HEADS = ["metric", "difference", "95 % interval", "higher in", "p"]


def first_line(scores: Scores) -> str:
    """Return what was measured, in plain words."""
    count = len(scores.rows)
    of = f"{count} {scores.unit.removesuffix('s')}{'s' * (count != 1)} of {scene_count(scores)}"
    return (
        f"Measured on {of} without ground truth: how far each result agrees with the photograph it was made from, and "
        "how natural (NIQE) and how sharp it looks"
    )


def photo_headline(scores: Scores, new: str, old: str) -> str:
    """Return e.g. `agreement with the input 36.20 → 35.10 dB (−1.50 to −0.70); NIQE 4.21 → 3.80 (…)`."""
    found, parts = findings(scores, new, old), list[str]()
    for name in _HEADLINE:
        if name not in found:
            continue
        digits = about(name).digits
        ends = f"{figure(mean(scores, old, name), digits)} → {figure(mean(scores, new, name), digits)}"
        parts.append(f"{short_title(scores, name)} {ends} ({_difference(scores, new, old, name)})")
    return "; ".join(parts)


def _difference(scores: Scores, new: str, old: str, name: str) -> str:
    of, digits = findings(scores, new, old)[name].difference, about(name).digits
    moved = figure(of.mean, digits, signed=True)
    if math.isnan(of.low):
        return moved
    return f"{moved}, 95 %: {figure(of.low, digits, signed=True)} to {figure(of.high, digits, signed=True)}"


def as_lines(scores: Scores) -> list[str]:
    """Return a line per model that is compared with the baseline."""
    old = scores.baseline
    return [f"{name} against {old}: {photo_headline(scores, name, old)}" for name in scores.challengers]


def difference_rows(scores: Scores, new: str, old: str) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows: for each metric both means, the difference, its interval, and where it is higher."""
    found = findings(scores, new, old)
    rows = [_row(scores, metric.name, new, old) for metric in scores.metrics if metric.name in found]
    absent = [m.title for m in scores.metrics if m.name not in found]
    return [HEADS[0], old, new, *HEADS[1:]], [*rows, *([title, *["–"] * 6] for title in absent)]


def _row(scores: Scores, name: str, new: str, old: str) -> list[str]:
    metric = next(m for m in scores.metrics if m.name == name)
    of, digits = findings(scores, new, old)[name].difference, about(name).digits
    up = of.wins if metric.higher_is_better else 1 - of.wins
    span = f"{figure(of.low, digits + 1, signed=True)} to {figure(of.high, digits + 1, signed=True)}"
    if of.scenes < FEWEST_SCENES:
        span = f"fewer than {FEWEST_SCENES} scenes have none"
    return [metric.title, *(figure(mean(scores, model, name), digits) for model in (old, new)),
            figure(of.mean, digits + 1, signed=True), span, f"{up:.0%} of {of.images}",
            f"{of.permutation_p:.4f}"]  # fmt: skip


def photo_markdown(scores: Scores, *, title: str, protocol: str, vote: str, notes: Sequence[str]) -> str:
    """Return the report as Markdown."""
    lines = [f"# {first_line(scores)}", "", f"{NO_TRUTH} {vote}", "", title, ""]
    lines += [line for said in [*as_lines(scores), *notes] for line in (said, "")]
    for name in scores.challengers:
        heads, rows = difference_rows(scores, name, scores.baseline)
        lines += [f"## {titles_of(scores)[name]} against {scores.baseline}", "", *markdown_table(heads, rows), ""]
    lines += ["## Means", "", *markdown_table(*means_table(scores)), "", HOW_TO_READ, "", HOW, "", f"*{protocol}*", ""]
    lines += [f"- {name} could not be computed: {reason}" for name, reason in scores.missing.items()]
    lines += ["", "## What the metrics mean", ""]
    return "\n".join([*lines, *(f"- **{title}**: {meaning}" for title, meaning in meanings(scores))]) + "\n"
