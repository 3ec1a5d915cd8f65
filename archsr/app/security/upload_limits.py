"""Limits of the server, and checks of an upload before any pixel is decoded."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from archsr.errors import UserError
from archsr.images.image_files import BadImageError, TooManyPixelsError
from archsr.upscaling.source import open_source

_MAX_NAME = 120  # bytes: a suffix and a model's name must still fit into the 255 of a file system
_FORBIDDEN = set('/\\:*?"<>|')


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    `max_bytes` of a file, `max_pixels` and `max_pages` of an image, `max_files` of one order, `max_queued` orders.
    `max_storage`: bytes of all temporary files, which are removed `keep_seconds` after their last use.
    `max_models` in memory. `max_uploads` at once, beyond which a visitor may have only one, and
    `max_uploads_per_visitor`. `max_connections`, half of them from one visitor.
    """

    max_bytes: int = 300 * 2**20
    max_pixels: int = 50_000_000
    max_pages: int = 20
    max_files: int = 32
    max_queued: int = 64
    max_storage: int = 8 * 2**30
    keep_seconds: float = 3600.0
    max_models: int = 3
    max_uploads: int = 64
    max_uploads_per_visitor: int = 24
    max_connections: int = 256


def safe_name(name: str) -> str:
    """Return a visitor's file name without folders and without characters that a file system or a shell interprets.

    The result is never empty, never hidden, and has at most 120 bytes. It keeps the suffix.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(c for c in last if c not in _FORBIDDEN and unicodedata.category(c)[0] != "C").strip(". ")
    stem, dot, suffix = clean.rpartition(".") if "." in clean else (clean, "", "")
    rest = _MAX_NAME - len((dot + suffix).encode())
    if rest < 1:  # too long to be a suffix
        return _truncate(clean, _MAX_NAME)
    return (_truncate(stem, rest).strip(". ") or "photo") + dot + suffix


def _truncate(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def check_upload(path: Path, limits: Limits) -> tuple[int, int]:
    """Return height and width of an image that may be upscaled. Raise `BadImageError` for any other file."""
    try:
        size = path.stat().st_size
    except OSError:
        raise BadImageError("is no longer on the server; drop it again") from None
    if size == 0:
        raise BadImageError("empty file")
    if size > limits.max_bytes:
        reason = f"{format_bytes(size)} is more than the limit of {format_bytes(limits.max_bytes)} per file"
        raise BadImageError(with_option("--max-bytes", reason))
    try:
        source = open_source(path, max_pixels=limits.max_pixels)
    except TooManyPixelsError as error:
        raise BadImageError(with_option("--max-pixels", str(error))) from None
    if source.pages > limits.max_pages:
        raise BadImageError(f"{source.pages} pages; at most {limits.max_pages}")
    return source.size


def with_option(option: str, reason: str) -> str:
    """Return the reason of a refusal, and the option of `archsr app` that raises the limit."""
    return f"{reason}; whoever started the page can allow more: archsr app {option}"


def check_count(count: int, limits: Limits) -> None:
    """Raise `UserError` if there is no photograph or if there are too many."""
    if not count:
        raise UserError("drop a photograph first")
    if count > limits.max_files:
        raise UserError(f"{count} photographs at once; at most {limits.max_files}: send the rest afterwards")


def format_bytes(size: float) -> str:
    """Return bytes as text: 900 B, 12 kB, 64 MB, 1.5 GB."""
    for unit, factor in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"
