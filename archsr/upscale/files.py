"""Pictures and folders in, pictures and folders out: every output file is complete or absent."""

import glob
import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from archsr.errors import UserError
from archsr.picture_files import BadImageError
from archsr.upscale.picture import ENDINGS, Wanted, restore_picture
from archsr.upscale.upscaler import Upscaler

Existing = Literal["skip", "overwrite", "refuse"]
Pair = tuple[Path, Path]
_IMAGE_ENDINGS = (".gif", ".bmp", ".jp2", ".avif", ".ppm", ".heic", ".heif", ".hif")
_READ = (*ENDINGS, *_IMAGE_ENDINGS)


@dataclass(frozen=True)
class Outcome:
    """What became of the files: written, skipped because they were there, and failed with the reason."""

    written: list[Path] = field(default_factory=list[Path])
    skipped: list[Path] = field(default_factory=list[Path])
    failed: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])


# ---------------------------------------------------------------- which


def plan_files(sources: Sequence[Path], target: Path, *, ending: str) -> list[Pair]:
    """(input, output) pairs: one picture to a file or into a folder, many into a folder, a folder's tree to the same.

    A source may be a pattern (`photos/*.jpg`, `**` for sub-folders). Outputs keep their names and get `ending`. Raises
    `UserError` for missing inputs and outputs that collide.
    """
    found = [path for source in sources for path in _matching(source)]
    if len(found) == 1 and found[0].is_file():
        return _refuse_collisions([_one(found[0], target, ending)])
    if target.is_file() or (target.suffix.lower() in (*ENDINGS, *_IMAGE_ENDINGS) and not target.is_dir()):
        raise UserError(f"{target}: {'is' if target.is_file() else 'names'} a file; many pictures need a folder")
    pairs: list[Pair] = []
    for source in found:
        pairs += [(source, target / source.name)] if source.is_file() else _tree(source, target)
    if not pairs:
        raise UserError(f"{sources[0]}: no pictures found (looked for {', '.join(_READ)})")
    twins = Counter(t.with_suffix("") for _, t in pairs)  # a.jpg and a.png would both become a.png
    return _refuse_collisions(
        (p, t.with_suffix(ending) if twins[t.with_suffix("")] == 1 else t.with_name(t.name + ending)) for p, t in pairs
    )


def _matching(source: Path) -> list[Path]:
    if source.exists():
        return [source]
    if glob.has_magic(str(source)):
        found = [Path(p) for p in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207 - Path has no absolute patterns
        pictures = [p for p in found if p.is_file() and p.suffix.lower() in _READ]
        if pictures:
            return pictures
        raise UserError(f"{source}: no pictures found (looked for {', '.join(_READ)})")
    raise UserError(f"{source}: no such picture or folder")


def _one(source: Path, target: Path, ending: str) -> Pair:
    if target.suffix.lower() in _IMAGE_ENDINGS and not target.is_dir():
        raise UserError(f"{target}: cannot be written as {target.suffix}; choose {', '.join(ENDINGS)}")
    to_file = target.suffix.lower() in ENDINGS and not target.is_dir()
    return source, target if to_file else target / f"{source.stem}{ending}"


def _tree(source: Path, target: Path) -> list[Pair]:
    if source.resolve() == target.resolve():
        raise UserError(f"{target}: is the input folder; choose another output")
    inside = target.resolve()
    found = sorted(p for p in source.rglob("*") if p.is_file() and p.suffix.lower() in _READ)
    inputs = [p for p in found if not p.resolve().is_relative_to(inside)]
    if not inputs:
        raise UserError(f"{source}: no pictures found (looked for {', '.join(_READ)})")
    return [(p, target / p.relative_to(source)) for p in inputs]


def _refuse_collisions(pairs: Iterable[Pair]) -> list[Pair]:
    owner: dict[Path, Path] = {}
    for source, target in pairs:
        if target.resolve() == source.resolve():
            raise UserError(f"{target}: would overwrite the input; choose another output")
        if target in owner:
            raise UserError(f"{owner[target]} and {source} would both become {target}; rename one")
        owner[target] = source
    return [(source, target) for target, source in owner.items()]


def without_existing(pairs: Sequence[Pair], existing: Existing) -> tuple[list[Pair], list[Path]]:
    """What is to be made, and the outputs that are there and stay. Raises `UserError` for them with "refuse"."""
    there = [target for _, target in pairs if target.exists()] if existing != "overwrite" else []
    if there and existing == "refuse":
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{there[0]}{more}: already there; nothing was written (--existing skip or overwrite)")
    stay = set(there)
    return [p for p in pairs if p[1] not in stay], there


# ---------------------------------------------------------------- doing


def upscale_files(
    pairs: Sequence[Pair], upscaler: Upscaler, wanted: Wanted | None = None, *, show: bool = True
) -> Outcome:
    """Restore each input into its output. A bad picture is noted and the others go on.

    While one picture is written, the next is restored.
    """
    outcome = Outcome()
    waiting: deque[tuple[Pair, Future[None]]] = deque()
    hidden = not (show and sys.stderr.isatty())
    form = "{l_bar}{bar}| {n:.2f}/{total} [{elapsed}<{remaining}]"
    bar: tqdm[Any] = tqdm(total=len(pairs), desc="upscaling", unit="picture", disable=hidden, bar_format=form)
    with ThreadPoolExecutor(2) as writers, bar:
        for number, pair in enumerate(pairs):
            try:
                future = restore_picture(
                    *pair, upscaler, wanted or Wanted(), writers, on_progress=lambda s, n=number: _show(bar, n + s)
                )
                waiting.append((pair, future))
            except (BadImageError, OSError) as error:
                _note(outcome, pair, error)
            _show(bar, number + 1)
            while len(waiting) > 1:
                _conclude(outcome, *waiting.popleft())
        for pair, future in waiting:
            _conclude(outcome, pair, future)
    return outcome


def _show(bar: "tqdm[Any]", done: float) -> None:
    bar.update(done - bar.n)


def _conclude(outcome: Outcome, pair: Pair, future: Future[None]) -> None:
    try:
        future.result()
        outcome.written.append(pair[1])
    except (BadImageError, OSError) as error:
        _note(outcome, pair, error)


def _note(outcome: Outcome, pair: Pair, error: Exception) -> None:
    source, target = pair
    why = str(error) if isinstance(error, BadImageError) else f"{target} cannot be written: {_cause(error)}"
    outcome.failed.append((source, why))


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def joined(outcomes: Iterable[Outcome]) -> Outcome:
    """What several processes did, as one."""
    total = Outcome()
    for one in outcomes:
        total.written.extend(one.written)
        total.skipped.extend(one.skipped)
        total.failed.extend(one.failed)
    return total


def report(outcome: Outcome) -> int:
    """Print what became of the files; the exit code is 2 if any failed."""
    why = " (already there; --existing overwrite replaces them)" if outcome.skipped else ""
    print(f"{len(outcome.written)} written, {len(outcome.skipped)} skipped{why}, {len(outcome.failed)} failed")
    if outcome.written:
        print(os.path.commonpath(outcome.written))  # the file, or the folder that has all of them
    for path, reason in outcome.failed:
        print(f"archsr: {path}: {reason}", file=sys.stderr)
    return 2 if outcome.failed else 0
