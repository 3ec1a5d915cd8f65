"""The server's temporary folder: in it, and nowhere else, lie uploads and results, and not for long."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path

import psutil

from archsr.errors import UserError

_PREFIX = "archsr-app-"
_EVERY = 30.0  # seconds between two sweeps
_UPLOADING = 60.0  # seconds without a byte after which an upload has been broken off


class Storage:
    """A folder of its own under the system's temporary one; `close` removes it.

    A thread removes files that were not used for `keep` seconds. What a killed server left goes at the next start.
    """

    def __init__(self, *, keep: float, room: int, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        try:
            _remove_orphans(parent)
            self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)).resolve()
        except OSError as error:
            raise UserError(f"{parent}: no temporary folder can be made there: {error.strerror}; set TMPDIR") from None
        self.keep = keep
        self.room = room
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_on, name="sweeper", daemon=True)
        self._sweeper.start()

    def new(self) -> Path:
        """A folder whose name nobody can guess: who has it may fetch what lies in it."""
        folder = self.folder / "results" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def full(self) -> bool:
        """Whether the temporary files have taken their room, or the disk has almost none left."""
        free = shutil.disk_usage(self.folder).free
        return self.used() > self.room or free < self.room // 16

    def used(self) -> int:
        """Bytes of all temporary files."""
        return sum(size for _, size, _ in _files(self.folder))

    def sweep(self, *, now: float | None = None) -> int:
        """Remove what was not used for `keep` seconds, and uploads that were broken off; how many files went."""
        now = time.time() if now is None else now
        before, broken_off = now - self.keep, now - min(self.keep, _UPLOADING)
        gone = 0
        for path, _, used in _files(self.folder):
            if used < (broken_off if path.parent == self.folder else before):
                with contextlib.suppress(OSError):
                    path.unlink()
                    gone += 1
        _remove_empty(self.folder, before)
        return gone

    def close(self) -> None:
        """Remove everything."""
        self._closed.set()
        self._sweeper.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep_on(self) -> None:
        while not self._closed.wait(min(_EVERY, self.keep / 2)):
            self.sweep()


def touch(*paths: Path) -> None:
    """Say that files are in use; those that are gone stay gone."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.utime(path)


def _files(folder: Path) -> list[tuple[Path, int, float]]:
    """Path, bytes and last use of every file; one that vanishes meanwhile is left out."""
    found: list[tuple[Path, int, float]] = []
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                about = (Path(top) / name).lstat()
                found.append((Path(top) / name, about.st_size, about.st_mtime))
    return found


def _remove_empty(folder: Path, before: float) -> None:
    """Folders without files that nobody has just made."""
    for top, _, _ in os.walk(folder, topdown=False):
        path = Path(top)
        with contextlib.suppress(OSError):
            if path != folder and path.stat().st_mtime < before:
                path.rmdir()


def _remove_orphans(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*-*"):
        number = path.name.removeprefix(_PREFIX).split("-")[0]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(path, ignore_errors=True)
