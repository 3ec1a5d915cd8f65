"""What all pages share: limits, the temporary folder, the models and the one worker; and waiting for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import gradio as gr

from archsr.app.models import Shelf
from archsr.app.security.upload_limits import Limits
from archsr.app.storage import Storage
from archsr.app.work_queue import QueuedJob, Worker

T = TypeVar("T")
_LOOK = 0.25  # seconds between two looks at a job


@dataclass(frozen=True)
class AppContext:
    """The server's resources."""

    limits: Limits
    storage: Storage
    shelf: Shelf
    worker: Worker

    async def done(
        self, request: gr.Request, run: Callable[[QueuedJob[T]], T], tell: Callable[[float, int], None]
    ) -> T:
        """As `done_for` the one who sent a request."""
        return await self.done_for(visitor_of(request), run, tell)

    async def done_for(self, visitor: str, run: Callable[[QueuedJob[T]], T], tell: Callable[[float, int], None]) -> T:
        """Let the worker `run`; `tell` hears the share that is done and how many jobs come before.

        A visitor who cancels or leaves ends it at its next report, and so does what `tell` raises.
        """
        job = self.worker.submit(visitor, run)
        waiting = asyncio.wrap_future(job.future)
        try:
            while not waiting.done():
                tell(job.share, self.worker.ahead(job))
                await asyncio.wait([waiting], timeout=_LOOK)
            return waiting.result()
        finally:
            self.worker.give_up(job)


def visitor_of(request: gr.Request) -> str:
    """Who takes turns: a page in a browser, or a client."""
    return str(request.session_hash)


def tell(progress: gr.Progress, about: str, share: float, ahead: int) -> None:
    """Show how far a job is, or who is served before it."""
    before = f": {ahead} {'image' if ahead == 1 else 'images'} before this one" if ahead else ""
    progress(share, desc=about + before)


def name_of(model: str) -> str:
    """A model's name as a part of a file name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in model)


def divider_of(slider: gr.ImageSlider) -> None:
    """A control that moves the line between both images with the arrow keys."""
    divider = gr.Slider(0, 100, 50, step=1, label="Line, %", min_width=150)
    divider.input(
        _moved,
        divider,
        slider,
        queue=False,
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="always_last",
    )


def _moved(percent: float) -> gr.ImageSlider:
    return gr.ImageSlider(slider_position=percent)
