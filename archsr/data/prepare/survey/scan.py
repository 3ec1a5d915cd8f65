"""Decides for one file whether it is a usable photograph."""

import hashlib
import io
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archsr.config import PrepareConfig
from archsr.data.prepare.duplicates.near import thumbnail
from archsr.data.prepare.sources.opening import Photos, open_photos
from archsr.data.prepare.survey.floorplans import drawing_score, reduced
from archsr.data.prepare.survey.limits import judged
from archsr.images.image_files import is_litter
from archsr.images.pixels import BadImageError, Photo, Pixels, read_photo, sharpness, taken_at
from archsr.images.raw_files import refuse_raw
from archsr.metrics.quality import Quality, measure, quality_from

UNREADABLE, OTHER = "unreadable", "no image"  # kinds: bad image files, and files that are no images
_BLANK = np.zeros((64, 64), np.uint8)


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """One file. `kind` is empty for a usable photograph, otherwise it is excluded for `reason`.

    `drawing` is the score of the drawing classifier (0 to 1), `sharpness` the mean absolute Laplacian of the middle
    256² pixels of luma (0-255 units), `columns` the row of a `datasets` source, `taken` the EXIF time. `quality` is
    None for what is no photograph. `reduced` is the (width, height) to which an enlarged photograph was downsampled.
    `registered` is how many pixels (x, y) it was moved by to lie on its `lq` from disk.
    """

    path: str
    bytes: int = 0
    sha256: str = ""
    width: int = 0
    height: int = 0
    drawing: float = 0.0
    sharpness: float = 0.0
    notes: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    taken: str = ""
    quality: Quality | None = None
    reduced: tuple[int, int] | None = None
    registered: tuple[int, int] | None = None
    kind: str = ""
    reason: str = ""


def scanned(plain: Mapping[str, Any]) -> ScannedFile:
    """Return a file from its fields as JSON stores them; `columns` are pairs of name and value."""
    stored: dict[str, Any] = dict(plain)
    stored["notes"] = tuple(plain["notes"])
    stored["columns"] = tuple((name, value) for name, value in plain["columns"])
    stored["quality"] = quality_from(plain["quality"])
    for name in ("reduced", "registered"):
        stored[name] = tuple(plain[name]) if plain.get(name) else None
    return ScannedFile(**stored)


@dataclass(frozen=True)
class ScanResult:
    """A file, its pixels (None if it is no usable photograph), its thumbnail, uint8 (64, 64), and its bytes.

    `pixels` are downsampled if the source is `reduced`; `content` is then empty. `lq`: the pixels of its `lq` from
    disk, for a dataset of pairs.
    """

    source: ScannedFile
    pixels: Pixels | None
    thumb: NDArray[np.uint8]
    content: bytes = b""
    lq: Pixels | None = None


@lru_cache(maxsize=2)
def photos_of(origin: str, exclude: Path, unpack_to: Path) -> Photos:
    """Return this process's handle of the photographs."""
    return open_photos(origin, exclude=exclude, unpack_to=unpack_to)


def inspect(photos: Photos, path: str, config: PrepareConfig) -> ScanResult:
    """Read and decode one file completely."""
    name = PurePosixPath(path).name
    if is_litter(name):
        return _unusable(path, "a file of the operating system, not an image", kind=OTHER)
    content = b""
    try:
        content = photos.read(path)
        refuse_raw(io.BytesIO(content), name)
        photo = read_photo(content, max_pixels=config.max_pixels)
    except OSError as error:
        return _unusable(path, f"cannot be opened: {error.strerror or error}")
    except BadImageError as error:
        kind = OTHER if _says_it_is_no_image(name) else UNREADABLE
        return _unusable(path, str(error) if content else "empty file", kind=kind, size=len(content))
    return _classified(photos, path, content, photo, config)


def _says_it_is_no_image(name: str) -> bool:
    """Return whether the suffix is no image's: notes beside photographs are not counted as bad files."""
    kind, packed = mimetypes.guess_type(name)
    return bool(packed or (kind and not kind.startswith("image/")))


def _unusable(path: str, reason: str, *, kind: str = UNREADABLE, size: int = 0) -> ScanResult:
    return ScanResult(ScannedFile(path, bytes=size, kind=kind, reason=reason), None, _BLANK)


def _classified(photos: Photos, path: str, content: bytes, photo: Photo, config: PrepareConfig) -> ScanResult:
    height, width = photo.pixels.shape[:2]
    image = Image.fromarray(photo.pixels)
    score = drawing_score(reduced(image))
    kind, reason = "", ""
    if photo.alpha is not None:
        kind, reason = "transparent", "has transparent parts, so its true pixels are unknown"
    elif min(width, height) < config.min_side:
        kind, reason = "small", f"{width}×{height} is smaller than min_side ({config.min_side})"
    elif matches(path, config.deny):
        kind, reason = "drawing", "named in deny"
    elif score >= config.drawing_threshold and config.drawings == "leave_out" and not matches(path, config.allow):
        kind, reason = "drawing", f"a floor plan or drawing (score {score:.2f}, limit {config.drawing_threshold:g})"
    quality = None if kind else measure(photo.pixels, content)
    pixels, reduced_to = photo.pixels, None
    if quality:
        pixels, kind, reason = judged(photo.pixels, quality, config)
        reduced_to = None if pixels is photo.pixels else (pixels.shape[1], pixels.shape[0])
    source = ScannedFile(
        path,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        width=width,
        height=height,
        drawing=round(score, 4),
        sharpness=round(sharpness(image), 3),
        notes=photo.notes,
        columns=tuple(sorted(photos.columns(path).items())),
        taken=taken_at(content),
        quality=quality,
        reduced=reduced_to,
        kind=kind,
        reason=reason,
    )
    return ScanResult(source, pixels, thumbnail(image), b"" if reduced_to else content)


def matches(path: str, globs: tuple[str, ...]) -> bool:
    """Return whether a path matches one of the globs, ignoring case and with `\\` as `/`."""
    return any(fnmatch(path.casefold(), glob.casefold().replace("\\", "/")) for glob in globs)
