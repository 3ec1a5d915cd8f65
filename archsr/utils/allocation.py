"""Keeps large memory blocks for reuse; glibc would return each to the kernel, which has to clear it again."""

import ctypes
import os
from collections.abc import Callable

# malloc.h
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
_LARGEST = 2**30, 2**25  # bytes; older glibc accepts only the second


def reuse_large_blocks() -> None:
    """Keep large blocks in this process from now on.

    Does nothing without glibc or if `MALLOC_MMAP_THRESHOLD_` is set. On two cores a pass of x4plus over 128 × 128
    pixels takes 3.4 s instead of 4.2, an evaluation 86 % of its time, a training iteration 92 to 98 %; the process
    keeps up to a fifth more memory. There is one arena, because those of other threads could not hold blocks this
    large.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    if any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return free memory to the kernel, so that the process's memory is what it uses."""
    if (trim := _glibc("malloc_trim")) is not None:
        trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):  # macOS, musl
        return None
