"""Exceptions that end a command with one line instead of a traceback, and helpers for messages."""

import difflib
import os
import sys
import traceback
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix. The text says what, where, got and expected, and what to do; exit code 2."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of a traceback: the same line as the command."""
        if _wants_traceback():
            return "".join(traceback.format_exception(self)).splitlines()
        return [f"{type(self).__name__}: {self}"]


class ConfigError(UserError):
    """A config file, key or value is invalid."""


class DataError(UserError):
    """Photographs or a prepared dataset are missing, damaged, or of the wrong kind."""


class WeightsError(UserError):
    """Weights are missing, damaged, or of another network."""


class ElsewhereError(UserError):
    """The error of another rank, which reports it: exit code 2, without a message."""


def _wants_traceback() -> bool:
    return os.environ.get("ARCHSR_TRACEBACK") == "1"


def print_error(error: UserError) -> None:
    """Print the error on stderr, with its traceback if ARCHSR_TRACEBACK is 1."""
    if _wants_traceback():
        traceback.print_exception(error)
    print(f"archsr: {error}", file=sys.stderr)


def first_line(error: BaseException, *, kind: bool = False) -> str:
    """Return the first line of an error's message, with its class name if `kind`. Without a message, the name."""
    name, line = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
    return f"{name}: {line}" if kind and line else line or name


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, of the host or of a GPU, also inside cuBLAS or cuDNN."""
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):  # torch's, without importing it
        return True
    text = str(error).lower()
    return any(status in text for status in ("_alloc_failed", "_allocation_failed")) or (
        "memory" in text and "alloc" in text
    )


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """Return `"; did you mean 'x' or 'y'?"` for the known words closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=likeness)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
