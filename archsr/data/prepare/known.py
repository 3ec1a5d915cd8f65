"""What the current version of a dataset knows about unchanged photographs, which are not read again."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsr.data import manifest as mf
from archsr.data.manifest import SplitName
from archsr.data.prepare.staging import Stored
from archsr.data.prepare.survey.scan import UNREADABLE, ScannedFile, scanned
from archsr.data.prepare.writing.crops import SAMPLE_TAGS
from archsr.errors import UserError
from archsr.utils.atomic import sync_file

THUMBS = "thumbs.npy"  # uint8 (files, 64, 64), a row for each line of sources.jsonl
STAMPS = "stamps.json"
_SURVEY = 4  # increase it if the survey or the tiles of an unchanged photograph change
# files without samples for a reason outside themselves: they are read each time
CHANGED = "changed"
_ALWAYS_READ = frozenset({UNREADABLE, "unpaired", "duplicate", "bridge", CHANGED})
_OWN = frozenset({"photo", "photo_sha256", "scene", "tags", "box"})  # standard keys of a sample's JSON


@dataclass(frozen=True, slots=True)
class Placed:
    """The samples of a photograph: their file and their metadata."""

    side: SplitName
    shard: str
    scene: str
    tags: tuple[str, ...]
    samples: int


@dataclass(frozen=True)
class Known:
    """The unchanged photographs of the version in `folder`: scan results, thumbnail rows, samples.

    `kinds` holds the kind in sources.jsonl of every file of that version; it is empty for a kept photograph.
    """

    folder: Path = field(default=Path())
    made: mf.Manifest | None = None
    sources: Mapping[str, ScannedFile] = field(default_factory=dict[str, ScannedFile])
    rows: Mapping[str, int] = field(default_factory=dict[str, int])
    placed: Mapping[str, Placed] = field(default_factory=dict[str, Placed])
    kinds: Mapping[str, str] = field(default_factory=dict[str, str])

    def thumbs(self) -> NDArray[np.uint8]:
        """Return the thumbnails of all files of the version as a memory map."""
        return np.load(self.folder / THUMBS, mmap_mode="r")


NOTHING = Known()


def write_stamps(folder: Path, stamps: Mapping[str, str]) -> None:
    """Save the stamps by which unchanged files are recognised."""
    path = folder / STAMPS
    path.write_text(json.dumps({"survey": _SURVEY, "stamps": stamps}, indent=0, sort_keys=True), encoding="utf-8")
    sync_file(path)


def known_photos(folder: Path, made: mf.Manifest, stamps: Mapping[str, str]) -> Known:
    """Return the files of the version in `folder` whose stamps are unchanged; nothing if it saved none."""
    try:
        kept = json.loads((folder / STAMPS).read_bytes())
        listed = (folder / made.sources.file).read_bytes().splitlines()
        rows = len(np.load(folder / THUMBS, mmap_mode="r"))
        mf.check_sizes(folder, [shard for split in made.splits.values() for shard in split.shards])
        placed = dict(_placed(folder, made))
    except (OSError, ValueError, UserError):
        return NOTHING
    if kept.get("survey") != _SURVEY or rows != len(listed):
        return NOTHING
    sources: dict[str, ScannedFile] = {}
    where: dict[str, int] = {}
    kinds: dict[str, str] = {}
    for row, line in enumerate(listed):
        plain = json.loads(line)
        path = plain["path"]
        kinds[path] = plain["kind"]
        same = path in stamps and kept["stamps"].get(path) == stamps[path]
        if same and plain["kind"] not in _ALWAYS_READ and (plain["kind"] or path in placed):
            sources[path], where[path] = _source(plain), row
    mine = {path: p for path, p in placed.items() if path in sources}
    return Known(folder, made, sources, where, mine, kinds)


def _source(plain: dict[str, Any]) -> ScannedFile:
    stored: dict[str, Any] = {name: plain[name] for name in ScannedFile.__dataclass_fields__}
    return scanned({**stored, "columns": plain["columns"].items()})


def _placed(folder: Path, made: mf.Manifest) -> Iterator[tuple[str, Placed]]:
    for side in mf.SPLITS:
        for shard in made.splits[side].shards:
            samples = mf.read_index(folder, shard)
            counts = Counter(sample.photo for sample in samples)
            for photo, sample in {sample.photo: sample for sample in samples}.items():
                tags = tuple(tag for tag in sample.tags if tag not in SAMPLE_TAGS)
                yield photo, Placed(side, shard.file, sample.scene, tags, counts[photo])


@lru_cache(maxsize=4)
def stored_in(folder: Path, file: str, endings: tuple[str, ...]) -> dict[str, tuple[str, list[Stored]]]:
    """Return the photographs in a shard by path: the SHA-256 of the file, and the samples.

    `endings` are the suffixes of the images, such as `gt.jpg`. Raises OSError if the shard is damaged.
    """
    made = mf.load(folder)
    shard = next(s for split in made.splits.values() for s in split.shards if s.file == file)
    found: dict[str, tuple[str, list[Stored]]] = {}
    with (folder / file).open("rb") as tar:
        for sample in mf.read_index(folder, shard):
            about = sample.members["json"]
            tar.seek(about.offset)
            plain = json.loads(tar.read(about.size))
            members = {e: sample.members[e.split(".")[0]] for e in endings if e.split(".")[0] in sample.members}
            places = {ending: (m.offset, m.size, m.digest) for ending, m in members.items()}
            extra = {key: value for key, value in plain.items() if key not in _OWN}
            found.setdefault(sample.photo, (plain["photo_sha256"], []))[1].append(
                Stored(sample.key, sample.box, places, extra)
            )
    return found
