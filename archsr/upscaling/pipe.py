"""Stream rows of an image to a reader while they are made, as an uncompressed PNG."""

import contextlib
import queue
import struct
import threading
import zlib
from collections.abc import Iterator

import numpy as np
import pyvips
from numpy.typing import NDArray

_AT_ONCE = 8 * 2**20  # bytes put at a time
_CHUNK = 4 * 2**20
_COLOURS = {1: 0, 3: 2}  # PNG's colour types
Depth = NDArray[np.uint8 | np.uint16]


class StoppedError(Exception):
    """The other side of a pipe stopped before the image was complete."""


class Room:
    """Bytes of rows that may wait for their readers, shared by pipes."""

    def __init__(self, size: int = 2 * _AT_ONCE) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    def take(self, size: int, *, timeout: float) -> bool:
        """Return whether there was room within `timeout` seconds; more than the whole room is as much as the room."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= min(size, self._size), timeout):
                return False
            self._free -= min(size, self._size)
            return True

    def leave(self, size: int) -> None:
        """Give back what was taken."""
        with self._changed:
            self._free += min(size, self._size)
            self._changed.notify_all()


class Pipe:
    """`put` strips (rows, w, 1 or 3), uint8 or uint16, in one thread; read `image()` in another, which packs them."""

    def __init__(self, height: int, width: int, bands: int, *, bits: int, room: Room | None = None) -> None:
        self._lines: queue.SimpleQueue[NDArray[np.uint8] | None] = queue.SimpleQueue()
        self._room = room or Room()
        self._packer = zlib.compressobj(0)
        self._closed = threading.Event()
        self._rest = memoryview(_start(height, width, bands, bits))
        self._missing = self._unread = height
        self._source = pyvips.SourceCustom()
        self._source.on_read(self._read)

    def image(self) -> pyvips.Image:
        """Return the image, to be read once from top to bottom. Reading waits for strips."""
        return pyvips.Image.new_from_source(self._source, "", access="sequential", fail_on="truncated")

    def put(self, strip: Depth) -> None:
        """Append rows; waits for room. Raises `StoppedError` if the reader stopped."""
        at_once = max(1, _AT_ONCE // max(1, strip[0].nbytes))
        for first in range(0, len(strip), at_once):
            self._put(strip[first : first + at_once])
        self._missing -= len(strip)
        if not self._missing:
            self.close()  # a reader may request more than a small image has

    def _put(self, strip: Depth) -> None:
        # each row starts with a 0: no filter
        rows = np.ascontiguousarray(strip, dtype=">u2").view(np.uint8) if strip.dtype == np.uint16 else strip
        lines = np.zeros((len(rows), rows[0].size + 1), np.uint8)
        lines[:, 1:] = rows.reshape(len(rows), -1)
        while not self._room.take(lines.nbytes, timeout=0.2):
            if self._closed.is_set():
                raise StoppedError
        self._lines.put(lines)
        if self._closed.is_set():
            self.abandon()
            raise StoppedError

    def close(self) -> None:
        """Stop writing, also after the last row. A reader of an incomplete image gets an error, at once."""
        if self._missing:
            self._drop_waiting()
        self._lines.put(None)

    def abandon(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._drop_waiting()
        self._lines.put(None)

    def _drop_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._drop(self._lines.get_nowait())

    def _drop(self, lines: NDArray[np.uint8] | None) -> None:
        if lines is not None:
            self._room.leave(lines.nbytes)

    def _read(self, size: int) -> bytes:
        while not self._rest:
            lines = self._lines.get()
            if lines is None:
                self._lines.put(None)  # the reader may call again
                return b""
            self._rest = memoryview(self._packed(lines))
            self._drop(lines)
        out, self._rest = self._rest[:size], self._rest[size:]
        return bytes(out)

    def _packed(self, lines: NDArray[np.uint8]) -> bytes:
        """Return chunks of a PNG; none if the packer held back few pixels."""
        self._unread -= len(lines)
        data = self._packer.compress(lines.data) + (b"" if self._unread else self._packer.flush())
        return b"".join(_chunk(b"IDAT", part) for part in _parts(data)) + (b"" if self._unread else _END)


def _start(height: int, width: int, bands: int, bits: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOURS[bands], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)


def _chunk(name: bytes, data: bytes | memoryview) -> bytes:
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))))


def _parts(data: bytes) -> Iterator[memoryview]:
    whole = memoryview(data)
    return (whole[i : i + _CHUNK] for i in range(0, len(data), _CHUNK))


_END = _chunk(b"IEND", b"")
