"""The result about two models in one line: the primary metric's verdict, then the metrics that contradict it."""

from collections.abc import Mapping

from archsr.evaluation.report.words import about, listed
from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES, INCONCLUSIVE
from archsr.evaluation.statistics.verdicts import NO_VERDICT, MetricFinding, findings
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import figure, mean, scene_count, short_title

_OPPOSITE = {"better": "worse", "worse": "better"}
_NAMED = 2  # contradicting metrics that are named; further ones are counted


def headline(scores: Scores, new: str, old: str) -> str:
    """Return a line like `truer by 0.52 dB, but less natural: NIQE 4.21 → 6.70 (photographs 3.90); 10 scenes`."""
    found = dict(findings(scores, new, old))
    if "niqe_distance" in found and scores.primary != "niqe":
        found.pop("niqe", None)  # the distance is clearer: a higher NIQE may be more natural
    first = found.get(scores.primary)
    if first is None:
        return f"{NO_VERDICT}: the primary metric could not be computed; {scene_count(scores)}"
    if first.verdict in (NO_VERDICT, INCONCLUSIVE):
        return f"{first.verdict}: {_values(scores, scores.primary, new, old)}{_why(first)}; {scene_count(scores)}"
    against = [n for n, each in found.items() if each.verdict == _OPPOSITE[first.verdict]]
    strongest = sorted(against, key=lambda n: found[n].difference.permutation_p)
    named = [_change(scores, n, found[n], new, old) for n in strongest[:_NAMED]]
    named += [f"{len(against) - _NAMED} more"] if len(against) > _NAMED else []
    rest = f", but {listed(named)}" if named else _agreement(found, first)
    return f"{_change(scores, scores.primary, first, new, old)}{rest}; {scene_count(scores)}"


def _why(first: MetricFinding) -> str:
    """Return the reason why a result is inconclusive."""
    if first.verdict == NO_VERDICT:
        return ""
    if first.difference.scenes < FEWEST_SCENES:
        return f" (fewer than {FEWEST_SCENES} scenes prove nothing)"
    return f" (a difference of {first.smallest:.2g} would have shown)"


def _agreement(found: Mapping[str, MetricFinding], first: MetricFinding) -> str:
    """Return the agreement of the other metrics, if none contradicts."""
    others = [each for each in found.values() if each is not first]
    agree = [each.verdict for each in others].count(first.verdict)
    if agree:
        return f"; {agree} other metric{'s agree' if agree > 1 else ' agrees'}, none objects"
    if any(each.possible for each in others):
        return "; no other metric has a verdict"
    return "; too few scenes for a verdict on other metrics" if others else ""


def _change(scores: Scores, name: str, found: MetricFinding, new: str, old: str) -> str:
    """Return e.g. `truer by 0.52 dB` or `straighter: bend of lines 0.62 → 0.31`."""
    word = about(name).short[found.verdict == "worse"]
    if name == "psnr":
        return f"{word} by {abs(found.difference.mean):.2f} dB"
    return f"{word}: {_values(scores, name, new, old)}"


def _values(scores: Scores, name: str, new: str, old: str) -> str:
    """Return the metric's title and both means. NIQE stands for its distance, because people know it."""
    shown = "niqe" if name == "niqe_distance" and any(m.name == "niqe" for m in scores.metrics) else name
    digits = about(shown).digits
    ends = f"{figure(mean(scores, old, shown), digits)} → {figure(mean(scores, new, shown), digits)}"
    truth = f" (photographs {figure(mean(scores, 'gt', shown), digits)})" if shown != name else ""
    return f"{short_title(scores, shown)} {ends}{truth}"
