"""The events of the Upscale tab. Each finds the visit by the key that the browser stores."""

import asyncio
from asyncio import to_thread
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import gradio as gr

from archsr.app.context import AppContext, visitor_of
from archsr.app.upscale.job import PhotoResult, UpscaleRequest
from archsr.app.upscale.service import UpscaleService
from archsr.app.upscale.uploads import Upload
from archsr.app.viewer import ORIGINAL, show_comparison, viewable_images
from archsr.app.visit_html import results_html, status_html
from archsr.app.visits import Visit, Visits
from archsr.errors import UserError

MODEL_SCALE, SAME_FORMAT, AUTO_TILE = "model's own", "original's", "what memory allows"
FORMATS = {SAME_FORMAT: "", "PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "TIFF": ".tif"}
TILES = (128, 256, 384, 512, 1024)
_SCALES = ("1", "1.5", "2", "3", "4")
_IMAGE_OUTPUTS = 6  # the row of choices, its three dropdowns, the comparison, the gallery


def scale_choices(scales: Iterable[int]) -> list[tuple[str, str]]:
    """Return the choices of the scale as (label, value). The first label names `scales`, those of the models."""
    own = " or ".join(f"{scale}×" for scale in sorted(set(scales)))
    return [(f"{own} ({MODEL_SCALE})" if own else MODEL_SCALE, MODEL_SCALE), *((f"{s}×", s) for s in _SCALES)]


def order_from(
    photos: Sequence[Upload], models: Sequence[str], scale: str, strength: float, tile: str, ending: str
) -> UpscaleRequest:
    """Return the order for the values of the controls."""
    return UpscaleRequest(
        photos,
        models,
        scale=None if scale == MODEL_SCALE else float(scale),
        strength=strength,
        tile=None if tile == AUTO_TILE else int(tile),
        suffix=FORMATS[ending],
    )


class UpscaleEvents:
    """The events of the tab's controls."""

    def __init__(self, context: AppContext, visits: Visits) -> None:
        self.service = UpscaleService(context, visits)
        self._visits, self._models = visits, context.models

    async def load(self, key: str, request: gr.Request) -> list[Any]:
        """Return the whole visit for a page that was just opened."""
        visit = self._visits.find(key, visitor_of(request))
        return [visit.photos if visit else gr.skip(), *_outputs(visit or Visit(), "", self.service)]

    async def set_photos(self, files: list[Upload], key: str, request: gr.Request) -> Any:  # noqa: ANN401 - or gr.skip()
        """Remember the photographs of the box, and return the key of a new visit to the browser."""
        if self._visits.get(key) is None and not files:
            return gr.skip()
        visit = self._visits.find_or_create(key, visitor_of(request))
        if [str(f) for f in files] != [str(p) for p in visit.photos]:
            visit.pixels = {}
        visit.photos = files
        return gr.skip() if visit.key == key else visit.key

    async def forecast(self, *arguments: Any) -> AsyncIterator[str]:  # noqa: ANN401 - the values of the controls
        """Yield how long the order takes, and first that this is being measured."""
        order, visit = order_from(*arguments[:-1]), self._visits.get(arguments[-1])
        if visit is None or not order.photos:
            yield ""
            return
        if any(self.service.speeds.get(model) is None for model in order.models):
            yield "<p>Measuring how long it will take …</p>"
        try:
            yield await self.service.forecast(visit, order)
        except UserError as error:
            yield f"<p>{error}</p>"

    async def update_scales(self, models: list[str]) -> gr.Dropdown:
        """Return the choice of the scale, labelled with the scales of these models."""
        scales = await to_thread(lambda: [s for m in models if (s := self._models.scale_of(m))])
        return gr.Dropdown(scale_choices(scales))

    async def start(
        self,
        files: list[Upload],
        models: list[str],
        scale: str,
        strength: float,
        tile: str,
        ending: str,
        key: str,
        request: gr.Request,
    ) -> list[Any]:
        """Start an order. The status shows the error if it cannot be started."""
        visit = self._visits.find_or_create(key, visitor_of(request))
        try:
            self.service.start(visit, order_from(files, models, scale, strength, tile, ending))
        except UserError as error:
            visit.error = str(error)
        return [visit.key, *_outputs(visit, "", self.service)]

    async def cancel(self, key: str, request: gr.Request) -> list[Any]:
        """Cancel the running order."""
        visit = self._visits.find(key, visitor_of(request))
        if visit is not None and visit.task is not None:
            visit.task.cancel()
            await asyncio.wait([visit.task])
        return _outputs(visit or Visit(), "", self.service)

    async def refresh(self, key: str, stamp: str, request: gr.Request) -> list[Any]:
        """Return the progress and new results. `stamp` says which results the page shows."""
        return _outputs(self._visits.find(key, visitor_of(request)) or Visit(), stamp, self.service)

    async def select(self, key: str, number: int | None, left: str, right: str) -> list[Any]:
        """Show another photograph, or other images of it."""
        visit = self._visits.get(key)
        if visit is None or number is None or not 0 <= number < len(visit.done) or not visit.done[number].viewable:
            return [gr.skip()] * 2
        one = visit.done[number]
        return [show_comparison(one, left, right), _gallery(one)]


def _outputs(visit: Visit, shown: str, service: UpscaleService) -> list[Any]:
    """Return all outputs. Those that the page shows already, by its stamp `shown`, keep what the visitor has set."""
    stamp = f"{visit.token} {len(visit.done)}"
    same_order = shown.split(" ")[0] == visit.token and bool(visit.token)
    has_comparison = same_order and any(one.viewable for one in visit.done[: int(shown.split(" ")[1])])
    images = [gr.skip()] * _IMAGE_OUTPUTS if shown == stamp else _image_outputs(visit, keep=has_comparison)
    return [
        status_html(visit, service.speeds),
        gr.skip() if shown == stamp else results_html(visit),
        *images,
        gr.Button(interactive=not visit.busy),
        gr.Button(interactive=visit.busy),
        gr.Timer(active=visit.busy),
        stamp,
    ]


def _image_outputs(visit: Visit, *, keep: bool) -> list[Any]:
    """Return the comparison: of the first photograph, or the same as before if `keep`; hidden if there is none."""
    choices = [(one.name, number) for number, one in enumerate(visit.done) if one.viewable]
    if not choices:
        return [gr.Row(visible=False), *[gr.skip()] * 3, gr.HTML(visible="hidden"), gr.Gallery(visible=False)]
    if keep:
        return [gr.skip(), gr.Dropdown(choices), *[gr.skip()] * (_IMAGE_OUTPUTS - 2)]
    one = visit.done[choices[0][1]]
    names = list(viewable_images(one))
    return [
        gr.Row(visible=True),
        gr.Dropdown(choices, value=choices[0][1]),
        gr.Dropdown(names, value=ORIGINAL),
        gr.Dropdown(names, value=names[-1]),
        show_comparison(one, ORIGINAL, names[-1]),
        _gallery(one),
    ]


def _gallery(one: PhotoResult) -> gr.Gallery:
    """Return the details side by side; hidden for two images, which the comparison shows already."""
    pairs = [(str(p.detail), name) for name, p in viewable_images(one).items() if p.detail is not None]
    return gr.Gallery(pairs, visible=len(pairs) > 2, columns=min(3, max(1, len(pairs))))
