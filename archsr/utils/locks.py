"""Locks on open files between processes. A lock ends with its process, so that a killed one leaves none behind."""

import importlib
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, which has no shared locks and opens no file that is being removed
    fcntl = None

SHARED_LOCKS = fcntl is not None


def lock(handle: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file until it is closed; without `wait`, return False if another process holds it.

    On Windows a shared lock is none. Raises `OSError` on a file system without locks.
    """
    if fcntl is None:
        return shared or _lock_on_windows(handle, wait=wait)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _lock_on_windows(handle: int, *, wait: bool) -> bool:
    msvcrt: Any = importlib.import_module("msvcrt")
    try:
        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True
