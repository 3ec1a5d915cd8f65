"""Checks of image files that PIL does not make: damage that it decodes silently, and what a non-image file is."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import PurePath

import numpy as np
from PIL import Image

# files that are often found among photographs but are no images: offset of the magic bytes, magic bytes, name
_STARTS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\3\4", "a zip archive"),
    (0, b"%PDF", "a PDF document; export its images"),
    (0, b"8BPS", "a Photoshop document; save it as PNG or TIFF"),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 this PIL cannot read"),
    (4, b"ftyphei", "a damaged HEIC image"),
    (4, b"ftyphev", "a damaged HEIC image"),
    (4, b"ftypmif1", "a damaged HEIF image"),
    (4, b"ftypmsf1", "a damaged HEIF image"),
    (4, b"ftypavif", "an AVIF this PIL cannot read"),
    (4, b"ftypcrx", "a raw photograph; develop it to TIFF or JPEG"),
    (4, b"ftyp", "a video"),
    (8, b"CR\2\0", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"FUJIFILMCCD-RAW", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"IIRO", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"IIRS", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"MMOR", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"IIU\0", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"FOVb", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"\0MRM", "a raw photograph; develop it to TIFF or JPEG"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"RIFF", "a video or sound"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"%!PS", "a PostScript document"),
)


WRITTEN = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
HEIC_ENDINGS = (".heic", ".heif", ".hif")
READ = (*WRITTEN, ".gif", ".bmp", ".jp2", ".avif", ".ppm", *HEIC_ENDINGS)
# files that cameras, browsers and operating systems leave beside photographs
_LITTER = frozenset({"thumbs.db", "desktop.ini", ".ds_store"})


class BadImageError(Exception):
    """A file that is not a usable image. The text is the reason, without the file's name."""


class TooManyPixelsError(BadImageError):
    """An image with more pixels than the caller accepts."""


def is_litter(name: str) -> bool:
    """Return whether a name is that of a file an operating system leaves beside photographs, such as `._a.jpg`."""
    return name.startswith("._") or name.lower() in _LITTER


def is_image(path: PurePath) -> bool:
    """Return whether the suffix is one that archsr reads, in upper or lower case. The content is not checked."""
    return path.suffix.lower() in READ and not is_litter(path.name)


def looks_like(content: bytes) -> str:
    """Return what the bytes of a file that is no image look like, such as `": a web page"`, or an empty string."""
    for place, start, name in _STARTS:
        if content[place : place + len(start)] == start:
            return f": {name}"
    head = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return ": an SVG drawing"
    if head.startswith((b"<!doctype html", b"<html")):
        return ": a web page"
    if head and all(byte >= 32 or byte in b"\t\r\n" for byte in head) and _is_utf8(content[:1000]):
        return ": a text"
    return ""


def _is_utf8(head: bytes) -> bool:
    try:
        head[: len(head) - 3].decode()
    except UnicodeDecodeError:
        return False
    return True


def check_whole(image: Image.Image, content: bytes) -> None:
    """Raise `BadImageError` if a loaded PNG fails its checksums or a loaded JPEG ends too early.

    PIL decodes both silently: the PNG to garbage, the JPEG with its lower part filled with grey.
    """
    if image.format == "PNG":
        for name, start, end in _chunks(content):
            if name == b"IDAT" and content[end : end + 4] != struct.pack(">I", zlib.crc32(content[start - 4 : end])):
                raise BadImageError("damaged: the checksum of its pixel data is wrong")
    elif image.format in ("JPEG", "MPO") and _is_filled(image) and _goes_on(image, content):
        raise BadImageError("damaged: its pixel data end too early, so the lower part is missing")


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the data of every chunk of a PNG."""
    place = 8
    while place + 8 <= len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        yield content[place + 4 : place + 8], place + 8, place + 8 + size
        place += 12 + size


def _is_filled(image: Image.Image) -> bool:
    """Return whether the last rows have exactly the middle grey of missing blocks (a real image may have it too)."""
    width, height = image.size
    return bool((np.asarray(image.crop((0, max(0, height - 8), width, height))) == _middle(image)).all())


def _middle(image: Image.Image) -> int:
    return 127 if image.mode == "CMYK" else 128


def _goes_on(image: Image.Image, content: bytes) -> bool:
    """Return whether data added before the end mark would change pixels. A complete JPEG ignores such data."""
    end = content.find(b"\xff\xd9", _scan(content))
    if end < 0:
        return False
    more = content[:end] + b"\x5a\xa5" * 500 + content[end:]
    try:
        with Image.open(io.BytesIO(more), formats=("JPEG",)) as longer:
            return not np.array_equal(np.asarray(longer), np.asarray(image))
    except OSError:
        return False


def _scan(content: bytes) -> int:
    """Return where the first scan of a JPEG begins, after the thumbnails in its other segments."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != 0xDA:
        place += 1 if content[place + 1] == 0xFF else 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return place
