"""The score card as one self-contained HTML file.

The result comes first, in one line, then the evidence. Details are folded.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from archsr.evaluation.report.figures import FigureCrop
from archsr.evaluation.report.headline import headline
from archsr.evaluation.report.html_parts import bold, code, document, figure_of, folded, images_table, slider, table
from archsr.evaluation.report.plots import forest, perceptual_distance, plane
from archsr.evaluation.report.verdict_table import HOW, VERDICT_HEADS, short_verdicts, verdict_rows
from archsr.evaluation.report.words import FIGURES
from archsr.evaluation.statistics.verdicts import why_no_verdicts
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import (
    breakdowns,
    groups_note,
    groups_table,
    in_words,
    main_model,
    main_models,
    meanings,
    means_table,
    scene_count,
)

_EXPLAINED = "<a href='#metrics'>What the metrics mean</a>; ↑ higher is better, ↓ lower."
_CROP = 340  # pixels: the width of a phone at 100 %


def page(
    scores: Scores,
    *,
    title: str,
    protocol: str,
    crops: Sequence[FigureCrop],
    figures: Sequence[Path],
    extras: dict[str, Path],
    config: str = "",
    notes: Sequence[str] = (),
    slider_model: str = "",
    advice: Sequence[str] = (),
) -> str:
    """Return the page.

    `crops`: the most representative image first. `figures`: PNG files. `extras`: further PNG files by heading.
    `config`: TOML. `notes`: sentences about votes and seeds. `slider_model`: the model in the sliders, by default the
    main model. `advice`: sentences about what to do, at the end.
    """
    titles, old, new = dict(scores.compared_models), scores.baseline, main_model(scores)
    slider_model = slider_model or new
    parts = [*_first(scores, title, notes), *_differences(scores, new, old)]
    if crops:
        parts += ["<h2>Look</h2><p class=small>Drag, or use the arrow keys. Every pixel is as the model made it.</p>",
                  slider(crops[0], titles, before=old, after=slider_model, crop=_CROP)]  # fmt: skip
    parts += [f"<h2>Verdicts</h2><p class=small>{escape(titles[new])} against {escape(titles[old])}. {_EXPLAINED}</p>",
              *_verdicts(scores, new, old), _plane(scores),
              folded("Means of all models", table(*means_table(scores)))]  # fmt: skip
    parts += _groups(scores, new, old)
    parts += [folded(f"{titles[name]} against {old}", *_differences(scores, name, old, heading=False),
                     *_verdicts(scores, name, old)) for name in scores.challengers if name != new]  # fmt: skip
    if crops[1:]:
        parts.append(
            "<h2>Further images</h2><p class=small>Chosen by a rule that shows what got worse and what got better.</p>"
        )
        parts += [slider(one, titles, before=old, after=slider_model) for one in crops[1:]]
    parts += [figure_of(FIGURES[path.stem], path) for path in figures]
    parts += ["<h2 id=metrics>What the metrics mean</h2>", _meanings(scores),
              f"<h2>How it was measured</h2><p class=small>{escape(protocol)}</p>"]  # fmt: skip
    missing = [f"{name} could not be computed: {why}" for name, why in scores.missing.items()]
    parts += [f"<p class=small>{escape(line)}</p>" for line in missing]
    parts += [figure_of(heading, path) for heading, path in extras.items()]
    parts.append(folded(f"Every {scores.unit.removesuffix('s')}", "<p class=small>A click on a heading sorts.</p>",
                        images_table(scores)))  # fmt: skip
    parts += [folded("The config of the training", f"<pre>{escape(config)}</pre>")] if config else []
    if advice:
        parts.append("<h2 id=advice>What to do</h2>" + "".join(f"<p class=said>{code(line)}</p>" for line in advice))
    return document(title, "\n".join(parts))


def _first(scores: Scores, title: str, notes: Sequence[str]) -> list[str]:
    """Return the headlines, the main model's on top, then the summaries and notes."""
    names, old, new = main_models(scores), scores.baseline, main_model(scores)
    said = {name: headline(scores, name, old) for name in names}
    parts = [f"<p class=who>{escape(new)} against {escape(old)}</p>"] if new in said else []
    parts.append(f"<h1>{escape(said.get(new, title))}</h1>")
    others = [f"{name} against {old}: {line}" for name, line in said.items() if name != new]
    parts += [f"<p class=first>{escape(line)}</p>" for line in others]
    parts.append(f"<p class=small>{escape(title)}, {len(scores.rows)} {scores.unit} of {scene_count(scores)}</p>")
    parts += [f"<p class=said>{escape(in_words(scores, name, old))}</p>" for name in names]
    return parts + [f"<p class=said>{escape(line)}</p>" for line in notes]


def _differences(scores: Scores, new: str, old: str, *, heading: bool = True) -> list[str]:
    if new == old:
        return []
    caption = (
        "Dots and bars: mean difference of each metric and its 95 % interval, in standard deviations of scenes, turned "
        "so that right is better. Numbers: the difference in the metric's own unit. The primary metric comes first and "
        "is tested at 5 %. Only if it has a verdict are the others tested, at stricter levels because they are many "
        "(Holm); so a grey bar may lie beside zero and is still inconclusive. Coloured metrics have a verdict."
    )
    parts = ["<h2>What changed</h2>"] if heading else []
    return [*parts, f"<figure>{forest(scores, new, old)}<figcaption>{caption}</figcaption></figure>"]


def _verdicts(scores: Scores, new: str, old: str) -> list[str]:
    if new == old:
        return []
    reason = why_no_verdicts(scores, new, old)
    return [*([f"<p>{escape(reason)}</p>"] if reason else []), table(*short_verdicts(scores, new, old)),
            folded("p-values and the rule for verdicts", table(VERDICT_HEADS, verdict_rows(scores, new, old)),
                   f"<p class=small>{bold(HOW)}</p>")]  # fmt: skip


def _plane(scores: Scores) -> str:
    drawn, distance = plane(scores), perceptual_distance(scores)
    if not drawn or distance is None:
        return ""
    line = " The dashed line joins blends of two models." if scores.paths else ""
    caption = (
        f"Up and right is better. Bars are 95 % intervals of the difference from {scores.baseline} (the ring).{line} "
        "Models that are good at one of the two are a choice, not a ranking."
    )
    return f"<h2>Fidelity and perception</h2><figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _groups(scores: Scores, new: str, old: str) -> list[str]:
    return [folded(f"By {head}", f"<p class=small>{escape(groups_note(new, old))}</p>",
                   table(*groups_table(groups, new, old))) for head, groups in breakdowns(scores)]  # fmt: skip


def _meanings(scores: Scores) -> str:
    return "<dl>" + "".join(f"<dt>{escape(t)}</dt><dd>{escape(m)}</dd>" for t, m in meanings(scores)) + "</dl>"
