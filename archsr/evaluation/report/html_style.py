"""Style and script of the page: inside it, as all else."""

STYLE = """
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

SCRIPT = """
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
