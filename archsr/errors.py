"""The one exception that ends a command with a plain line instead of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend. The text says what, where, got and expected, and what to do; exit code 2."""


class ElsewhereError(UserError):
    """The same trouble on a rank that another one already reports: exit code 2, nothing printed."""


def near(word: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """`"; did you mean 'x' or 'y'?"` for the known words nearest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=likeness)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
