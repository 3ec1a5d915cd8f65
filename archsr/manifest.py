"""The description of a prepared dataset: `manifest.json`, one index per shard, one line per source file.

`shards/README.md` documents the format. Everything the training order depends on is in the fingerprint.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from archsr.errors import UserError

SCHEMA = "archsr-shards/2"
NAME = "manifest.json"
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shard(_Part):
    """A tar and its index: names relative to the dataset's folder, sizes in bytes, SHA-256 in hex."""

    file: str
    samples: int
    bytes: int
    sha256: str
    index: str
    index_sha256: str


class Split(_Part):
    """One side of the split: its shards in order, and how many photographs and scenes stand behind them."""

    photos: int
    scenes: int
    samples: int
    shards: list[Shard]


class LeftOut(_Part):
    """A file that gave no samples, and why. `kind` groups the reasons: unreadable, drawing, duplicate, small."""

    path: str
    kind: str
    reason: str


class Sources(_Part):
    """Lists of what was found, as JSON lines: every file with what became of it, and pairs that show the same."""

    origin: str
    file: str
    sha256: str
    same: str
    same_sha256: str
    found: int
    kept: int
    leaks: int


class Manifest(_Part):
    """A prepared dataset. `prepare` is the resolved configuration that made it, as plain data."""

    schema_: str
    scale: int
    fingerprint: str
    prepare: dict[str, Any]
    sources: Sources
    left_out: list[LeftOut]
    splits: dict[str, Split]

    @property
    def paired(self) -> bool:
        """Whether training samples have their `lq` from disk, so that nothing is to be degraded."""
        return bool(self.prepare.get("lq_folder"))


@dataclass(frozen=True)
class Member:
    """Where a picture lies in its tar: byte offset and size of the encoded picture, and its SHA-256."""

    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Sample:
    """One line of a shard's index. `box` is (left, top, width, height) in the upright source picture, in pixels."""

    key: str
    scene: str
    photo: str
    box: tuple[int, int, int, int]
    members: dict[str, Member]
    tags: tuple[str, ...] = ()


def fingerprint(splits: dict[str, Split]) -> str:
    """SHA-256 over the hashes of all shards in order: two datasets with the same samples in the same order agree."""
    text = json.dumps({name: [s.sha256 for s in split.shards] for name, split in splits.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`."""
    plain = manifest.model_dump(mode="json")
    plain["schema"] = plain.pop("schema_")
    ordered = {"schema": plain.pop("schema"), **plain}
    return (json.dumps(ordered, indent=1, ensure_ascii=True) + "\n").encode()


def load(folder: Path) -> Manifest:
    """Read a dataset's manifest. Raises `UserError` if there is none, or it is of another schema or damaged."""
    path = folder / NAME
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{folder}: no {NAME} there; make a dataset with: archsr prepare PHOTOS {folder}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    found = plain.pop("schema", "none") if isinstance(plain, dict) else "none"
    if found != SCHEMA:
        raise UserError(
            f"{path}: shards of another schema: got {found!r}, expected {SCHEMA!r}; prepare the photographs again"
        )
    try:
        return Manifest.model_validate({"schema_": found, **plain})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: damaged at {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def check_sizes(folder: Path, shards: Iterable[Shard]) -> None:
    """Compare every tar's size with the manifest: cheap, and catches truncation before training starts."""
    for shard in shards:
        path = folder / shard.file
        size = path.stat().st_size if path.is_file() else None
        if size != shard.bytes:
            state = "missing" if size is None else f"truncated or changed: {size:,} bytes"
            raise UserError(f"{path}: {state}, expected {shard.bytes:,}; copy it again or prepare the dataset again")


def read_index(folder: Path, shard: Shard) -> list[Sample]:
    """The samples of a shard in order. Raises `UserError` if the index is missing or not the manifest's."""
    path = folder / shard.index
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; copy it again") from None
    if hashlib.sha256(content).hexdigest() != shard.index_sha256:
        raise UserError(f"{path}: is not the index that {NAME} describes (its SHA-256 differs); copy it again")
    return [_sample(json.loads(line)) for line in content.splitlines()]


def _sample(plain: dict[str, Any]) -> Sample:
    left, top, width, height = plain["box"]
    members = {name: Member(*values) for name, values in plain["members"].items()}
    return Sample(
        plain["key"], plain["scene"], plain["photo"], (left, top, width, height), members, tuple(plain["tags"])
    )


def index_line(sample: Sample) -> bytes:
    """One line of a shard's index."""
    members = {name: [m.offset, m.size, m.sha256] for name, m in sample.members.items()}
    plain = {
        "key": sample.key,
        "scene": sample.scene,
        "photo": sample.photo,
        "box": sample.box,
        "tags": sample.tags,
        "members": members,
    }
    return (json.dumps(plain) + "\n").encode()
