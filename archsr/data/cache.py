"""A folder of verified copies that all processes of a machine share, bounded in bytes.

Only files with the names below are counted and evicted; other files in the folder are left alone. A copy is named by
its SHA-256. It is renamed to that name only after its SHA-256 was checked, so every visible copy is valid. Processes
coordinate by `flock`, which is released when a process ends, so that a killed process leaves no lock behind:

    NAME            a copy; readers hold a shared lock, eviction takes an exclusive one
    NAME.SIZE.part  a transfer of SIZE bytes in progress, locked exclusively; without a lock its process is dead
    .room           locked while free space is computed and made

fsspec's `filecache` and `simplecache` have no bound, no hash and no lock. webdataset's `FileCache` evicts files in use
by age, accepts anything that looks like a tar, and downloads once per process.
"""

import contextlib
import os
import re
import threading
import time
from collections.abc import Collection, Generator
from dataclasses import dataclass
from pathlib import Path

from archsr.data.remote import Remote, fetch
from archsr.errors import DataError
from archsr.utils.atomic import sha256, sync_file, sync_folder
from archsr.utils.digests import agrees
from archsr.utils.locks import lock

_COPY = re.compile(r"[0-9a-f]{64}(\.[A-Za-z0-9]+)?")
_PART = re.compile(_COPY.pattern + r"\.(\d+)\.part")
_POLL = 0.05  # seconds between checks for a transfer of another process
_PATIENCE = 900.0  # seconds to wait for free space


@dataclass(frozen=True)
class Item:
    """A file of a dataset: its name, its SHA-256, and its size if the manifest has it."""

    file: str
    sha256: str
    size: int | None = None


@contextlib.contextmanager
def opened(remote: Remote, item: Item) -> Generator[int]:
    """Yield the descriptor of the verified copy, fetched first if needed. Eviction skips it while it is open."""
    waited = 0.0
    while (handle := _lease(remote, item)) is None:
        if not fetch_copy(remote, item):
            time.sleep(_POLL)
            waited += _POLL
        if waited > _PATIENCE and not has_part(remote, item):
            raise DataError(
                f"{remote.cache}: no room for {remote / item.file} after {waited:.0f} s; other transfers fill the "
                f"{remote.limit / 1e9:g} GB; raise data.cache_gb"
            )
    try:
        yield handle
    finally:
        os.close(handle)


def read(remote: Remote, item: Item, *, digest: str, offset: int = 0, size: int | None = None) -> bytes:
    """Read `size` bytes of a file from `offset` on (default: the whole file) that match `digest`.

    A copy that changed on disk is fetched again once. Raises `UserError` if it is wrong a second time.
    """
    for _ in range(2):
        with opened(remote, item) as handle:
            data = os.pread(handle, os.fstat(handle).st_size if size is None else size, offset)
        if agrees(data, digest):
            return data
        remove_copy(remote, item)
    raise DataError(
        f"{remote / item.file}: the bytes at {offset:,} differ from the index, twice; the disk of "
        f"{remote.cache} is failing, or the dataset's index and tar do not match"
    )


def fetch_copy(remote: Remote, item: Item, *, keep: Collection[Path] = (), stop: threading.Event | None = None) -> bool:
    """Fetch a file into the cache; return False if another process fetches it or only files in `keep` could make room.

    Raises `UserError` if it cannot be fetched, and `TransferCancelled` like `remote.fetch`.
    """
    path = copy_of(remote, item)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _reserve(remote, item, keep)
    except OSError as error:
        raise DataError(f"{remote.cache}: cannot be written: {error.strerror}; set data.cache") from None
    if part is None:
        return path.is_file()
    handle, temporary = part
    try:
        fetch(remote, item.file, temporary, size=item.size, check=lambda p: _wrong(p, item), stop=stop)
        sync_file(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return True


def remove_copy(remote: Remote, item: Item) -> None:
    """Remove a copy whose bytes have changed."""
    copy_of(remote, item).unlink(missing_ok=True)


def touch(remote: Remote, item: Item) -> bool:
    """Mark a copy as used now; return False if there is none."""
    try:
        os.utime(copy_of(remote, item))
    except FileNotFoundError:
        return False
    return True


def copy_of(remote: Remote, item: Item) -> Path:
    """Return the path of a file's copy, whether or not it exists."""
    return remote.cache / f"{item.sha256}{Path(item.file).suffix}"


def has_part(remote: Remote, item: Item) -> bool:
    """Return whether a transfer of the file is in progress."""
    return _part_of(remote, item).exists()


def _part_of(remote: Remote, item: Item) -> Path:
    return remote.cache / f"{copy_of(remote, item).name}.{item.size or 0}.part"


def _lease(remote: Remote, item: Item) -> int | None:
    path = copy_of(remote, item)
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from None
    lock(handle, shared=True)  # eviction holds its lock only for the moment of the removal
    if os.fstat(handle).st_nlink == 0:
        os.close(handle)
        return None
    with contextlib.suppress(PermissionError):  # another user's copy: its time cannot be set
        os.utime(handle)
    return handle


def _wrong(path: Path, item: Item) -> str | None:
    found = sha256(path)
    return None if found == item.sha256 else f"SHA-256 {found[:16]}, the manifest has {item.sha256[:16]}"


# ---------------------------------------------------------------- room


def _reserve(remote: Remote, item: Item, keep: Collection[Path]) -> tuple[int, Path] | None:
    """Return the locked, empty file of a transfer once there is room for it."""
    part = _part_of(remote, item)
    room = os.open(remote.cache / ".room", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock(room)
        if not _make_room(remote, item, keep) or copy_of(remote, item).exists():  # this order matters: a transfer
            return None  # that is no longer in progress has either arrived or failed
        handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        lock(handle)
        return handle, part
    finally:
        os.close(room)


def _make_room(remote: Remote, item: Item, keep: Collection[Path]) -> bool:
    """Evict the least recently used copies; return False if the limit still leaves no room."""
    need = item.size or 0
    if need > remote.limit:
        raise DataError(
            f"{remote / item.file}: {need:,} bytes do not fit into the cache of {remote.limit:,} bytes; raise "
            "data.cache_gb"
        )
    used = need
    copies: list[tuple[float, int, Path]] = []
    for path in remote.cache.iterdir():
        if transfer := _PART.fullmatch(path.name):
            if not _is_in_progress(path):
                continue
            if path == _part_of(remote, item):
                return False
            used += int(transfer[2])
        elif _COPY.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # `remove_copy` takes no lock
                about = path.stat()
                used += about.st_size
                copies.append((about.st_mtime, about.st_size, path))
    for _, size, path in sorted(copies):
        if used <= remote.limit:
            break
        if path not in keep and _evict(path):
            used -= size
    return used <= remote.limit


def _is_in_progress(part: Path) -> bool:
    """Return whether a process still writes it; the file of a dead process is removed."""
    return not _evict(part)


def _evict(path: Path) -> bool:
    """Remove a file that nobody has locked; return False if somebody has."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        free = lock(handle, wait=False)
        if free:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)
    return free
