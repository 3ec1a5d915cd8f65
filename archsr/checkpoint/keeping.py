"""Which checkpoints stay when a new one is complete."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Keep:
    """The `newest` stay; with `best` also the one with the highest score; with `hours` also one per so many hours."""

    newest: int = 2
    best: bool = False
    hours: float = 0.0


@dataclass(frozen=True)
class Stamp:
    """A checkpoint's step, when it was saved (seconds since 1970), and its validation score where it has one."""

    step: int
    saved: float
    score: float | None


def core(stamps: Sequence[Stamp], keep: Keep) -> set[int]:
    """The steps of those that stay as newest or as best: what a run goes on from."""
    ordered = sorted(stamps, key=lambda s: s.step)
    stay = {s.step for s in ordered[-keep.newest :]}
    scored = [s for s in ordered if s.score is not None]
    if keep.best and scored:
        # of equals the older: it was the first to get there
        stay.add(max(scored, key=lambda s: (s.score or 0.0, -s.step)).step)
    return stay


def staying(stamps: Sequence[Stamp], keep: Keep) -> set[int]:
    """The steps of the checkpoints that stay.

    The one per `hours` is the first that is at least so much later than the one kept before it, so that nothing kept
    is ever given up later for a newer one.
    """
    ordered, stay = sorted(stamps, key=lambda s: s.step), core(stamps, keep)
    if keep.hours:
        latest = float("-inf")
        for stamp in ordered:
            if stamp.saved >= latest + keep.hours * 3600:
                stay.add(stamp.step)
                latest = stamp.saved
    return stay
