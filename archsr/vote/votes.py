"""The votes: votes.jsonl is append-only, with a line per vote, flushed before the voter gets an answer."""

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
    """A vote: `left` is the model on the left, `choice` the better side, `seconds` the time it took."""

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
    """Cancels a voter's vote on the image `back`."""

    voter: str
    back: str
    time: str


@dataclass(frozen=True)
class Votes:
    """The valid votes, in order, and the numbers of lines that could not be read."""

    votes: tuple[Vote, ...]
    damaged: tuple[int, ...] = ()

    def of(self, voter: str) -> list[Vote]:
        """Return one voter's votes, in order."""
        return [vote for vote in self.votes if vote.voter == voter]

    def warning(self) -> str:
        """Return a warning about damaged lines, or an empty string."""
        if not self.damaged:
            return ""
        lines = f"line{'s' * (len(self.damaged) > 1)} {', '.join(map(str, self.damaged))}"
        return f"{NAME}: {lines} ignored: damaged, or about an unknown image"


_ADAPTER: TypeAdapter[Vote | TakenBack] = TypeAdapter(Vote | TakenBack)


def read(folder: Path, keys: Collection[str]) -> Votes:
    """Read a folder's votes on the images with these keys. The last vote of a voter on an image counts."""
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
    """Append a line and flush it to disk. The caller holds the lock (`locked`)."""
    path = folder / NAME
    with path.open("ab+") as out:
        if out.seek(0, os.SEEK_END) and not _ends_a_line(out):  # the last writer was killed
            out.write(b"\n")
        out.write(json.dumps(asdict(entry)).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Lock the votes against other threads and processes."""
    with FileLock(folder / ".votes.lock", thread_local=False):
        yield


def _ends_a_line(out: Any) -> bool:  # noqa: ANN401 - a binary file
    out.seek(-1, os.SEEK_END)
    return out.read(1) == b"\n"


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes() if path.exists() else b""
    return content.removesuffix(b"\n").split(b"\n") if content else []
