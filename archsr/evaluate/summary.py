"""What the figures say: means, differences with verdicts, groups, and both as rows of tables and in words."""

import math
from collections.abc import Mapping
from dataclasses import replace

from archsr.evaluate.contenders import INTERPOLATIONS
from archsr.evaluate.measures import Measure
from archsr.evaluate.statistics import FEWEST_SCENES, Difference, paired
from archsr.evaluate.strata import DIFFICULTY, STRENGTH, thirds
from archsr.evaluate.suite import Row, Scores
from archsr.evaluate.words import GROUND_TRUTH, about, listed

_UNTAGGED = "(no tag)"
_MANY = 200  # scenes; where more would be needed, the models are as good as equal
_TENDENCY = 0.8  # of the pictures: what is said of so many that prove nothing
_TRUTH = "photographs"  # their own values, beside the models': "original" is the model that a run began with


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


def in_words(scores: Scores, new: str, old: str) -> str:
    """The same for people who know none of the measures: what is certain, else what these pictures show."""
    said: dict[str, list[str]] = {"better": [], "worse": []}
    tendencies: list[str] = []
    unknown = 0
    for measure in scores.measures:
        found, words = difference(scores, measure, new, old), about(measure.name)
        if found is None or not words.better:
            continue
        verdict = found.verdict(higher_is_better=measure.higher_is_better)
        unknown += verdict == "cannot tell"
        if verdict in said:
            said[verdict].append(words.better if verdict == "better" else words.worse)
        wins, losses = _counted(scores, measure, new, old)
        if max(wins, losses) >= _TENDENCY * found.images:
            tendencies.append(
                f"{words.better if wins > losses else words.worse} in {max(wins, losses)} of {found.images}"
            )
    if not said["better"] and not said["worse"]:
        return f"In words: {_uncertain(scores, new, old, tendencies)}{_blurred(scores, new)}"
    parts = [listed(said["better"])] if said["better"] else []
    parts += [("but " if parts else "") + listed(said["worse"])] if said["worse"] else []
    rest = f" The rest, {unknown} of {unknown + sum(map(len, said.values()))}, cannot be told." if unknown else ""
    return f"In words: compared with {old}, {new} {', '.join(parts)}.{rest}{_blurred(scores, new)}"


def _counted(scores: Scores, measure: Measure, new: str, old: str) -> tuple[int, int]:
    """In how many pictures `new` is better and worse than `old`; equal ones and those without a figure are neither."""
    changes = [row.values[new][measure.name] - row.values[old][measure.name] for row in scores.rows]
    up, down = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
    return (up, down) if measure.higher_is_better else (down, up)


def _uncertain(scores: Scores, new: str, old: str, tendencies: list[str]) -> str:
    count, scenes = len(scores.rows), len({row.scene for row in scores.rows})
    of = f"{scenes} scene{'s' * (scenes > 1)}"
    why = f": fewer than {FEWEST_SCENES} scenes prove nothing" if scenes < FEWEST_SCENES else ""
    seen = f" In these pictures, though, {new} {listed(tendencies)}." if tendencies else ""
    return f"{count} pictures of {of} cannot tell {new} from {old}{why}.{seen}"


def _blurred(scores: Scores, new: str) -> str:
    """A caution where plain interpolation has the better PSNR."""
    names = [name for name, _ in scores.contenders]
    if "bicubic" not in names or all(m.name != "psnr" for m in scores.measures) or new == "bicubic":
        return ""
    blurred, ours = mean(scores, "bicubic", "psnr"), mean(scores, new, "psnr")
    if not blurred > ours:
        return ""
    return (
        f" PSNR alone would put bicubic interpolation ({blurred:.2f} dB) before {new} ({ours:.2f} dB): it forgives "
        "blur. Judge by all measures, and by the pictures."
    )


HOW = (
    "Differences are taken picture by picture. The interval contains the mean difference 95 times in 100: whole scenes "
    "are resampled 10,000 times, and the percentiles widened for few scenes. The p-values are of the sign test and of "
    "the test by changes of sign, over scenes. A verdict needs both: an interval without zero, and by changes of sign "
    "a p of at most 0.05. *Needed* is the number of scenes with which a true difference of the observed size would be "
    "seen four times in five, where these cannot tell. Many measures are compared at once: of twenty, one is outside "
    "its interval by luck."
)


def meanings(scores: Scores) -> list[tuple[str, str]]:
    """Title and meaning of each measure of which there are words, and of the columns beside them."""
    found = [(m.title, about(m.name).meaning) for m in scores.measures if about(m.name).meaning]
    blind = any(not m.needs_gt for m in scores.measures)
    return [*found, *([(f"− {_TRUTH}'", "how far from the photographs' own value")] if blind else [])]


