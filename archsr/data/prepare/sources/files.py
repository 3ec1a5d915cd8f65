"""Reading paths that may be pipes, devices or broken links."""

import errno
import os
import stat
from pathlib import Path

from archsr.data.prepare.sources.photos import MAX_BYTES, check_size

_ODD_FILES = {
    stat.S_IFIFO: "a named pipe, not a file",
    stat.S_IFSOCK: "a socket, not a file",
    stat.S_IFCHR: "a device, not a file",
    stat.S_IFBLK: "a device, not a file",
    stat.S_IFDIR: "a folder that cannot be entered",
}


def read_file(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a regular file. Raises OSError at once for pipes, devices and broken links."""
    try:
        status = path.stat()
    except OSError as error:
        raise _explained(error, path) from None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(_ODD_FILES.get(stat.S_IFMT(status.st_mode), "not a file"))
    check_size(status.st_size, max_bytes)
    # non-blocking: the file may have become a pipe since
    with os.fdopen(
        os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
    ) as file:
        return file.read(status.st_size)


def _explained(error: OSError, path: Path) -> OSError:
    if error.errno == errno.ELOOP:
        return OSError("a link that leads back to itself")
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return OSError("a link to a file that does not exist")
    return error


def stamp_file(path: Path) -> str:
    """Return `size-mtime_ns` of a file, or why it has none."""
    try:
        status = path.stat()
    except OSError as error:
        return f"none-{error.errno}"
    return f"{status.st_size}-{status.st_mtime_ns}"
