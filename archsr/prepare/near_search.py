"""Which pictures might show the same, by locality-sensitive hashing of windows; see `near`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, float, float, float]

_SIDE = 64
_CELLS = 32
_LOW = 8  # frequencies along each side
_BITS = _LOW * _LOW - 1  # without the mean
_TABLES = 12
_KEY_BITS = 20
_FAR = 11  # most different bits of 63
_CROWD = 128  # pictures of one bucket that are looked at
_CHUNK = 128  # pictures looked up at a time
_PER_PICTURE = 24  # candidates of one picture that are compared, nearest first
# lengths of windows as shares of a side, and how many places each is put at
_LENGTHS = ((1.0, 1), (0.94, 3), (0.88, 4), (0.82, 6), (0.76, 7), (0.7, 8))

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Candidate:
    """`b`, mirrored or not, may be what `box` (left, top, right, bottom, fractions) of `a` shows."""

    a: int
    b: int
    mirrored: bool
    box: Window


@dataclass(frozen=True)
class _Index:
    """Hash tables of whole pictures: entry i is picture `owner[i]`, mirrored or not; a sorted list per table."""

    hashes: Hashes
    owner: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    order: list[NDArray[np.int64]]
    starts: list[NDArray[np.int64]]


def candidates(
    thumbs: NDArray[np.uint8], which: NDArray[np.int64], *, progress: Callable[[int], None] | None = None
) -> Iterator[list[Candidate]]:
    """Candidate pairs among the pictures `which` of `thumbs` (n, 64, 64), some at a time.

    Pictures with equal hashes are chained, each to the next, and only the first of them is in the tables.
    """
    if not len(which):
        return
    whole = np.concatenate([_hashes(thumbs[part], windows=False) for part in _parts(which)])
    order = np.lexsort((which, whole))
    same = whole[order][1:] == whole[order][:-1]
    everything = (0.0, 0.0, 1.0, 1.0)
    chained = [
        Candidate(int(which[i]), int(which[j]), False, everything)
        for (i, j), equal in zip(pairwise(order), same, strict=True)
        if equal
    ]
    for i in range(0, len(chained), 4096):
        yield chained[i : i + 4096]
    first = np.sort(order[np.concatenate([[True], ~same])])
    index = _index(which[first], whole[first])
    for part in _parts(which[first]):
        yield _lookup(index, thumbs, part)
        if progress is not None:
            progress(len(part))


def _parts(which: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for i in range(0, len(which), _CHUNK):
        yield which[i : i + _CHUNK]


@cache
def _edges() -> list[tuple[float, float]]:
    """All (start, end) of windows along a side; the whole side first."""
    places = [(length, count) for length, count in _LENGTHS]
    return [
        (start, start + length)
        for length, count in places
        for start in (np.linspace(0, 1 - length, count).tolist() if count > 1 else [0.0])
    ]


@cache
def _frequencies() -> NDArray[np.float32]:
    """(windows · 8, 64): the lowest DCT-II frequencies of every window along a side."""
    cells = (np.arange(_CELLS) + 0.5) / _CELLS
    dct = np.cos(np.pi * np.arange(_LOW)[:, None] * cells[None])
    rows: list[NDArray[np.float64]] = []
    for start, end in _edges():
        edges = np.linspace(start * _SIDE, end * _SIDE, _CELLS + 1)
        pixels = np.arange(_SIDE + 1)
        overlap = np.minimum(pixels[None, 1:], edges[1:, None]) - np.maximum(pixels[None, :-1], edges[:-1, None])
        rows.append(dct @ (np.clip(overlap, 0, None) / (edges[1] - edges[0])))
    return np.concatenate(rows).astype(np.float32)


def _signs(thumbs: NDArray[np.uint8], *, windows: bool) -> NDArray[np.bool_]:
    """(n, windows, 63): the sign of each low frequency but the mean, of the whole pictures or of all windows."""
    basis = _frequencies() if windows else _frequencies()[:_LOW]
    count = len(basis) // _LOW
    found = basis @ thumbs.astype(np.float32) @ basis.T  # (n, windows·8, windows·8)
    found = found.reshape(len(thumbs), count, _LOW, count, _LOW).transpose(0, 1, 3, 2, 4)
    return found.reshape(len(thumbs), count * count, _LOW * _LOW)[:, :, 1:] > 0


@cache
def _powers() -> NDArray[np.uint64]:
    return np.uint64(1) << np.arange(_BITS, dtype=np.uint64)


def _pack(signs: NDArray[np.bool_]) -> Hashes:
    """(..., 63) signs to one number each."""
    padded = np.concatenate([signs, np.zeros((*signs.shape[:-1], 1), np.bool_)], axis=-1)
    return np.packbits(padded, axis=-1, bitorder="little").view(np.uint64)[..., 0]


def _hashes(thumbs: NDArray[np.uint8], *, windows: bool) -> Hashes:
    signs = _signs(thumbs, windows=windows)
    return _pack(signs) if windows else _pack(signs)[:, 0]


@cache
def _mirror() -> np.uint64:
    """The bits that a mirror image turns round: odd frequencies from left to right."""
    odd = np.array([kx % 2 for _, kx in product(range(_LOW), repeat=2)][1:], np.uint64)
    return np.uint64((odd * _powers()).sum())


@cache
def _choices() -> NDArray[np.float32]:
    """(63, tables): the weights that make each table's key of 20 bits out of the signs. Low frequencies come first."""
    rng = np.random.Generator(np.random.Philox(0))
    low = np.array([ky + kx for ky, kx in product(range(_LOW), repeat=2)][1:])
    weights = np.zeros((_BITS, _TABLES), np.float32)
    for table in range(_TABLES):
        chance = np.exp(-low / 5.0)
        bits = rng.choice(_BITS, _KEY_BITS, replace=False, p=chance / chance.sum())
        weights[bits, table] = 2.0 ** np.arange(_KEY_BITS)
    return weights


