"""Choose which checkpoints to keep when a new one is complete."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Keep:
    """Keep the `newest`; with `best` also the one with the highest score; with `hours` one per that many hours."""

    newest: int = 2
    best: bool = False
    hours: float = 0.0


@dataclass(frozen=True)
class Stamp:
    """A checkpoint's step, its time (seconds since 1970), and its validation score if it has one."""

    step: int
    saved: float
    score: float | None


def core(stamps: Sequence[Stamp], keep: Keep) -> set[int]:
    """Return the steps that are kept as newest or best."""
    ordered = sorted(stamps, key=lambda s: s.step)
    stay = {s.step for s in ordered[-keep.newest :]}
    scored = [s for s in ordered if s.score is not None]
    if keep.best and scored:
        # of equal scores the older one, which was first
        stay.add(max(scored, key=lambda s: (s.score or 0.0, -s.step)).step)
    return stay


def staying(stamps: Sequence[Stamp], keep: Keep) -> set[int]:
    """Return the steps of the checkpoints to keep.

    With `hours`, it keeps the first one, then the first at least so many hours after it, and so on. So no kept
    checkpoint is dropped later for a newer one.
    """
    ordered, stay = sorted(stamps, key=lambda s: s.step), core(stamps, keep)
    if keep.hours:
        latest = float("-inf")
        for stamp in ordered:
            if stamp.saved >= latest + keep.hours * 3600:
                stay.add(stamp.step)
                latest = stamp.saved
    return stay
