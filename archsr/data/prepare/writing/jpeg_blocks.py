"""Cuts a JPEG file without another loss: its own compressed blocks are copied."""

import importlib
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archsr.data.prepare.writing.crops import Box
from archsr.errors import UserError
from archsr.images.pixels import Pixels, decode_tensor

UNIT = 16  # pixels; block borders of every common chroma subsampling are multiples of it
_BLOCK = 8
_LIBRARY = "turbo210"  # PIL and torchvision use it too; the others read fewer kinds


@lru_cache(maxsize=1)
def jpeglib() -> Any:  # noqa: ANN401 - the library has no types
    """Return the library that gives access to the blocks. Raises `UserError` if it is not installed."""
    try:
        library = importlib.import_module("jpeglib")
    except ImportError:
        raise UserError(
            "encoding = 'lossless' needs jpeglib, which has no wheel for this machine: pip install jpeglib (it needs a "
            "C compiler), or use --set encoding=webp"
        ) from None
    library.version.set(_LIBRARY)
    return library


class JpegBlocks:
    """The blocks of one JPEG file, and what it decodes to: `pixels` uint8 (h, w, 3)."""

    def __init__(self, content: bytes, pixels: Pixels) -> None:
        self._pixels = pixels
        self._whole = _read(content) if content[:3] == b"\xff\xd8\xff" else None

    def cut(self, box: Box) -> bytes | None:
        """Return a JPEG file of the blocks in `box`, or None if they would not show the same pixels.

        None is returned for boxes off the block borders, other colour spaces, and images that were rotated or whose
        colours were converted after decoding. With subsampled chroma the outermost pixels may differ by a few levels,
        because decoders interpolate it with the neighbouring block, which is cut off.
        """
        height, width = self._pixels.shape[:2]
        on_border = box[0] % UNIT == box[1] % UNIT == 0 and all(
            side % UNIT == 0 or start + side == whole
            for start, side, whole in ((box[0], box[2], width), (box[1], box[3], height))
        )
        if self._whole is None or not on_border:
            return None
        made = _write(self._whole, box)
        if made is None or not _same(decode_tensor(made), self._pixels, box):
            self._whole = None  # what fails for one piece fails for all
            return None
        return made


def _read(content: bytes) -> Any:  # noqa: ANN401
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:  # the library accepts only file names
        file.write(content)
        file.flush()
        try:
            whole = jpeglib().read_dct(file.name)
            whole.load()
        except OSError:
            return None
    return None if whole.has_black else whole


def _write(whole: Any, box: Box) -> bytes | None:  # noqa: ANN401
    factors = np.asarray(whole.samp_factor)
    parts = [c for c in (whole.Y, whole.Cb, whole.Cr) if c is not None]
    if len(parts) != len(factors) or (factors[0] % factors).any():
        return None
    steps = _BLOCK * factors[0] // factors
    pieces = [_piece(part, box, step) for part, step in zip(parts, steps.tolist(), strict=True)]
    made = jpeglib().from_dct(*pieces, qt=whole.qt, quant_tbl_no=whole.quant_tbl_no)
    made.width, made.height = box[2:]
    made.samp_factor = factors
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        try:
            made.write_dct(file.name)
        except OSError:
            return None
        return Path(file.name).read_bytes()


def _piece(part: NDArray[np.int16], box: Box, step: list[int]) -> NDArray[np.int16]:
    """Return the blocks (rows, columns, 8, 8) of one component in `box`; `step`: pixels of a block, down and across."""
    left, top, width, height = box
    rows = slice(top // step[0], top // step[0] - (-height // step[0]))
    columns = slice(left // step[1], left // step[1] - (-width // step[1]))
    return np.ascontiguousarray(part[rows, columns])


def _same(piece: torch.Tensor, pixels: Pixels, box: Box) -> bool:
    left, top, width, height = box
    wanted = torch.from_numpy(pixels[top : top + height, left : left + width]).permute(2, 0, 1)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    return piece.shape == wanted.shape and torch.equal(piece[inside], wanted[inside])
