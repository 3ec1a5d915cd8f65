"""Graceful stop of a run: by a signal or a time limit.

After SIGUSR1, SIGTERM or SIGINT (Ctrl-C) the run finishes the iteration, saves a checkpoint and exits with `REQUEUE`. A
second SIGTERM or SIGINT ends the process at once. Before training there is nothing to save, so the first one does.
"""

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from archsr.errors import UserError

REQUEUE = 85  # exit code of a graceful stop: a checkpoint is saved, and --resume continues
REASONS = ("", "time limit", "SIGUSR1", "SIGINT", "SIGTERM", "lock lost")  # of all ranks' reasons the highest counts
LIMIT, LOST = REASONS.index("time limit"), REASONS.index("lock lost")
TWICE, ALONE = 3.0, 0.3  # seconds after which a signal counts as a second one: launchers repeat signals
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
        self._noted = 0
        self._insisted: float | None = None
        self._deaf = False
        self._longest_pass = 0.0
        self._asked_at: float | None = None

    def asked(self) -> int:
        """Return why to stop after this iteration, an index of `REASONS` (0: go on). Call it once an iteration."""
        now = time.time()
        if self._asked_at is not None:
            self._longest_pass = max(self._longest_pass, now - self._asked_at)
        self._asked_at = now
        if self._lost:
            return LOST
        if self._noted:
            return self._noted
        return LIMIT if self.limit is not None and now + self.reserve() > self.started + self.limit else 0

    def already(self) -> bool:
        """Return whether a stop was requested: long work that can be repeated need not be finished."""
        return self._lost or self._noted > 0

    def reserve(self) -> float:
        """Return the seconds to leave before the limit: 1.5 times the longest iteration and twice the longest save."""
        if self.limit is None:
            return 0.0
        seconds, share = _UNKNOWN_SAVE
        save = min(seconds, share * self.limit) if self.longest_save is None else 2 * self.longest_save
        return 1.5 * self._longest_pass + save

    def saved_in(self, seconds: float) -> None:
        """Record how long a checkpoint took."""
        self.longest_save = max(self.longest_save or 0.0, seconds)

    def lose(self) -> None:
        """Record that another run owns the run folder now."""
        self._lost = True

    def ignore_more(self) -> None:
        """Ignore signals from now on: launchers end the other processes as soon as one has ended."""
        self._deaf = True

    def note(self, number: int, frame: FrameType | None = None) -> None:  # noqa: ARG002 - the signature of a handler
        """Handle a signal."""
        name = signal.Signals(number).name
        if self._deaf:
            return
        if not self.training:
            raise KeyboardInterrupt if name == "SIGINT" else Stopped(name)
        insists = name in ("SIGINT", "SIGTERM")
        apart = TWICE if "TORCHELASTIC_RUN_ID" in os.environ else ALONE
        if insists and self._insisted is not None and time.monotonic() - self._insisted > apart:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if insists and self._insisted is None:
            self._insisted = time.monotonic()
        if not self._noted and os.environ.get("RANK", "0") == "0":
            # not print: the signal may have interrupted one
            text = f"archsr: {name}: stopping; wait for 'saved' before going on with --resume. Once more ends at once"
            os.write(2, f"{text}\n".encode())
        self._noted = max(self._noted, REASONS.index(name))


@contextmanager
def listening(stop_request: StopRequest) -> Generator[None]:
    """Send signals to `stop_request`; restore the handlers afterwards."""
    names = [n for n in ("SIGUSR1", "SIGINT", "SIGTERM") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), stop_request.note) for n in names}
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
    _forget_told()
    try:
        with listening(stop_request):
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
        tell(code, step)
        if final:
            decide(code)
    return code


def tell(code: int, progress: int | str | None) -> None:
    """Write "CODE PROGRESS" to the file named by $ARCHSR_EXIT_FILE, if set, for the job script. Only rank 0 writes.

    Launchers turn every exit code into 1. `progress` is the training step (None: nothing yet). It is the same after two
    starts only if the second one made no progress.
    """
    path = os.environ.get(EXIT_FILE)
    if path and os.environ.get("RANK", "0") == "0":
        Path(path).write_text(f"{code} {'-' if progress is None else progress}\n")


def _forget_told() -> None:
    """Remove the exit file of an earlier start of this job."""
    path = os.environ.get(EXIT_FILE)
    if path and os.environ.get("RANK", "0") == "0":
        Path(path).unlink(missing_ok=True)


# ---------------------------------------------------------------- launchers that start processes again


def decide(code: int) -> None:
    """Record an exit code that restarts by the same launcher cannot fix; see `decided`.

    `--max_restarts N` restarts all processes up to N times, whatever the exit code was. With this record, the next
    start ends at once with the same code.
    """
    if code in _FINAL and (note := _note()) is not None:
        note.write_text(str(code))


def decided() -> int | None:
    """Return the final exit code that an earlier start by this launcher recorded, or None."""
    note = _note()
    return int(note.read_text()) if note is not None and note.exists() else None


def _note() -> Path | None:
    """Return a file in the launcher's folder, where error files are LAUNCHER/attempt_N/LOCAL_RANK/error.json."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(path).parents[2] / "archsr-exit" if path else None
