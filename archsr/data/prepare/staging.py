"""The unfinished work of a preparation, in pieces that are complete or absent, so that it can stop at any moment.

A chunk is the result of one worker for a few dozen files: `NAME.bin` holds the encoded images one after another,
`NAME.npy` the thumbnails, and `NAME.jsonl` one record per file. The records are written last and renamed into place: if
they exist, the chunk is complete.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsr.data.prepare.survey.scan import ScannedFile, ScanResult, scanned
from archsr.data.prepare.writing.samples import Encoded
from archsr.utils.atomic import replacing, sync_file
from archsr.utils.digests import agrees, digest_of

Thumb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stored:
    """One encoded sample in a file: `members` maps `gt.jpg`, `lq.webp` to (offset, size, digest)."""

    key: str
    box: tuple[int, int, int, int]
    members: dict[str, tuple[int, int, str]]
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """The result of one file: `side` is the split that its samples were cut for, empty if it gave none."""

    source: ScannedFile
    side: str
    samples: list[Stored]


def is_complete(folder: Path, name: str) -> bool:
    """Return whether a chunk is complete."""
    return (folder / f"{name}.jsonl").is_file()


def write_chunk(folder: Path, name: str, findings: Iterable[tuple[ScanResult, str, Iterable[Encoded]]]) -> None:
    """Write a chunk: for each file its scan result, split and samples, one at a time as they are produced."""
    blob, offset, lines, thumbs = folder / f"{name}.bin", 0, list[bytes](), list[Thumb]()
    with blob.open("wb") as out:
        for finding, side, samples in findings:
            thumbs.append(finding.thumb)
            stored: list[Stored] = []
            for sample in samples:
                members: dict[str, tuple[int, int, str]] = {}
                for ending, content in sample.members.items():
                    members[ending] = (offset, len(content), digest_of(content))
                    offset += out.write(content)
                stored.append(Stored(sample.key, sample.box, members, sample.extra))
            plain = {"source": asdict(finding.source), "side": side, "samples": [asdict(s) for s in stored]}
            lines.append((json.dumps(plain) + "\n").encode())
    sync_file(blob)
    np.save(folder / f"{name}.npy", np.stack(thumbs))
    sync_file(folder / f"{name}.npy")
    with replacing(folder / f"{name}.jsonl") as temporary:
        temporary.write_bytes(b"".join(lines))


def read_chunk(folder: Path, name: str) -> Iterator[Record]:
    """Yield the records of a chunk in order."""
    for line in (folder / f"{name}.jsonl").read_bytes().splitlines():
        plain = json.loads(line)
        yield Record(scanned(plain["source"]), plain["side"], [_stored(s) for s in plain["samples"]])


def _stored(plain: dict[str, Any]) -> Stored:
    left, top, width, height = plain["box"]
    members = {ending: (o, n, digest) for ending, (o, n, digest) in plain["members"].items()}
    return Stored(plain["key"], (left, top, width, height), members, plain["extra"])


def read_thumbs(folder: Path, name: str) -> Thumb:
    """Return the thumbnails (files, 64, 64) of a chunk, zeros for files that are no images."""
    return np.load(folder / f"{name}.npy")


def read_members(path: Path, stored: Stored) -> dict[str, bytes]:
    """Return the encoded images of a sample in the file `path`. Raises OSError if they have changed."""
    members: dict[str, bytes] = {}
    with path.open("rb") as blob:
        for ending, (offset, size, digest) in stored.members.items():
            blob.seek(offset)
            content = blob.read(size)
            if not agrees(content, digest):
                raise OSError(f"{path}: {stored.key} is not what was written; prepare again with --restart --reread")
            members[ending] = content
    return members
