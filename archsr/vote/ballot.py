"""What a voter's browser can request, without HTTP: the state, a vote, and taking back the last vote.

Everything is read from the folder each time, so two pages on one folder, a reload and another day all work the same.
"""

import math
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from archsr.vote.study import Study, VoteImage
from archsr.vote.votes import Choice, TakenBack, Vote, append, locked, read

_LONGEST = 60  # characters of a name
_MOST_SECONDS = 86_400.0
_CHOICES: tuple[Choice, ...] = ("left", "right", "none")


class RefusedError(Exception):
    """An invalid request; the text says why."""


class Ballot:
    """The voting in a folder. Each answer is a voter's state: `done`, `of`, and the `next` image, if any."""

    def __init__(self, folder: Path, study: Study) -> None:
        self._folder = folder
        self._study = study
        self._scenes = study.scenes()

    def state(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return a voter's state."""
        return self._state(voter_of(request))

    def vote(self, request: dict[str, Any]) -> dict[str, Any]:
        """Store a vote on the voter's next image. A vote on another image (sent twice, a second window) is ignored."""
        voter, choice, seconds = voter_of(request), _choice_of(request), _seconds_of(request)
        with locked(self._folder):
            one = self._next(voter)
            if one is not None and request.get("image") == one.number:
                left = self._study.left(voter, one.number)
                append(self._folder, Vote(voter, one.key, one.scene, left, choice, seconds, _now()))
        return self._state(voter)

    def take_back(self, request: dict[str, Any]) -> dict[str, Any]:
        """Cancel the voter's last vote, so that its image comes again."""
        voter = voter_of(request)
        with locked(self._folder):
            if own := read(self._folder, self._scenes).of(voter):
                append(self._folder, TakenBack(voter, own[-1].key, _now()))
        return self._state(voter)

    def _left_over(self, voter: str) -> list[VoteImage]:
        judged = {vote.key for vote in read(self._folder, self._scenes).of(voter)}
        return [one for one in self._study.order(voter) if one.key not in judged]

    def _next(self, voter: str) -> VoteImage | None:
        return next(iter(self._left_over(voter)), None)

    def _state(self, voter: str) -> dict[str, Any]:
        left_over, of = self._left_over(voter), len(self._study.images)
        shown = self._shown(voter, left_over[0]) if left_over else None
        return {"voter": voter, "done": of - len(left_over), "of": of, "next": shown}

    def _shown(self, voter: str, one: VoteImage) -> dict[str, Any]:
        left = self._study.left(voter, one.number)
        kinds = {"left": left, "right": "B" if left == "A" else "A", "input": "input", "photograph": "photograph"}
        files = {side: f"/images/{self._study.token(one.number, cast(Any, kind))}.png"
                 for side, kind in kinds.items() if kind in self._study.asking.kinds}  # fmt: skip
        return {"image": one.number, **files}


def voter_of(request: dict[str, Any]) -> str:
    """Return the name in a request, with single spaces. Raises `RefusedError`."""
    said = request.get("voter")
    name = unicodedata.normalize("NFC", " ".join(said.split())) if isinstance(said, str) else ""
    if not name or len(name) > _LONGEST or not name.isprintable():
        raise RefusedError(f"a name has 1 to {_LONGEST} characters")
    return name


def _choice_of(request: dict[str, Any]) -> Choice:
    for choice in _CHOICES:
        if request.get("choice") == choice:
            return choice
    raise RefusedError(f"a choice is one of {', '.join(_CHOICES)}")


def _seconds_of(request: dict[str, Any]) -> float:
    said = request.get("seconds")
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said) or said < 0:
        raise RefusedError("seconds are a number from 0")
    return round(min(float(said), _MOST_SECONDS), 2)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
