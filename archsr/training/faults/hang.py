"""A rank that hangs: all of them write their Python stacks into the run folder and end, instead of waiting for ever."""

import faulthandler
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

LONG = 3600.0  # seconds for validation and saving: the slowest rank's disk, and uploads to a mirror


def stacks_of(folder: Path, rank: int) -> Path:
    """Where a rank's stacks go."""
    return folder / f"stacks-rank{rank}.txt"


@dataclass
class Alarm:
    """Ends this process, stacks first, with exit code 1 where it is not set anew within `seconds`.

    Python's own faulthandler does it, from a thread that needs nothing of the interpreter: a rank that sleeps in a
    collective, or in a driver, is ended as well. A process alone (`active` false) has nobody to wait for and is left to
    itself. As a context: fatal signals and torch's errors (a peer is gone) also leave their stacks in the file; where
    nothing was written, the file is removed.
    """

    path: Path
    seconds: float
    active: bool
    _file: TextIO | None = None
    _enabled: bool = False

    def __enter__(self) -> "Alarm":
        if self.active:
            self._file = self.path.open("a")
            self._enabled = faulthandler.is_enabled()
            faulthandler.enable(self._file)  # torch aborts a process whose NCCL collective takes too long
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is None:
            return
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()
        if self._enabled:
            faulthandler.enable()
        if isinstance(error, RuntimeError):
            traceback.print_exception(error, file=self._file)
        self._file.close()
        self._file = None
        if not self.path.stat().st_size:
            self.path.unlink()

    def set(self, seconds: float | None = None) -> None:
        """From now on so long, `seconds` of the alarm itself if not said. 0.1 ms; outside of the context nothing."""
        if self._file is not None:
            faulthandler.dump_traceback_later(seconds or self.seconds, exit=True, file=self._file)
