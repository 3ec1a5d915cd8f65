"""Finds near-duplicates: the same photograph resized, recompressed, retouched in tone, greyed, mirrored or cropped.

Each image is reduced to a thumbnail of 4 KB. Hashing proposes pairs (`near_search.py`), and a detailed comparison of
thumbnails confirms them (`near_verify.py`).
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archsr.data.prepare.duplicates import near_search as search
from archsr.data.prepare.duplicates import near_verify as verify
from archsr.data.prepare.duplicates.near_search import SIDE, Bytes, Candidates, Floats, Ints

MIN_SCORE = 0.75  # see `near_verify.compare`: different photographs reach 0.65, 98 % of disguised copies 0.9
_MIN_COARSE = 0.4
_MIN_SIDE = 0.6  # of a window; smaller ones are not searched, and a fit that ends there has slipped
_BATCH = 128
_AGAIN, _SURE = 0.94, 0.92  # a candidate with at least this cosine and at most this score gets a second try
_AROUND = (0.03 * np.indices((2, 2, 2, 2)).reshape(4, 16).T - 0.015).astype(np.float32)  # (16, 4)


@dataclass(frozen=True)
class NearPair:
    """Image `b` shows the window `box` of image `a`: left, top, right, bottom as fractions of `a`.

    `score` is at most 1 (identical thumbnails). `mirrored`: `b` is the mirror image of that window.
    """

    a: int
    b: int
    score: float
    mirrored: bool
    box: tuple[float, float, float, float]


def thumbnail(image: Image.Image) -> Bytes:
    """Return uint8 (64, 64) grey: the whole image squeezed into a square.

    Areas are averaged with Hamming windows. With plain boxes, fine louvres would leave moiré that changes with every
    crop.
    """
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.HAMMING, reducing_gap=2.0).convert("L"))


def near_pairs(
    thumbs: Bytes,
    *,
    which: Sequence[int] | None = None,
    progress: Callable[[int], object] | None = None,
    chunk: int = 32,
    threads: int = 1,
) -> list[NearPair]:
    """Return the near-duplicate pairs among thumbnails (n, 64, 64), or among those numbered `which`.

    `thumbs` may be a memory map: it is read in parts. Pairs are sorted by `a` and `b` and unique. The result does not
    depend on the order of images, on `chunk` or on `threads`. Images without enough detail (`near_verify.structured`)
    are in no pair. For more than about a dozen copies of one image not every pair is returned, but enough to connect
    them; identical thumbnails form a chain. `progress` is called with the number of images just finished.
    """
    images, pairs = _distinct(
        thumbs, np.arange(len(thumbs)) if which is None else np.unique(np.asarray(which, np.int64)), chunk
    )
    parts = [search.whole_coefficients(thumbs[rows]) for rows in _rows(images, chunk)]
    if len(images) > 1:
        index = search.build(np.concatenate(parts))
        best = dict[tuple[int, int], NearPair]()

        def look_up(start: int) -> list[NearPair]:
            found = search.candidates(index, thumbs[images[start : start + chunk]], start)
            return _verified(thumbs, images, found)

        starts = range(0, len(images), chunk)
        for start, found in zip(starts, _ordered(look_up, starts, threads), strict=True):
            for pair in found:
                key = (min(pair.a, pair.b), max(pair.a, pair.b))
                if key not in best or pair.score > best[key].score:
                    best[key] = pair
            if progress:
                progress(min(chunk, len(images) - start))
        pairs.extend(best.values())
    return sorted(pairs, key=lambda p: (p.a, p.b))


def _ordered(work: Callable[[int], list[NearPair]], items: Sequence[int], threads: int) -> Iterator[list[NearPair]]:
    """Yield results in order. Threads help, because numpy releases the GIL."""
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque[Future[list[NearPair]]]()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _rows(images: Ints, chunk: int) -> Iterator[Ints]:
    return (images[start : start + chunk] for start in range(0, len(images), chunk))


def _distinct(thumbs: Bytes, which: Ints, chunk: int) -> tuple[Ints, list[NearPair]]:
    """Return one image per distinct structured thumbnail, in an order by contents, and pairs of the others."""
    groups = dict[bytes, list[int]]()
    for rows in _rows(which, chunk):
        block = np.ascontiguousarray(thumbs[rows])
        for i in np.flatnonzero(verify.structured(block)):
            groups.setdefault(hashlib.blake2b(block[i].data, digest_size=16).digest(), []).append(int(rows[i]))
    members = [groups[key] for key in sorted(groups)]
    same = [NearPair(a, b, 1.0, False, (0.0, 0.0, 1.0, 1.0)) for m in members for a, b in pairwise(m)]
    return np.array([m[0] for m in members], np.int64), same


def _verified(thumbs: Bytes, images: Ints, found: Candidates) -> list[NearPair]:
    """Return the candidates that are confirmed; the best window first, the others if that fails.

    On repetitive façades the fit can end one window off. Promising candidates that fail or fit badly are therefore
    tried again from starts around their best windows.
    """
    first = found.take(found.rank == 0)
    pairs = _verify(thumbs, images, first, search.WINDOWS[first.window])
    rest = found.take((found.rank > 0) & _open(found, images, pairs))
    pairs += _verify(thumbs, images, rest, search.WINDOWS[rest.window])
    again = found.take((found.cosine >= _AGAIN) & (found.rank < 2) & _open(found, images, pairs))
    starts: Floats = search.WINDOWS[again.window][:, None] + _AROUND
    return pairs + _verify(thumbs, images, again.take(np.repeat(np.arange(len(again.a)), 16)), starts.reshape(-1, 4))


def _open(found: Candidates, images: Ints, pairs: list[NearPair]) -> NDArray[np.bool_]:
    """Return which candidates are not among the confirmed pairs yet."""
    done = {(p.a, p.b, p.mirrored) for p in pairs if p.score >= _SURE}
    keys = zip(images[found.a].tolist(), images[found.b].tolist(), found.mirrored.tolist(), strict=True)
    return np.array([key not in done for key in keys], bool)


def _verify(thumbs: Bytes, images: Ints, found: Candidates, starts: Floats) -> list[NearPair]:
    result = list[NearPair]()
    for start in range(0, len(found.a), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(found.a)))
        result.extend(_verify_batch(thumbs, images, found.take(rows), starts[rows]))
    return result


def _verify_batch(thumbs: Bytes, images: Ints, found: Candidates, starts: Floats) -> Iterator[NearPair]:
    first, second = images[found.a], images[found.b]
    a, b = thumbs[first].astype(np.float32), thumbs[second].astype(np.float32)
    b = np.where(found.mirrored[:, None, None], b[:, :, ::-1], b)
    windows, score = verify.fit(a, b, starts)
    good = np.flatnonzero(score >= _MIN_COARSE)
    windows, score = verify.compare(a[good], b[good], windows[good])
    sides = (windows[:, 2:] - windows[:, :2]).min(1)
    for i in np.flatnonzero((score >= MIN_SCORE) & (sides >= _MIN_SIDE)):
        left, top, right, bottom = (float(v) for v in np.clip(windows[i], 0, 1))
        row, box = good[i], (left, top, right, bottom)
        yield NearPair(int(first[row]), int(second[row]), float(score[i]), bool(found.mirrored[row]), box)
