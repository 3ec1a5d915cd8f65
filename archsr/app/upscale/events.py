"""The events of the Upscale page: each finds the visit by the key that the browser keeps, and shows what it has."""

import asyncio
from asyncio import to_thread
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from archsr.app.context import AppContext, visitor_of
from archsr.app.upscale.job import Done
from archsr.app.upscale.service import UpscaleService
from archsr.app.upscale.tab import order_of, scales
from archsr.app.upscale.uploads import Upload
from archsr.app.viewer import BEFORE, images_of, shown
from archsr.app.visit_words import results, told
from archsr.app.visits import Visit, Visits
from archsr.errors import UserError

_VIEWED = 6  # of the outputs show images: the choice with its three lists, the comparison, the gallery


class Page:
    """The events of the page's controls."""

    def __init__(self, context: AppContext, visits: Visits) -> None:
        self.work = UpscaleService(context, visits)
        self._visits, self._shelf = visits, context.shelf

    async def come(self, key: str, request: gr.Request) -> list[Any]:
        """Everything that the visit has, for a page that has just been opened."""
        visit = self._visits.found(key, visitor_of(request))
        return [visit.photos if visit else gr.skip(), *_view(visit or Visit(), "", self.work)]

    async def keep(self, files: list[Upload], key: str, request: gr.Request) -> Any:  # noqa: ANN401 - or gradio's sign
        """Remember the photographs in the box; the browser is told the key of a new visit."""
        if self._visits.of(key) is None and not files:
            return gr.skip()
        visit = self._visits.at(key, visitor_of(request))
        if [str(f) for f in files] != [str(p) for p in visit.photos]:
            visit.pieces = {}
        visit.photos = files
        return gr.skip() if visit.key == key else visit.key

    async def forecast(self, *arguments: Any) -> AsyncIterator[str]:  # noqa: ANN401 - as the controls give them
        """How long it takes, after a word that this is being measured."""
        order, visit = order_of(*arguments[:-1]), self._visits.of(arguments[-1])
        if visit is None or not order.photos:
            yield ""
            return
        if any(self.work.speeds.known(model) is None for model in order.models):
            yield "<p>Measuring how long it will take …</p>"
        try:
            yield await self.work.forecast(visit, order)
        except UserError as error:
            yield f"<p>{error}</p>"

    async def scales(self, models: list[str]) -> gr.Dropdown:
        """The choice of the scale, with the factors of these models."""
        factors = await to_thread(lambda: [f for m in models if (f := self._shelf.scale_of(m))])
        return gr.Dropdown(scales(factors))

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
        """Begin; what stands in the way is said where progress would be."""
        visit = self._visits.at(key, visitor_of(request))
        try:
            self.work.begin(visit, order_of(files, models, scale, strength, tile, ending))
        except UserError as error:
            visit.failed = str(error)
        return [visit.key, *_view(visit, "", self.work)]

    async def cancel(self, key: str, request: gr.Request) -> list[Any]:
        """End what goes on."""
        visit = self._visits.found(key, visitor_of(request))
        if visit is not None and visit.task is not None:
            visit.task.cancel()
            await _ended(visit)
        return _view(visit or Visit(), "", self.work)

    async def look(self, key: str, known: str, request: gr.Request) -> list[Any]:
        """How far it is."""
        return _view(self._visits.found(key, visitor_of(request)) or Visit(), known, self.work)

    async def choose(self, key: str, number: int | None, left: str, right: str) -> list[Any]:
        """Another photograph, or others of its images."""
        visit = self._visits.of(key)
        if visit is None or number is None or not 0 <= number < len(visit.done) or not visit.done[number].viewed:
            return [gr.skip()] * 2
        one = visit.done[number]
        return [shown(one, left, right), _gallery(one)]


def _view(visit: Visit, known: str, work: UpscaleService) -> list[Any]:
    """All outputs; what the page shows already, as `known` says, stays as the visitor has set it."""
    stamp = f"{visit.token} {len(visit.done)}"
    same_order = known.split(" ")[0] == visit.token and bool(visit.token)
    begun = same_order and any(one.viewed for one in visit.done[: int(known.split(" ")[1])])
    images = [gr.skip()] * _VIEWED if known == stamp else _images(visit, keep=begun)
    return [
        told(visit, work.speeds),
        gr.skip() if known == stamp else results(visit),
        *images,
        gr.Button(interactive=not visit.busy),
        gr.Button(interactive=visit.busy),
        gr.Timer(active=visit.busy),
        stamp,
    ]


def _images(visit: Visit, *, keep: bool) -> list[Any]:
    """The comparison, of the first photograph unless another may have been chosen; hidden where there is none."""
    choices = [(one.name, number) for number, one in enumerate(visit.done) if one.viewed]
    if not choices:
        return [gr.Row(visible=False), *[gr.skip()] * 3, gr.HTML(visible="hidden"), gr.Gallery(visible=False)]
    if keep:
        return [gr.skip(), gr.Dropdown(choices), *[gr.skip()] * (_VIEWED - 2)]
    one = visit.done[choices[0][1]]
    names = list(images_of(one))
    return [
        gr.Row(visible=True),
        gr.Dropdown(choices, value=choices[0][1]),
        gr.Dropdown(names, value=BEFORE),
        gr.Dropdown(names, value=names[-1]),
        shown(one, BEFORE, names[-1]),
        _gallery(one),
    ]


def _gallery(one: Done) -> gr.Gallery:
    """More than two images, beside each other."""
    pairs = [(str(p.detail), name) for name, p in images_of(one).items() if p.detail is not None]
    return gr.Gallery(pairs, visible=len(pairs) > 2, columns=min(3, max(1, len(pairs))))


async def _ended(visit: Visit) -> None:
    if visit.task is not None:
        await asyncio.wait([visit.task])
