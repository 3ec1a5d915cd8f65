"""The result of a check."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Line:
    """The state of one thing in words, and how to fix it (empty if nothing is wrong)."""

    about: str
    state: State
    what: str
    mend: str = ""


def ok(about: str, what: str) -> Line:
    """Return a line without a fault."""
    return Line(about, "ok", what)


def table(lines: Sequence[Line]) -> str:
    """Format the lines, each with the command that fixes it below, and a summary."""
    wide = max(len(line.about) for line in lines)
    text: list[str] = []
    for line in lines:
        text.append(f"{line.state:8}{line.about:{wide}}  {line.what}")
        if line.mend:
            text.append(f"{'':{8 + wide}}  → {line.mend}")
    wrong, warnings = (sum(line.state == s for line in lines) for s in ("wrong", "warning"))
    text.append(f"{len(lines)} checks: {wrong} wrong, {warnings} with a warning")
    return "\n".join(text)
