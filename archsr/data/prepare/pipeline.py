"""`archsr prepare`: turn photographs into shards and a manifest.

    survey   decode, check and cut every file, in chunks, by any number of workers and machines
    decide   find copies, near-duplicates, scenes, splits and tags: needs all chunks, but no pixels
    write    put shards together from the chunks
    report   show what was done

Unfinished work lies in `.preparing` in the output, in pieces that are complete or absent. The same command continues
where it was stopped and ends with the same bytes. The result is a new version of the dataset
(`archsr/data/versions.py`).
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from archsr.config import PrepareConfig, config_file
from archsr.data import manifest as mf
from archsr.data.prepare.decide import Decision, decide, refuse_bad_input, without
from archsr.data.prepare.duplicates.neighbours import BuildingMatch, same_buildings
from archsr.data.prepare.folder import locked
from archsr.data.prepare.former import former_dataset, warn_of_moved, warn_of_new_split
from archsr.data.prepare.known import NOTHING, THUMBS, Known, known_photos
from archsr.data.prepare.scenes import refuse_few_names
from archsr.data.prepare.sources.paired import stamps as partners
from archsr.data.prepare.staging import is_complete, read_chunk, read_thumbs
from archsr.data.prepare.survey.chunks import Chunk, PreparePaths, survey
from archsr.data.prepare.survey.scan import photos_of
from archsr.data.prepare.survey.tags import check_csv, unmatched
from archsr.data.prepare.worker_pool import WorkerPool, worker_pool
from archsr.data.prepare.writing.assemble import (
    Material,
    assemble,
    changed_since,
    cut_again,
    cut_samples,
    cut_samples_in,
    publish,
)
from archsr.data.prepare.writing.jpeg_blocks import jpeglib
from archsr.data.versions import UNFINISHED, current
from archsr.errors import UserError
from archsr.utils import console
from archsr.utils.atomic import write_bytes
from archsr.utils.seeds import seed_of
from archsr.utils.stopping import REQUEUE, write_exit_file

_LARGEST_CHUNK = 64  # files
_JOB = "job.json"
# settings that the survey does not use, so that they may change while a preparation is unfinished
_FREE = (
    "val:", "test:", "val_folders:", "test_folders:", "scenes.", "samples_per_shard:", "max_bad_share:",
    "tags.folders:", "tags.rules:", "tags.csv:", "tags.columns:",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Part `number` (1, 2, ...) of `of`: the chunks that it surveys. Without a `Task` everything is done."""

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
    reread: bool = False,
) -> mf.Manifest | None:
    """Write the photographs at `origin` as a new version of the dataset in `out`; earlier versions stay.

    Samples of unchanged photographs are reused from the current version unless `reread`. The result depends only on the
    files, the config and that version: the bytes are the same for any `workers` (0: this process), `task`s and
    interruptions. With a `task` only its part of the survey is made and None is returned; `join` requires all parts to
    be complete. Raises `UserError` if no sound dataset can be made.
    """
    if config.encoding == "lossless":
        jpeglib()  # fails early if it is missing
    check_csv(config.tags)
    place = PreparePaths(str(origin), out, out / UNFINISHED)
    try:
        with locked(place, shared=task is not None, restart=restart) as fresh:
            material = _begin(place, config, fresh=fresh, reread=reread)
            if task is not None:
                mine = material.chunks[task.number - 1 :: task.of]
                with (
                    _reporting_progress(lambda: sum(is_complete(place.staging, c.name) for c in mine)),
                    worker_pool(workers) as pool,
                ):
                    _survey(pool, mine)
                return None
            if join:
                _refuse_missing(place, material.chunks)
            with _reporting_progress(lambda: sum(1 for _ in place.staging.rglob("[!.]*.jsonl"))):
                return _whole(place, material, config, workers)
    except OSError as error:
        kept = f"; finished work is in {place.staging}; run the same command again to continue"
        begun = (place.staging / _JOB).is_file()
        raise UserError(f"{error.filename or out}: {error.strerror or error}{kept if begun else ''}") from None


