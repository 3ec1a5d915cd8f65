"""Upscale images and folders. Every output file is complete or absent."""

import contextlib
import glob
import itertools
import os
import shutil
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from archsr.errors import UserError
from archsr.images.image_files import READ, WRITTEN, BadImageError, is_image
from archsr.upscaling.devices import writers_for
from archsr.upscaling.left_out import describe_kinds
from archsr.upscaling.one_image import OutputOptions, restore_image
from archsr.upscaling.pipe import Room
from archsr.upscaling.source import why_unreadable
from archsr.upscaling.upscaler import Upscaler
from archsr.utils.progress import progress

Existing = Literal["skip", "overwrite", "refuse"]
Pair = tuple[Path, Path]


@dataclass(frozen=True)
class UpscaleOutcome:
    """The files that were written, skipped because they exist, and failed with the reason.

    `lost` are sources of which something could not be kept, and what.
    """

    written: list[Path] = field(default_factory=list[Path])
    skipped: list[Path] = field(default_factory=list[Path])
    failed: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    lost: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])


@dataclass(frozen=True)
class Plan:
    """Pairs of input and output, and the ignored files beside the inputs."""

    pairs: list[Pair]
    left_out: list[Path]


# ---------------------------------------------------------------- planning


@contextlib.contextmanager
def staged_stdin(sources: Sequence[Path], *, alone: bool = True) -> Generator[list[Path]]:
    """Yield the sources, with `-` replaced by a temporary file that holds standard input.

    Raises `UserError` if `-` is not the only source, if several processes would read it (not `alone`), or if standard
    input is a terminal or empty.
    """
    if Path("-") not in sources:
        yield list(sources)
        return
    if len(sources) > 1 or not alone:
        raise UserError("-: standard input is one image for one process; give it alone, or give files")
    if sys.stdin.isatty():
        raise UserError("-: standard input is a terminal; pipe an image into it")
    with tempfile.TemporaryDirectory(prefix="archsr-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if not path.stat().st_size:
            raise UserError("-: standard input is empty")
        yield [path]


def plan_files(sources: Sequence[Path], target: Path, *, ending: str) -> Plan:
    """Plan one image to a file or into a folder, many into a folder, a folder's tree to the same tree.

    A source may be a pattern (`photos/*.jpg`, `**` for sub-folders), whose ending matches in any case; the tree below
    its fixed part is kept. Outputs keep their names and get `ending`. Each folder is listed once. Raises `UserError`
    for missing inputs and colliding outputs.
    """
    listed = [_listed(source, target) for source in sources]
    found = [entry for images, _ in listed for entry in images]
    rest = [path for _, others in listed for path in others]
    to_file = target.suffix.lower() in READ and not target.is_dir()
    one = len(found) == 1 and not any(source.is_dir() for source in sources)
    if one and (to_file or len(found[0][1].parts) == 1):
        return Plan(_refuse_collisions([_one(found[0][0], target, ending)]), rest)
    if target.is_file() or to_file:
        raise UserError(f"{target}: {'is' if target.is_file() else 'names'} a file; many images need a folder")
    pairs = [(source, target / place) for source, place in found]
    twins = Counter(t.with_suffix("") for _, t in pairs)  # a.jpg and a.png would both become a.png
    named = [
        (p, t.with_suffix(ending) if twins[t.with_suffix("")] == 1 else t.with_name(t.name + ending)) for p, t in pairs
    ]
    return Plan(_refuse_collisions(named), rest)


def _listed(source: Path, target: Path) -> tuple[list[Pair], list[Path]]:
    """Return the images of a source with their paths in the output folder, and its other files."""
    if source.is_dir():
        if source.resolve() == target.resolve():
            raise UserError(f"{target}: is the input folder; choose another output")
        files, root = _files(source, target), source
    elif source.exists():
        return [(source, Path(source.name))], []
    elif glob.has_magic(str(source)):
        files, root = _globbed(source, target), _fixed(source)
    else:
        raise UserError(f"{source}: no such image or folder")
    images = [(p, p.relative_to(root)) for p in files if is_image(p)]
    if not images:
        instead = "".join(f"; {kind}" for kind in describe_kinds(files))
        raise UserError(f"{source}: no images found (looked for {', '.join(READ)}){instead}")
    return images, [p for p in files if not is_image(p)]


def _files(folder: Path, target: Path) -> list[Path]:
    """Return all files below a folder, without the outputs."""
    return _outside(sorted(p for p in folder.rglob("*") if p.is_file()), target)


def _globbed(pattern: Path, target: Path) -> list[Path]:
    *above, last = pattern.parts
    stem, dot, ending = last.rpartition(".")
    if dot and not glob.has_magic(ending):
        ending = "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in ending)
    matching = glob.glob(str(Path(*above, stem + dot + ending)), recursive=True)  # noqa: PTH207 - Path has no absolute patterns
    files = [p for p in map(Path, sorted(matching)) if p.is_file()]
    return files if _fixed(pattern).resolve().is_relative_to(target.resolve()) else _outside(files, target)


def _fixed(pattern: Path) -> Path:
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))


