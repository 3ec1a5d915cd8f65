"""What an upload may be, decided from its bytes before any pixel is decoded."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from archsr.errors import UserError
from archsr.images.image_files import BadImageError, TooManyPixelsError
from archsr.upscaling.source import open_source

_LONGEST_NAME = 120  # bytes, so that a suffix and a model's name still fit into the 255 of a file system
_UNWANTED = set('/\\:*?"<>|')


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    `size`: bytes of a file, `pixels` and `pages` of an image, `files` of one order; `waiting` orders in the queue;
    `room`: bytes of all temporary files, which go `keep` seconds after their last use; `models` held in memory;
    `uploads` at once, beyond which an address has but one, and `uploads_each` of one; `lines` open at once, half of
    them from one address.
    """

    size: int = 300 * 2**20
    pixels: int = 50_000_000
    pages: int = 20
    files: int = 32
    waiting: int = 64
    room: int = 8 * 2**30
    keep: float = 3600.0
    models: int = 3
    uploads: int = 64
    uploads_each: int = 24
    lines: int = 256


def safe_name(name: str) -> str:
    """A visitor's file name without folders and without what a file system or a shell could take for something else.

    Never empty, never hidden, at most 120 bytes, the ending kept.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in last if c not in _UNWANTED and unicodedata.category(c)[0] != "C").strip(". ")
    stem, dot, ending = shown.rpartition(".") if "." in shown else (shown, "", "")
    rest = _LONGEST_NAME - len((dot + ending).encode())
    if rest < 1:  # an ending so long is none
        return _cut(shown, _LONGEST_NAME)
    return (_cut(stem, rest).strip(". ") or "photo") + dot + ending


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def check_upload(path: Path, limits: Limits) -> tuple[int, int]:
    """Height and width of an image that may be enlarged. Raises `BadImageError` with the reason for any other file."""
    try:
        size = path.stat().st_size
    except OSError:
        raise BadImageError("is not on the server any more; drop it again") from None
    if size == 0:
        raise BadImageError("empty file")
    if size > limits.size:
        said = f"{words_of(size)}, more than the {words_of(limits.size)} that a file may have"
        raise BadImageError(more_by("--max-bytes", said))
    try:
        source = open_source(path, max_pixels=limits.pixels)
    except TooManyPixelsError as error:
        raise BadImageError(more_by("--max-pixels", str(error))) from None
    if source.pages > limits.pages:
        raise BadImageError(f"{source.pages} pages; at most {limits.pages}")
    return source.size


def more_by(option: str, refusal: str) -> str:
    """A refusal, and the option of `archsr app` that would let it in."""
    return f"{refusal}; who started the page can allow more: archsr app {option}"


def check_count(count: int, limits: Limits) -> None:
    """Raise `UserError` for no photograph or too many."""
    if not count:
        raise UserError("drop a photograph first")
    if count > limits.files:
        raise UserError(f"{count} photographs at once; at most {limits.files}: send the rest afterwards")


def words_of(size: float) -> str:
    """Bytes for people: 900 B, 12 kB, 64 MB, 1.5 GB."""
    for unit, factor in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"