@contextmanager
def _reporting_progress(pieces: Callable[[], int]) -> Generator[None]:
    """If it is stopped, write to the exit file how many pieces are finished."""
    try:
        yield
    except KeyboardInterrupt:
        write_exit_file(REQUEUE, pieces())
        raise


def _whole(place: PreparePaths, material: Material, config: PrepareConfig, workers: int) -> mf.Manifest:
    with worker_pool(workers) as pool:
        _survey(pool, material.chunks)
        buildings = _buildings(place, material, config, pool) if config.scenes.same_building else []
    warn_of_new_split(place.out, config)
    # a process of its own returns the memory of the comparisons afterwards
    with worker_pool(min(workers, 1)) as pool:
        (decision,) = pool.each(_decide, [(place, material, buildings, config, max(1, workers))])
    warn_of_moved(place.out, decision.moved)
    with worker_pool(workers) as pool:
        placed = cut_samples(place, material)
        again = cut_again(place, material, placed, decision, config, pool)
        decision = _without_changed(place, again, decision)
        placed |= cut_samples_in(place, again)
        finished, made = assemble(place, material, placed, decision, config, pool)
    version, is_new = publish(place, finished)
    if not is_new:
        console.aside(f"{version}: nothing has changed, so there is no new version")
    return made


def _without_changed(place: PreparePaths, again: Sequence[Chunk], decision: Decision) -> Decision:
    """Exclude photographs that were replaced or removed between two reads, with a warning."""
    changed = changed_since(place, again, decision)
    if not changed:
        return decision
    some = ", ".join(sorted(changed)[:3]) + (", ..." if changed - set(sorted(changed)[:3]) else "")
    console.warn(
        f"warning: {len(changed)} files were replaced or removed during the preparation and are left "
        f"out: {some}; prepare again to include them"
    )
    return without(decision, changed, "replaced or removed during the preparation")


# ---------------------------------------------------------------- survey


