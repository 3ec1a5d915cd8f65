"""End all ranks if one hangs, and write their Python stacks into the run folder."""

import faulthandler
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

LONG = 3600.0  # seconds allowed for validation and saving, which include slow disks and uploads to a mirror


def stacks_of(folder: Path, rank: int) -> Path:
    """Return the file for a rank's stacks."""
    return folder / f"stacks-rank{rank}.txt"


@dataclass
class Alarm:
    """End this process with exit code 1 if `set` is not called again within `seconds`. Write its stacks first.

    Python's faulthandler does this in a thread that does not need the interpreter, so it also ends a rank that is
    blocked in a collective or a driver. With `active` false (a single process) it does nothing. Used as a context
    manager, it also writes the stacks of fatal signals and of torch's errors (a peer died). An empty file is removed at
    the end.
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
            faulthandler.enable(self._file)  # torch aborts a process whose NCCL collective times out
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
        """Restart the timeout, with `seconds` or the alarm's own. Takes 0.1 ms; does nothing outside the context."""
        if self._file is not None:
            faulthandler.dump_traceback_later(seconds or self.seconds, exit=True, file=self._file)
