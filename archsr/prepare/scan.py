"""Finding files and deciding, one at a time, whether each is a usable photograph."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from archsr.config import PrepareConfig
from archsr.errors import UserError
from archsr.images import BadImageError, read_photo
from archsr.prepare.floorplans import drawing_score, reduced

# what cameras, browsers and operating systems leave beside photographs
_LITTER = frozenset({"thumbs.db", "desktop.ini", ".ds_store"})


@dataclass(frozen=True)
class Source:
    """One file found. `kind` is empty for a usable photograph, else why it is left out, with `reason` in words."""

    path: str
    bytes: int = 0
    sha256: str = ""
    width: int = 0
    height: int = 0
    drawing: float = 0.0
    notes: tuple[str, ...] = ()
    kind: str = ""
    reason: str = field(default="")


def find_files(folder: Path, *, out: Path) -> list[str]:
    """Paths of all files below `folder`, relative, `/`-separated, sorted; linked folders are not entered.

    Raises `UserError` if there is no such folder, if it lies inside `out`, or if it holds no files.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of photographs")
    if folder.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{folder}: the photographs lie inside the output {out}; choose an output elsewhere")
    found: list[str] = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if (Path(root) / f).resolve() != out.resolve())
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    if not found:
        raise UserError(f"{folder}: no photographs found: the folder has no files")
    return sorted(found)


def inspect(folder: Path, path: str, config: PrepareConfig) -> Source:
    """Read and decode one file completely."""
    if Path(path).name.lower() in _LITTER or Path(path).name.startswith("._"):
        return Source(path, kind="unreadable", reason="a file of the operating system, not a picture")
    try:
        content = (folder / path).read_bytes()
        photo = read_photo(content, max_pixels=config.max_pixels)
    except OSError as error:
        return Source(path, kind="unreadable", reason=f"cannot be opened: {error.strerror}")
    except BadImageError as error:
        size = (folder / path).stat().st_size
        return Source(path, bytes=size, kind="unreadable", reason="empty file" if size == 0 else str(error))
    height, width = photo.pixels.shape[:2]
    score = drawing_score(reduced(Image.fromarray(photo.pixels)))
    kind, reason = "", ""
    if photo.alpha is not None:
        kind, reason = "transparent", "has transparent parts, so its true pixels are unknown"
    elif min(width, height) < config.min_side:
        kind, reason = "small", f"{width}×{height} is smaller than min_side ({config.min_side})"
    elif score >= config.drawing_threshold and config.drawings == "leave_out":
        kind, reason = "drawing", f"a floor plan or drawing (score {score:.2f} of {config.drawing_threshold:g})"
    digest = hashlib.sha256(content).hexdigest()
    return Source(path, len(content), digest, width, height, round(score, 4), photo.notes, kind, reason)
