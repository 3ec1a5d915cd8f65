"""The table of verdicts of two models, and the rule for verdicts."""

import math

from archsr.evaluation.report.words import about
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES
from archsr.evaluation.statistics.verdicts import MetricFinding, findings
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import figure, mean

HOW = (
    "Differences are computed image by image. For the 95 % interval of the mean difference, whole scenes are resampled "
    "10,000 times, and the percentiles are widened for few scenes. It contains the mean of other scenes about 95 times "
    "in 100 if effects are symmetric, less often if they are skewed or one scene is an outlier; the column "
    "without one scene shows how far the mean then moves. A verdict needs both an interval without zero and a small p "
    "of the permutation test over scenes (sign changes): at most 0.05 for the primary metric, which was set before "
    "training, and by Holm's correction for the others, which are tested only where the primary metric has a verdict. "
    "So of 100 comparisons of equal models at most 5 contain a false verdict. Could have shown: the difference that "
    "these scenes would show four times in five at that level. A tie is half a win."
)


VERDICT_HEADS = [
    "metric",
    "verdict",
    "difference",
    "95 % interval",
    "without one scene",
    "better in",
    "sign test",
    "signs changed",
    "tested at",
    "could have shown",
]


def verdict_rows(scores: Scores, new: str, old: str) -> list[list[str]]:
    """Return a row under `VERDICT_HEADS` for each metric, the primary one first."""
    titles = {m.name: m.title for m in scores.metrics}
    found = findings(scores, new, old)
    rows = [_verdict_row(titles[n] + " (primary)" * (n == scores.primary), n, each) for n, each in found.items()]
    missing = [title for name, title in titles.items() if name not in found]
    return rows + [[title, "no image is large enough", *["–"] * 8] for title in missing]


def short_verdicts(scores: Scores, new: str, old: str) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the main columns: verdict, both means, difference, interval, without one scene."""
    names = {m.name: f"{m.title}{' ↑' if m.higher_is_better else ' ↓'}" for m in scores.metrics}
    found = findings(scores, new, old)
    rows: list[list[str]] = []
    for name, each in found.items():
        title = names[name] + " (primary)" * (name == scores.primary)
        means = [figure(mean(scores, model, name), about(name).digits) for model in (old, new)]
        _, verdict, *rest = _verdict_row(title, name, each)
        rows.append([title, verdict, *means, *rest[:3]])
    return ["metric", "verdict", old, new, *VERDICT_HEADS[2:5]], rows


def _verdict_row(title: str, name: str, found: MetricFinding) -> list[str]:
    digits, of = about(name).digits + 1, found.difference
    span = f"{figure(of.low, digits, signed=True)} to {figure(of.high, digits, signed=True)}"
    if of.scenes < FEWEST_SCENES:
        span = f"{of.scenes} scene{'s' if of.scenes > 1 else ''}; fewer than {FEWEST_SCENES} prove nothing"
    alone = "–"
    if found.leave_one_out is not None:
        ends = (figure(v, digits, signed=True) for v in (found.leave_one_out.least, found.leave_one_out.most))
        alone = "; ".join([" to ".join(ends), *found.warnings])
    ties = f", {of.ties} tie{'s' * (of.ties > 1)}" if of.ties else ""
    tested = not math.isnan(found.level)
    smallest = figure(found.smallest, digits)
    return [title, found.verdict, figure(of.mean, digits, signed=True), span, alone,
            f"{of.wins:.0%} of {of.images}{ties}", f"p = {of.sign_p:.3f}", f"p = {of.permutation_p:.4f}",
            f"{found.level:.4f}" if tested else "–", "nothing" if tested and smallest == "–" else smallest]  # fmt: skip
