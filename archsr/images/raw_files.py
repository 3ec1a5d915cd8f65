"""Detection of raw photographs. Most of them are TIFF files whose first image is a small preview."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO

from archsr.images.image_files import BadImageError
from archsr.images.tiff_tags import Head, Tag, read_folder, read_head

RAW_ENDINGS = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef"),
    *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
RAW = "a raw photograph; develop it to TIFF or JPEG"
_COMPRESSION, _PHOTOMETRIC, _SUB_FOLDERS, _DNG_VERSION = 259, 262, 330, 50706
_WANTED = (_COMPRESSION, _PHOTOMETRIC, _SUB_FOLDERS, _DNG_VERSION)
_SENSOR = {32803, 34892}  # photometric: a colour filter array, and linear raw
_MAKERS = {32767, 34713, 34892, 65000, 65535}  # compression: Sony, Nikon, lossy DNG, Kodak, Pentax
_MOST = 64  # folders that are read at most


def refuse_raw(file: BinaryIO, name: str = "") -> None:
    """Raise `BadImageError` if a TIFF holds a raw photograph, judged by its tags and the suffix of `name`.

    Other files pass, and so does a damaged TIFF: decoding it raises later.
    """
    head = read_head(file)
    if head is None:
        return
    if PurePath(name).suffix.lower() in RAW_ENDINGS or any(_is_raw(tags, head) for tags in _folders(file, head)):
        raise BadImageError(RAW)


def _is_raw(tags: dict[int, Tag], head: Head) -> bool:
    return (
        _DNG_VERSION in tags
        or bool(_SENSOR & _numbers(tags, _PHOTOMETRIC, head))
        or bool(_MAKERS & _numbers(tags, _COMPRESSION, head))
    )


def _numbers(tags: dict[int, Tag], number: int, head: Head) -> set[int]:
    return set(tags[number].numbers(head.order)) if number in tags else set()


def _folders(file: BinaryIO, head: Head) -> Iterator[dict[int, Tag]]:
    """Yield the wanted tags of every image in a TIFF and of its sub-folders, each folder once."""
    waiting, seen = [head.first], set[int]()
    while waiting and len(seen) < _MOST:
        place = waiting.pop(0)
        if not place or place in seen:
            continue
        seen.add(place)
        try:
            tags, after = read_folder(file, head, place, wanted=_WANTED)
        except ValueError:
            continue
        yield tags
        waiting += [*sorted(_numbers(tags, _SUB_FOLDERS, head)), after]
