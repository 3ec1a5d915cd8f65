"""Pictures and folders in, pictures and folders out: every output file is complete or absent."""

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from archsr.errors import UserError
from archsr.images import BadImageError, Pixels, read_photo, write_picture
from archsr.upscale.upscaler import Upscaler

Existing = Literal["skip", "overwrite"]
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_IMAGE_ENDINGS = (".gif", ".bmp", ".jp2", ".avif", ".ppm", ".heic")
_READ = (*ENDINGS, ".bmp", ".gif", ".jp2", ".avif", ".ppm")
_LONGEST = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}  # libwebp's and libjpeg's limits, pixels


@dataclass(frozen=True)
class Outcome:
    """What became of the files: written, skipped because they were there, and failed with the reason."""

    written: list[Path]
    skipped: list[Path]
    failed: list[tuple[Path, str]]


def plan_files(source: Path, target: Path, *, ending: str) -> list[tuple[Path, Path]]:
    """(input, output) pairs: one picture to a file or into a folder, or a folder's tree to the same tree.

    Outputs keep their names and get `ending`. Raises `UserError` for missing inputs and outputs that collide.
    """
    if not source.exists():
        raise UserError(f"{source}: no such picture or folder")
    if target.is_file() and source.is_dir():
        raise UserError(f"{target}: is a file; a folder of pictures needs a folder for its results")
    if source.is_file():
        if target.suffix.lower() in _IMAGE_ENDINGS and not target.is_dir():
            raise UserError(f"{target}: cannot be written as {target.suffix}; choose {', '.join(ENDINGS)}")
        to_file = target.suffix.lower() in ENDINGS and not target.is_dir()
        pairs = [(source, target if to_file else target / f"{source.stem}{ending}")]
    else:
        if source.resolve() == target.resolve():
            raise UserError(f"{target}: is the input folder; choose another output")
        inside = target.resolve()
        found = sorted(p for p in source.rglob("*") if p.is_file() and p.suffix.lower() in _READ)
        inputs = [p for p in found if not p.resolve().is_relative_to(inside)]
        if not inputs:
            raise UserError(f"{source}: no pictures found (looked for {', '.join(_READ)})")
        pairs = [(p, target / p.relative_to(source)) for p in inputs]
        twins = Counter(t.with_suffix("") for _, t in pairs)  # a.jpg and a.png would both become a.png
        pairs = [
            (p, t.with_suffix(ending) if twins[t.with_suffix("")] == 1 else t.with_name(t.name + ending))
            for p, t in pairs
        ]
    _refuse_collisions(pairs)
    return pairs


def _refuse_collisions(pairs: Iterable[tuple[Path, Path]]) -> None:
    owner: dict[Path, Path] = {}
    for source, target in pairs:
        if target.resolve() == source.resolve():
            raise UserError(f"{target}: would overwrite the input; choose another output")
        if target in owner:
            raise UserError(f"{owner[target]} and {source} would both become {target}; rename one")
        owner[target] = source


def upscale_files(
    pairs: list[tuple[Path, Path]], upscaler: Upscaler, *, existing: Existing = "skip", quality: int = 95
) -> Outcome:
    """Restore each input into its output. A bad picture is noted and the others go on."""
    outcome = Outcome([], [], [])
    hidden = not sys.stderr.isatty()
    for source, target in tqdm(pairs, desc="upscaling", unit="picture", disable=hidden or len(pairs) < 2):
        if target.exists() and existing == "skip":
            outcome.skipped.append(target)
            continue
        try:
            photo = read_photo(source)
            check_size(target, *(side * upscaler.scale for side in photo.pixels.shape[:2]))
            sr = upscaler.pixels(photo.pixels)
            alpha = _enlarge(photo.alpha, upscaler.scale) if photo.alpha is not None else None
            write_picture(target, sr, alpha=alpha, quality=quality)
            outcome.written.append(target)
        except BadImageError as error:
            outcome.failed.append((source, str(error)))
        except OSError as error:
            outcome.failed.append((source, f"{target} cannot be written: {error.strerror or error}"))
    return outcome


def check_size(target: Path, height: int, width: int) -> None:
    """Raise `BadImageError` where the format of `target` cannot hold a picture of this size."""
    most = _LONGEST.get(target.suffix.lower())
    if most is not None and max(height, width) > most:
        raise BadImageError(
            f"{width}×{height} would be too large for {target.suffix} (at most {most} a side); write png instead"
        )


def _enlarge(alpha: Pixels, scale: int) -> Pixels:
    """Transparency has no texture to invent: Lanczos."""
    image = Image.fromarray(alpha)
    return np.array(image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS))


def report(outcome: Outcome) -> int:
    """Print what became of the files; the exit code is 2 if any failed."""
    why = " (already there; --existing overwrite replaces them)" if outcome.skipped else ""
    print(f"{len(outcome.written)} written, {len(outcome.skipped)} skipped{why}, {len(outcome.failed)} failed")
    if len(outcome.written) == 1:
        print(outcome.written[0])
    for path, reason in outcome.failed:
        print(f"archsr: {path}: {reason}", file=sys.stderr)
    return 2 if outcome.failed else 0
