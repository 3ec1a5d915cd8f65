"""The description of a prepared dataset: `manifest.json`, one index per shard, one line per source file.

`shards/README.md` documents the format. The fingerprint covers everything that the training order depends on.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archsr.data.cache import Item, read
from archsr.data.remote import Place, Remote, fetch_bytes
from archsr.data.versions import UNFINISHED, current, versions
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
    """One split: its shards in order, and the numbers of its photographs and scenes."""

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
    """Names of JSON-lines files: every source file with its outcome, and pairs that show the same."""

    origin: str
    file: str
    sha256: str
    same: str
    same_sha256: str
    found: int
    kept: int
    leaks: int


class Manifest(_Part):
    """A prepared dataset. `prepare` is the resolved config that made it, as plain data."""

    schema_: str
    scale: int
    fingerprint: str
    prepare: dict[str, Any]
    sources: Sources
    left_out: list[LeftOut]
    splits: dict[str, Split]

    @property
    def paired(self) -> bool:
        """Whether training samples have an `lq` from disk: all of them, or some if it also `degrades`."""
        return bool(self.prepare.get("lq_folder"))

    @property
    def degrades(self) -> bool:
        """Whether training samples without an `lq` from disk are degraded."""
        return not self.paired or self.prepare.get("lq_missing") == "degrade"


@dataclass(frozen=True)
class Member:
    """The position of an image in its tar: byte offset and size of the encoded image, and its digest (`digests.py`)."""

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
    """Return the SHA-256 over all shards' hashes: equal samples in equal order give equal fingerprints."""
    text = json.dumps({name: [s.sha256 for s in split.shards] for name, split in splits.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(manifest: Manifest) -> bytes:
    """Return the bytes of `manifest.json`."""
    plain = manifest.model_dump(mode="json")
    plain["schema"] = plain.pop("schema_")
    ordered = {"schema": plain.pop("schema"), **plain}
    return (json.dumps(ordered, indent=1, ensure_ascii=True) + "\n").encode()


def version_of(shards: str, fingerprint: str) -> tuple[Path, Manifest] | None:
    """Return the version with this fingerprint, also if an older archsr stored it directly in `shards`."""
    folder = Path(shards)
    for version in (folder, *versions(folder)):
        if (version / NAME).is_file() and (made := load(version)).fingerprint == fingerprint:
            return version, made
    return None


def photos_by_digest(folder: Place, made: Manifest, splits: Collection[str]) -> dict[str, str]:
    """Return the paths of the photographs in some splits by the SHA-256 of their files, from the list of sources.

    Raises `UserError` if the list is missing or not the manifest's.
    """
    content = _list_of(folder, made.sources)
    if hashlib.sha256(content).hexdigest() != made.sources.sha256:
        raise DataError(f"{folder / made.sources.file}: its SHA-256 differs from {NAME}; copy it again")
    lines = map(json.loads, content.splitlines())
    return {line["sha256"]: line["path"] for line in lines if line["split"] in splits}


def _list_of(folder: Place, sources: Sources) -> bytes:
    if isinstance(folder, Remote):
        return fetch_bytes(folder, sources.file, check=lambda _: None)
    try:
        return (folder / sources.file).read_bytes()
    except OSError as error:
        raise DataError(f"{folder / sources.file}: cannot be read: {error.strerror}") from None


def is_dataset(folder: Path | str) -> bool:
    """Return whether a folder on this machine is a dataset, or a version of one."""
    return (current(Path(folder)) / NAME).is_file()


def load(folder: Place) -> Manifest:
    """Read a dataset's manifest. Raises `UserError` if it is missing, damaged or of another schema.

    At a URL, an inconsistent manifest (hashes against the fingerprint, samples against their sums) counts as damaged in
    transfer and is fetched again.
    """
    if isinstance(folder, Remote):
        return _parse(fetch_bytes(folder, NAME, check=lambda content: _disagreement(content, folder)), folder)
    path = folder / NAME
    try:
        return _parse(path.read_bytes(), folder)
    except FileNotFoundError:
        if (folder / UNFINISHED).is_dir():
            raise DataError(f"{folder}: its preparation is unfinished; run the same command again") from None
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
        raise DataError(f"{path}: another schema: got {found!r}, expected {SCHEMA!r}; prepare the photographs again")
    try:
        return Manifest.model_validate({"schema_": found, **plain})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{path}: damaged at {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _disagreement(content: bytes, folder: Remote) -> str | None:
    if content.startswith(b'{\n "schema": "archsr-shards/') and SCHEMA.encode() not in content[:60]:
        return None  # intact, but of another archsr version: a retry would not help
    try:
        made = _parse(content, folder)
    except UserError as error:
        return str(error).removeprefix(f"{folder / NAME}: ")
    if fingerprint(made.splits) != made.fingerprint:
        return "the fingerprint does not match the shards"
    wrong = [name for name, split in made.splits.items() if sum(s.samples for s in split.shards) != split.samples]
    return f"the number of samples in the shards of {wrong[0]} differs from the sum" if wrong else None


def check_sizes(folder: Place, shards: Iterable[Shard]) -> None:
    """Compare every tar's size with the manifest, which is cheap and detects truncation before training starts.

    Shards at a URL are checked by size and SHA-256 when they arrive.
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
    """Return the samples of a shard in order. Raises `UserError` if the index is missing or not the manifest's."""
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
        raise DataError(f"{path}: its SHA-256 differs from {NAME}; copy it again")
    return content


def _sample(plain: dict[str, Any]) -> Sample:
    left, top, width, height = plain["box"]
    members = {name: Member(*values) for name, values in plain["members"].items()}
    return Sample(
        plain["key"], plain["scene"], plain["photo"], (left, top, width, height), members, tuple(plain["tags"])
    )


def index_line(sample: Sample) -> bytes:
    """Return one line of a shard's index."""
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
