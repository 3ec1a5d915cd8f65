"""How a run is asked to stop before its end: by signals, and by a limit on its time.

SIGUSR1, SIGTERM and SIGINT (Ctrl-C) are wishes: the iteration is finished, a checkpoint saved, and the process exits
with `REQUEUE`. A second SIGTERM or SIGINT ends it at once. Before training there is nothing to save: the first does.
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

REQUEUE = 85  # exit code: stopped as asked, saved, started again with --resume it goes on
REASONS = ("", "time limit", "SIGUSR1", "SIGINT", "SIGTERM", "lock lost")  # the highest of all ranks counts
LIMIT, LOST = REASONS.index("time limit"), REASONS.index("lock lost")
TWICE, ALONE = 3.0, 0.3  # seconds after which a signal is a second one: launchers repeat one they were sent
_UNKNOWN_SAVE = (120.0, 0.1)  # seconds, or this share of the limit if that is less: until a save was timed
EXIT_FILE = "ARCHSR_EXIT_FILE"
_FINAL = (2, REQUEUE)  # exit codes after which a launcher must not try again


class Stopped(BaseException):
    """The run ends as it was asked to. `step`: where it was saved; None where there was nothing to save yet."""

    def __init__(self, reason: str, step: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step


class StopRequest:
    """What asks this process to stop. `limit`: seconds from the start of the process, None for none.

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
        """Why this rank would stop after this iteration, as an index of `REASONS`. Called once an iteration."""
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
        """Whether this rank has been asked to stop: what is long and can be done again need not be finished."""
        return self._lost or self._noted > 0

    def reserve(self) -> float:
        """Seconds to leave before the limit: a pass through the loop as long as the longest, and twice the longest
        save."""
        if self.limit is None:
            return 0.0
        seconds, share = _UNKNOWN_SAVE
        save = min(seconds, share * self.limit) if self.longest_save is None else 2 * self.longest_save
        return 1.5 * self._longest_pass + save

    def saved_in(self, seconds: float) -> None:
        """Remember how long a checkpoint took until it was complete."""
        self.longest_save = max(self.longest_save or 0.0, seconds)

    def lose(self) -> None:
        """The run folder is another run's now."""
        self._lost = True

    def ignore_more(self) -> None:
        """From now on signals are too late: launchers end the other processes as soon as one has ended."""
        self._deaf = True

    def note(self, number: int, frame: FrameType | None = None) -> None:  # noqa: ARG002 - the signature of a handler
        """The handler."""
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
            # not print: the signal may have come in the middle of one
            text = f"archsr: {name}: stopping; wait for 'saved' before going on with --resume. Once more ends at once"
            os.write(2, f"{text}\n".encode())
        self._noted = max(self._noted, REASONS.index(name))


@contextmanager
def listening(stop_request: StopRequest) -> Generator[None]:
    """Note the signals in `wishes`; afterwards they mean what they meant before."""
    names = [n for n in ("SIGUSR1", "SIGINT", "SIGTERM") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), stop_request.note) for n in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def interrupted_by_sigterm() -> Generator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does; afterwards it means what it meant before."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stoppable(work: Callable[[StopRequest], None]) -> int:
    """Do `work` while signals are noted in its `Wishes`. Returns 0, or `REQUEUE` where it raised `Stopped`."""
    stop_request = StopRequest()
    code, step, final = 1, None, True
    _forget_told()
    try:
        with listening(stop_request):
            work(stop_request)
        code = 0
    except Stopped as stopped:
        code, step = REQUEUE, stopped.step
        # before training: perhaps only the launcher's, which ends what a dead process has left, and starts all again
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
    """Rank 0 writes "CODE PROGRESS" to the file that $ARCHSR_EXIT_FILE names, if set, for the job that started it.

    Launchers turn every code into 1. `progress` (of training the step; None: nothing yet) is the same in two starts
    only if the later one brought the work no further.
    """
    path = os.environ.get(EXIT_FILE)
    if path and os.environ.get("RANK", "0") == "0":
        Path(path).write_text(f"{code} {'-' if progress is None else progress}\n")


def _forget_told() -> None:
    """What an earlier start of this job told is no word of this one."""
    path = os.environ.get(EXIT_FILE)
    if path and os.environ.get("RANK", "0") == "0":
        Path(path).unlink(missing_ok=True)


# ---------------------------------------------------------------- launchers that start processes again


def decide(code: int) -> None:
    """Remember an exit code that further starts by the same launcher would not mend, for `decided`.

    `--max_restarts N` starts all processes again up to N times, whatever the exit code was. So that 85 and a user's
    mistake end a run all the same, the next start ends at once with the same code.
    """
    if code in _FINAL and (note := _note()) is not None:
        note.write_text(str(code))


def decided() -> int | None:
    """The exit code that an earlier start by this launcher has decided on."""
    note = _note()
    return int(note.read_text()) if note is not None and note.exists() else None


def _note() -> Path | None:
    """In the launcher's own folder: its processes' error files are LAUNCHER/attempt_N/LOCAL_RANK/error.json."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(path).parents[2] / "archsr-exit" if path else None
