"""The Upscale tab: photographs in, upscaled ones out with their metadata, and a comparison of both."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from archsr.app.context import AppContext
from archsr.app.upscale.events import (
    AUTO_TILE,
    FORMATS,
    MODEL_SCALE,
    SAME_FORMAT,
    TILES,
    UpscaleEvents,
    order_from,
    scale_choices,
)
from archsr.app.upscale.job import MAX_MODELS
from archsr.app.upscale.service import UpscaleService
from archsr.app.upscale.uploads import Upload, photograph_box
from archsr.app.viewer import comparison_viewer
from archsr.app.visits import Visits
from archsr.images.heic import heic_is_available

_REFRESH_EVERY = 1.0  # seconds while an order runs
_PROGRESS = gr.Progress()
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def add_upscale_tab(context: AppContext, visits: Visits, blocks: gr.Blocks) -> None:
    """Add the tab and its API endpoint `/upscale`. Call this inside `gr.Tab`."""
    names = list(context.models.choices)
    with gr.Row():
        with gr.Column(min_width=320):
            files = photograph_box("Photographs: drop one or many here")
            models = gr.Dropdown(names, value=names[:1], multiselect=True, label="Models", max_choices=MAX_MODELS,
                                 info="you can compare the results of any two")  # fmt: skip
            with gr.Row():
                scale = gr.Dropdown(scale_choices([]), value=MODEL_SCALE, label="Scale", min_width=190)
                ending = gr.Dropdown(list(FORMATS), value=SAME_FORMAT, label="Format", min_width=190)
            with gr.Accordion("More", open=False):
                strength = gr.Slider(0, 1, 1, step=0.05, label="Strength",
                                     info="of a run: 0 is its first weights, 1 its best weights")  # fmt: skip
                tile = gr.Dropdown([AUTO_TILE, *map(str, TILES)], value=AUTO_TILE, label="Tile",
                                   info="side in pixels of the photograph; smaller tiles need less memory")  # fmt: skip
            forecast = gr.HTML("", elem_classes="plain forecast")
            with gr.Row():
                start = gr.Button("Enlarge", variant="primary", min_width=120)
                cancel = gr.Button("Cancel", variant="secondary", min_width=120, interactive=False)
        with gr.Column(scale=2, min_width=320):
            status = gr.HTML("", elem_classes="plain")
            rows = gr.HTML("", elem_classes="plain")
            with gr.Row(visible=False) as choice:
                photo = gr.Dropdown([], label="Photograph", min_width=220)
                left = gr.Dropdown([], label="Left", min_width=220)
                right = gr.Dropdown([], label="Right", min_width=220)
            comparison = comparison_viewer()
            gallery = gr.Gallery(label="The busiest detail, side by side at 100 %", visible=False, columns=2,
                                 object_fit="contain", buttons=["fullscreen"])  # fmt: skip
            gr.Markdown(_limits_text(context), container=False, elem_classes="invitation")
    # gradio encrypts the key with `secret`, which needs no protection: the browser may read its own key
    key = gr.BrowserState("", storage_key="archsr-visit", secret="archsr-visit")
    stamp, timer = gr.State(""), gr.Timer(_REFRESH_EVERY, active=False)
    events = UpscaleEvents(context, visits)
    controls = [files, models, scale, strength, tile, ending]
    outputs = [status, rows, choice, photo, left, right, comparison, gallery, start, cancel, timer, stamp]
    blocks.load(events.load, key, [files, *outputs], **_QUIET).then(events.update_scales, models, scale, **_QUIET)
    estimate: dict[str, Any] = {"fn": events.forecast, "inputs": [*controls, key], "outputs": forecast, **_QUIET}
    files.change(events.set_photos, [files, key], key, **_QUIET).then(
        **estimate, concurrency_limit=context.limits.max_queued
    )
    gr.on(
        [models.change, tile.change],
        **estimate,
        trigger_mode="always_last",
        concurrency_limit=context.limits.max_queued,
    )
    models.change(events.update_scales, models, scale, **_QUIET)
    start.click(events.start, [*controls, key], [key, *outputs], queue=False, **_QUIET)
    cancel.click(events.cancel, key, outputs, queue=False, **_QUIET)
    timer.tick(events.refresh, [key, stamp], outputs, queue=False, trigger_mode="once", **_QUIET)
    for chooser in (photo, left, right):
        chooser.input(events.select, [key, photo, left, right], [comparison, gallery], queue=False, **_QUIET)
    _add_api(events.service, controls)


def _add_api(service: UpscaleService, controls: list[Any]) -> None:
    """Add the endpoint for programs: one call that ends when the whole order is done, and that makes no visit."""

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
        order = order_from(files, models, scale, strength, tile, ending)
        async for paths, summary in service.run_for_program(order, request, progress):
            yield [gr.File(paths, visible=False), summary]

    results = gr.File(label="Download", file_count="multiple", interactive=False, visible=False)
    text = gr.Markdown(visible=False)
    gr.Button(visible=False).click(
        run,
        controls,
        [results, text],
        api_name="upscale",
        api_description="Enlarge photographs; the first output holds the results. " + _limits_text(service.context),
        concurrency_limit=service.context.limits.max_queued,
    )


def _limits_text(context: AppContext) -> str:
    limits, heic = context.limits, ", HEIC (the result is JPEG)" * heic_is_available()
    return (
        f"Up to {limits.max_files} photographs at a time, each of at most {limits.max_bytes // 2**20} MB and "
        f"{limits.max_pixels / 1e6:.3g} megapixels (whoever started the page can allow more: archsr app --max-bytes, "
        f"--max-pixels): JPEG, PNG, WebP, TIFF, BMP, AVIF{heic}. The results keep EXIF and colour profile. "
        f"Uploads and results are removed {limits.keep_seconds / 60:.0f} minutes after their last use; until then "
        "this browser finds them here again."
    )
