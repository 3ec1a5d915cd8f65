"""EXIF of TIFF files, which libvips neither reads nor writes: camera, date and author are tags of the first page."""

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO, cast

import tifftools

from archsr.images.tiff_tags import SIZES, Head, Tag, read_folder, read_head

_EXIF, _GPS = 34665, 34853  # offsets of the EXIF and GPS directories
_POINTERS = (_EXIF, _GPS)
_DESCRIPTION = 270
_TEXTS = {_DESCRIPTION, 271, 272, 305, 306, 315, 33432}  # maker, model, software, date, artist, copyright
_OWN = {*_TEXTS, *_POINTERS}
_SIZE = {0xA002, 0xA003}  # image size before upscaling
_OFFSETS = {0xA005}  # offset of a directory that is not copied
# descriptions that programs write, which only hold for the old pixels
_OF_PIXELS = (b'{"shape"', b"shape=(", b"ImageJ=", b"<?xml", b"<OME")
_LONGEST = 32768  # bytes of a value; a JPEG holds 65533 of EXIF


def exif_of_tiff(path: Path) -> bytes:
    """Return an EXIF block with a TIFF's camera, author, date and place; empty if it has none.

    Pixel sizes, orientation, thumbnails and unreadable tags are left out.
    """
    try:
        with path.open("rb") as file:
            head = read_head(file)
            if head is None:
                return b""
            tags, _ = read_folder(file, head, head.first, wanted=_OWN)
            folders = {number: _folder(file, head, tags.pop(number)) for number in _POINTERS if number in tags}
    except (OSError, ValueError):
        return b""
    texts = {number: tag for number, tag in tags.items() if not _is_of_pixels(number, tag)}
    folders = {number: folder for number, folder in folders.items() if folder}
    return _block(head.order, texts, folders) if texts or folders else b""


def _is_of_pixels(number: int, tag: Tag) -> bool:
    return len(tag.data) > _LONGEST or (number == _DESCRIPTION and tag.data.startswith(_OF_PIXELS))


def _folder(file: BinaryIO, head: Head, pointer: Tag) -> dict[int, Tag]:
    places = pointer.numbers(head.order)
    try:
        tags = read_folder(file, head, places[0])[0] if places else {}
    except ValueError:
        return {}
    unwanted = _SIZE | _OFFSETS
    return {n: t for n, t in tags.items() if n not in unwanted and t.kind <= 12 and len(t.data) <= _LONGEST}


def _block(order: str, texts: dict[int, Tag], folders: dict[int, dict[int, Tag]]) -> bytes:
    """Return an EXIF block: a small TIFF with tags only."""

    def first() -> bytes:
        pointers = {n: Tag(4, 1, struct.pack(order + "I", place)) for n, place in places.items()}
        return _packed(order, texts | pointers, 8)

    places = dict.fromkeys(folders, 0)
    place, parts = 8 + len(first()), list[bytes]()
    for number, tags in folders.items():
        places[number] = place
        parts.append(_packed(order, tags, place))
        place += len(parts[-1])
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return b"".join((b"Exif\0\0", mark, struct.pack(order + "I", 8), first(), *parts))


def _packed(order: str, tags: dict[int, Tag], place: int) -> bytes:
    """Return a directory at `place`, followed by the values that do not fit into it."""
    entries, values = [struct.pack(order + "H", len(tags))], b""
    end = place + 2 + 12 * len(tags) + 4
    for number, tag in sorted(tags.items()):
        data = tag.data[: SIZES[tag.kind] * tag.count]
        if len(data) > 4:
            inside = struct.pack(order + "I", end + len(values))
            values += data + bytes(len(data) % 2)
        else:
            inside = data.ljust(4, b"\0")
        entries.append(struct.pack(order + "HHI", number, tag.kind, tag.count) + inside)
    return b"".join((*entries, bytes(4), values))


def add_exif(path: Path, blob: bytes, target: Path) -> None:
    """Copy the TIFF at `path` to `target`, with the tags of an EXIF block and unchanged pixels.

    Tags of the TIFF itself are kept. An unreadable block is ignored.
    """
    info = cast(Any, tifftools).read_tiff(str(path))
    try:
        exif = cast(Any, tifftools).read_tiff(io.BytesIO(blob.removeprefix(b"Exif\0\0")))["ifds"][0]["tags"]
    except tifftools.TifftoolsError:
        exif = {}
    tags = info["ifds"][0]["tags"]
    for number in _OWN & exif.keys():
        if number in _POINTERS:
            for folder in exif[number].get("ifds", []):
                for unwanted in _SIZE & folder[0]["tags"].keys():
                    del folder[0]["tags"][unwanted]
        tags.setdefault(number, exif[number])
    cast(Any, tifftools).write_tiff(info, str(target))
