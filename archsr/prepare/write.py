"""Shards on disk: byte-identical for the same samples, read back before they count."""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from webdataset.writer import TarWriter

from archsr.atomic import sha256, sync_file
from archsr.manifest import Member, Sample, Shard, SplitName, index_line
from archsr.prepare.samples import Encoded
from archsr.prepare.scan import Source


def write_shards(folder: Path, split: SplitName, samples: Iterable[Encoded], *, per_shard: int) -> list[Shard]:
    """Write samples in order as `SPLIT-00000.tar`, ... of `per_shard` samples, each with its index."""
    return [
        _write_shard(folder, f"{split}-{number:05d}", group) for number, group in enumerate(_groups(samples, per_shard))
    ]


def _groups(samples: Iterable[Encoded], size: int) -> Iterator[list[Encoded]]:
    group: list[Encoded] = []
    for sample in samples:
        group.append(sample)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _write_shard(folder: Path, name: str, samples: Sequence[Encoded]) -> Shard:
    tar, index = folder / f"{name}.tar", folder / f"{name}.jsonl"
    with (
        tar.open("wb") as stream,
        # fixed time and owner: TarWriter would stamp the current time, and two equal runs would differ
        TarWriter(stream, encoder=False, mtime=0, user="archsr", group="archsr") as writer,
    ):
        for sample in samples:
            writer.write({"__key__": sample.key, **sample.members})
    sync_file(tar)
    index.write_bytes(b"".join(index_line(s) for s in _read_back(tar, samples)))
    sync_file(index)
    return Shard(
        file=tar.name,
        samples=len(samples),
        bytes=tar.stat().st_size,
        sha256=sha256(tar),
        index=index.name,
        index_sha256=sha256(index),
    )


def _read_back(tar: Path, samples: Sequence[Encoded]) -> Iterator[Sample]:
    """The index, taken from the finished tar so that the two cannot disagree. Raises OSError on a difference."""
    places: dict[str, tuple[int, int]] = {}
    with tarfile.open(tar, "r:") as archive:
        for member in archive:
            places[member.name] = (member.offset_data, member.size)
    with tar.open("rb") as stream:
        for sample in samples:
            members: dict[str, Member] = {}
            for ending, content in sample.members.items():
                offset, size = places[f"{sample.key}.{ending}"]
                stream.seek(offset)
                if stream.read(size) != content:
                    raise OSError(f"{tar}: {sample.key}.{ending} reads back differently from what was written")
                members[ending.removesuffix(".webp")] = Member(offset, size, hashlib.sha256(content).hexdigest())
            yield Sample(sample.key, sample.scene, sample.photo, sample.box, members)


def write_sources(path: Path, sources: Sequence[Source], scenes: dict[str, str], sides: dict[str, SplitName]) -> None:
    """One JSON line per file found: what it is, its scene and side, or why it was left out."""
    with path.open("w", encoding="utf-8") as out:
        for source in sources:
            scene = scenes.get(source.path)
            plain = {**asdict(source), "scene": scene, "split": sides[scene] if scene else None}
            out.write(json.dumps(plain) + "\n")
    sync_file(path)
