"""Files that are complete or absent: temporary name, flush to disk, rename.

The order (fsync the file, rename, fsync the folder) is what makes the rename survive a power cut on the usual
Linux file systems; a reader never sees half a file.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Generator
from pathlib import Path


def sha256(path: Path) -> str:
    """The hex digest of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries (a no-op where folders cannot be opened, as on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Flush a finished file's bytes to disk."""
    with path.open("rb+") as f:
        os.fsync(f.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a temporary sibling of `path` to write; on success it is flushed and becomes `path`, else it is removed.

    The temporary name keeps the suffix, so that writers which look at it (PIL, TarWriter) choose the same format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that `path` is afterwards complete, or as it was."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def discarded(folder: Path) -> Path:
    """A hidden name beside `folder`. It takes it before its files go, so that no half of it passes for the whole."""
    return folder.with_name(f".{folder.name.removeprefix('.')}.{uuid.uuid4().hex[:8]}.old")
