"""Near-duplicates: the same photograph resized, recompressed, toned, mirrored or cropped, found without all pairs.

Every picture is kept as a grey thumbnail. The signs of its low DCT frequencies are its hash (as in pHash), which
brightness and contrast do not touch. A crop of a picture has the hash of the window it shows, so each picture is
looked up with the hashes of a lattice of its own windows in hash tables of all whole pictures. What is found there is
compared pixel by pixel, after lining the two up, with everything coarse taken out: two buildings with a sky above and a
street below have much in common there, the same photograph has the same edges.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archsr.prepare.near_search import Candidate, candidates

Thumbs = NDArray[np.uint8]
Floats = NDArray[np.float32]
Window = tuple[float, float, float, float]  # left, top, right, bottom, as fractions

SIDE = 64
_GRID = 32  # pictures are compared at this size
_SIMILAR = 0.80  # correlation of fine structure after lining up
_SURE = 0.95  # the same before lining up: no more is needed
_PROMISING = 0.25  # correlation of coarser structure before lining up: below, no lining up will help
_ALIKE = 0.55  # correlation of coarser structure after lining up
_COARSE_STEPS = (0.03, 0.015)
_FINE_STEPS = (0.015, 0.0075)
_PLAIN = 1.5  # standard deviation of fine structure in 0-255 units; below, there is nothing to recognise


@dataclass(frozen=True)
class Pair:
    """Pictures `a` and `b` show the same: `b`, mirrored or not, is what `box` of `a` shows."""

    a: int
    b: int
    score: float
    mirrored: bool
    box: Window


def thumbnail(image: Image.Image) -> Thumbs:
    """uint8 (64, 64): grey, the whole picture squeezed to a square, averaged over areas."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def near_pairs(
    thumbs: Thumbs, *, which: Sequence[int] | None = None, progress: Callable[[int], None] | None = None
) -> list[Pair]:
    """The pairs among `thumbs` (n, 64, 64), or `which` of them, that show the same photograph, each once, sorted.

    `thumbs` may be a memory map: it is read in parts.
    Every group of pictures that show the same is connected by pairs, but not every two of it are listed. Pictures
    without fine structure (blank, blurred, gradients) are in none. `progress` is told of the pictures looked up.
    """
    structured = _contrast(thumbs) >= _PLAIN
    if which is not None:
        structured &= np.isin(np.arange(len(thumbs)), which)
    best: dict[tuple[int, int], Pair] = {}
    for found in candidates(thumbs, np.flatnonzero(structured), progress=progress):
        for pair in _verified(thumbs, found):
            key = (min(pair.a, pair.b), max(pair.a, pair.b))
            if key not in best or _rank(pair) > _rank(best[key]):
                best[key] = pair
    return [best[key] for key in sorted(best)]


def _rank(pair: Pair) -> tuple[float, int, int]:
    return (pair.score, -pair.a, -pair.b)


def _contrast(thumbs: Thumbs, *, chunk: int = 2048) -> Floats:
    """Standard deviation of each picture's fine structure, 0-255 units."""
    parts = [_fine(_whole(thumbs[i : i + chunk])).std(axis=(1, 2)) for i in range(0, len(thumbs), chunk)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _whole(thumbs: Thumbs) -> Floats:
    """(n, 64, 64) to float (n, 32, 32)."""
    halves = thumbs.reshape(len(thumbs), _GRID, 2, _GRID, 2)
    return halves.mean(axis=(2, 4), dtype=np.float32)


def _fine(pictures: Floats) -> Floats:
    """Without what a 5-pixel box blur keeps; (n, h, w)."""
    height, width = pictures.shape[1:]
    padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2)), mode="reflect")
    sums = np.sum([padded[:, i : i + height] for i in range(5)], axis=0)
    return pictures - np.sum([sums[:, :, i : i + width] for i in range(5)], axis=0) / np.float32(25)


def _halved(pictures: Floats) -> Floats:
    """(n, 32, 32) to (n, 16, 16): so coarse that a window a little off still agrees."""
    half = _GRID // 2
    return pictures.reshape(len(pictures), half, 2, half, 2).mean(axis=(2, 4), dtype=np.float32)


