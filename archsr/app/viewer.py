"""The image comparison: two images of one size and a divider between them, as a whole or pixel by pixel."""

import json
from pathlib import Path

import gradio as gr

from archsr.app.upscale.job import PhotoResult, ResultImage

ORIGINAL = "original"
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


def comparison_viewer() -> gr.HTML:
    """Return the component, hidden until `show_comparison` gives it two images."""
    script = Path(__file__).with_name("compare.js").read_text(encoding="utf-8")
    return gr.HTML(
        "", html_template="<div></div>", js_on_load=script, visible="hidden", elem_classes="plain comparison"
    )


def show_comparison(one: PhotoResult, left: str, right: str) -> gr.HTML:
    """Return the update that shows two images of a photograph, each a model's or `ORIGINAL`, at the larger size."""
    images = viewable_images(one)
    chosen = [(name, images.get(name, next(iter(images.values())))) for name in (left, right)]
    first = next(iter(one.viewable.values())).size
    width, height = first if left == right == ORIGINAL else max((p.size for _, p in chosen), key=lambda size: size[0])
    value = {
        "photo": f"{one.name} {images[ORIGINAL].path.parent.name}",
        "width": width,
        "height": height,
        "start": [(place + 256) * width / first[0] for place in one.corner],
        **{s: {"name": n, "crop": p.path.parent.name} for s, (n, p) in zip(("left", "right"), chosen, strict=True)},
    }
    return gr.HTML(json.dumps(value), visible=True)


def viewable_images(one: PhotoResult) -> dict[str, ResultImage]:
    """Return the images that have a view, by name, the photograph first."""
    return {ORIGINAL: one.photo, **one.viewable} if one.photo is not None else {}
