"""Graceful stop of a run: by a signal or a time limit.

After SIGUSR1, SIGTERM or SIGINT (Ctrl-C) the run finishes the iteration, saves a checkpoint and exits with `REQUEUE`. A
second SIGTERM or SIGINT ends the process at once. Before training there is nothing to save, so the first one does.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from archsr.errors import UserError

REQUEUE = 85  # exit code of a graceful stop: a checkpoint is saved, and --resume continues
REASONS = ("", "time limit", "SIGUSR1", "SIGINT", "SIGTERM", "lock lost")  # of all ranks' reasons the highest counts
LIMIT, LOST = REASONS.index("time limit"), REASONS.index("lock lost")
REPEATED_BY_LAUNCHER, REPEATED = 3.0, 0.3  # seconds to a second signal: launchers repeat theirs
_UNKNOWN_SAVE = (120.0, 0.1)  # seconds, or this share of the limit if that is less, until a save has been timed
EXIT_FILE = "ARCHSR_EXIT_FILE"
_FINAL = (2, REQUEUE)  # exit codes after which a launcher must not retry


class Stopped(BaseException):
    """Raised when the run stops gracefully. `step` is where it was saved, or None if there was nothing to save."""

    def __init__(self, reason: str, step: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step


class StopRequest:
    """The stop requests to this process. `limit`: seconds from the start of the process, or None.

    `training` is set as soon as there is something to save, `agreed` (an index of `REASONS`) when all ranks know.
    """

    def __init__(self, *, started: float | None = None) -> None:
        self.started = psutil.Process().create_time() if started is None else started
        self.limit: float | None = None
        self.longest_save: float | None = None
        self.training = False
        self.agreed = 0
        self._lost = False
        self._signal = 0
        self._first_stop: float | None = None
        self._ignoring = False
        self._longest_iteration = 0.0
        self._last_check: float | None = None

    def reason(self) -> int:
        """Return why to stop after this iteration, an index of `REASONS` (0: go on). Call it once an iteration."""
        now = time.time()
        if self._last_check is not None:
            self._longest_iteration = max(self._longest_iteration, now - self._last_check)
        self._last_check = now
        if self._lost:
            return LOST
        if self._signal:
            return self._signal
        return LIMIT if self.limit is not None and now + self.reserve() > self.started + self.limit else 0

    def requested(self) -> bool:
        """Return whether a stop was requested: long work that can be repeated need not be finished."""
        return self._lost or self._signal > 0

    def reserve(self) -> float:
        """Return the seconds to leave before the limit: 1.5 times the longest iteration and twice the longest save."""
        if self.limit is None:
            return 0.0
        seconds, share = _UNKNOWN_SAVE
        save = min(seconds, share * self.limit) if self.longest_save is None else 2 * self.longest_save
        return 1.5 * self._longest_iteration + save

    def record_save(self, seconds: float) -> None:
        """Record how long a checkpoint took."""
        self.longest_save = max(self.longest_save or 0.0, seconds)

    def lose_lock(self) -> None:
        """Record that another run owns the run folder now."""
        self._lost = True

    def ignore_signals(self) -> None:
        """Ignore signals from now on: launchers end the other processes as soon as one has ended."""
        self._ignoring = True

    def handle(self, number: int, frame: FrameType | None = None) -> None:  # noqa: ARG002 - the signature of a handler
        """Handle a signal."""
        name = signal.Signals(number).name
        if self._ignoring:
            return
        if not self.training:
            raise KeyboardInterrupt if name == "SIGINT" else Stopped(name)
        stops = name in ("SIGINT", "SIGTERM")
        least = REPEATED_BY_LAUNCHER if "TORCHELASTIC_RUN_ID" in os.environ else REPEATED
        if stops and self._first_stop is not None and time.monotonic() - self._first_stop > least:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if stops and self._first_stop is None:
            self._first_stop = time.monotonic()
        if not self._signal and os.environ.get("RANK", "0") == "0":
            # not print: the signal may have interrupted one
            words = "wait for 'saved', then continue with --resume. A second one ends it at once"
            os.write(2, f"archsr: {name}: stopping; {words}\n".encode())
        self._signal = max(self._signal, REASONS.index(name))


@contextmanager
def handling_signals(stop_request: StopRequest) -> Generator[None]:
    """Send signals to `stop_request`; restore the handlers afterwards."""
    names = [n for n in ("SIGUSR1", "SIGINT", "SIGTERM") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), stop_request.handle) for n in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def interrupted_by_sigterm() -> Generator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does; restore the handler afterwards."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stoppable(work: Callable[[StopRequest], None]) -> int:
    """Run `work` with signals sent to its `StopRequest`. Return 0, or `REQUEUE` if it raised `Stopped`."""
    stop_request = StopRequest()
    code, step, final = 1, None, True
    _remove_exit_file()
    try:
        with handling_signals(stop_request):
            work(stop_request)
        code = 0
    except Stopped as stopped:
        code, step = REQUEUE, stopped.step
        # before training, SIGTERM may come from the launcher, which ends the rest after one process died and restarts
        # all
        final = step is not None or stopped.reason != "SIGTERM"
    except UserError:
        code = 2
        raise
    finally:
        write_exit_file(code, step)
        if final:
            record_final_code(code)
    return code


def leave(code: int) -> NoReturn:
    """End the process with `code`. A rank that failed ends at once: its collectives could wait for others."""
    sys.stdout.flush()
    sys.stderr.flush()
    dist = sys.modules.get("torch.distributed")
    if code and dist is not None and dist.is_available() and dist.is_initialized():
        os._exit(code)
    sys.exit(code)


def write_exit_file(code: int, progress: int | str | None) -> None:
    """Write "CODE PROGRESS" to the file named by $ARCHSR_EXIT_FILE, if set, for the job script. Only rank 0 writes.

    Launchers turn every exit code into 1. `progress` is the training step (None: nothing yet). It is the same after two
    starts only if the second one made no progress.
    """
    path = os.environ.get(EXIT_FILE)
    if path and os.environ.get("RANK", "0") == "0":
        Path(path).write_text(f"{code} {'-' if progress is None else progress}\n")


def _remove_exit_file() -> None:
    path = os.environ.get(EXIT_FILE)
    if path and os.environ.get("RANK", "0") == "0":
        Path(path).unlink(missing_ok=True)


# ---------------------------------------------------------------- launchers that start processes again


def record_final_code(code: int) -> None:
    """Record an exit code that restarts by the same launcher cannot fix; see `final_code`.

    `--max_restarts N` restarts all processes up to N times, whatever the exit code was. With this record, the next
    start ends at once with the same code.
    """
    if code in _FINAL and (path := _final_code_file()) is not None:
        path.write_text(str(code))


def final_code() -> int | None:
    """Return the final exit code that an earlier start by this launcher recorded, or None."""
    path = _final_code_file()
    return int(path.read_text()) if path is not None and path.exists() else None


def _final_code_file() -> Path | None:
    """Return a file in the launcher's folder, where error files are LAUNCHER/attempt_N/LOCAL_RANK/error.json."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(path).parents[2] / "archsr-exit" if path else None
