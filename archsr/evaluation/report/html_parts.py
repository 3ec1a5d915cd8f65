"""Parts of the HTML pages: tables, sliders, images and folded sections."""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from archsr.evaluation.report.figures import FigureCrop
from archsr.evaluation.report.words import about
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import figure
from archsr.images.pixels import Pixels

_WIDEST = 768  # pixels of a whole image in a slider; a small one is at most doubled
_LARGEST = 1200  # side of an image in the page


def document(title: str, body: str) -> str:
    """Return the whole HTML file."""
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    style, script = f"<style>{_STYLE}</style>", f"<script>{_SCRIPT}</script>"
    return f"<!doctype html><html lang=en><head>{head}{style}</head><body>\n{body}\n{script}</body></html>\n"


def figure_of(heading: str, path: Path) -> str:
    """Return a PNG file under a heading."""
    return f"<h2>{escape(heading)}</h2><figure><img src='{_file(path)}' alt='{escape(heading)}'></figure>"


def bold(markdown: str) -> str:
    """Escape text, and set what is between pairs of asterisks in bold."""
    return _between(markdown, "**", "b")


def code(markdown: str) -> str:
    """Escape text, and set what is between backticks as code."""
    return _between(markdown, "`", "code")


def _between(markdown: str, mark: str, tag: str) -> str:
    pieces = escape(markdown).split(mark)
    return "".join(f"<{tag}>{p}</{tag}>" if n % 2 else p for n, p in enumerate(pieces))


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
    sources = {name: lossless(pixels) if crop else _embedded(pixels) for name, pixels in shown.items()}
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


def lossless(pixels: Pixels) -> str:
    """Return pixels as the URL of a PNG inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _file(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #c0362c }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.25; margin-top: 2.2rem } .scroll { overflow-x: auto }
h1 { margin: 0 0 .6rem; font-size: 1.5rem }
h1, h2, p, dd, dt, figcaption, summary { overflow-wrap: anywhere }
select, .pick label { max-width: 100%; min-width: 0 } details { margin: .6rem 0 } summary { cursor: pointer }
h1::first-letter { text-transform: uppercase } .first { font-weight: 600; margin: .4rem 0 } .who { margin: 0 }
svg.plot { display: block; width: 100%; max-width: 720px; font-size: 13px; fill: currentColor }
svg .better { fill: var(--good); stroke: var(--good) } svg .worse { fill: var(--bad); stroke: var(--bad) }
svg text.better, svg text.worse { stroke: none } svg .shade { fill: var(--line); opacity: .35 }
svg text { paint-order: stroke } svg text.name { stroke: Canvas; stroke-width: 3px }
svg line { stroke: currentColor } svg .axis, svg .grid { opacity: .35 } svg .grid { opacity: .15 }
svg .bar { stroke-width: 2.5 } svg .bar.open, svg .dot.open { opacity: .65 } svg text.open { opacity: .75 }
svg .bar.better { stroke: var(--good) } svg .bar.worse { stroke: var(--bad) } svg .span { opacity: .5 }
svg .path { stroke-width: 1.5; stroke-dasharray: 5 4; opacity: .7 }
svg .hollow { fill: Canvas; stroke: currentColor; stroke-width: 2 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid } .better { color: var(--good); font-weight: 600 }
.worse { color: var(--bad); font-weight: 600 } .said { border-left: 4px solid var(--line); padding-left: 1rem }
dt { font-weight: 600; margin-top: .4rem } dd { margin: 0 0 0 1.5rem }
figure { margin: 1.5rem 0 } figcaption, .small { font-size: 13px; opacity: .8 } figure > img { max-width: 100% }
.slider { position: relative; max-width: 768px } .slider img { display: block; width: 100% }
.slider.true { max-width: 100% } .slider input { touch-action: pan-y }
.slider img + img { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--cut, 50%)) }
.slider i { position: absolute; top: 0; bottom: 0; left: var(--cut, 50%); width: 2px;
  background: #fff; box-shadow: 0 0 3px #000 }
.slider input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize }
.slider:focus-within { outline: 2px solid } .pick { display: flex; gap: 1rem; flex-wrap: wrap; margin: .5rem 0 }
pre { overflow-x: auto; font-size: 12px }
"""

_SCRIPT = """
for (const box of document.querySelectorAll('.slider')) {
  const range = box.querySelector('input');
  range.oninput = () => box.style.setProperty('--cut', range.value + '%');
  const images = box.querySelectorAll('img'), sources = JSON.parse(box.dataset.images);
  box.parentElement.querySelectorAll('select').forEach((menu, side) => {
    menu.onchange = () => { images[side].src = sources[menu.value]; images[side].alt = menu.value };
  });
}
for (const table of document.querySelectorAll('table.sortable'))
  table.querySelectorAll('th button').forEach((button, column) => button.onclick = () => {
    const rows = [...table.tBodies[0].rows], up = button.dataset.up !== '1';
    const of = row => { const text = row.cells[column].textContent, n = parseFloat(text); return isNaN(n) ? text : n };
    rows.sort((a, b) => { const x = of(a), y = of(b); return (x > y) - (x < y) });
    if (!up) rows.reverse();
    table.querySelectorAll('th button').forEach(b => b.dataset.up = '');
    button.dataset.up = up ? '1' : '0';
    table.tBodies[0].append(...rows);
  });
"""
