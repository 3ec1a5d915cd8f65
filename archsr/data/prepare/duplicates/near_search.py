"""Proposes near-duplicates: crop windows of every image are matched against every whole image by hashing.

The hash of an image is the signs of its 8x8 lowest cosine coefficients, so brightness and contrast do not change it.
The coefficients of all windows of an image are two matrix products with fixed matrices. Only whole images and their
mirror images are indexed, in tables keyed by random subsets of the bits; the windows are looked up in them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

SIDE = 64
_FREQ = 8
_GRID, _REACH = 25, 8  # window edges lie on a grid of 4 %; together the two edges of a side cut off at most 32 %
_TABLES, _BITS, _LOWEST = 32, (14, 19), 7  # key bits come from coefficients with ky + kx <= 7
_HAMMING = 16  # of 63; 99 % of disguised crops have a window within 10, floors and façades with few tones need more
_NEARLY = 0.8  # cosine of the window that was hit
_COSINE = 0.88  # of the weighted coefficients; of 360 disguised crops the worst had 0.89
_CROWD = 32  # entries of one bucket that one window may examine
_KEEP, _STARTS = 12, 4  # candidates per image, windows per candidate
_MIX = np.uint64(0x9E3779B97F4A7C15)

_SPANS = [(i / _GRID, 1 - (cut - i) / _GRID) for cut in range(0, _REACH + 1, 2) for i in range(cut + 1)]
_PER_SIDE = len(_SPANS)
WINDOWS = np.array(
    [(left, top, right, bottom) for top, bottom in _SPANS for left, right in _SPANS], np.float32
)  # (625, 4)
_U = np.arange(_FREQ)
_WEIGHT = np.sqrt(np.hypot(_U[:, None], _U[None])).astype(np.float32)  # flattens the spectrum of photographs
_MIRROR = np.where(_U % 2, -1, 1).astype(np.float32)


def _basis() -> Floats:
    """Return (25 * 8, 64): the cosines k = 0..7 of each span of a side, integrated over the thumbnail's 64 cells."""
    edges, k = np.arange(SIDE + 1) / SIDE, _U[:, None]
    rows = list[NDArray[np.float64]]()
    for low, high in _SPANS:
        x = (np.clip(edges, low, high) - low) / (high - low)
        rows.append(np.diff(np.where(k == 0, x, np.sin(np.pi * k * x) / (np.pi * np.maximum(k, 1))), axis=1))
    return np.concatenate(rows).astype(np.float32)


_BASIS = _basis()


def _pack(positive: NDArray[np.bool_]) -> Hashes:
    return np.packbits(positive.reshape(*positive.shape[:-2], 64), axis=-1).view(np.uint64)[..., 0]


def _coefficients(thumbs: Bytes, basis: Floats) -> Floats:
    """Map (c, 64, 64) to (c, spans, 8, spans, 8): windows and frequencies, vertically and horizontally.

    Products have at most 2^18 multiplications, which BLAS runs on one thread. With more threads on a busy machine they
    took twenty times as long.
    """
    x = thumbs.astype(np.float32)
    x -= x.mean((1, 2), keepdims=True)
    spans = len(basis) // _FREQ
    down = np.matmul(basis.reshape(-1, min(20, len(basis)), SIDE), x[:, None])  # (c, 10, 20, 64)
    return np.matmul(down, basis.T).reshape(-1, spans, _FREQ, spans, _FREQ)


def _unit(coefficients: Floats) -> Floats:
    """Map (m, 8, 8) to weighted unit vectors (m, 64)."""
    flat = (coefficients * _WEIGHT).reshape(-1, 64)
    return flat / (np.sqrt((flat * flat).sum(1, keepdims=True)) + 1e-6)