def _verified(thumbs: Thumbs, found: list[Candidate]) -> Iterator[Pair]:
    """Line up each candidate, coarsely and then finely, and keep those whose fine structure agrees."""
    if not found:
        return
    looks, others = np.concatenate([_windows(thumbs[c.a], [c.box]) for c in found]), _others(thumbs, found)
    fine, first = correlation(looks, others), correlation(_halved(looks), _halved(others))
    for candidate, already, score in zip(found, fine, first, strict=True):
        if already >= _SURE:
            yield Pair(candidate.a, candidate.b, float(already), candidate.mirrored, candidate.box)
            continue
        if score < _PROMISING:
            continue
        other = _others(thumbs, [candidate])
        box, score = _lined_up(thumbs[candidate.a], other, candidate.box, _COARSE_STEPS, coarse=True)
        if score < _ALIKE:
            continue
        box, score = _lined_up(thumbs[candidate.a], other, box, _FINE_STEPS, coarse=False)
        if score >= _SIMILAR:
            yield Pair(candidate.a, candidate.b, score, candidate.mirrored, box)


def _others(thumbs: Thumbs, found: list[Candidate]) -> Floats:
    whole = _whole(np.stack([thumbs[c.b] for c in found]))
    return np.stack([p[:, ::-1] if c.mirrored else p for p, c in zip(whole, found, strict=True)])


def correlation(a: Floats, b: Floats) -> Floats:
    """Of the fine structure of (n, h, w) and (n, h, w), each clipped at three deviations: (n,)."""
    x, y = (_normalised(_fine(p)) for p in (a, b))
    return (x * y).sum(axis=(1, 2)) / np.sqrt((x * x).sum(axis=(1, 2)) * (y * y).sum(axis=(1, 2)) + 1e-6)


def _normalised(fine: Floats) -> Floats:
    """One bright lamp must not decide."""
    scale = fine.std(axis=(1, 2), keepdims=True) + np.float32(1e-3)
    return np.clip(fine / scale, -3, 3)


def _lined_up(
    thumb: Thumbs, other: Floats, box: Window, steps: tuple[float, ...], *, coarse: bool
) -> tuple[Window, float]:
    """Move the window's edges, a little at a time, to where the two agree best; that window, and how well."""
    other = _halved(other) if coarse else other
    best, score = box, -1.0
    for step in steps:
        improved = True
        while improved:
            boxes = list(_moved(best, step))
            looks = _windows(thumb, boxes)
            looks = _halved(looks) if coarse else looks
            scores = correlation(looks, np.broadcast_to(other, looks.shape))
            top = int(scores.argmax())
            improved = bool(scores[top] > score + 1e-4)
            if improved:
                best, score = boxes[top], float(scores[top])
    return best, score


def _moved(box: Window, step: float) -> Iterator[Window]:
    """Boxes with one or two edges moved by `step`, inside the picture: shifts, and changes of either length."""
    left, top, right, bottom = box
    for dl, dr in product((-step, 0.0, step), repeat=2):
        yield _inside((left + dl, top, right + dr, bottom))
        yield _inside((left, top + dl, right, bottom + dr))


def _inside(box: Window) -> Window:
    left, top, right, bottom = box
    return max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)


def _windows(thumb: Thumbs, boxes: list[Window]) -> Floats:
    """(m, 32, 32): what each box of a thumbnail shows, averaged over areas."""
    left, top, right, bottom = np.array(boxes, np.float32).T
    columns = resampling(left, right, _GRID).transpose(0, 2, 1)
    return (resampling(top, bottom, _GRID) @ thumb.astype(np.float32) @ columns).astype(np.float32)


def resampling(start: Floats, end: Floats, cells: int) -> Floats:
    """(m, cells, 64): averages over equal parts of each [start, end] of a side, weighted by overlap with its pixels."""
    step = (end - start) * np.float32(SIDE / cells)
    low = (start * SIDE)[:, None, None] + step[:, None, None] * np.arange(cells, dtype=np.float32)[:, None]
    pixel = np.arange(SIDE, dtype=np.float32)
    overlap = np.minimum(pixel + 1, low + step[:, None, None]) - np.maximum(pixel, low)
    return (np.clip(overlap, 0, None) / step[:, None, None]).astype(np.float32)
