"""Where ground-truth crops are cut, and which of them are kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from archsr.images.pixels import Pixels

Box = tuple[int, int, int, int]  # left, top, width, height

# Real-ESRGAN's preparation: copies at these factors and one with a shortest side of 400, all cut into 400 at steps of
# 200; a last piece is added at the far edge if at least the threshold (0 there) is left over
REFERENCE_FACTORS = (1.0, 0.75, 0.5, 1 / 3)
REFERENCE_SHORTEST = 400
_BLOCK = 16  # pixels
_STRUCTURE = 3.0  # standard deviation of luma in a block, 0-255 units: above the noise of a clear sky
_DETAIL_TAGS = ("detail:low", "detail:medium", "detail:high")  # of training tiles
PAIR = "pair"  # the tag of samples whose `lq` comes from disk
SAMPLE_TAGS = frozenset({PAIR, *_DETAIL_TAGS})  # tags of single samples, not of photographs
_DETAIL_BOUNDS = (0.5, 0.8)  # mostly sky or plain wall; half of it; façade throughout


def tiles(width: int, height: int, *, tile: int, unit: int = 1) -> list[Box]:
    """Return boxes of at most `tile` a side that cover an image evenly: round(side / tile) along each side.

    An image smaller than `tile` along a side is kept whole along it. Neighbours overlap or leave a gap of less than
    half a tile. Left and top are multiples of `unit`.
    """
    return [
        (left // unit * unit, top // unit * unit, min(tile, width), min(tile, height))
        for top in _starts(height, tile)
        for left in _starts(width, tile)
    ]


def _starts(side: int, tile: int) -> list[int]:
    if side <= tile:
        return [0]
    count = max(1, round(side / tile))
    if count == 1:
        return [(side - tile) // 2]
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]


def reference_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Return (width, height) of the copies that Real-ESRGAN's multi-scale script makes, the original first."""
    short = min(width, height)
    sizes = [(int(width * f), int(height * f)) for f in REFERENCE_FACTORS]
    sizes.append((width * REFERENCE_SHORTEST // short, height * REFERENCE_SHORTEST // short))
    return sizes


def reference_boxes(width: int, height: int, *, crop: int = 400, step: int = 200) -> list[Box]:
    """Return the pieces of one copy: a grid with `step`, and a last row and column flush with the far edges.

    A copy smaller than `crop` gives none, as in the reference.
    """
    return [(left, top, crop, crop) for top in _lattice(height, crop, step) for left in _lattice(width, crop, step)]


def _lattice(side: int, crop: int, step: int) -> list[int]:
    starts = list(range(0, side - crop + 1, step))
    if starts and side - (starts[-1] + crop) > 0:
        starts.append(side - crop)
    return starts


def detail(pixels: Pixels) -> float:
    """Return the share of 16-pixel blocks of uint8 (h, w, 3) whose luma has a standard deviation above 3.

    It is measured at half size, which averages away sensor noise.
    """
    luma = np.asarray(Image.fromarray(pixels).convert("L").reduce(2)).astype(np.float32)
    side = _BLOCK // 2
    rows, columns = luma.shape[0] // side, luma.shape[1] // side
    if not rows or not columns:
        return float(luma.std() > _STRUCTURE)
    blocks = luma[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return float((blocks.std(axis=(1, 3)) > _STRUCTURE).mean())


def tags_of_sample(extra: Mapping[str, Any]) -> list[str]:
    """Return the tags that follow from a sample's JSON: of its detail, and of a pair from disk."""
    pair = [PAIR] if extra.get("pair") else []
    return pair + ([detail_tag(extra["detail"])] if "detail" in extra else [])


def detail_tag(share: float) -> str:
    """Return the tag of a tile with this share of structured blocks, see `detail`."""
    return _DETAIL_TAGS[sum(share >= bound for bound in _DETAIL_BOUNDS)]


def worth_keeping(details: Sequence[float], least: float) -> list[int]:
    """Return which tiles of one photograph are kept: those with enough detail, or else the best one."""
    kept = [i for i, share in enumerate(details) if share >= least]
    return kept or [max(range(len(details)), key=lambda i: details[i])]


def pair_boxes(width: int, height: int, *, size: int, count: int, multiple: int, unit: int = 1) -> list[Box]:
    """Return at most `count` boxes for evaluation pairs, of `size` or the largest multiple of `multiple` that fits.

    Left and top are multiples of `unit`.
    """
    side = min(size, width, height) // multiple * multiple
    boxes = tiles(width, height, tile=side, unit=unit)
    if len(boxes) <= count:
        return boxes
    step = len(boxes) / count
    return [boxes[int((i + 0.5) * step)] for i in range(count)]