def _outside(files: list[Path], target: Path) -> list[Path]:
    inside = target.resolve()
    return [p for p in files if not p.resolve().is_relative_to(inside)]


def _one(source: Path, target: Path, ending: str) -> Pair:
    to_file = target.suffix.lower() in WRITTEN and not target.is_dir()
    if not to_file and target.suffix.lower() in READ and not target.is_dir():
        raise UserError(f"{target}: cannot be written as {target.suffix}; choose {', '.join(WRITTEN)}")
    return source, target if to_file else target / f"{source.stem}{ending}"


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
    """Return the pairs to process, and the existing outputs. With "refuse", raises `UserError` if any exists."""
    existing_files = [target for _, target in pairs if target.exists()] if existing != "overwrite" else []
    if existing_files and existing == "refuse":
        more = f" and {len(existing_files) - 1} more" if len(existing_files) > 1 else ""
        raise UserError(
            f"{existing_files[0]}{more}: already exists; nothing was written (use --existing skip or overwrite)"
        )
    stay = set(existing_files)
    return [p for p in pairs if p[1] not in stay], existing_files


# ---------------------------------------------------------------- processing


def upscale_files(
    pairs: Sequence[Pair], upscaler: Upscaler, options: OutputOptions | None = None, *, show: bool = True
) -> UpscaleOutcome:
    """Restore each input into its output; continue after a bad image.

    The next images are restored while earlier ones are being written.
    """
    outcome, options = UpscaleOutcome(), options or OutputOptions()
    waiting: deque[tuple[Pair, Future[str]]] = deque()
    count, waiting_bytes = writers_for(upscaler.device)
    room = Room(waiting_bytes)
    with (
        ThreadPoolExecutor(count) as writers,
        progress("upscaling", len(pairs), unit="image", shown=show, in_parts=True) as advance,
    ):
        reach = _reaching(advance)
        for number, pair in enumerate(pairs):
            try:
                future = restore_image(
                    *pair,
                    upscaler,
                    options,
                    writers,
                    on_progress=lambda s, n=number: reach(n + s),
                    room=room,
                )
                waiting.append((pair, future))
            except BadImageError as error:
                while waiting:
                    _conclude(outcome, *waiting.popleft())
                _note(outcome, pair, why_unreadable(pair[0], error))
            except OSError as error:
                _note(outcome, pair, error)
            reach(number + 1)
            while len(waiting) >= count:
                _conclude(outcome, *waiting.popleft())
        for pair, future in waiting:
            _conclude(outcome, pair, future)
    return outcome


def _reaching(advance: Callable[[float], None]) -> Callable[[float], None]:
    """Return a function that is told how much is done in all."""
    before = 0.0

    def reach(done: float) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return reach


def _conclude(outcome: UpscaleOutcome, pair: Pair, future: Future[str]) -> None:
    try:
        lost = future.result()
        outcome.written.append(pair[1])
        if lost:
            outcome.lost.append((pair[0], lost))
    except (BadImageError, OSError) as error:
        _note(outcome, pair, error)


def _note(outcome: UpscaleOutcome, pair: Pair, error: Exception) -> None:
    source, target = pair
    why = str(error) if isinstance(error, BadImageError) else f"{target} cannot be written: {_cause(error)}"
    outcome.failed.append((source, why))


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def merge_outcomes(outcomes: Iterable[UpscaleOutcome]) -> UpscaleOutcome:
    """Merge the outcomes of several processes."""
    total = UpscaleOutcome()
    for one in outcomes:
        total.written.extend(one.written)
        total.skipped.extend(one.skipped)
        total.failed.extend(one.failed)
        total.lost.extend(one.lost)
    return total


def report(outcome: UpscaleOutcome, passed_over: Sequence[Path] = (), *, labelled: bool = False) -> int:
    """Print the outcome, whether files are `labelled`, and the ignored files. Return 2 if any file failed, else 0."""
    why = " (already exist; --existing overwrite replaces them)" if outcome.skipped else ""
    print(f"{len(outcome.written)} written, {len(outcome.skipped)} skipped{why}, {len(outcome.failed)} failed")
    if outcome.written:
        if labelled:
            print("their XMP says that a network enlarged them, and which one (--no-label leaves this out)")
        print(os.path.commonpath(outcome.written))  # the file, or the common folder
    for path, what in outcome.lost:
        print(f"archsr: {path}: {what}", file=sys.stderr)
    for path, reason in outcome.failed:
        print(f"archsr: {path}: {reason}", file=sys.stderr)
    if passed_over:
        print(f"archsr: {len(passed_over)} file{'s' * (len(passed_over) > 1)} ignored:", file=sys.stderr)
        for kind in describe_kinds(passed_over):
            print(f"  {kind}", file=sys.stderr)
    return 2 if outcome.failed else 0
