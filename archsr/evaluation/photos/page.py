"""The page of photographs without ground truth: one HTML file with nothing beside it."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from archsr.evaluation.photos.figures import selection_note
from archsr.evaluation.photos.words import HOW, HOW_TO_READ, NO_TRUTH, as_lines, difference_rows, first_line
from archsr.evaluation.report.figures import FigureCrop
from archsr.evaluation.report.html_parts import code, document, figure_of, folded, images_table, slider, table
from archsr.evaluation.report.words import FIGURES
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import main_model, meanings, means_table

_CROP = 340  # pixels: what a phone shows at 100 %


def photo_page(
    scores: Scores,
    *,
    title: str,
    protocol: str,
    crops: Sequence[FigureCrop],
    figures: Sequence[Path],
    vote: str,
    notes: Sequence[str] = (),
) -> str:
    """The page. `vote`: how people are asked; `asked`: what people said; `figures`: PNG files."""
    titles, old, new = dict(scores.compared_models), scores.baseline, main_model(scores)
    parts = [f"<h1>{escape(first_line(scores))}</h1>", f"<p class=first>{escape(NO_TRUTH)} {code(vote)}</p>",
             f"<p class=small>{escape(title)}</p>"]  # fmt: skip
    parts += [f"<p class=said>{escape(line)}</p>" for line in [*as_lines(scores), *notes]]
    if new != old:
        parts += ["<h2>What moved</h2>", f"<p class=small>{escape(titles[new])} against {escape(titles[old])}.</p>",
                  table(*difference_rows(scores, new, old)), f"<p>{escape(HOW_TO_READ)}</p>",
                  f"<p class=small>{escape(HOW)}</p>"]  # fmt: skip
    parts += [folded(f"{titles[name]} against {old}", table(*difference_rows(scores, name, old)))
              for name in scores.challengers if name != new]  # fmt: skip
    parts.append(folded("Means of all models", table(*means_table(scores))))
    if crops:
        parts.append("<h2>Look</h2><p class=small>Drag, or use the arrow keys. Every pixel is as the model made it. "
                     f"{escape(selection_note(new, old))}</p>")  # fmt: skip
        parts += [slider(one, titles, before=old, after=new, crop=_CROP) for one in crops]
    parts += [figure_of(FIGURES[path.stem], path) for path in figures]
    explained = "".join(f"<dt>{escape(t)}</dt><dd>{escape(m)}</dd>" for t, m in meanings(scores))
    parts += [f"<h2 id=metrics>What the metrics mean</h2><dl>{explained}</dl>",
              f"<h2>How it was measured</h2><p class=small>{escape(protocol)}</p>"]  # fmt: skip
    missing = [f"{name} could not be computed: {why}" for name, why in scores.missing.items()]
    parts += [f"<p class=small>{code(line)}</p>" for line in missing]
    parts += ["<h2>Every photograph</h2><p class=small>A click on a heading sorts.</p>", images_table(scores)]
    return document(title, "\n".join(parts))
