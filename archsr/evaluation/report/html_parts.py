"""Parts of the HTML pages: tables, sliders, images and folded sections."""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from archsr.evaluation.report.figures import FigureCrop
from archsr.evaluation.report.html_style import SCRIPT, STYLE
from archsr.evaluation.report.words import about
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import figure
from archsr.images.pixels import Pixels

_WIDEST = 768  # pixels of a whole image in a slider; a small one is at most doubled
_LARGEST = 1200  # side of an image in the page


def document(title: str, body: str) -> str:
    """Return the whole HTML file."""
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    style, script = f"<style>{STYLE}</style>", f"<script>{SCRIPT}</script>"
    return f"<!doctype html><html lang=en><head>{head}{style}</head><body>\n{body}\n{script}</body></html>\n"


def figure_of(heading: str, path: Path) -> str:
    """Return a PNG file under a heading."""
    return f"<h2>{escape(heading)}</h2><figure><img src='{_file(path)}' alt='{escape(heading)}'></figure>"


def bold(markdown: str) -> str:
    """Escape text, and set what is between pairs of asterisks in bold."""
    pieces = escape(markdown).split("**")
    return "".join(f"<b>{p}</b>" if n % 2 else p for n, p in enumerate(pieces))


def folded(heading: str, *parts: str) -> str:
    """Return a section that opens on a click."""
    return f"<details><summary>{escape(heading)}</summary>{''.join(parts)}</details>"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, sortable: bool = False) -> str:
    """Return a table that scrolls if it is wider than the page."""
    shown = [f"<th><button>{escape(t)}</button></th>" if sortable else f"<th>{escape(t)}</th>" for t in titles]
    lines = ["<tr>" + "".join(_cell(c) for c in row) + "</tr>" for row in rows]
    kind = " class=sortable" if sortable else ""
    head, body = f"<thead><tr>{''.join(shown)}</tr></thead>", f"<tbody>{''.join(lines)}</tbody>"
    return f"<div class=scroll><table{kind}>{head}{body}</table></div>"


def _cell(text: str) -> str:
    kind = f" class={text}" if text in ("better", "worse") else ""
    return f"<td{kind}>{escape(text)}</td>"


def images_table(scores: Scores) -> str:
    """Return a sortable table with a row per image."""
    names = [name for name, _ in scores.compared_models]
    titles = [scores.unit.removesuffix("s"), "scene", *[f"{name} {m.title}" for m in scores.metrics for name in names]]
    rows = [
        [
            row.key,
            row.scene,
            *(figure(row.values[n][m.name], about(m.name).digits) for m in scores.metrics for n in names),
        ]
        for row in scores.rows
    ]
    return table(titles, rows, sortable=True)


def slider(one: FigureCrop, titles: dict[str, str], *, before: str, after: str, crop: int = 0) -> str:
    """Return a slider between two models. `crop`: only show a square of this side, where they differ most."""
    shown = one.around(crop) if crop else one.images
    sources = {name: _lossless(pixels) if crop else _embedded(pixels) for name, pixels in shown.items()}
    menus = "".join(
        f"<label>{word} <select>{''.join(_option(n, titles.get(n, n), chosen) for n in sources)}</select></label>"
        for word, chosen in (("left", before), ("right", after))
    )
    data = escape(json.dumps(sources), quote=True)
    wide = shown[before].shape[1]
    kind = f"'slider true' style='width: {wide}px'" if crop else f"slider style='max-width: {min(_WIDEST, 2 * wide)}px'"
    return (
        f"<figure><div class=pick>{menus}</div><div class={kind} data-images='{data}'>"
        f"<img src='{sources[before]}' alt='{escape(before)}'><img src='{sources[after]}' alt='{escape(after)}'><i></i>"
        f"<input type=range min=0 max=100 step=0.5 value=50 aria-label='how much of the left image is shown'></div>"
        f"<figcaption>{escape(one.key)}: {escape(one.why)}</figcaption></figure>"
    )


def _option(name: str, title: str, chosen: str) -> str:
    return f"<option value='{escape(name)}'{' selected' if name == chosen else ''}>{escape(title)}</option>"


def _embedded(pixels: Pixels) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _lossless(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _file(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
