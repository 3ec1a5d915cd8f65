"""Puts shards, manifest and report together from the survey and the previous version, and publishes the new version."""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from archsr.config import PrepareConfig
from archsr.data import manifest as mf
from archsr.data.manifest import SplitName
from archsr.data.prepare.decide import Decision
from archsr.data.prepare.known import STAMPS, THUMBS, Known, write_stamps
from archsr.data.prepare.staging import read_chunk
from archsr.data.prepare.survey.chunks import Chunk, PreparePaths, survey
from archsr.data.prepare.survey.scan import photos_of
from archsr.data.prepare.worker_pool import WorkerPool
from archsr.data.prepare.writing.report import write_report
from archsr.data.prepare.writing.samples import endings_of
from archsr.data.prepare.writing.shards import Entry, ShardJob, write_same, write_shard, write_sources
from archsr.data.versions import add_version, make_current, versions
from archsr.utils.atomic import discarded, sha256, sync_file, write_bytes

_AT_ONCE = 8  # photographs per job that are cut again


@dataclass(frozen=True)
class Material:
    """The inputs of a dataset: the surveyed chunks, what is known from before, and stamps by path in order."""

    chunks: Sequence[Chunk]
    known: Known
    stamps: Mapping[str, str]  # in the order in which photographs are written into shards


@dataclass(frozen=True, slots=True)
class CutSamples:
    """The samples of a photograph and the split that they were cut for; `file` and `record` are as in an `Entry`."""

    file: str
    record: int
    samples: int
    side: str


def cut_samples(place: PreparePaths, material: Material) -> dict[str, CutSamples]:
    """Return where the samples of each photograph are: in the previous version, or in the survey."""
    before = {path: CutSamples(p.shard, -1, p.samples, p.side) for path, p in material.known.placed.items()}
    return before | cut_samples_in(place, material.chunks)


def cut_samples_in(place: PreparePaths, chunks: Sequence[Chunk]) -> dict[str, CutSamples]:
    """Return where the samples of the photographs of these chunks are."""
    return {
        record.source.path: CutSamples(chunk.name, number, len(record.samples), record.side)
        for chunk in chunks
        for number, record in enumerate(read_chunk(place.staging, chunk.name))
    }


def cut_again(
    place: PreparePaths,
    material: Material,
    placed: Mapping[str, CutSamples],
    decision: Decision,
    config: PrepareConfig,
    pool: WorkerPool,
) -> list[Chunk]:
    """CutSamples the photographs again whose samples were cut for another split than they ended up in."""
    kept = decision.scenes.of
    moved = [path for path in material.stamps if path in kept and placed[path].side != decision.side(path)]
    again = [
        Chunk(place, config, _moved_name(group, decision), group, [decision.side(p) for p in group])
        for group in (moved[i : i + _AT_ONCE] for i in range(0, len(moved), _AT_ONCE))
    ]
    for _ in pool(survey, again, "moved to their scene", sizes=[len(c.paths) for c in again]):
        pass
    return again


def _moved_name(paths: Sequence[str], decision: Decision) -> str:
    """Return a name that depends on the content: another decision makes other chunks and reuses none of these."""
    text = json.dumps([(p, decision.side(p)) for p in paths])
    return f"moved-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def changed_since(place: PreparePaths, again: Sequence[Chunk], decision: Decision) -> set[str]:
    """Return the photographs that had changed or vanished when they were read again."""
    first = {s.path: s.sha256 for s in decision.sources}
    records = (record.source for chunk in again for record in read_chunk(place.staging, chunk.name))
    return {source.path for source in records if source.kind or source.sha256 != first[source.path]}


# ---------------------------------------------------------------- what stays, and what is written


def _staying(known: Known, decision: Decision, config: PrepareConfig) -> dict[SplitName, list[mf.Shard]]:
    """Return the shards of the previous version in which nothing changes.

    Those less than half full are kept only if all shards of the split stay.
    """
    staying: dict[SplitName, list[mf.Shard]] = {side: [] for side in mf.SPLITS}
    made = known.made
    if made is None or made.prepare["samples_per_shard"] != config.samples_per_shard:
        return staying
    kept = decision.scenes.of
    samples, photos, spoiled = Counter[str](), Counter[str](), set[str]()
    for path, placed in known.placed.items():
        samples[placed.shard] += placed.samples
        photos[placed.shard] += 1
        said = (placed.side, placed.scene, placed.tags)
        if path not in kept or said != (decision.side(path), decision.scenes.of[path], decision.tags[path]):
            spoiled.add(placed.shard)
    for side in mf.SPLITS:
        whole = [s for s in made.splits[side].shards if s.file not in spoiled and samples[s.file] == s.samples]
        complete = sum(photos[s.file] for s in whole) == sum(decision.side(path) == side for path in kept)
        least = 0 if complete else config.samples_per_shard / 2
        staying[side] = [s for s in whole if s.samples >= least]
    return staying


def _entries(
    material: Material, placed: Mapping[str, CutSamples], staying: set[str], decision: Decision
) -> list[Entry]:
    """Return where the samples of each kept photograph are that is in no kept shard."""
    here = [(path, placed[path]) for path in material.stamps if path in decision.scenes.of]
    return [
        Entry(cut.file, cut.record, cut.samples, path, decision.scenes.of[path], decision.tags[path])
        for path, cut in here
        if cut.record >= 0 or cut.file not in staying
    ]


