"""`archsr prepare`: photographs become shards and a manifest.

    survey   every file decoded, judged and cut, in chunks, by any number of workers and machines
    decide   copies, near-duplicates, scenes, sides, tags: needs all chunks, and no pixels
    write    shards put together from the chunks
    report   what was done, to look at

Until it is finished all of it lies in a folder beside the output, in pieces that are complete or absent: the same
command goes on where it was stopped, and ends with the same bytes.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archsr import manifest as mf
from archsr.atomic import replacing_folder, sha256, sync_file, write_bytes
from archsr.config import PrepareConfig
from archsr.errors import UserError
from archsr.prepare.crew import Crew, crew_of
from archsr.prepare.decide import Decision, decide, judge
from archsr.prepare.report import write_report
from archsr.prepare.scan import Source, photos_of
from archsr.prepare.spool import is_complete, read_chunk, read_thumbs
from archsr.prepare.survey import Chunk, Place, provisional_side, survey
from archsr.prepare.write import Entry, ShardJob, write_same, write_shard, write_sources
from archsr.seeds import seed_of

_LARGEST_CHUNK = 64  # files
_JOB = "job.json"


@dataclass(frozen=True)
class Task:
    """Part `number` (1, 2, ...) of `of`: the chunks it surveys. `None` in its place is the whole of the work."""

    number: int
    of: int


def prepare(
    origin: str | Path,
    out: Path,
    config: PrepareConfig,
    *,
    workers: int = 0,
    task: Task | None = None,
    join: bool = False,
    restart: bool = False,
) -> mf.Manifest | None:
    """Write the dataset of the photographs at `origin` to `out`; an older dataset there is replaced when it is done.

    The result is a function of the files, the config and the sides of that older dataset: the same bytes whatever
    `workers` (0: this process), `task`s and interruptions. With a `task` only its part of the survey is made and None
    returned; with `join` all of that must be there. Raises `UserError` for anything that leaves no dataset one could
    trust.
    """
    place = Place(str(origin), out, out.with_name(f".{out.name}.preparing"))
    if restart:
        shutil.rmtree(place.spool, ignore_errors=True)
    try:
        chunks = _begin(place, config)
        if task is not None:
            mine = chunks[task.number - 1 :: task.of]
            with crew_of(workers) as crew:
                _survey(crew, mine)
            return None
        if join:
            _refuse_missing(place, chunks)
        return _whole(place, chunks, config, workers)
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: {error.strerror or error}; what was finished lies in {place.spool}, the same "
            "command goes on from there"
        ) from None


def _whole(place: Place, chunks: Sequence[Chunk], config: PrepareConfig, workers: int) -> mf.Manifest:
    with crew_of(workers) as crew:
        _survey(crew, chunks)
    # no worker holds memory while everything is compared with everything
    decision = _decide(place, chunks, config)
    with crew_of(workers) as crew:
        entries = _entries(place, chunks, decision, config, crew)
        made = _write(place, entries, decision, config, crew)
    _put_in_place(place, dataset_folder(place, decision))
    return made


def _check_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; the output must be a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / mf.NAME).is_file():
        raise UserError(f"{out}: holds other files and is no dataset of ours; choose an empty or new folder")


# ---------------------------------------------------------------- survey


def _begin(place: Place, config: PrepareConfig) -> list[Chunk]:
    """The chunks of the survey, the same for every task; refuses to mix them with those of another preparation."""
    place.out.parent.mkdir(parents=True, exist_ok=True)
    existed = place.spool.exists()
    place.spool.mkdir(exist_ok=True)
    try:
        photos = photos_of(place.origin, place.out, place.spool)
        _check_place(place.out)
        names = photos.names()
        listing = hashlib.sha256()
        for name in names:
            listing.update(f"{name}\0{photos.stamp(name)}\n".encode("utf-8", "surrogateescape"))
    except UserError:
        if not existed:
            place.spool.rmdir()
        raise
    job = {"origin": photos.origin, "files": listing.hexdigest(), "config": config.model_dump(mode="json")}
    _claim(place, json.dumps(job, indent=1, sort_keys=True).encode())
    # mixed by a hash, so that neighbours in a shard are strangers
    mixed = sorted(names, key=lambda name: (seed_of(config.seed, "order", name), name))
    size = min(_LARGEST_CHUNK, max(4, len(mixed) // _LARGEST_CHUNK))
    groups = [mixed[i : i + size] for i in range(0, len(mixed), size)]
    return [Chunk(place, config, f"chunk-{number:06d}", group) for number, group in enumerate(groups)]


def _claim(place: Place, job: bytes) -> None:
    path = place.spool / _JOB
    if not path.exists():
        write_bytes(path, job)
    stored = json.loads(path.read_bytes())
    changed = [key for key, value in json.loads(job).items() if stored.get(key) != value]
    if changed:
        what = {"origin": "photographs", "files": "files (some were added, changed or removed)", "config": "settings"}
        raise UserError(
            f"{place.spool}: holds an unfinished preparation with other {what[changed[0]]}; finish that one with its "
            "own command, or begin anew with --restart"
        )


def _survey(crew: Crew, chunks: Sequence[Chunk]) -> None:
    for _ in crew(survey, chunks, "photographs", sizes=[len(c.paths) for c in chunks]):
        pass


def _refuse_missing(place: Place, chunks: Sequence[Chunk]) -> None:
    missing = [number for number, c in enumerate(chunks) if not is_complete(place.spool, c.name)]
    if missing:
        raise UserError(
            f"{place.spool}: {len(missing)} of {len(chunks)} parts are missing (the first: number {missing[0]}); run "
            "the tasks that did not finish again: with --task i/n, task i makes the parts i-1, i-1+n, ..."
        )


# ---------------------------------------------------------------- decide


def _decide(place: Place, chunks: Sequence[Chunk], config: PrepareConfig) -> Decision:
    rows = {name: row for row, name in enumerate(sorted(name for c in chunks for name in c.paths))}
    found: dict[int, Source] = {}
    path = place.spool / "thumbs.npy"
    thumbs = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(rows), 64, 64))
    for chunk in chunks:
        thumbs[[rows[name] for name in chunk.paths]] = read_thumbs(place.spool, chunk.name)
        found |= {rows[r.source.path]: r.source for r in read_chunk(place.spool, chunk.name)}
    thumbs.flush()
    sources = [found[row] for row in range(len(rows))]
    judge(sources, config, place.origin)
    try:
        return decide(sources, thumbs, earlier_sides(place.out), config)
    finally:
        del thumbs
        path.unlink()


def earlier_sides(out: Path) -> dict[str, mf.SplitName]:
    """The side of every photograph in the dataset that is already there, or {}."""
    try:
        listed = out / mf.load(out).sources.file
    except UserError:
        return {}
    sides: dict[str, mf.SplitName] = {}
    with listed.open(encoding="utf-8") as lines:
        for line in lines:
            plain = json.loads(line)
            if plain["split"]:
                sides[plain["path"]] = plain["split"]
    return sides


# ---------------------------------------------------------------- write


def _entries(
    place: Place, chunks: Sequence[Chunk], decision: Decision, config: PrepareConfig, crew: Crew
) -> list[Entry]:
    """Where the samples of each kept photograph are. Those cut for a side that is not theirs are cut again."""
    kept = {s.path for s in decision.sources if not s.kind}
    moved = [p for c in chunks for p in c.paths if p in kept and provisional_side(p, config) != decision.side(p)]
    size = _LARGEST_CHUNK // 8
    again = [
        Chunk(place, config, _moved_name(group, decision), group, [decision.side(p) for p in group])
        for group in (moved[i : i + size] for i in range(0, len(moved), size))
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


def _write(
    place: Place, entries: Sequence[Entry], decision: Decision, config: PrepareConfig, crew: Crew
) -> mf.Manifest:
    folder = dataset_folder(place, decision)
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


def dataset_folder(place: Place, decision: Decision) -> Path:
    """Where shards are put together, named after the decision: shards of another one are not taken over."""
    text = json.dumps([(s.path, s.kind, None if s.kind else decision.side(s.path)) for s in decision.sources])
    return place.spool / f"dataset-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _put_in_place(place: Place, finished: Path) -> None:
    with replacing_folder(place.out) as temporary:
        temporary.rmdir()
        finished.rename(temporary)
    photos_of.cache_clear()
    shutil.rmtree(place.spool, ignore_errors=True)
