"""The comparison: two images of one size and a line between them, as a whole or pixel by pixel."""

import json
from pathlib import Path

import gradio as gr

from archsr.app.upscale.job import Done, ResultImage

BEFORE = "original"
CSS = """
.viewer .bar { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin-bottom: 6px }
.viewer .bar button { padding: 6px 12px; border: 1px solid var(--border-color-primary); border-radius: 6px;
  background: var(--button-secondary-background-fill); color: var(--body-text-color); cursor: pointer }
.viewer .bar button[aria-pressed=true] { background: var(--color-accent); border-color: var(--color-accent);
  color: #fff }
.viewer .bar input { flex: 1; min-width: 120px; accent-color: var(--color-accent) }
.viewer .stage { position: relative; overflow: hidden; width: 100%; border-radius: 6px; user-select: none;
  background: var(--background-fill-secondary); touch-action: pan-y; cursor: ew-resize }
.viewer .stage.near { touch-action: none; cursor: grab }
.viewer .stage.near:active { cursor: grabbing }
.viewer .stage:focus-visible { outline: 3px solid var(--color-accent) }
.viewer .plane { position: absolute; inset: 0 }
.viewer .plane img { position: absolute; max-width: none; pointer-events: none }
.viewer .near .plane img { image-rendering: pixelated }
.viewer .mark { position: absolute; top: 0; bottom: 0; width: 3px; margin-left: -1.5px; background: #fff;
  box-shadow: 0 0 4px #000; pointer-events: none }
.viewer .mark::after { content: "\\2194"; position: absolute; top: 50%; left: 50%; width: 32px; height: 32px;
  margin: -16px; border-radius: 16px; background: #fff; color: #000; box-shadow: 0 0 4px #000; text-align: center;
  font: 20px/32px sans-serif }
.viewer .name { position: absolute; bottom: 8px; max-width: 45%; padding: 2px 8px; border-radius: 4px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; background: #000a; color: #fff; font-size: 13px; pointer-events: none }
.viewer .name.left { left: 8px }
.viewer .name.right { right: 8px }
.viewer .help { margin: 6px 0 0; font-size: 13px }
"""


def viewer() -> gr.HTML:
    """Hidden until `shown` says what is to be seen."""
    script = Path(__file__).with_name("compare.js").read_text(encoding="utf-8")
    return gr.HTML(
        "", html_template="<div></div>", js_on_load=script, visible="hidden", elem_classes="plain comparison"
    )


def shown(one: Done, left: str, right: str) -> gr.HTML:
    """A photograph's image of two names, each a model or `BEFORE`, at the larger one's size."""
    images = images_of(one)
    chosen = [(name, images.get(name, next(iter(images.values())))) for name in (left, right)]
    width, height = max((p.size for _, p in chosen), key=lambda size: size[0])
    if left == right == BEFORE:
        width, height = next(iter(one.viewed.values())).size
    first_width = next(iter(one.viewed.values())).size[0]
    value = {
        "photo": f"{one.name} {images[BEFORE].path.parent.name}",
        "width": width,
        "height": height,
        "start": [(place + 256) * width / first_width for place in one.corner],
        **{s: {"name": n, "crop": p.path.parent.name} for s, (n, p) in zip(("left", "right"), chosen, strict=True)},
    }
    return gr.HTML(json.dumps(value), visible=True)


def images_of(one: Done) -> dict[str, ResultImage]:
    """What can be looked at, by name, the photograph first."""
    return {BEFORE: one.photo, **one.viewed} if one.photo is not None else {}
