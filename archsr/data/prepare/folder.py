"""The staging folder of a preparation inside the output: it is locked, and user files are never overwritten."""

import contextlib
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from archsr.data import manifest as mf
from archsr.data.prepare.sources.photos import is_hidden
from archsr.data.prepare.survey.chunks import PreparePaths
from archsr.data.versions import UNFINISHED, versions
from archsr.errors import DataError
from archsr.utils.locks import lock

LOCK = "lock"


@contextmanager
def locked(place: PreparePaths, *, shared: bool, restart: bool) -> Generator[bool]:
    """Lock the staging folder, shared for tasks and exclusive otherwise; yield whether it is new.

    Raises `UserError` if another process works there.
    """
    _check(place.out)
    new = not place.out.exists()
    place.out.mkdir(parents=True, exist_ok=True)
    _take_over(place)
    for left in place.staging.parent.glob(f"{place.staging.name}.*.old"):
        if re.fullmatch(r"\.[0-9a-f]{8}\.old", left.name.removeprefix(place.staging.name)):  # of a killed process
            shutil.rmtree(left, ignore_errors=True)
    fresh = not place.staging.exists()
    place.staging.mkdir(exist_ok=True)
    handle = os.open(place.staging / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle, place, shared=shared)
        if restart:
            for path in place.staging.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
        yield fresh or restart
    finally:
        os.close(handle)
        if new:
            with contextlib.suppress(OSError):  # not empty
                place.out.rmdir()


def _take_over(place: PreparePaths) -> None:
    """Move unfinished work from beside the output, where earlier versions of archsr kept it."""
    beside = place.out.with_name(f".{place.out.name}.preparing")
    if beside.is_dir() and not place.staging.exists():
        with contextlib.suppress(OSError):  # on another file system
            beside.rename(place.staging)


def _lock(handle: int, place: PreparePaths, *, shared: bool) -> None:
    free = True
    with contextlib.suppress(OSError):  # a file system without locks
        free = lock(handle, shared=shared, wait=False)
    if not free:
        raise DataError(
            f"{place.out}: another archsr prepare is running (in {place.staging}); wait until it ends, or write "
            "to another folder"
        )


def _check(out: Path) -> None:
    if out.is_symlink() and not out.exists():
        raise DataError(f"{out}: is a link to {out.readlink()}, which does not exist; make that folder first")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; the output must be a folder")
    ours = mf.is_dataset(out) or (out / UNFINISHED).is_dir() or bool(versions(out))
    if out.is_dir() and not ours and any(not is_hidden(path.name) for path in out.iterdir()):
        raise DataError(f"{out}: holds other files and is no dataset of archsr; choose an empty or new folder")
