"""What a check found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Line:
    """The state of one thing, in words, and what mends it; without a fault there is nothing to mend."""

    about: str
    state: State
    what: str
    mend: str = ""


def ok(about: str, what: str) -> Line:
    """A line without a fault."""
    return Line(about, "ok", what)


def table(lines: Sequence[Line]) -> str:
    """A line each, with the command that mends it below, and a sum."""
    wide = max(len(line.about) for line in lines)
    text: list[str] = []
    for line in lines:
        text.append(f"{line.state:8}{line.about:{wide}}  {line.what}")
        if line.mend:
            text.append(f"{'':{8 + wide}}  → {line.mend}")
    wrong, warnings = (sum(line.state == s for line in lines) for s in ("wrong", "warning"))
    text.append(f"{len(lines)} checks: {wrong} wrong, {warnings} with a warning")
    return "\n".join(text)
