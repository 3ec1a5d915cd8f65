"""A vote's folder: study.json holds models and images, images/ the files that are shown.

File names reveal nothing: they are a keyed digest of the image's number and of what made it. The key is in study.json,
which no visitor can read.
"""

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from archsr.errors import UserError
from archsr.utils.atomic import write_bytes
from archsr.utils.seeds import seed_of
from archsr.vote.models import VoteModel

NAME = "study.json"
Letter = Literal["A", "B"]
Kind = Literal["A", "B", "input", "photograph"]
KINDS: tuple[Kind, ...] = ("A", "B", "input", "photograph")


@dataclass(frozen=True)
class VoteImage:
    """An image of a vote: its number, key and scene in the dataset."""

    number: int
    key: str
    scene: str


@dataclass(frozen=True)
class VoteQuestion:
    """Two models on images of a dataset, at most `limit`, cropped to `crop` pixels a side.

    `truth`: voters can look at the photograph that an image was made from.
    """

    a: VoteModel
    b: VoteModel
    dataset: str
    about: str
    limit: int | None
    crop: int
    truth: bool = True

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of images that are shown."""
        return KINDS if self.truth else tuple(kind for kind in KINDS if kind != "photograph")

    @property
    def names(self) -> dict[Letter, str]:
        """The names of the models."""
        return {"A": self.a.name, "B": self.b.name}


@dataclass(frozen=True)
class Study:
    """A question, the `secret` for file names and orders, and its images; empty until all are restored."""

    asking: VoteQuestion
    secret: str
    images: tuple[VoteImage, ...] = ()

    def token(self, number: int, kind: Kind) -> str:
        """Return the name of an image's file without its ending."""
        return hmac.digest(self.secret.encode(), f"{number} {kind}".encode(), "sha256").hex()[:32]

    def order(self, voter: str) -> list[VoteImage]:
        """Return the images in the order for a voter, the same each time."""
        return sorted(self.images, key=lambda one: seed_of(0, self.secret, "order", voter, one.number))

    def left(self, voter: str, number: int) -> Letter:
        """Return the model that a voter sees on the left."""
        return "A" if seed_of(0, self.secret, "side", voter, number) % 2 else "B"

    def scenes(self) -> Mapping[str, str]:
        """Return the scene of each key."""
        return {one.key: one.scene for one in self.images}


def image_file(folder: Path, token: str) -> Path:
    """Return the path of an image."""
    return folder / "images" / f"{token}.png"


def open_study(folder: Path, asking: VoteQuestion) -> Study:
    """Open the study of this question in `folder`, or create it.

    Raises `UserError` if the folder has another question, or cannot be written.
    """
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".study.lock"):  # two processes may start in the same folder
            if not (folder / NAME).exists():
                store(folder, Study(asking, secrets.token_hex(16)))
            study = read(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    if (other := _difference(study.asking, asking)) is not None:
        raise UserError(f"{folder}: holds another vote: {other}; choose another folder with --out")
    return study


def read(folder: Path) -> Study:
    """Read the study of a folder. Raises `UserError` if there is none."""
    try:
        return TypeAdapter(Study).validate_json((folder / NAME).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{folder}: not a vote's folder: it has no {NAME}") from None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged, or of another version of archsr"
        raise UserError(f"{folder / NAME}: cannot be read: {reason}; choose another folder with --out") from None


def store(folder: Path, study: Study) -> None:
    """Write the study atomically."""
    write_bytes(folder / NAME, (json.dumps(asdict(study), indent=1) + "\n").encode())


def _difference(old: VoteQuestion, new: VoteQuestion) -> str | None:
    """Describe the difference of two questions; names and paths of models may differ, identities may not."""
    if (old.a.identity, old.b.identity) != (new.a.identity, new.b.identity):
        return f"{old.a.name} against {old.b.name}, or earlier weights of them"
    same = replace(new, a=old.a, b=old.b, about=old.about)
    if old == same:
        return None
    limit = "without --limit" if old.limit is None else f"with --limit {old.limit}"
    return f"{old.about}, {limit}, --crop {old.crop}"
