"""Files that are complete or absent: write to a temporary name, flush to disk, rename.

The order (fsync the file, rename, fsync the folder) makes the rename survive a power cut on the usual Linux file
systems. A reader never sees half a file.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Generator
from pathlib import Path


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk; does nothing if folders cannot be opened, as on Windows."""
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
    """Yield a temporary sibling of `path` to write; on success flush and rename it to `path`, else remove it.

    The temporary name keeps the suffix, so that writers which check it (PIL, TarWriter) choose the same format.
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
    """Write `content` to `path` atomically: on failure `path` is unchanged."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def discarded(folder: Path) -> Path:
    """Rename `folder` to a hidden sibling before its files are deleted, so that no half of it looks complete."""
    return folder.with_name(f".{folder.name.removeprefix('.')}.{uuid.uuid4().hex[:8]}.old")