@dataclass(frozen=True)
class _Table:
    """One hash table: entries sorted by slot and hash; `filled` marks the slots that hold any."""

    mask: np.uint64
    shift: np.uint64
    order: NDArray[np.int32]
    sort: Hashes
    starts: NDArray[np.int32]
    filled: NDArray[np.bool_]

    def slots(self, hashes: Hashes) -> Hashes:
        return ((hashes & self.mask) * _MIX) >> self.shift

    def find(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """Return (query, entry) of all entries in the queries' slots.

        For a crowded slot, these are its first entry and those whose hashes are nearest in sorted order.
        """
        slots = self.slots(hashes)
        query = np.flatnonzero(self.filled[slots])
        slot = slots[query]
        start = self.starts[slot].astype(np.int64)
        end = self.starts[slot + np.uint64(1)].astype(np.int64)
        count = np.minimum(end - start, _CROWD)
        first = start.copy()
        full = np.flatnonzero(end - start > _CROWD)
        place = np.searchsorted(self.sort, _sort_key(slot[full], hashes[query[full]], self.shift))
        start[full] = np.clip(place - _CROWD // 2, start[full], end[full] - _CROWD)
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        at = np.where(offset == 0, np.repeat(first, count), np.repeat(start, count) + offset)
        return np.repeat(query, count), self.order[at].astype(np.int64)


def _sort_key(slots: Hashes, hashes: Hashes, shift: np.uint64) -> Hashes:
    """Combine slot (high bits) and leading bits of the hash (low bits) into one key."""
    return (slots << shift) | (hashes >> (np.uint64(64) - shift))


def _table(hashes: Hashes, rng: np.random.Generator) -> _Table:
    chosen = np.zeros((_FREQ, _FREQ), bool)
    low = np.argwhere((_U[:, None] + _U[None] <= _LOWEST) & (_U[:, None] + _U[None] > 0))
    log = int(np.ceil(np.log2(len(hashes))))
    bits = int(np.clip(log + 3, *_BITS))  # keeps chance hits per window about constant
    chosen[tuple(low[rng.choice(len(low), bits, replace=False)].T)] = True
    log = int(np.clip(log + 3, 12, 20))
    mask, shift = _pack(chosen[None])[0], np.uint64(64 - log)
    slots = ((hashes & mask) * _MIX) >> shift
    keys = _sort_key(slots, hashes, shift)
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(slots.astype(np.int64), minlength=2**log)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return _Table(mask, shift, order.astype(np.int32), keys[order], starts, counts > 0)


@dataclass(frozen=True)
class Index:
    """All images, followed by all their mirror images: entry e shows image e % n."""

    hashes: Hashes  # (2n,)
    vectors: Floats  # (2n, 64)
    tables: list[_Table]


def build(whole: Floats) -> Index:
    """Index images by their coefficients (n, 8, 8); see `whole_coefficients`."""
    both = np.concatenate([whole, whole * _MIRROR])
    hashes = _pack(both > 0)
    rng = np.random.default_rng(20)
    return Index(hashes, _unit(both), [_table(hashes, rng) for _ in range(_TABLES)])


def whole_coefficients(thumbs: Bytes) -> Floats:
    """Map (c, 64, 64) to (c, 8, 8)."""
    return _coefficients(thumbs, _BASIS[:_FREQ])[:, 0, :, 0]


@dataclass(frozen=True)
class Candidates:
    """Row i: the window `window[i]` of `a[i]` may show `b[i]`, mirrored or not. Rows of one pair are consecutive."""

    a: Ints
    b: Ints
    mirrored: NDArray[np.bool_]
    window: Ints
    cosine: Floats
    rank: Ints  # of this window among those of the pair; 0 is the best

    def take(self, rows: NDArray[np.bool_] | Ints) -> "Candidates":
        """Return only these rows."""
        return Candidates(*(column[rows] for column in vars(self).values()))


def candidates(index: Index, thumbs: Bytes, first: int) -> Candidates:
    """Return the candidates that the images `first`, `first + 1`, ... with these thumbnails may contain."""
    c, n = _coefficients(thumbs, _BASIS), len(index.hashes) // 2
    # (c, 25, 8, 25) bytes of eight bits to (c * 625) hashes
    packed = np.packbits(c > 0, axis=-1)[..., 0].transpose(0, 1, 3, 2)
    hashes = np.ascontiguousarray(packed).view(np.uint64).reshape(-1)
    found = [_close(index, hashes, *table.find(hashes)) for table in index.tables]
    code = np.unique(np.concatenate(found))
    query, entry = code // (2 * n), code % (2 * n)
    other = entry % n != query // len(WINDOWS) + first
    query, entry = query[other], entry[other]
    image, window = query // len(WINDOWS), query % len(WINDOWS)
    hit = _unit(c[image, window // _PER_SIDE, :, window % _PER_SIDE, :])
    near = np.einsum("ij,ij->i", hit, index.vectors[entry]) >= _NEARLY
    image, entry = image[near], entry[near]
    parts = [_best(index, c[p], p + first, np.unique(entry[image == p])) for p in np.unique(image).tolist()]
    return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else _NONE


def _close(index: Index, hashes: Hashes, query: Ints, entry: Ints) -> Ints:
    near = np.bitwise_count(hashes[query] ^ index.hashes[entry]) <= _HAMMING
    return query[near] * len(index.hashes) + entry[near]


def _best(
    index: Index, c: Floats, image: int, entries: Ints
) -> tuple[Ints, Ints, NDArray[np.bool_], Ints, Floats, Ints]:
    """Return the columns of `Candidates` for the best `_KEEP` of an image's entries and the first of them.

    The first one connects large groups of copies, in which all nearest neighbours may form a clique. All windows of the
    image (25, 8, 25, 8) are compared, because the one that was hit need not be the best.
    """
    n = len(index.hashes) // 2
    windows = _unit(c.transpose(0, 2, 1, 3).reshape(-1, _FREQ, _FREQ))
    cosine = np.concatenate([index.vectors[entries[i : i + 6]] @ windows.T for i in range(0, len(entries), 6)])
    top = cosine.max(1)
    good = np.flatnonzero(top >= _COSINE)
    kept = good[np.argsort(-top[good], kind="stable")[:_KEEP]]
    kept = np.unique(np.concatenate([kept, good[np.argsort(entries[good] % n, kind="stable")[:1]]]))
    starts = np.argsort(-cosine[kept], axis=1, kind="stable")[:, :_STARTS]
    rows, entry = np.repeat(kept, _STARTS), np.repeat(entries[kept], _STARTS)
    window, rank = starts.reshape(-1), np.tile(np.arange(_STARTS), len(kept))
    return np.full(len(rows), image), entry % n, entry >= n, window, cosine[rows, window], rank


_NO = np.zeros(0, np.int64)
_NONE = Candidates(_NO, _NO, _NO.astype(bool), _NO, _NO.astype(np.float32), _NO)
