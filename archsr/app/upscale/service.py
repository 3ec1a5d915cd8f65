"""Runs orders: for a visit, whose order goes on when its page closes, or for a program."""

import asyncio
import math
import traceback
from asyncio import to_thread
from collections.abc import AsyncIterator, Sequence
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr

from archsr.app.context import AppContext, show_progress, visitor_of
from archsr.app.security.upload_limits import check_upload
from archsr.app.upscale.forecast import Speeds, computed_pixels, format_duration
from archsr.app.upscale.job import JobProgress, PhotoResult, UpscaleRequest, check_order, upscale_photos
from archsr.app.upscale.uploads import Upload
from archsr.app.visit_html import error_lines, expected_seconds
from archsr.app.visits import Visit, Visits
from archsr.app.work_queue import JobCancelledError, QueuedJob
from archsr.errors import UserError
from archsr.images.image_files import BadImageError

Sizes = list[tuple[int, int]]


class UpscaleService:
    """Orders of all visitors."""

    def __init__(self, context: AppContext, visits: Visits) -> None:
        self.context, self.visits, self.speeds = context, visits, Speeds()

    def start(self, visit: Visit, order: UpscaleRequest) -> None:
        """Start an order as a task of its own. Raises `UserError` if it cannot be started."""
        if visit.busy:
            raise UserError("your photographs are being enlarged already; cancel that first")
        check_order(order, self.context)
        if self.visits.busy_count() >= self.context.limits.max_queued:
            raise UserError("too many orders at once; try again in a few minutes")
        visit.reset(len(order.photos), order.models)
        visit.task = asyncio.create_task(self._run(visit, order))

    async def _run(self, visit: Visit, order: UpscaleRequest) -> None:
        def on_progress(current: JobProgress) -> None:
            visit.current = current
            if self.visits.is_abandoned(visit):
                raise JobCancelledError

        photos = upscale_photos(order, self.context, self.speeds, visitor=visit.key, on_progress=on_progress)
        try:
            async for one in photos:
                visit.done.append(one)
        except asyncio.CancelledError:
            visit.cancelled = True
            raise
        except JobCancelledError:
            visit.cancelled = True
        except Exception as error:
            traceback.print_exc()
            visit.error = f"The server failed ({type(error).__name__}); its terminal shows the details."

    async def run_for_program(
        self, order: UpscaleRequest, request: gr.Request, progress: gr.Progress
    ) -> AsyncIterator[tuple[list[str], str]]:
        """Yield the paths of the results and a summary after each photograph. Ends when the program disconnects.

        Raises `gr.Error` if there is no result.
        """

        def on_progress(current: JobProgress) -> None:
            text = f"{current.name} ({current.number + 1} of {len(order.photos)}), {current.model}"
            show_progress(progress, text, current.share, current.ahead)

        try:
            check_order(order, self.context)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None
        done: list[PhotoResult] = []
        paths: list[str] = []
        visitor = visitor_of(request)
        async for one in upscale_photos(order, self.context, self.speeds, visitor=visitor, on_progress=on_progress):
            done.append(one)
            paths += [str(p.path) for p in one.results.values()]
            if one.results:
                yield paths, _summary(paths, done, left=len(order.photos) - len(done))
        if not paths:
            errors = "; ".join(line.removeprefix("- ") for line in error_lines(done))
            raise gr.Error(errors, duration=None, print_exception=False)
        yield paths, _summary(paths, done, left=0)

    async def forecast(self, visit: Visit, order: UpscaleRequest) -> str:
        """Return as HTML how long an order takes and which photographs cannot be used; empty without any."""
        sizes, bad = await to_thread(_check_photos, order.photos, self.context)
        lines = "".join(f"<p class='bad'>{line}</p>" for line in bad)
        if not sizes or not order.models:
            return lines
        # under another name than the order's, so that the order does not wait for it
        visitor = f"{visit.key} forecast"
        pixels = await self.context.run_job(visitor, partial(self._measure, order, sizes), lambda _share, _ahead: None)
        if not bad:
            visit.pixels = pixels
        seconds = math.fsum(expected_seconds(pixels, self.speeds).values())
        megapixels = sum(h * w for h, w in sizes) / 1e6
        count = f"{len(sizes)} photograph{'s' if len(sizes) > 1 else ''}, {megapixels:.3g} megapixels"
        device = "GPU" if {device.type for device in self.context.models.devices} == {"cuda"} else "CPU"
        return f"<p>{count}: <strong>{format_duration(seconds)}</strong> on this machine's {device}</p>{lines}"

    def _measure(
        self, order: UpscaleRequest, sizes: Sizes, job: QueuedJob[dict[tuple[int, str], int]]
    ) -> dict[tuple[int, str], int]:
        """Measure the models and return the pixels to compute by number of the photograph and model."""
        pixels: dict[tuple[int, str], int] = {}
        for model in order.models:
            job.report(0)
            upscaler = self.context.models.get(model, strength=order.strength, tile=order.tile)
            self.speeds.measure(model, upscaler)
            pixels |= {(n, model): computed_pixels(upscaler, *size)[0] for n, size in enumerate(sizes)}
        return pixels


def _check_photos(photos: Sequence[Upload], context: AppContext) -> tuple[Sizes, list[str]]:
    """Return height and width of the usable photographs, and an HTML line for each of the others."""
    sizes: Sizes = []
    bad: list[str] = []
    for upload in photos:
        try:
            sizes.append(check_upload(Path(upload), context.limits))
        except BadImageError as error:
            bad.append(f"<code>{escape(upload.name)}</code>: {escape(str(error))}")
    return sizes, bad


def _summary(paths: list[str], done: list[PhotoResult], *, left: int) -> str:
    text = f"**{len(paths)} ready**" + (f", {left} to go" if left else "")
    lines = error_lines(done)
    return text + (f", {len(lines)} failed:\n\n" + "\n".join(lines) if lines else "")