def primary(scores: Scores) -> str:
    """The model that the breakdowns are about: the last that is compared with the baseline, or the baseline itself."""
    return (scores.challengers or [scores.baseline])[-1]


def rivals(scores: Scores) -> list[str]:
    """The networks that are compared with the baseline."""
    return [name for name in scores.challengers if name not in INTERPOLATIONS]


def breakdowns(scores: Scores) -> list[tuple[str, dict[str, Scores]]]:
    """By what the pictures fall into more than one group, and the groups."""
    found = [("tag", by_tag(scores)), ("strength of the degradation", by_strength(scores)),
             ("difficulty of the photograph", by_difficulty(scores))]  # fmt: skip
    return [(head, parts) for head, parts in found if len(parts) > 1]


def by_tag(scores: Scores) -> dict[str, Scores]:
    """The pictures with each tag, and those with none, as evaluations of their own. A picture may be in several."""
    tags = sorted({tag for row in scores.rows for tag in row.tags})
    parts = {tag: [row for row in scores.rows if tag in row.tags] for tag in tags}
    rest = [row for row in scores.rows if not row.tags]
    if rest and tags:
        parts[_UNTAGGED] = rest
    return _of(scores, parts)


def by_strength(scores: Scores) -> dict[str, Scores]:
    """The pictures by how much their recipes degrade; none where no recipe is stored."""
    return _of(scores, thirds(scores.rows, lambda row: row.strength, STRENGTH))


def by_difficulty(scores: Scores) -> dict[str, Scores]:
    """The pictures by how well bicubic interpolation does on a clean reduction of them."""
    return _of(scores, thirds(scores.rows, lambda row: row.difficulty, DIFFICULTY))


def _of(scores: Scores, parts: Mapping[str, list[Row]]) -> dict[str, Scores]:
    return {name: replace(scores, rows=rows) for name, rows in parts.items() if rows}


def parts_table(parts: Mapping[str, Scores], new: str, old: str) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: each group's pictures and scenes, and of each measure both means, difference and verdict."""
    measures = next(iter(parts.values())).measures
    rows = [
        [
            name,
            str(len(part.rows)),
            str(len({row.scene for row in part.rows})),
            *(_change(part, m, new, old) for m in measures),
        ]
        for name, part in parts.items()
    ]
    return ["group", "pictures", "scenes", *(m.title for m in measures)], rows


def parts_told(new: str, old: str) -> str:
    """What the table of groups shows."""
    return f"Means of {old} → {new}, their difference, and the verdict over the scenes of the group."


def _change(part: Scores, measure: Measure, new: str, old: str) -> str:
    found = difference(part, measure, new, old)
    if found is None:
        return "–"
    digits = about(measure.name).digits
    means = f"{figure(mean(part, old, measure.name), digits)} → {figure(mean(part, new, measure.name), digits)}"
    verdict = found.verdict(higher_is_better=measure.higher_is_better)
    return f"{means}, {figure(found.mean, digits + 1, signed=True)}: {verdict}"


def means_table(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: for each measure its title and the mean of each model and of the photographs themselves."""
    names = [*(name for name, _ in scores.contenders), "gt"]
    titles = [*(title for _, title in scores.contenders), GROUND_TRUTH]
    rows: list[list[str]] = []
    for measure in scores.measures:
        means, digits = [mean(scores, name, measure.name) for name in names], about(measure.name).digits
        rows.append([measure.title + (" ↑" if measure.higher_is_better else " ↓"), *(figure(m, digits) for m in means)])
        if not measure.needs_gt:
            signed = [figure(m - means[-1], digits, signed=True) for m in means]
            rows.append([f"{measure.title} − {_TRUTH}'", *signed])
    return [f"mean of {len(scores.rows)} pictures", *titles], rows


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
        verdict, digits = found.verdict(higher_is_better=measure.higher_is_better), about(measure.name).digits + 1
        span = f"{figure(found.low, digits, signed=True)} to {figure(found.high, digits, signed=True)}"
        if found.scenes < FEWEST_SCENES:
            span = f"{found.scenes} scene{'s' if found.scenes > 1 else ''}; fewer than {FEWEST_SCENES} show nothing"
        told = found.needed is None or verdict != "cannot tell"
        needed = "–" if told else f"{_number(found.needed)} scenes (here {found.scenes})"
        rows.append([measure.title, verdict, figure(found.mean, digits, signed=True), span,
                     f"{found.wins:.0%} of {found.images}", f"p = {found.sign_p:.3f}", f"p = {found.permutation_p:.3f}",
                     needed])  # fmt: skip
    return rows


def _number(scenes: int | None) -> str:
    return f"over {_MANY}" if scenes is None or scenes > _MANY else str(scenes)


def figure(value: float, digits: int = 4, *, signed: bool = False) -> str:
    """A number of a table, – where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
