"""Telling raw photographs from pictures: most of them are TIFF files whose first picture is a small preview."""

import struct
from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO

from archsr.picture_files import BadImageError

RAW_ENDINGS = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef"),
    *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
RAW = "a raw photograph; develop it to TIFF or JPEG"
_ORDERS = {b"II": "<", b"MM": ">"}
_COMPRESSION, _PHOTOMETRIC, _SUB_FOLDERS, _DNG_VERSION = 259, 262, 330, 50706
_WANTED = (_COMPRESSION, _PHOTOMETRIC, _SUB_FOLDERS, _DNG_VERSION)
_SENSOR = {32803, 34892}  # photometric: a colour filter array, and linear raw
_MAKERS = {32767, 34713, 34892, 65000, 65535}  # compression: Sony, Nikon, lossy DNG, Kodak, Pentax
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # bytes of whole numbers, by their type in TIFF
_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MOST = 64  # folders looked into
_Tags = dict[int, tuple[int, ...]]


def refuse_raw(file: BinaryIO, name: str = "") -> None:
    """Raise `BadImageError` for a TIFF that holds a raw photograph, by its tags or by the ending of `name`.

    Other files pass, and so does a damaged TIFF: those who decode it will say so.
    """
    file.seek(0)
    head = file.read(4)
    if head[:2] not in _ORDERS or head[2:] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return
    if PurePath(name).suffix.lower() in RAW_ENDINGS:
        raise BadImageError(RAW)
    try:
        raw = any(_is_raw(tags) for tags in _folders(file))
    except (struct.error, OverflowError, OSError, ValueError):
        return
    if raw:
        raise BadImageError(RAW)


def _is_raw(tags: _Tags) -> bool:
    return (
        _DNG_VERSION in tags
        or bool(_SENSOR & set(tags.get(_PHOTOMETRIC, ())))
        or bool(_MAKERS & set(tags.get(_COMPRESSION, ())))
    )


def _folders(file: BinaryIO) -> Iterator[_Tags]:
    """The wanted tags of every picture in a TIFF or BigTIFF, with those of sub-folders, each folder once."""
    file.seek(0)
    head = file.read(16)
    order, big = _ORDERS[head[:2]], 43 in head[2:4]
    waiting = [struct.unpack_from(order + "Q", head, 8)[0] if big else struct.unpack_from(order + "I", head, 4)[0]]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        place = waiting.pop(0)
        if not place or place in seen:
            continue
        seen.add(place)
        tags, after = _folder(file, place, order, big=big)
        yield tags
        waiting += [*tags.get(_SUB_FOLDERS, ()), after]


def _folder(file: BinaryIO, place: int, order: str, *, big: bool) -> tuple[_Tags, int]:
    count_letter, offset_letter, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    file.seek(place)
    (count,) = struct.unpack(order + count_letter, file.read(struct.calcsize(count_letter)))
    if count > 65535:
        raise ValueError("more tags than a TIFF can have")
    block = file.read(count * entry)
    end = file.read(struct.calcsize(offset_letter))
    after = struct.unpack(order + offset_letter, end)[0] if len(end) == struct.calcsize(offset_letter) else 0
    tags: _Tags = {}
    for start in range(0, len(block) - entry + 1, entry):
        tag, kind, number = struct.unpack_from(f"{order}HH{offset_letter}", block, start)
        if tag in _WANTED and kind in _SIZES:
            size = _SIZES[kind]
            value = block[start + entry - struct.calcsize(offset_letter) : start + entry]
            number = min(number, _MOST)
            if number * size > len(value):
                file.seek(struct.unpack(order + offset_letter, value)[0])
                value = file.read(number * size)
            tags[tag] = struct.unpack_from(f"{order}{number}{_LETTERS[size]}", value)
    return tags, after
