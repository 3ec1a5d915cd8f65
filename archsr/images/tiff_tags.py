"""Reading the tags of a TIFF one folder at a time, so that damage and circular folders cannot cause a hang."""

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ORDERS = {b"II": "<", b"MM": ">"}
_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST = 1 << 20  # bytes of a value at most


@dataclass(frozen=True)
class Head:
    """The header of a TIFF: `order` is "<" or ">", `big` is true for BigTIFF, `first` is the first folder's offset."""

    order: str
    big: bool
    first: int


@dataclass(frozen=True)
class Tag:
    """The value of a tag: its TIFF type, the number of items, and their bytes."""

    kind: int
    count: int
    data: bytes

    def numbers(self, order: str) -> tuple[int, ...]:
        """Return the integers of the value; empty for other types."""
        letter = _WHOLE.get(self.kind)
        return struct.unpack(f"{order}{self.count}{letter}", self.data) if letter else ()


def read_head(file: BinaryIO) -> Head | None:
    """Read the header of a TIFF or BigTIFF; return None for any other file."""
    file.seek(0)
    head = file.read(16)
    order = _ORDERS.get(head[:2])
    if order is None or len(head) < 8:
        return None
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version == 42:
        return Head(order, False, struct.unpack_from(order + "I", head, 4)[0])
    if version == 43 and len(head) == 16:
        return Head(order, True, struct.unpack_from(order + "Q", head, 8)[0])
    return None


def read_folder(
    file: BinaryIO, head: Head, place: int, *, wanted: Collection[int] | None = None
) -> tuple[dict[int, Tag], int]:
    """Read the folder at offset `place`: return its tags (only those `wanted`) and the offset of the next folder.

    Raises `ValueError` if it is damaged.
    """
    try:
        return _read_folder(file, head, place, wanted)
    except (struct.error, OverflowError, OSError) as error:
        raise ValueError(f"a damaged TIFF folder: {error}") from None


def _read_folder(file: BinaryIO, head: Head, place: int, wanted: Collection[int] | None) -> tuple[dict[int, Tag], int]:
    count_letter, offset_letter, entry = ("Q", "Q", 20) if head.big else ("H", "I", 12)
    width = 8 if head.big else 4
    file.seek(place)
    (count,) = struct.unpack(head.order + count_letter, file.read(struct.calcsize(count_letter)))
    if count > 65535:
        raise ValueError("more tags than a TIFF can have")
    block, end = file.read(count * entry), file.read(width)
    tags: dict[int, Tag] = {}
    for start in range(0, count * entry, entry):
        number, kind, amount = struct.unpack_from(f"{head.order}HH{offset_letter}", block, start)
        size = SIZES.get(kind, 0) * amount
        if (wanted is not None and number not in wanted) or not 0 < size <= _MOST:
            continue
        value = block[start + entry - width : start + entry]
        if size > width:
            file.seek(struct.unpack(head.order + offset_letter, value)[0])
            value = file.read(size)
        if len(value) >= size:
            tags[number] = Tag(kind, amount, value[:size])
    return tags, struct.unpack(head.order + offset_letter, end)[0] if len(end) == width else 0