def _groups(entries: Sequence[Entry], size: int) -> list[list[Entry]]:
    """Group whole photographs into shards of about `size` samples."""
    groups: list[list[Entry]] = []
    count = size
    for entry in entries:
        if count >= size:
            groups.append([])
            count = 0
        groups[-1].append(entry)
        count += entry.samples
    return groups


def _names(side: str, count: int, taken: set[str]) -> list[str]:
    """Return `count` names of shards that are not `taken`: side-00000, side-00001, ..."""
    free = (name for n in range(count + len(taken)) if f"{(name := f'{side}-{n:05d}')}.tar" not in taken)
    return [next(free) for _ in range(count)]


def assemble(
    place: PreparePaths,
    material: Material,
    placed: Mapping[str, CutSamples],
    decision: Decision,
    config: PrepareConfig,
    pool: WorkerPool,
) -> tuple[Path, mf.Manifest]:
    """Write the shards, their metadata and the report to a folder in the staging folder; complete files are kept."""
    staying = _staying(material.known, decision, config)
    taken = {shard.file for shards in staying.values() for shard in shards}
    entries = _entries(material, placed, taken, decision)
    before = material.known.folder
    folder = _folder_for(place, before, entries, decision, config)
    folder.mkdir(exist_ok=True)
    splits: dict[str, mf.Split] = {}
    for side in mf.SPLITS:
        here = [e for e in entries if decision.side(e.path) == side]
        groups = _groups(here, config.samples_per_shard)
        jobs = [
            ShardJob(place.staging, before, folder, name, group, endings_of(config))
            for name, group in zip(_names(side, len(groups), taken), groups, strict=True)
        ]
        shards = list(pool(write_shard, jobs, f"writing {side}", sizes=[len(j.entries) for j in jobs]))
        for shard in staying[side]:
            _link(before / shard.file, folder / shard.file)
            _link(before / shard.index, folder / shard.index)
        shards = sorted([*shards, *staying[side]], key=lambda shard: shard.file)
        photos = [path for path, scene in decision.scenes.of.items() if decision.sides[scene] == side]
        splits[side] = mf.Split(
            photos=len(photos),
            scenes=len({decision.scenes.of[path] for path in photos}),
            samples=sum(s.samples for s in shards),
            shards=shards,
        )
    return folder, _describe(place, folder, splits, decision, config, material.stamps)


def _link(old: Path, new: Path) -> None:
    new.unlink(missing_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
        sync_file(new)


def _describe(
    place: PreparePaths,
    folder: Path,
    splits: dict[str, mf.Split],
    decision: Decision,
    config: PrepareConfig,
    stamps: Mapping[str, str],
) -> mf.Manifest:
    listed, same = folder / "sources.jsonl", folder / "same.jsonl"
    write_sources(listed, decision)
    write_same(same, decision)
    out = sorted((s for s in decision.sources if s.kind), key=lambda s: s.path)
    made = mf.Manifest(
        schema_=mf.SCHEMA,
        scale=config.scale,
        fingerprint=mf.fingerprint(splits),
        prepare=config.model_dump(mode="json"),
        sources=mf.Sources(
            origin=Path(place.origin).name,
            file=listed.name,
            sha256=sha256(listed),
            same=same.name,
            same_sha256=sha256(same),
            found=len(decision.sources),
            kept=len(decision.sources) - len(out),
            leaks=sum(s.leak for s in decision.same),
        ),
        left_out=[mf.LeftOut(path=s.path, kind=s.kind, reason=s.reason) for s in out],
        splits=splits,
    )
    photos = photos_of(place.origin, place.out, place.staging)
    write_report(folder / "report.html", folder, made, decision, photos.read)
    write_stamps(folder, stamps)
    shutil.copyfile(place.staging / THUMBS, folder / THUMBS)
    sync_file(folder / THUMBS)
    (folder / mf.NAME).write_bytes(mf.to_json(made))
    sync_file(folder / mf.NAME)
    return made


def _folder_for(
    place: PreparePaths, before: Path, entries: Sequence[Entry], decision: Decision, config: PrepareConfig
) -> Path:
    """Return the folder for new shards, named by their content, so that shards of another decision are not reused."""
    fates = [(path, decision.side(path), scene, decision.tags[path]) for path, scene in decision.scenes.of.items()]
    text = json.dumps([config.samples_per_shard, fates, before.name, [asdict(entry) for entry in entries]])
    return place.staging / f"dataset-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _content(version: Path) -> bytes:
    try:
        return (version / mf.NAME).read_bytes()
    except OSError:
        return b""


def publish(place: PreparePaths, finished: Path) -> tuple[Path, bool]:
    """Make the finished dataset, or an identical older version, the current version; remove the pieces.

    Returns the version, and whether it is new.
    """
    content = (finished / mf.NAME).read_bytes()
    same = next((v for v in versions(place.out) if _content(v) == content), None)
    if same is None:
        version = add_version(place.out, finished)
    else:
        version = same
        for name in (STAMPS, THUMBS):  # a file that was only touched need not be read a third time
            write_bytes(same / name, (finished / name).read_bytes())
    make_current(version)
    photos_of.cache_clear()
    # renamed first: a process killed meanwhile leaves nothing that looks like an unfinished preparation
    done = discarded(place.staging)
    place.staging.rename(done)
    shutil.rmtree(done, ignore_errors=True)
    return version, same is None
