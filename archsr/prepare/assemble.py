"""Shards, manifest and report put together from the chunks of the survey, and moved into place when all is there."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from archsr import manifest as mf
from archsr.atomic import discarded, replacing_folder, sha256, sync_file
from archsr.config import PrepareConfig
from archsr.prepare.crew import Crew
from archsr.prepare.decide import Decision
from archsr.prepare.report import write_report
from archsr.prepare.scan import photos_of
from archsr.prepare.spool import read_chunk
from archsr.prepare.survey import Chunk, Place, survey
from archsr.prepare.write import Entry, ShardJob, write_same, write_shard, write_sources

_AT_ONCE = 8  # photographs of one job that are cut again


def entries_of(
    place: Place, chunks: Sequence[Chunk], decision: Decision, config: PrepareConfig, crew: Crew
) -> list[Entry]:
    """Where the samples of each kept photograph are. Those cut for a side that is not theirs are cut again."""
    kept = {s.path for s in decision.sources if not s.kind}
    cut_for = {r.source.path: r.side for c in chunks for r in read_chunk(place.spool, c.name)}
    moved = [p for c in chunks for p in c.paths if p in kept and cut_for[p] != decision.side(p)]
    again = [
        Chunk(place, config, _moved_name(group, decision), group, [decision.side(p) for p in group])
        for group in (moved[i : i + _AT_ONCE] for i in range(0, len(moved), _AT_ONCE))
    ]
    for _ in crew(survey, again, "moved to their scene", sizes=[len(c.paths) for c in again]):
        pass
    where = {p: (c.name, n) for c in again for n, p in enumerate(c.paths)}
    found: list[Entry] = []
    for chunk in chunks:
        for number, path in enumerate(chunk.paths):
            if path in kept:
                name, record = where.get(path, (chunk.name, number))
                found.append(Entry(name, record, path, decision.scenes.of[path], decision.tags[path]))
    return found


def _moved_name(paths: Sequence[str], decision: Decision) -> str:
    """A name that says what is in it: another decision makes other chunks and takes none of these."""
    text = json.dumps([(p, decision.side(p)) for p in paths])
    return f"moved-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def assemble(
    place: Place, entries: Sequence[Entry], decision: Decision, config: PrepareConfig, crew: Crew
) -> mf.Manifest:
    """Write the shards, what they are described by, and the report, to `dataset_folder`; what is there stays."""
    folder = dataset_folder(place, decision, config)
    folder.mkdir(exist_ok=True)
    splits: dict[str, mf.Split] = {}
    for side in mf.SPLITS:
        here = [e for e in entries if decision.side(e.path) == side]
        jobs = [
            ShardJob(place.spool, folder, f"{side}-{number:05d}", group)
            for number, group in enumerate(_groups(place, here, config.samples_per_shard))
        ]
        shards = list(crew(write_shard, jobs, f"writing {side}", sizes=[len(j.entries) for j in jobs]))
        splits[side] = mf.Split(
            photos=len(here),
            scenes=len({e.scene for e in here}),
            samples=sum(s.samples for s in shards),
            shards=shards,
        )
    return _describe(place, folder, splits, decision, config)


def _groups(place: Place, entries: Sequence[Entry], size: int) -> list[list[Entry]]:
    """Whole photographs up to about `size` samples a shard."""
    groups: list[list[Entry]] = []
    count, chunk, records = size, "", list[int]()
    for entry in entries:
        if entry.chunk != chunk:
            chunk = entry.chunk
            records = [len(r.samples) for r in read_chunk(place.spool, chunk)]
        if count >= size:
            groups.append([])
            count = 0
        groups[-1].append(entry)
        count += records[entry.record]
    return groups


def _describe(
    place: Place, folder: Path, splits: dict[str, mf.Split], decision: Decision, config: PrepareConfig
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
    photos = photos_of(place.origin, place.out, place.spool)
    write_report(folder / "report.html", folder, made, decision, photos.read)
    (folder / mf.NAME).write_bytes(mf.to_json(made))
    sync_file(folder / mf.NAME)
    return made


def dataset_folder(place: Place, decision: Decision, config: PrepareConfig) -> Path:
    """Where shards are put together, named after what is in them: shards of another decision are not taken over."""
    fates = [
        (s.path, decision.side(s.path), decision.scenes.of[s.path], decision.tags[s.path])
        for s in decision.sources
        if not s.kind
    ]
    text = json.dumps([config.samples_per_shard, fates])
    return place.spool / f"dataset-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def put_in_place(place: Place, finished: Path) -> None:
    """The finished dataset takes the place of an older one at once, and the pieces it was made of are removed."""
    with replacing_folder(place.out) as temporary:
        temporary.rmdir()
        finished.rename(temporary)
    photos_of.cache_clear()
    # it loses its name first: a process killed meanwhile leaves nothing that looks like a preparation to go on with
    done = discarded(place.spool)
    place.spool.rename(done)
    shutil.rmtree(done, ignore_errors=True)
