"""`archsr prepare`: a folder of photographs becomes shards and a manifest."""

import contextlib
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from archsr import manifest as mf
from archsr.atomic import replacing_folder, sha256, sync_file
from archsr.config import PrepareConfig
from archsr.errors import UserError
from archsr.prepare.samples import Encoded, Job, cut, quiet_worker
from archsr.prepare.scan import Source, inspect
from archsr.prepare.scenes import assign, scene_of
from archsr.prepare.sources import Photos, open_photos
from archsr.prepare.write import write_shards, write_sources
from archsr.seeds import seed_of

A = TypeVar("A")
B = TypeVar("B")


def prepare(photos: Path | str, out: Path, config: PrepareConfig, *, workers: int = 0) -> mf.Manifest:
    """Write the dataset of `photos` to `out`, complete or not at all; an older dataset there is replaced.

    The result is a function of the files and the config: the same bytes whatever `workers` (0: this process).
    Raises `UserError` for anything that leaves no dataset one could trust.
    """
    with open_photos(str(photos), exclude=out) as found, _crew(workers) as crew:
        paths = found.names()
        _check_place(out)
        sources = _without_copies(list(crew(partial(inspect, found, config=config), paths, "checking")))
        _judge(sources, config, found)
        scenes = {s.path: scene_of(s.path) for s in sources if not s.kind}
        sides = assign(list(scenes.values()), config)
        try:
            with replacing_folder(out) as folder:
                return _write(folder, found, sources, scenes, sides, config, crew)
        except OSError as error:
            raise UserError(f"{out}: cannot be written: {error.strerror or error}; nothing was left behind") from None


def _check_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; the output must be a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / mf.NAME).is_file():
        raise UserError(f"{out}: holds other files and is no dataset of ours; choose an empty or new folder")


def _without_copies(sources: Sequence[Source]) -> list[Source]:
    """Files with the same bytes as an earlier one give no samples: they would count twice and could leak."""
    first: dict[str, str] = {}
    result: list[Source] = []
    for source in sources:
        original = first.setdefault(source.sha256, source.path) if not source.kind else source.path
        if original != source.path:
            source = replace(source, kind="duplicate", reason=f"the same file as {original}")
        result.append(source)
    return result


def _judge(sources: Sequence[Source], config: PrepareConfig, photos: Photos) -> None:
    """Stop where too little or too doubtful a set would remain."""
    bad = [s for s in sources if s.kind == "unreadable"]
    if bad and config.bad_files == "raise":
        raise UserError(f"{photos.origin}: {bad[0].path}: {bad[0].reason} (bad_files = 'raise'); remove it or mend it")
    if all(s.kind for s in sources):
        some = "; ".join(f"{s.path}: {s.reason}" for s in sources[:3])
        raise UserError(f"{photos.origin}: no photographs found: all {len(sources)} files are left out ({some})")
    if len(bad) > config.max_bad_share * len(sources):
        raise UserError(
            f"{photos.origin}: {len(bad)} of {len(sources)} files cannot be read, more than max_bad_share "
            f"({config.max_bad_share:g}); the first: {bad[0].path}: {bad[0].reason}. Is it the right folder?"
        )


def _write(
    folder: Path,
    photos: Photos,
    sources: Sequence[Source],
    scenes: dict[str, str],
    sides: dict[str, mf.SplitName],
    config: PrepareConfig,
    crew: "_Crew",
) -> mf.Manifest:
    kept = [s for s in sources if not s.kind]
    # mixed by a hash, so that neighbours in a shard are strangers; adding photographs keeps the order of the old ones
    mixed = sorted(kept, key=lambda s: seed_of(config.seed, "order", s.path))
    splits: dict[str, mf.Split] = {}
    for side in mf.SPLITS:
        here = [s for s in mixed if sides[scenes[s.path]] == side]
        jobs = [Job(photos, s, scenes[s.path], side, config) for s in here]
        cuts = crew(cut, jobs, f"writing {side}")
        shards = write_shards(folder, side, _flat(cuts), per_shard=config.samples_per_shard)
        splits[side] = mf.Split(
            photos=len(here),
            scenes=len({scenes[s.path] for s in here}),
            samples=sum(s.samples for s in shards),
            shards=shards,
        )
    listed = folder / "sources.jsonl"
    write_sources(listed, sources, scenes, sides)
    made = mf.Manifest(
        schema_=mf.SCHEMA,
        scale=config.scale,
        fingerprint=mf.fingerprint(splits),
        prepare=config.model_dump(mode="json"),
        sources=mf.Sources(file=listed.name, sha256=sha256(listed), found=len(sources), kept=len(kept)),
        left_out=[mf.LeftOut(path=s.path, kind=s.kind, reason=s.reason) for s in sources if s.kind],
        splits=splits,
    )
    (folder / mf.NAME).write_bytes(mf.to_json(made))
    sync_file(folder / mf.NAME)
    return made


def _flat(groups: Iterable[list[Encoded]]) -> Iterator[Encoded]:
    for group in groups:
        yield from group


@contextlib.contextmanager
def _crew(workers: int) -> Generator["_Crew"]:
    """Worker processes for all steps (spawned once: a fork of a process with running threads can hang)."""
    if workers == 0:
        threads = torch.get_num_threads()
        quiet_worker()
        try:
            yield _Crew(None, 0)
        finally:
            torch.set_num_threads(threads)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=quiet_worker)
    try:
        yield _Crew(pool, 4 * workers)
    except BrokenProcessPool:
        raise UserError("a worker process died, most likely for want of memory; try fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Crew:
    """`map` in order, at most `ahead` results in advance, with progress and time left on stderr."""

    pool: ProcessPoolExecutor | None
    ahead: int

    def __call__(self, work: Callable[[A], B], items: Sequence[A], title: str) -> Iterator[B]:
        hidden = not sys.stderr.isatty()
        with tqdm(total=len(items), desc=title, unit="file", disable=hidden, leave=False) as bar:
            for result in map(work, items) if self.pool is None else self._pooled(self.pool, work, items):
                bar.update()
                yield result

    def _pooled(self, pool: ProcessPoolExecutor, work: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= self.ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def summary(made: mf.Manifest, out: Path) -> str:
    """What was made, for people."""
    kinds = Counter(item.kind for item in made.left_out)
    lines = [f"{made.sources.found} files found, {made.sources.kept} photographs kept, {len(made.left_out)} left out"]
    for kind, count in sorted(kinds.items()):
        some = [item for item in made.left_out if item.kind == kind]
        lines += [f"  {kind}: {count}"] + [f"    {i.path}: {i.reason}" for i in some[:5]]
        lines += [f"    ... and {len(some) - 5} more in {made.sources.file}"] if len(some) > 5 else []
    lines.append(f"{'split':8}{'scenes':>8}{'photos':>8}{'samples':>9}{'shards':>8}{'MB':>9}")
    for name, split in made.splits.items():
        size = sum(s.bytes for s in split.shards) / 1e6
        row = f"{name:8}{split.scenes:>8}{split.photos:>8}{split.samples:>9}{len(split.shards):>8}{size:>9.1f}"
        lines.append(row)
    lines.append(f"{out / mf.NAME}  fingerprint {made.fingerprint[:16]}")
    return "\n".join(lines)
