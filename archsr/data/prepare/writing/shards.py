"""Writes shards: byte-identical for the same samples, and read back before they count."""

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from webdataset.writer import TarWriter

from archsr.data.manifest import Member, Sample, Shard, SplitName, index_line
from archsr.data.prepare.decide import Decision
from archsr.data.prepare.known import stored_in
from archsr.data.prepare.staging import Stored, read_chunk, read_members
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.prepare.writing.crops import tags_of_sample
from archsr.utils.atomic import replacing, sha256, sync_file
from archsr.utils.digests import agrees, digest_of


@dataclass(frozen=True, slots=True)
class Entry:
    """A photograph whose samples are to be written: where they are, and their metadata.

    `chunk`: of the staging folder, or with `record` -1 the shard of the previous version. `samples`: how many.
    """

    chunk: str
    record: int
    samples: int
    path: str
    scene: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class ShardJob:
    """One shard to put together from the staging folder and from the shards of the version `before`.

    `endings`: the suffixes of the images, such as `gt.jpg`.
    """

    staging: Path
    before: Path
    folder: Path
    name: str
    entries: Sequence[Entry]
    endings: tuple[str, ...]


def write_shard(job: ShardJob) -> Shard:
    """Write `NAME.tar` and its index; a shard whose index exists is complete and kept."""
    tar, index = job.folder / f"{job.name}.tar", job.folder / f"{job.name}.jsonl"
    if not index.is_file():
        samples = list(_samples(job))
        with replacing(tar) as temporary:
            _write_tar(temporary, samples)
        with replacing(index) as temporary:
            temporary.write_bytes(b"".join(index_line(s) for s in _read_back(tar, samples)))
    return Shard(
        file=tar.name,
        samples=index.read_bytes().count(b"\n"),
        bytes=tar.stat().st_size,
        sha256=sha256(tar),
        index=index.name,
        index_sha256=sha256(index),
    )


@dataclass(frozen=True)
class _Ready:
    entry: Entry
    file: Path
    stored: Stored
    tags: tuple[str, ...]
    about: dict[str, Any]


def _samples(job: ShardJob) -> Iterator[_Ready]:
    chunk, records = "", []
    for entry in job.entries:
        if entry.record < 0:
            file = job.before / entry.chunk
            digest, samples = stored_in(job.before, entry.chunk, job.endings)[entry.path]
        else:
            file = job.staging / f"{entry.chunk}.bin"
            if entry.chunk != chunk:
                chunk, records = entry.chunk, list(read_chunk(job.staging, entry.chunk))
            digest, samples = records[entry.record].source.sha256, records[entry.record].samples
        for stored in samples:
            tags = (*entry.tags, *tags_of_sample(stored.extra))
            about: dict[str, Any] = {
                "photo": entry.path,
                "photo_sha256": digest,
                "scene": entry.scene,
                "tags": "\n".join(tags),  # an empty list has no type, and `datasets` would fail
                "box": stored.box,
                **stored.extra,
            }
            yield _Ready(entry, file, stored, tags, about)


def _write_tar(path: Path, samples: Sequence[_Ready]) -> None:
    with (
        path.open("wb") as stream,
        # fixed time and owner: with the current time two equal runs would differ
        TarWriter(stream, encoder=False, mtime=0, user="archsr", group="archsr") as writer,
    ):
        for ready in samples:
            about = json.dumps(ready.about, sort_keys=True).encode()
            members = read_members(ready.file, ready.stored)
            writer.write({"__key__": ready.stored.key, **members, "json": about})


def _read_back(tar: Path, samples: Sequence[_Ready]) -> Iterator[Sample]:
    """Yield the index, read from the finished tar so that the two agree. Raises OSError on a difference."""
    places: dict[str, tuple[int, int]] = {}
    with tarfile.open(tar, "r:") as archive:
        for member in archive:
            places[member.name] = (member.offset_data, member.size)
    with tar.open("rb") as stream:
        for ready in samples:
            wanted = {ending: digest for ending, (_, _, digest) in ready.stored.members.items()}
            wanted["json"] = digest_of(json.dumps(ready.about, sort_keys=True).encode())
            members: dict[str, Member] = {}
            for ending, digest in wanted.items():
                offset, size = places[f"{ready.stored.key}.{ending}"]
                stream.seek(offset)
                content = stream.read(size)
                if not agrees(content, digest):
                    raise OSError(f"{tar}: {ready.stored.key}.{ending} reads back differently from what was written")
                members[ending.split(".")[0]] = Member(offset, size, digest_of(content))
            entry = ready.entry
            yield Sample(ready.stored.key, entry.scene, entry.path, ready.stored.box, members, ready.tags)


def write_sources(path: Path, decision: Decision) -> None:
    """Write one JSON line per source file: its properties, scene, split and tags, or why it was excluded."""
    with path.open("w", encoding="utf-8") as out:
        for source in sorted(decision.sources, key=lambda s: s.path):
            out.write(json.dumps({**_plain(source), **_outcome(source, decision)}) + "\n")
    sync_file(path)


def _plain(source: ScannedFile) -> dict[str, Any]:
    plain = asdict(source)
    return {**plain, "columns": dict(source.columns)}


def _outcome(source: ScannedFile, decision: Decision) -> dict[str, Any]:
    if source.kind:
        return {"scene": None, "split": None, "tags": []}
    path = source.path
    side: SplitName = decision.side(path)
    return {"scene": decision.scenes.of[path], "split": side, "tags": decision.tags[path]}


def write_same(path: Path, decision: Decision) -> None:
    """Write one JSON line per pair of files that show the same photograph or the same building."""
    lines = (json.dumps(asdict(s)) + "\n" for s in (*decision.same, *decision.buildings))
    path.write_text("".join(lines), encoding="utf-8")
    sync_file(path)
