"""The score card as one HTML file: nothing beside it, nothing from elsewhere."""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from archsr.evaluate.figures import Shown
from archsr.evaluate.suite import Scores
from archsr.evaluate.summary import (
    breakdowns,
    figure,
    foremost,
    in_words,
    meanings,
    means_table,
    parts_table,
    parts_told,
    rivals,
    sentence,
)
from archsr.evaluate.verdict_table import HOW, VERDICT_HEADS, verdict_rows
from archsr.evaluate.words import FIGURES, about
from archsr.images import Pixels

_LARGEST = 1200  # side of a picture in the page

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #c0362c }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2; margin-top: 2.2rem } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid } .better { color: var(--good); font-weight: 600 }
.worse { color: var(--bad); font-weight: 600 } .said { border-left: 4px solid var(--line); padding-left: 1rem }
dt { font-weight: 600; margin-top: .4rem } dd { margin: 0 0 0 1.5rem }
figure { margin: 1.5rem 0 } figcaption, .small { font-size: 13px; opacity: .8 } figure > img { max-width: 100% }
.slider { position: relative; max-width: 768px } .slider img { display: block; width: 100% }
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
  const images = box.querySelectorAll('img'), sources = JSON.parse(box.dataset.pictures);
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


def page(
    scores: Scores,
    *,
    title: str,
    protocol: str,
    shown: Sequence[Shown],
    figures: Sequence[Path],
    extras: dict[str, Path],
    config: str = "",
    asked: Sequence[str] = (),
) -> str:
    """The page. `figures`: PNG files; `extras`: further ones under their headings; `config`: TOML; `asked`: people."""
    titles = dict(scores.contenders)
    parts = [f"<h1>{escape(title)}</h1>"]
    told = rivals(scores) or scores.challengers
    for name in told:
        parts += [f"<p class=said>{escape(in_words(scores, name, scores.baseline))}</p>",
                  f"<p>{_bold(sentence(scores, name, scores.baseline))}</p>"]  # fmt: skip
    parts += [f"<p>{escape(said)}</p>" for said in asked]
    explained = "<p class=small><a href='#metrics'>What the metrics mean</a>; ↑ higher is better, ↓ lower.</p>"
    parts += ["<h2>Means</h2>", explained, _table(*means_table(scores))]
    parts.append(f"<p class=small>{escape(protocol)}</p>")
    if shown:
        parts.append("<h2>Before and after</h2><p class=small>Chosen by rule. Drag, or use the arrow keys.</p>")
        parts += [_slider(one, titles, before=scores.baseline, after=told[-1]) for one in shown]
    parts += [_picture(FIGURES[path.stem], path) for path in figures]
    for name in [*told, *(n for n in scores.challengers if n not in told)]:
        parts += [f"<h2>{escape(titles[name])} against {escape(titles[scores.baseline])}</h2>",
                  _table(VERDICT_HEADS, verdict_rows(scores, name, scores.baseline))]  # fmt: skip
    parts += [f"<p class=small>{_bold(HOW)}</p>", "<h2 id=metrics>What the metrics mean</h2>", _meanings(scores)]
    parts += [
        f"<p class=small>{escape(n)} could not be computed: {escape(why)}</p>" for n, why in scores.missing.items()
    ]
    new = foremost(scores)
    for head, groups in breakdowns(scores):
        parts += [f"<h2>By {head}</h2><p class=small>{escape(parts_told(new, scores.baseline))}</p>",
                  _table(*parts_table(groups, new, scores.baseline))]  # fmt: skip
    parts += [_picture(heading, path) for heading, path in extras.items()]
    parts += [
        f"<h2>Every {scores.unit.removesuffix('s')}</h2><p class=small>A click on a heading sorts.</p>",
        _pictures(scores),
    ]
    if config:
        parts.append(f"<h2>Config</h2><details><summary>config.toml</summary><pre>{escape(config)}</pre></details>")
    return _document(title, "\n".join(parts))


def _meanings(scores: Scores) -> str:
    return "<dl>" + "".join(f"<dt>{escape(t)}</dt><dd>{escape(m)}</dd>" for t, m in meanings(scores)) + "</dl>"


def _document(title: str, body: str) -> str:
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    style, script = f"<style>{_STYLE}</style>", f"<script>{_SCRIPT}</script>"
    return f"<!doctype html><html lang=en><head>{head}{style}</head><body>\n{body}\n{script}</body></html>\n"


def _picture(heading: str, path: Path) -> str:
    return f"<h2>{escape(heading)}</h2><figure><img src='{_file(path)}' alt='{escape(heading)}'></figure>"


def _bold(markdown: str) -> str:
    pieces = escape(markdown).split("**")
    return "".join(f"<b>{p}</b>" if n % 2 else p for n, p in enumerate(pieces))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, sortable: bool = False) -> str:
    shown = [f"<th><button>{escape(t)}</button></th>" if sortable else f"<th>{escape(t)}</th>" for t in titles]
    lines = ["<tr>" + "".join(_cell(c) for c in row) + "</tr>" for row in rows]
    kind = " class=sortable" if sortable else ""
    head, body = f"<thead><tr>{''.join(shown)}</tr></thead>", f"<tbody>{''.join(lines)}</tbody>"
    return f"<div class=scroll><table{kind}>{head}{body}</table></div>"


def _cell(text: str) -> str:
    kind = f" class={text}" if text in ("better", "worse") else ""
    return f"<td{kind}>{escape(text)}</td>"


def _pictures(scores: Scores) -> str:
    names = [name for name, _ in scores.contenders]
    titles = [scores.unit.removesuffix("s"), "scene", *[f"{name} {m.title}" for m in scores.measures for name in names]]
    rows = [
        [
            row.key,
            row.scene,
            *(figure(row.values[n][m.name], about(m.name).digits) for m in scores.measures for n in names),
        ]
        for row in scores.rows
    ]
    return _table(titles, rows, sortable=True)


def _slider(one: Shown, titles: dict[str, str], *, before: str, after: str) -> str:
    sources = {name: _embedded(pixels) for name, pixels in one.pictures.items()}
    menus = "".join(
        f"<label>{word} <select>{''.join(_option(n, titles.get(n, n), chosen) for n in sources)}</select></label>"
        for word, chosen in (("left", before), ("right", after))
    )
    data = escape(json.dumps(sources), quote=True)
    return (
        f"<figure><div class=pick>{menus}</div><div class=slider data-pictures='{data}'>"
        f"<img src='{sources[before]}' alt='{escape(before)}'><img src='{sources[after]}' alt='{escape(after)}'><i></i>"
        f"<input type=range min=0 max=100 step=0.5 value=50 aria-label='how much of the left picture is shown'></div>"
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


def _file(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
