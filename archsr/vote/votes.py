"""What people said: FOLDER/votes.jsonl, a line for each vote, flushed before it is answered, only ever added to."""

import json
import os
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from archsr.vote.study import Letter

NAME = "votes.jsonl"
Choice = Literal["left", "right", "none"]


@dataclass(frozen=True)
class Vote:
    """A judgement: `left` is the model that was on the left, `choice` which side is better; `seconds` it took."""

    voter: str
    key: str
    scene: str
    left: Letter
    choice: Choice
    seconds: float
    time: str

    @property
    def value(self) -> int:
        """1 for model B, −1 for A, 0 for no difference."""
        if self.choice == "none":
            return 0
        return 1 if (self.choice == "left") == (self.left == "B") else -1


@dataclass(frozen=True)
class TakenBack:
    """A voter's vote on `key` does not count."""

    voter: str
    back: str
    time: str


@dataclass(frozen=True)
class Votes:
    """The votes that count, in order, and the numbers of the lines that could not be read."""

    votes: tuple[Vote, ...]
    damaged: tuple[int, ...] = ()

    def of(self, voter: str) -> list[Vote]:
        """One voter's, in order."""
        return [vote for vote in self.votes if vote.voter == voter]

    def word(self) -> str:
        """What to tell of damaged lines, or an empty string."""
        if not self.damaged:
            return ""
        lines = f"line{'s' * (len(self.damaged) > 1)} {', '.join(map(str, self.damaged))}"
        return f"{NAME}: {lines} left out: damaged, or about an image that is not asked about"


_ADAPTER: TypeAdapter[Vote | TakenBack] = TypeAdapter(Vote | TakenBack)


def read(folder: Path, keys: Collection[str]) -> Votes:
    """The votes of a folder on the images with these keys. A vote that was given again counts once, as given last."""
    votes: dict[tuple[str, str], Vote] = {}
    damaged: list[int] = []
    for number, line in enumerate(_lines(folder / NAME), 1):
        try:
            entry = _ADAPTER.validate_json(line)
        except ValidationError:
            damaged.append(number)
            continue
        key = entry.back if isinstance(entry, TakenBack) else entry.key
        votes.pop((entry.voter, key), None)
        if isinstance(entry, Vote):
            if key in keys:
                votes[entry.voter, key] = entry
            else:
                damaged.append(number)
    return Votes(tuple(votes.values()), tuple(damaged))


def append(folder: Path, entry: Vote | TakenBack) -> None:
    """Add a line; it is on the disk when this returns. The caller holds the folder (`locked`)."""
    path = folder / NAME
    with path.open("ab+") as out:
        if out.seek(0, os.SEEK_END) and not _ends_a_line(out):  # the last writer was cut off
            out.write(b"\n")
        out.write(json.dumps(asdict(entry)).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Nobody else, of this page or of another one on the same folder, looks and adds meanwhile."""
    with FileLock(folder / ".votes.lock", thread_local=False):
        yield


def _ends_a_line(out: Any) -> bool:  # noqa: ANN401 - a binary file
    out.seek(-1, os.SEEK_END)
    return out.read(1) == b"\n"


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes() if path.exists() else b""
    return content.removesuffix(b"\n").split(b"\n") if content else []
