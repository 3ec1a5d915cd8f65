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

_WAITING = 8 * 2**20  # bytes packed at a time
_AT_ONCE = 2  # packages that may wait for the reader
_CHUNK = 4 * 2**20
_COLOURS = {1: 0, 3: 2}  # PNG's colour types
Depth = NDArray[np.uint8 | np.uint16]


class StoppedError(Exception):
    """The other side of a pipe stopped before the image was complete."""


class Pipe:
    """`put` strips (rows, w, 1 or 3), uint8 or uint16, in one thread; read `image()` in another."""

    def __init__(self, height: int, width: int, bands: int, *, bits: int) -> None:
        self._strips: queue.Queue[bytes | None] = queue.Queue(_AT_ONCE)
        self._packer = zlib.compressobj(0)
        self._closed = threading.Event()
        self._rest = memoryview(_start(height, width, bands, bits))
        self._missing = height
        self._source = pyvips.SourceCustom()
        self._source.on_read(self._read)

    def image(self) -> pyvips.Image:
        """Return the image, to be read once from top to bottom. Reading waits for strips."""
        return pyvips.Image.new_from_source(self._source, "", access="sequential", fail_on="truncated")

    def put(self, strip: Depth) -> None:
        """Append rows. Raises `StoppedError` if the reader stopped."""
        at_once = max(1, _WAITING // max(1, strip[0].nbytes))
        for first in range(0, len(strip), at_once):
            self._put(strip[first : first + at_once])

    def _put(self, strip: Depth) -> None:
        self._missing -= len(strip)
        # each row starts with a 0: no filter
        rows = np.ascontiguousarray(strip, dtype=">u2").view(np.uint8) if strip.dtype == np.uint16 else strip
        lines = np.zeros((len(rows), rows[0].size + 1), np.uint8)
        lines[:, 1:] = rows.reshape(len(rows), -1)
        data = self._packer.compress(lines.data) + (b"" if self._missing else self._packer.flush())
        if data:  # the packer may hold back few pixels, and an empty package would mean the end
            self._give(b"".join(_chunk(b"IDAT", part) for part in _parts(data)) + (b"" if self._missing else _END))
        if not self._missing:
            self.close()  # a reader may request more than a small image has

    def close(self) -> None:
        """Stop writing, also after the last row. A reader of an incomplete image gets an error."""
        with contextlib.suppress(StoppedError):
            self._give(None)

    def abandon(self) -> None:
        """Stop reading."""
        self._closed.set()

    def _give(self, data: bytes | None) -> None:
        while not self._closed.is_set():
            try:
                return self._strips.put(data, timeout=0.2)
            except queue.Full:
                continue
        raise StoppedError

    def _read(self, size: int) -> bytes:
        if not self._rest:
            got = self._strips.get()
            if got is None:
                self._strips.put(None)  # the reader may call again
                return b""
            self._rest = memoryview(got)
        out, self._rest = self._rest[:size], self._rest[size:]
        return bytes(out)


def _start(height: int, width: int, bands: int, bits: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOURS[bands], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)


def _chunk(name: bytes, data: bytes | memoryview) -> bytes:
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))))


def _parts(data: bytes) -> Iterator[memoryview]:
    whole = memoryview(data)
    return (whole[i : i + _CHUNK] for i in range(0, len(data), _CHUNK))


_END = _chunk(b"IEND", b"")
