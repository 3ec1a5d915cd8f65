"""Record why a run stopped early: a `stop` event in its log, which `archsr runs` shows."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

from archsr.errors import UserError
from archsr.runs.folders import is_run
from archsr.training.logging.log import RunLog
from archsr.training.setup import Progress
from archsr.utils import console
from archsr.utils.stopping import Stopped


class TooManySkippedError(UserError):
    """Raised when the loss was NaN or Inf in too many iterations."""


class StopRecorder:
    """Context manager around a run. If it raises, rank 0 (`active`) logs the reason and the step of `progress`.

    Nothing is recorded before the run folder has its config.
    """

    def __init__(self, folder: Path, *, active: bool) -> None:
        self.progress = Progress()
        self._folder = folder
        self._active = active

    def __enter__(self) -> "StopRecorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None or not self._active or not is_run(self._folder):
            return
        with contextlib.suppress(OSError):  # the error itself matters more
            log = RunLog(self._folder, active=True)
            log.event("stop", self.progress.step, reason_of(error))
            log.close()
        if isinstance(error, Stopped) and error.step is not None:
            console.say(f"stopped at step {error.step}, saved ({error.reason}); --resume goes on")


def reason_of(error: BaseException) -> dict[str, Any]:
    """Return the fields of a `stop` event: `reason`, the error text, and whether --resume should continue the run."""
    if isinstance(error, Stopped):
        return {"reason": error.reason, "requeue": True}
    if isinstance(error, KeyboardInterrupt):
        return {"reason": "SIGINT", "requeue": False}
    reason = "too many skipped" if isinstance(error, TooManySkippedError) else "error"
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return {"reason": reason, "error": text, "requeue": False}
