"""Upscale: photographs in, enlarged ones out, with what they carry; before and after to look at, pixel by pixel."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import gradio as gr

from archsr.app.context import AppContext
from archsr.app.upscale.events import Page
from archsr.app.upscale.job import MODELS, UpscaleRequest
from archsr.app.upscale.service import UpscaleService
from archsr.app.upscale.uploads import Upload, photographs
from archsr.app.viewer import viewer
from archsr.app.visits import Visits
from archsr.images.heic import heic_is_available

OWN, SAME, FITTING = "model's own", "original's", "what memory allows"
FORMATS = {SAME: "", "PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "TIFF": ".tif"}
TILES = (128, 256, 384, 512, 1024)
_SCALES = ("1", "1.5", "2", "3", "4")


def scales(factors: Iterable[int]) -> list[tuple[str, str]]:
    """What the scale may be, as shown and as meant: the models' own with its factor, and others."""
    own = " or ".join(f"{factor}×" for factor in sorted(set(factors)))
    return [(f"{own} ({OWN})" if own else OWN, OWN), *((f"{s}×", s) for s in _SCALES)]


def order_of(
    photos: Sequence[Upload], models: Sequence[str], scale: str, strength: float, tile: str, ending: str
) -> UpscaleRequest:
    """The order behind the values of the page's controls."""
    return UpscaleRequest(
        photos,
        models,
        scale=None if scale == OWN else float(scale),
        strength=strength,
        tile=None if tile == FITTING else int(tile),
        ending=FORMATS[ending],
    )


_EVERY = 1.0  # seconds between two looks while work goes on
_PROGRESS = gr.Progress()
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def add_upscale_tab(context: AppContext, visits: Visits, blocks: gr.Blocks) -> None:
    """The page and its interface `/upscale`. Call inside `gr.Tab`."""
    names = list(context.shelf.offers)
    with gr.Row():
        with gr.Column(min_width=320):
            files = photographs("Photographs: drop one or many here")
            models = gr.Dropdown(names, value=names[:1], multiselect=True, label="Models", max_choices=MODELS,
                                 info="Of several, any two can be compared")  # fmt: skip
            with gr.Row():
                scale = gr.Dropdown(scales([]), value=OWN, label="Scale", min_width=190)
                ending = gr.Dropdown(list(FORMATS), value=SAME, label="Format", min_width=190)
            with gr.Accordion("More", open=False):
                strength = gr.Slider(0, 1, 1, step=0.05, label="Strength",
                                     info="of runs: 0 is the model it began with, 1 what it found best")  # fmt: skip
                tile = gr.Dropdown([FITTING, *map(str, TILES)], value=FITTING, label="Tile",
                                   info="side in pixels of the photograph; smaller takes less memory")  # fmt: skip
            forecast = gr.HTML("", elem_classes="plain forecast")
            with gr.Row():
                start = gr.Button("Enlarge", variant="primary", min_width=120)
                cancel = gr.Button("Cancel", variant="secondary", min_width=120, interactive=False)
        with gr.Column(scale=2, min_width=320):
            said = gr.HTML("", elem_classes="plain said")
            rows = gr.HTML("", elem_classes="plain")
            with gr.Row(visible=False) as choice:
                photo = gr.Dropdown([], label="Photograph", min_width=220)
                left = gr.Dropdown([], label="Left", min_width=220)
                right = gr.Dropdown([], label="Right", min_width=220)
            looked = viewer()
            gallery = gr.Gallery(label="Side by side: the busiest detail, pixel by pixel", visible=False, columns=2,
                                 object_fit="contain", buttons=["fullscreen"])  # fmt: skip
            gr.Markdown(_invitation(context), container=False, elem_classes="invitation")
    # only tells which visit it is: what the visit has stays on the server. It is no secret from the browser itself.
    key = gr.BrowserState("", storage_key="archsr-visit", secret="archsr-visit")
    known, timer = gr.State(""), gr.Timer(_EVERY, active=False)
    page = Page(context, visits)
    wanted = [files, models, scale, strength, tile, ending]
    view = [said, rows, choice, photo, left, right, looked, gallery, start, cancel, timer, known]
    blocks.load(page.come, key, [files, *view], **_QUIET).then(page.scales, models, scale, **_QUIET)
    estimate: dict[str, Any] = {"fn": page.forecast, "inputs": [*wanted, key], "outputs": forecast, **_QUIET}
    files.change(page.keep, [files, key], key, **_QUIET).then(**estimate, concurrency_limit=context.limits.waiting)
    gr.on(
        [models.change, tile.change], **estimate, trigger_mode="always_last", concurrency_limit=context.limits.waiting
    )
    models.change(page.scales, models, scale, **_QUIET)
    start.click(page.start, [*wanted, key], [key, *view], queue=False, **_QUIET)
    cancel.click(page.cancel, key, view, queue=False, **_QUIET)
    timer.tick(page.look, [key, known], view, queue=False, trigger_mode="once", **_QUIET)
    for chooser in (photo, left, right):
        chooser.input(page.choose, [key, photo, left, right], [looked, gallery], queue=False, **_QUIET)
    _add_interface(page.work, wanted)


def _add_interface(work: UpscaleService, wanted: list[Any]) -> None:
    """For programs: one call that ends when everything is done, and leaves nothing behind for a page."""

    async def run(
        files: list[Upload],
        models: list[str],
        scale: str,
        strength: float,
        tile: str,
        ending: str,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> AsyncIterator[list[Any]]:
        order = order_of(files, models, scale, strength, tile, ending)
        async for paths, words in work.for_program(order, request, progress):
            yield [gr.File(paths, visible=False), words]

    made = gr.File(label="Download", file_count="multiple", interactive=False, visible=False)
    words = gr.Markdown(visible=False)
    gr.Button(visible=False).click(
        run,
        wanted,
        [made, words],
        api_name="upscale",
        api_description="Enlarge photographs; the first output are the results. " + _invitation(work.context),
        concurrency_limit=work.context.limits.waiting,
    )


def _invitation(context: AppContext) -> str:
    limits, heic = context.limits, ", HEIC (comes back as JPEG)" * heic_is_available()
    return (
        f"Up to {limits.files} photographs at a time, each of at most {limits.size // 2**20} MB and "
        f"{limits.pixels / 1e6:.3g} megapixels (who started the page can allow more: archsr app --max-bytes, "
        f"--max-pixels): JPEG, PNG, WebP, TIFF, BMP, AVIF{heic}. EXIF and colour profile are kept. What you send and "
        f"what comes out is removed {limits.keep / 60:.0f} minutes after its last use; until then this browser finds "
        "it here again."
    )
