"""What the Upscale page does when it is asked: for a visit, whose work goes on when a page goes; or for a program."""

import asyncio
import math
import traceback
from asyncio import to_thread
from collections.abc import AsyncIterator, Sequence
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr

from archsr.app.context import AppContext, tell, visitor_of
from archsr.app.security.upload_limits import check_upload
from archsr.app.upscale.forecast import Speeds, computed_pixels
from archsr.app.upscale.job import Done, Now, UpscaleRequest, check_order, enlarged
from archsr.app.upscale.uploads import Upload
from archsr.app.visit_words import forecasts, refusals, total_of
from archsr.app.visits import Visit, Visits
from archsr.app.work_queue import JobCancelledError, QueuedJob
from archsr.errors import UserError
from archsr.images.image_files import BadImageError

Sizes = list[tuple[int, int]]


class UpscaleService:
    """Orders of all visitors."""

    def __init__(self, context: AppContext, visits: Visits) -> None:
        self.context, self.visits, self.speeds = context, visits, Speeds()

    def begin(self, visit: Visit, order: UpscaleRequest) -> None:
        """Let the order be done from now on, whoever looks. Raises `UserError` where it cannot be."""
        if visit.busy:
            raise UserError("your photographs are being enlarged already; cancel that first")
        check_order(order, self.context)
        if self.visits.busy() >= self.context.limits.waiting:
            raise UserError("too many orders at once; try again in some minutes")
        visit.begin(len(order.photos), order.models)
        visit.task = asyncio.create_task(self._done(visit, order))

    async def _done(self, visit: Visit, order: UpscaleRequest) -> None:
        def hear(now: Now) -> None:
            visit.now = now
            if self.visits.unseen(visit):
                raise JobCancelledError

        try:
            async for one in enlarged(order, self.context, self.speeds, visitor=visit.key, hear=hear):
                visit.done.append(one)
        except asyncio.CancelledError:
            visit.cancelled = True
            raise
        except JobCancelledError:
            visit.cancelled = True
        except Exception as error:
            traceback.print_exc()
            visit.failed = f"The server failed ({type(error).__name__}); whoever started it finds more in its terminal."

    async def for_program(
        self, order: UpscaleRequest, request: gr.Request, progress: gr.Progress
    ) -> AsyncIterator[tuple[list[str], str]]:
        """Paths of the results and words about them, after each photograph. Ends when the program leaves.

        Raises `gr.Error` where none became anything.
        """

        def hear(now: Now) -> None:
            about = f"{now.name} ({now.number + 1} of {len(order.photos)}), {now.model}"
            tell(progress, about, now.share, now.ahead)

        try:
            check_order(order, self.context)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None
        done: list[Done] = []
        paths: list[str] = []
        async for one in enlarged(order, self.context, self.speeds, visitor=visitor_of(request), hear=hear):
            done.append(one)
            paths += [str(p.path) for p in one.results.values()]
            if one.results:
                yield paths, _said(paths, done, left=len(order.photos) - len(done))
        if not paths:
            refused = "; ".join(line.removeprefix("- ") for line in refusals(done))
            raise gr.Error(refused, duration=None, print_exception=False)
        yield paths, _said(paths, done, left=0)

    async def forecast(self, visit: Visit, order: UpscaleRequest) -> str:
        """How long it will take, and what cannot be enlarged; empty where nothing is chosen. HTML."""
        sizes, bad = await to_thread(_sizes, order.photos, self.context)
        lines = "".join(f"<p class='bad'>{line}</p>" for line in bad)
        if not sizes or not order.models:
            return lines
        measuring = partial(self._measured, order, sizes)
        # in a line of its own: the order need not wait for it
        pieces = await self.context.done_for(f"{visit.key} forecast", measuring, _unheard)
        if not bad:
            visit.pieces = pieces
        seconds = math.fsum(forecasts(pieces, self.speeds).values())
        return f"<p>{total_of(sizes, seconds, self._where())}</p>{lines}"

    def _measured(
        self, order: UpscaleRequest, sizes: Sizes, job: QueuedJob[dict[tuple[int, str], int]]
    ) -> dict[tuple[int, str], int]:
        pieces: dict[tuple[int, str], int] = {}
        for model in order.models:
            job.report(0)
            upscaler = self.context.shelf.get(model, strength=order.strength, tile=order.tile)
            self.speeds.measure(model, upscaler)
            pieces |= {(n, model): computed_pixels(upscaler, *size)[0] for n, size in enumerate(sizes)}
        return pieces

    def _where(self) -> str:
        kinds = {device.type for device in self.context.shelf.devices}
        return "GPU" if kinds == {"cuda"} else "CPU"


def _unheard(_: float, __: int) -> None:
    """Nobody is told how far a measurement is."""


def _sizes(photos: Sequence[Upload], context: AppContext) -> tuple[Sizes, list[str]]:
    """Height and width of what can be enlarged, and what is to be said of the others."""
    sizes: Sizes = []
    bad: list[str] = []
    for upload in photos:
        try:
            sizes.append(check_upload(Path(upload), context.limits))
        except BadImageError as error:
            bad.append(f"<code>{escape(upload.name)}</code>: {escape(str(error))}")
    return sizes, bad


def _said(paths: list[str], done: list[Done], *, left: int) -> str:
    words = f"**{len(paths)} ready**" + (f", {left} to go" if left else "")
    lines = refusals(done)
    return words + (f", {len(lines)} not:\n\n" + "\n".join(lines) if lines else "")
