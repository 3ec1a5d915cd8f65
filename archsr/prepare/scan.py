"""Deciding, one at a time, whether each file is a usable photograph."""

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from archsr.config import PrepareConfig
from archsr.images import BadImageError, read_photo
from archsr.prepare.floorplans import drawing_score
from archsr.prepare.photos import Photos

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


def inspect(photos: Photos, path: str, config: PrepareConfig) -> Source:
    """Read and decode one file completely."""
    if PurePosixPath(path).name.lower() in _LITTER or PurePosixPath(path).name.startswith("._"):
        return Source(path, kind="unreadable", reason="a file of the operating system, not a picture")
    try:
        content = photos.read(path)
    except OSError as error:
        return Source(path, kind="unreadable", reason=f"cannot be opened: {error.strerror or error}")
    try:
        photo = read_photo(content, max_pixels=config.max_pixels)
    except BadImageError as error:
        return Source(path, bytes=len(content), kind="unreadable", reason=str(error) if content else "empty file")
    height, width = photo.pixels.shape[:2]
    score = drawing_score(photo.pixels)
    kind, reason = "", ""
    if photo.alpha is not None:
        kind, reason = "transparent", "has transparent parts, so its true pixels are unknown"
    elif min(width, height) < config.min_side:
        kind, reason = "small", f"{width}×{height} is smaller than min_side ({config.min_side})"
    elif score >= config.drawing_threshold and config.drawings == "leave_out":
        kind, reason = "drawing", f"a floor plan or drawing (score {score:.2f} of {config.drawing_threshold:g})"
    digest = hashlib.sha256(content).hexdigest()
    return Source(path, len(content), digest, width, height, round(score, 4), photo.notes, kind, reason)
