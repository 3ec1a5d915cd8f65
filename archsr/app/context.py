"""What all tabs share: limits, storage, models and the worker; how a tab waits for a job of the worker."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import gradio as gr

from archsr.app.models import ModelCache
from archsr.app.security.upload_limits import Limits
from archsr.app.storage import Storage
from archsr.app.work_queue import QueuedJob, Worker

T = TypeVar("T")
_POLL_EVERY = 0.25  # seconds


@dataclass(frozen=True)
class AppContext:
    """The server's resources."""

    limits: Limits
    storage: Storage
    models: ModelCache
    worker: Worker

    async def run_job(
        self, visitor: str, run: Callable[[QueuedJob[T]], T], on_status: Callable[[float, int], None]
    ) -> T:
        """Run a job on the worker and return its result.

        `on_status` gets the share that is done and the number of jobs before this one. The job is cancelled at its next
        report if the caller is cancelled or `on_status` raises.
        """
        job = self.worker.submit(visitor, run)
        waiting = asyncio.wrap_future(job.future)
        try:
            while not waiting.done():
                on_status(job.share, self.worker.jobs_ahead(job))
                await asyncio.wait([waiting], timeout=_POLL_EVERY)
            return waiting.result()
        finally:
            self.worker.cancel(job)


def visitor_of(request: gr.Request) -> str:
    """Return who takes turns on the worker: one open page in a browser, or one client program."""
    return str(request.session_hash)


def show_progress(progress: gr.Progress, text: str, share: float, ahead: int) -> None:
    """Show in gradio's progress bar how far a job is, or how many are before it."""
    progress(share, desc=text + queue_text(ahead))


def queue_text(ahead: int) -> str:
    """Return how many images are before this one, as the end of a line; empty for none."""
    return f": {ahead} {'image' if ahead == 1 else 'images'} before this one" if ahead else ""


def file_name_part(model: str) -> str:
    """Return a model's name with only characters that are safe in a file name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in model)
