"""The exceptions that end a command with a plain line instead of a traceback."""

import difflib
import os
import sys
import traceback
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. The text says what, where, got and expected, and what to do; exit code 2."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the line alone, as the command does."""
        if _wants_traceback():
            return "".join(traceback.format_exception(self)).splitlines()
        return [f"{type(self).__name__}: {self}"]


class ConfigError(UserError):
    """A config file, a key or a value does not fit."""


class DataError(UserError):
    """Photographs or a prepared dataset are missing, damaged, or of another kind."""


class WeightsError(UserError):
    """Weights are missing, damaged, or of another network."""


class ElsewhereError(UserError):
    """The same trouble on a rank that another one already reports: exit code 2, nothing printed."""


def _wants_traceback() -> bool:
    return os.environ.get("ARCHSR_TRACEBACK") == "1"


def print_error(error: UserError) -> None:
    """The line on stderr that ends a command; above it the traceback, where ARCHSR_TRACEBACK is set to 1."""
    if _wants_traceback():
        traceback.print_exception(error)
    print(f"archsr: {error}", file=sys.stderr)


def first_line(error: BaseException, *, kind: bool = False) -> str:
    """The first line of what an error says, after its `kind` where wanted; the kind alone where it says nothing."""
    name, line = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
    return f"{name}: {line}" if kind and line else line or name


def near(word: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """`"; did you mean 'x' or 'y'?"` for the known words nearest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=likeness)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