def _begin(place: PreparePaths, config: PrepareConfig, *, fresh: bool, reread: bool) -> Material:
    """Return what is already known and the chunks of the survey, which are the same for every task.

    Refuses to mix chunks of another preparation. A `fresh` staging folder is removed if there is nothing to prepare.
    """
    try:
        photos = photos_of(place.origin, place.out, place.staging)
        names = photos.names()
        stamps = {n: f"{photos.stamp(n)}{partner}" for n, partner in zip(names, partners(names, config), strict=True)}
        listing = hashlib.sha256()
        for name, stamp in stamps.items():
            listing.update(f"{name}\0{stamp}\n".encode("utf-8", "surrogateescape"))
        refuse_few_names(names, config)
    except UserError:
        if fresh:
            shutil.rmtree(place.staging, ignore_errors=True)
        raise
    known = NOTHING if reread else _known(place, stamps, config)
    _claim(place, photos.origin, listing.hexdigest(), config, before=known.folder.name)
    for words in unmatched(names, config):
        console.warn(f"warning: {words}; patterns match whole paths, for example 'villa*/plan-*.png'")
    # shuffled by a hash, so that neighbours in a shard are unrelated
    mixed = sorted(names, key=lambda name: (seed_of(config.seed, "order", name), name))
    new = [name for name in mixed if name not in known.sources]
    if known.sources:
        console.aside(_since(known, set(names)))
    size = min(_LARGEST_CHUNK, max(4, len(new) // _LARGEST_CHUNK))
    groups = [new[i : i + size] for i in range(0, len(new), size)]
    chunks = [Chunk(place, config, f"chunk-{number:06d}", group) for number, group in enumerate(groups)]
    return Material(chunks, known, {name: stamps[name] for name in mixed})


def _since(known: Known, names: set[str]) -> str:
    added, gone = len(names - known.kinds.keys()), len(known.kinds.keys() - names)
    again = len(names & known.kinds.keys()) - len(known.sources)
    return (
        f"{known.folder}: {len(known.sources)} files are as they were; {added} are new, {again} changed or to be "
        f"looked at again, {gone} gone"
    )


def _known(place: PreparePaths, stamps: Mapping[str, str], config: PrepareConfig) -> Known:
    """Return what the current version has of these files, if it was prepared with the same settings."""
    folder = current(place.out)
    try:
        made = mf.load(folder)
    except UserError:
        return NOTHING
    return NOTHING if _fixed_differences(made.prepare, config) else known_photos(folder, made, stamps)


def _claim(place: PreparePaths, origin: str, files: str, config: PrepareConfig, *, before: str) -> None:
    """Check that the staging folder belongs to this preparation, or that only late settings differ."""
    path = place.staging / _JOB
    if not path.exists():
        job = {"origin": origin, "files": files, "before": before, "config": config.model_dump(mode="json")}
        write_bytes(path, json.dumps(job, indent=1, sort_keys=True).encode())
    stored = json.loads(path.read_bytes())
    other = ""
    if stored.get("origin") != origin:
        other = f"photographs ({stored.get('origin')})"
    elif stored.get("files") != files:
        other = "files (some were added, changed or removed)"
    elif stored.get("before", "") != before:
        other = f"photographs taken over ({stored.get('before') or 'none'} there, {before or 'none'} now)"
    elif fixed := _fixed_differences(stored.get("config"), config):
        other = f"settings ({'; '.join(fixed[:3])}{', ...' if len(fixed) > 3 else ''})"
    if other:
        raise UserError(
            f"{place.staging}: holds an unfinished preparation with other {other}; continue with those, or start "
            "again with --restart, which keeps all versions and reuses unchanged photographs"
        )


def _fixed_differences(stored: object, config: PrepareConfig) -> list[str]:
    """Return the differences from the `stored` config that cannot be changed any more once files are surveyed."""
    try:
        before = config_file.check(PrepareConfig, cast(dict[str, Any], stored), where=_JOB)
    except UserError:
        return ["written by another version"]
    return [d for d in config_file.differences(before, config) if not d.startswith(_FREE)]


def _survey(pool: WorkerPool, chunks: Sequence[Chunk]) -> None:
    for _ in pool(survey, chunks, "photographs", sizes=[len(c.paths) for c in chunks]):
        pass


def _refuse_missing(place: PreparePaths, chunks: Sequence[Chunk]) -> None:
    missing = [number for number, c in enumerate(chunks) if not is_complete(place.staging, c.name)]
    if missing:
        raise UserError(
            f"{place.staging}: {len(missing)} of {len(chunks)} parts are missing (the first: number {missing[0]}); run "
            "the tasks that did not finish again: with --task i/n, task i makes the parts i-1, i-1+n, ..."
        )


# ---------------------------------------------------------------- decide


def _buildings(place: PreparePaths, material: Material, config: PrepareConfig, pool: WorkerPool) -> list[BuildingMatch]:
    found = [path for path, source in material.known.sources.items() if not source.kind]
    for chunk in material.chunks:
        found += [r.source.path for r in read_chunk(place.staging, chunk.name) if not r.source.kind]
    return same_buildings(place, sorted(found), material.known, config, pool)


def _decide(job: tuple[PreparePaths, Material, Sequence[BuildingMatch], PrepareConfig, int]) -> Decision:
    place, material, buildings, config, threads = job
    known = material.known
    rows = {name: row for row, name in enumerate(sorted(material.stamps))}
    found = {rows[path]: source for path, source in known.sources.items()}
    path = place.staging / THUMBS
    thumbs = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(rows), 64, 64))
    if known.sources:
        thumbs[[rows[name] for name in known.rows]] = known.thumbs()[list(known.rows.values())]
    for chunk in material.chunks:
        thumbs[[rows[name] for name in chunk.paths]] = read_thumbs(place.staging, chunk.name)
        found |= {rows[r.source.path]: r.source for r in read_chunk(place.staging, chunk.name)}
    thumbs.flush()
    sources = [found[row] for row in range(len(rows))]
    refuse_bad_input(sources, config, place.origin)
    former, resplit = former_dataset(place.out, config)
    return decide(sources, thumbs, former, config, buildings=buildings, resplit=resplit, threads=threads)
