"""The description of a prepared dataset: `manifest.json`, one index per shard, one line per source file.

`shards/README.md` documents the format. Everything the training order depends on is in the fingerprint.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archsr.data.cache import Item, read
from archsr.data.remote import Place, Remote, fetch_bytes
from archsr.data.versions import UNFINISHED
from archsr.errors import DataError, UserError, did_you_mean

SCHEMA = "archsr-shards/2"
NAME = "manifest.json"
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shard(_Part):
    """A tar and its index: names relative to the dataset's folder, sizes in bytes, SHA-256 in hex."""

    file: str
    samples: int
    bytes: int
    sha256: Sha256
    index: str
    index_sha256: Sha256

    @property
    def tar_item(self) -> Item:
        """The tar as a file to fetch."""
        return Item(self.file, self.sha256, self.bytes)

    @property
    def index_item(self) -> Item:
        """The index as a file to fetch."""
        return Item(self.index, self.index_sha256)


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
    """Where an image lies in its tar: byte offset and size of the encoded image, and its digest (`digests.py`)."""

    offset: int
    size: int
    digest: str


@dataclass(frozen=True)
class Sample:
    """One line of a shard's index. `box` is (left, top, width, height) in the upright source image, in pixels."""

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


def load(folder: Place) -> Manifest:
    """Read a dataset's manifest. Raises `UserError` if there is none, or it is of another schema or damaged.

    At a URL, one that does not agree with itself (hashes with the fingerprint, samples with their sums) counts as
    damaged on the way and is fetched again. With it, everything that a sample is read by is tied together.
    """
    if isinstance(folder, Remote):
        return _parse(fetch_bytes(folder, NAME, check=lambda content: _disagreement(content, folder)), folder)
    path = folder / NAME
    try:
        return _parse(path.read_bytes(), folder)
    except FileNotFoundError:
        if (folder / UNFINISHED).is_dir():
            raise DataError(f"{folder}: its preparation is not finished; the same command goes on with it") from None
        beside = [str(found.parent) for place in (folder.parent, folder) for found in sorted(place.glob(f"*/{NAME}"))]
        meant = did_you_mean(str(folder), beside, likeness=0.3)
        make = f"archsr prepare PHOTOS {folder}"
        raise DataError(f"{folder}: no {NAME} there{meant}; make a dataset with: {make}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _parse(content: bytes, folder: Place) -> Manifest:
    path = folder / NAME
    try:
        plain = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    found = plain.pop("schema", "none") if isinstance(plain, dict) else "none"
    if found != SCHEMA:
        raise DataError(
            f"{path}: shards of another schema: got {found!r}, expected {SCHEMA!r}; prepare the photographs again"
        )
    try:
        return Manifest.model_validate({"schema_": found, **plain})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{path}: damaged at {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _disagreement(content: bytes, folder: Remote) -> str | None:
    if content.startswith(b'{\n "schema": "archsr-shards/') and SCHEMA.encode() not in content[:60]:
        return None  # whole, but of another archsr: no further try would change that
    try:
        made = _parse(content, folder)
    except UserError as error:
        return str(error).removeprefix(f"{folder / NAME}: ")
    if fingerprint(made.splits) != made.fingerprint:
        return "the fingerprint is not that of its shards"
    wrong = [name for name, split in made.splits.items() if sum(s.samples for s in split.shards) != split.samples]
    return f"the shards of {wrong[0]} have not as many samples together as it says" if wrong else None


def check_sizes(folder: Place, shards: Iterable[Shard]) -> None:
    """Compare every tar's size with the manifest: cheap, and catches truncation before training starts.

    Shards at a URL are compared by size and SHA-256 when they arrive.
    """
    if isinstance(folder, Remote):
        return
    for shard in shards:
        path = folder / shard.file
        size = path.stat().st_size if path.is_file() else None
        if size != shard.bytes:
            state = "missing" if size is None else f"truncated or changed: {size:,} bytes"
            raise DataError(f"{path}: {state}, expected {shard.bytes:,}; copy it again or prepare the dataset again")


def read_index(folder: Place, shard: Shard) -> list[Sample]:
    """The samples of a shard in order. Raises `UserError` if the index is missing or not the manifest's."""
    if isinstance(folder, Remote):
        content = read(folder, shard.index_item, digest=shard.index_sha256)
    else:
        content = _local_index(folder / shard.index, shard)
    return [_sample(json.loads(line)) for line in content.splitlines()]


def _local_index(path: Path, shard: Shard) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; copy it again") from None
    if hashlib.sha256(content).hexdigest() != shard.index_sha256:
        raise DataError(f"{path}: is not the index that {NAME} describes (its SHA-256 differs); copy it again")
    return content


def _sample(plain: dict[str, Any]) -> Sample:
    left, top, width, height = plain["box"]
    members = {name: Member(*values) for name, values in plain["members"].items()}
    return Sample(
        plain["key"], plain["scene"], plain["photo"], (left, top, width, height), members, tuple(plain["tags"])
    )


def index_line(sample: Sample) -> bytes:
    """One line of a shard's index."""
    members = {name: [m.offset, m.size, m.digest] for name, m in sample.members.items()}
    plain = {
        "key": sample.key,
        "scene": sample.scene,
        "photo": sample.photo,
        "box": sample.box,
        "tags": sample.tags,
        "members": members,
    }
    return (json.dumps(plain) + "\n").encode()
