"""The server's temporary folder. It holds all uploads and results, and removes them when nobody uses them."""

import contextlib
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from hashlib import blake2b
from pathlib import Path

import psutil

from archsr.errors import UserError

_PREFIX = "archsr-app-"
_SWEEP_EVERY = 30.0  # seconds
_UPLOAD_TIMEOUT = 60.0  # seconds without a byte after which an upload counts as broken off


class Storage:
    """A folder in the system's temporary folder; `close` removes it.

    A thread removes files that were not used for `keep_seconds`. A new server removes the folder of one that was
    killed. Raises `UserError` if the folder cannot be made.
    """

    def __init__(self, *, keep_seconds: float, max_bytes: int, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        try:
            _remove_orphans(parent)
            self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)).resolve()
        except OSError as error:
            raise UserError(f"{parent}: cannot make a temporary folder there: {error.strerror}; set TMPDIR") from None
        self.keep_seconds = keep_seconds
        self.max_bytes = max_bytes
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_regularly, name="sweeper", daemon=True)
        self._sweeper.start()

    def new_folder(self) -> Path:
        """Return a new folder whose name nobody can guess. Whoever knows the name may fetch the files in it."""
        folder = self.folder / "results" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def copy(self, path: Path) -> Path:
        """Return a copy of a file from elsewhere, so that its own folder stays private.

        The same copy is returned as long as the file does not change.
        """
        stat = path.stat()
        key = blake2b(f"{path.resolve()} {stat.st_mtime_ns} {stat.st_size} {self.folder}".encode(), digest_size=16)
        target = self.folder / "results" / key.hexdigest() / path.name
        if target.is_file():
            touch(target)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = self.new_folder() / path.name
        shutil.copyfile(path, part)
        part.replace(target)
        return target

    def is_full(self) -> bool:
        """Return whether the temporary files have reached their limit, or the disk is almost full."""
        free = shutil.disk_usage(self.folder).free
        return self.used_bytes() > self.max_bytes or free < self.max_bytes // 16

    def used_bytes(self) -> int:
        """Return the size of all temporary files."""
        return sum(size for _, size, _ in _files(self.folder))

    def sweep(self, *, now: float | None = None) -> int:
        """Remove unused files and broken-off uploads, and return how many files were removed."""
        now = time.time() if now is None else now
        oldest, oldest_upload = now - self.keep_seconds, now - min(self.keep_seconds, _UPLOAD_TIMEOUT)
        removed = 0
        for path, _, used in _files(self.folder):
            # gradio writes an upload into the top folder until it is complete
            if used < (oldest_upload if path.parent == self.folder else oldest):
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed += 1
        _remove_empty_folders(self.folder, oldest)
        return removed

    def close(self) -> None:
        """Remove the folder."""
        self._closed.set()
        self._sweeper.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep_regularly(self) -> None:
        while not self._closed.wait(min(_SWEEP_EVERY, self.keep_seconds / 2)):
            self.sweep()


def is_token(text: str) -> bool:
    """Return whether `text` has the form of the names that `Storage.new_folder` makes."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def touch(*paths: Path) -> None:
    """Mark files as used. Files that do not exist are skipped."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.utime(path)


def _files(folder: Path) -> list[tuple[Path, int, float]]:
    """Return path, bytes and last use of every file. Files that vanish in the meantime are skipped."""
    found: list[tuple[Path, int, float]] = []
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                stat = (Path(top) / name).lstat()
                found.append((Path(top) / name, stat.st_size, stat.st_mtime))
    return found


def _remove_empty_folders(folder: Path, before: float) -> None:
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
