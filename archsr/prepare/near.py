"""Near-duplicates: the same photograph resized, recompressed, toned, mirrored or cropped, found without all pairs.

Every picture is kept as a grey thumbnail. The signs of its low DCT frequencies are its hash (as in pHash), which
brightness and contrast do not touch. A crop of a picture has the hash of the window it shows, so each picture is
looked up with the hashes of a lattice of its own windows in hash tables of all whole pictures. What is found there is
compared pixel by pixel, after lining the two up, with everything coarse taken out: two buildings with a sky above and a
street below have much in common there, the same photograph has the same edges.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archsr.prepare.near_search import Candidate, candidates

Thumbs = NDArray[np.uint8]
Floats = NDArray[np.float32]
Window = tuple[float, float, float, float]  # left, top, right, bottom, as fractions

SIDE = 64
_GRID = 32  # pictures are compared at this size
_STEPS = (0.02, 0.01, 0.005)
_SIMILAR = 0.80  # correlation of fine structure, 0.5 to 0.7 between different buildings; see the measured figures
_PROMISING = 0.35  # below this, before lining up, no lining up will help
_PLAIN = 1.5  # standard deviation of fine structure in 0-255 units; below, there is nothing to recognise


@dataclass(frozen=True)
class Pair:
    """Pictures `a` and `b` show the same: `b` is what `box` of `a` shows (fractions), `mirrored` left to right or not."""

    a: int
    b: int
    score: float
    mirrored: bool
    box: Window


def thumbnail(image: Image.Image) -> Thumbs:
    """uint8 (64, 64): grey, the whole picture squeezed to a square, averaged over areas."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def near_pairs(thumbs: Thumbs, *, progress: Callable[[int], None] | None = None) -> list[Pair]:
    """The pairs among `thumbs` (n, 64, 64) that show the same photograph, each once, sorted.

    Every group of pictures that show the same is connected by pairs, but not every two of it are listed. Pictures
    without fine structure (blank, blurred, gradients) are in none. `progress` is told of the pictures looked up.
    """
    structured = np.flatnonzero(_contrast(thumbs) >= _PLAIN)
    best: dict[tuple[int, int], Pair] = {}
    for found in candidates(thumbs, structured, progress=progress):
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
    """Without what a 5-pixel box blur keeps; (n, 32, 32)."""
    padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2)), mode="reflect")
    sums = sum(padded[:, i : i + _GRID] for i in range(5))
    blurred = sum(sums[:, :, i : i + _GRID] for i in range(5))  # pyright: ignore
    return pictures - blurred / np.float32(25)


def _verified(thumbs: Thumbs, found: list[Candidate]) -> Iterator[Pair]:
    """Line up each candidate and keep those whose fine structure agrees."""
    if not found:
        return
    first = _correlation(
        np.stack([_window(thumbs[c.a], c.box) for c in found]), _others(thumbs, found)
    )
    for candidate, score in zip(found, first, strict=True):
        if score < _PROMISING:
            continue
        pair = _lined_up(thumbs, candidate, float(score))
        if pair.score >= _SIMILAR:
            yield pair


def _others(thumbs: Thumbs, found: list[Candidate]) -> Floats:
    whole = _whole(np.stack([thumbs[c.b] for c in found]))
    return np.stack([p[:, ::-1] if c.mirrored else p for p, c in zip(whole, found, strict=True)])


def _correlation(a: Floats, b: Floats) -> Floats:
    """Of the fine structure of (n, 32, 32) and (n, 32, 32), each clipped at three deviations: (n,)."""
    x, y = (_normalised(_fine(p)) for p in (a, b))
    return (x * y).sum(axis=(1, 2)) / np.sqrt((x * x).sum(axis=(1, 2)) * (y * y).sum(axis=(1, 2)) + 1e-6)


def _normalised(fine: Floats) -> Floats:
    """One bright lamp must not decide."""
    scale = fine.std(axis=(1, 2), keepdims=True) + np.float32(1e-3)
    return np.clip(fine / scale, -3, 3)


def _lined_up(thumbs: Thumbs, candidate: Candidate, score: float) -> Pair:
    """Move the window's edges, a little at a time, to where the two agree best."""
    other = _others(thumbs, [candidate])
    best = Pair(candidate.a, candidate.b, score, candidate.mirrored, candidate.box)
    for step in _STEPS:
        improved = True
        while improved:
            boxes = list(_moved(best.box, step))
            looks = np.stack([_window(thumbs[candidate.a], box) for box in boxes])
            scores = _correlation(looks, np.broadcast_to(other, looks.shape))
            top = int(scores.argmax())
            improved = bool(scores[top] > best.score + 1e-4)
            if improved:
                best = replace(best, score=float(scores[top]), box=boxes[top])
    return best


def _moved(box: Window, step: float) -> Iterator[Window]:
    """Boxes with one or two edges moved by `step`, inside the picture: shifts, and changes of either length."""
    left, top, right, bottom = box
    for dl, dr in product((-step, 0.0, step), repeat=2):
        yield _inside((left + dl, top, right + dr, bottom))
        yield _inside((left, top + dl, right, bottom + dr))


def _inside(box: Window) -> Window:
    left, top, right, bottom = box
    return max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)


def _window(thumb: Thumbs, box: Window) -> Floats:
    """(32, 32): what `box` of a thumbnail shows, averaged over areas."""
    left, top, right, bottom = box
    return resampling(top, bottom, _GRID) @ thumb.astype(np.float32) @ resampling(left, right, _GRID).T


def resampling(start: float, end: float, cells: int) -> Floats:
    """(cells, 64): averages over equal parts of [start, end] of a side, weighted by overlap with its 64 pixels."""
    edges = np.linspace(start * SIDE, end * SIDE, cells + 1)
    pixels = np.arange(SIDE + 1)
    rows = [
        np.clip(np.minimum(pixels[1:], high) - np.maximum(pixels[:-1], low), 0, None) / (high - low)
        for low, high in pairwise(edges)
    ]
    return np.array(rows, np.float32)