def _keys(signs: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(m, 63) signs to (m, tables) keys; float32 holds 20 bits exactly."""
    return (signs.astype(np.float32) @ _choices()).astype(np.int64)


def _unpack(hashes: Hashes) -> NDArray[np.bool_]:
    return (hashes[:, None] >> np.arange(_BITS, dtype=np.uint64)[None] & np.uint64(1)).astype(np.bool_)


def _index(which: NDArray[np.int64], hashes: Hashes) -> _Index:
    both = np.concatenate([hashes, hashes ^ _mirror()])
    keys = _keys(_unpack(both))
    order = [np.argsort(keys[:, t], kind="stable") for t in range(_TABLES)]
    starts = [
        np.searchsorted(keys[o, t], np.arange((1 << _KEY_BITS) + 1)).astype(np.int64) for t, o in enumerate(order)
    ]
    mirrored = np.arange(len(both)) >= len(hashes)
    return _Index(both, np.concatenate([which, which]), mirrored, order, starts)


def _lookup(index: _Index, thumbs: NDArray[np.uint8], part: NDArray[np.int64]) -> list[Candidate]:
    """Candidates for the windows of some pictures, the best window for each pair."""
    signs = _signs(thumbs[part], windows=True)
    count = signs.shape[1]
    flat = signs.reshape(-1, _BITS)
    hashes, keys = _pack(flat), _keys(flat)
    rows: list[NDArray[np.int64]] = []
    for table in range(_TABLES):
        start = index.starts[table][keys[:, table]]
        size = np.minimum(index.starts[table][keys[:, table] + 1] - start, _CROWD)
        query = np.repeat(np.arange(len(flat)), size)
        place = np.arange(len(query)) - np.repeat(np.cumsum(size) - size, size)
        entry = index.order[table][np.repeat(start, size) + place]
        distance = np.bitwise_count(hashes[query] ^ index.hashes[entry]).astype(np.int64)
        near = (distance <= _FAR) & (index.owner[entry] != part[query // count])
        columns = (query // count, index.owner[entry], index.mirrored[entry], distance, query % count)
        rows.append(np.stack([column[near].astype(np.int64) for column in columns]))
    return _best(np.concatenate(rows, axis=1), part)


def _best(found: NDArray[np.int64], part: NDArray[np.int64]) -> list[Candidate]:
    """Of rows (query picture, b, mirrored, distance, window) the nearest window of each pair, the nearest pairs."""
    query, b, mirrored, distance, window = found[:, np.lexsort(found[[4, 3, 2, 1, 0]])]
    if not len(query):
        return []
    new = np.ones(len(query), np.bool_)
    new[1:] = (query[1:] != query[:-1]) | (b[1:] != b[:-1]) | (mirrored[1:] != mirrored[:-1])
    query, b, mirrored, distance, window = (x[new] for x in (query, b, mirrored, distance, window))
    order = np.lexsort((b, mirrored, distance, query))
    query, b, mirrored, window = (x[order] for x in (query, b, mirrored, window))
    place = np.arange(len(query)) - np.searchsorted(query, query)
    keep = place < _PER_PICTURE
    edges = _edges()
    result: list[Candidate] = []
    for q, other, m, w in zip(query[keep], b[keep], mirrored[keep], window[keep], strict=True):
        (top, bottom), (left, right) = edges[int(w) // len(edges)], edges[int(w) % len(edges)]
        result.append(Candidate(int(part[q]), int(other), bool(m), (left, top, right, bottom)))
    return result
