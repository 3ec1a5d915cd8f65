"""Measures how far lines that are straight in one image bend in another.

At stations along a line of the original, the result's profile across the line is searched for the shift at which the
original's profile explains it best: as a weighted sum of the original, two blurred copies of it and a constant, with
free weights. Symmetric blur, sharpening, contrast and brightness are such sums and therefore cause no shift. The shifts
of a line are chosen together by dynamic programming, so that no station jumps to a neighbouring edge.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Array = NDArray[np.float64]
Whole = NDArray[np.intp]

SEARCH = 5.0  # pixels to either side
SEEN = 0.8  # share of a profile's variance that must be explained
FEWEST = 5  # stations of a line, at least
FOLLOWED = 0.1  # share of all stations, at least
_STEP = 0.5  # pixels between shifts
_HALF = 6  # pixels of a profile to either side of the line
_WIDE = 8  # pixels along the line over which a profile is averaged
_EVERY = 4  # pixels along the line between stations
_BLURS = (1.0, 2.5)  # sigmas of the blurred copies
_TURN = 0.03  # in shares of a profile's variance: the penalty for a change of one pixel between stations
_CLIMB = 2  # shifts between that result and the station's own peak: the penalty flattens crests
_GRAIN = 1.0  # levels: weaker profiles are noise
_AT_ONCE = 4096  # stations in one piece: bounds the memory for large images

_PLACES = np.arange(-_HALF, _HALF + 1.0)
_SHIFTS = np.arange(-SEARCH, SEARCH + _STEP / 2, _STEP)
_WEIGHTS = np.cos(_PLACES / (_HALF + 1) * np.pi / 2) ** 2 / (np.cos(_PLACES / (_HALF + 1) * np.pi / 2) ** 2).sum()


def bend_of(lines: Array, result: Array, original: Array) -> float:
    """Return the RMS displacement in pixels of lines about a straight fit of each; images are (h, w) in [0, 255].

    `lines` (n, 4) are the original's. Shifting or turning a whole line does not count. A line is skipped if fewer than
    half of its stations can be matched. Returns NaN if fewer than a tenth of all stations remain.
    """
    points, normals, line = _stations(lines)
    if len(points) == 0:
        return float("nan")
    copies = [original, *(gaussian_filter(original, sigma, truncate=3) for sigma in _BLURS)]
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(points), _AT_ONCE)]
    both = [_explained(result, copies, points[p], normals[p]) for p in parts]
    explained, itself = (np.concatenate([pair[n] for pair in both]) for n in (0, 1))
    displacement, seen = _refined(explained, _smoothest(explained, line))
    displacement -= _refined(itself, np.ones(len(line), dtype=np.intp))[0]
    squares = freedom = left = 0.0
    for one in np.split(np.arange(len(line)), np.flatnonzero(np.diff(line)) + 1):
        at = one[seen[one]]
        if len(at) < max(FEWEST, len(one) / 2):
            continue
        squares += float(_straight_residual(at - at[0], displacement[at]))
        freedom += len(at) - 2
        left += len(at)
    return float(np.sqrt(squares / freedom)) if left >= FOLLOWED * len(line) else float("nan")


def _stations(lines: Array) -> tuple[Array, Array, Whole]:
    """Return (s, wide, 2) points of each station, (s, 2) its normal, (s,) its line. Short lines have no stations."""
    points, normals, line = [np.zeros((0, _WIDE, 2))], [np.zeros((0, 2))], [np.zeros(0, dtype=np.intp)]
    for number, one in enumerate(lines):
        length = float(np.hypot(*(one[2:] - one[:2])))
        count = int((length - _WIDE) // _EVERY) + 1
        if count < FEWEST:
            continue
        along = (one[2:] - one[:2]) / length
        starts = (length - _WIDE - (count - 1) * _EVERY) / 2 + _EVERY * np.arange(count)
        points.append(one[:2] + (starts[:, None] + np.arange(_WIDE) + 0.5)[..., None] * along)
        normals.append(np.tile([-along[1], along[0]], (count, 1)))
        line.append(np.full(count, number))
    return np.concatenate(points), np.concatenate(normals), np.concatenate(line)


def _explained(result: Array, copies: list[Array], points: Array, normals: Array) -> tuple[Array, Array]:
    """Return how well copies of the original explain the result's profile at each shift, (s, shifts).

    The second tensor (s, 3) is the same for the original itself, half a pixel back, in place and half a pixel on: what
    an identical image would give.
    """
    base = _centred(np.stack([_profiles(copy, points, normals, _PLACES) for copy in copies], 1))  # (s, copies, places)
    weighted = base * _WEIGHTS
    alike = weighted @ base.transpose(0, 2, 1) + 0.01 * _GRAIN**2 * np.eye(len(copies))
    found: list[Array] = []
    for image, search in ((result, SEARCH), (copies[0], _STEP)):
        reach = np.arange(-_HALF - search, _HALF + search + _STEP / 2, _STEP)
        there = _profiles(image, points, normals, reach)
        every = round(1 / _STEP)
        windows = np.lib.stride_tricks.sliding_window_view(there, (len(_PLACES) - 1) * every + 1, axis=1)
        now = _centred(windows[..., ::every])  # (s, shifts, places)
        common = weighted @ now.transpose(0, 2, 1)  # (s, copies, shifts)
        share = (np.linalg.solve(alike, common) * common).sum(1) / ((now**2) @ _WEIGHTS + _GRAIN**2)
        found.append(np.where(common[:, 1] > 0, share, 0.0))  # dark instead of light is no match
    return found[0], found[1]


def _centred(profiles: Array) -> Array:
    return profiles - (profiles @ _WEIGHTS)[..., None]


def _profiles(image: Array, points: Array, normals: Array, places: Array) -> Array:
    """Return (s, places): means over the points of each station, at distances from the line."""
    at = points[:, :, None, :] + places[:, None] * normals[:, None, None, :]
    return np.asarray(map_coordinates(image, [at[..., 1], at[..., 0]], order=1, mode="nearest").mean(1))


def _smoothest(explained: Array, line: Whole) -> Whole:
    """Return the shift index of each station, (s,), that maximises each line's sum minus the penalties."""
    price = _TURN * (_SHIFTS[:, None] - _SHIFTS) ** 2
    first = np.flatnonzero(np.concatenate([[True], line[1:] != line[:-1]]))
    count = np.diff(np.append(first, len(line)))
    order = np.argsort(-count, kind="stable")  # all lines at once, the longest first
    first, count = first[order], count[order]
    best, origin = explained[first], np.zeros(explained.shape, dtype=np.intp)
    for step in range(1, count[0]):
        some = int((count > step).sum())
        paths = best[:some, :, None] - price  # (lines, from, to)
        origin[first[:some] + step] = paths.argmax(1)
        best[:some] = paths.max(1) + explained[first[:some] + step]
    chosen, now = np.zeros(len(line), dtype=np.intp), best.argmax(1)
    for step in range(count[0] - 1, -1, -1):
        some = int((count > step).sum())
        chosen[first[:some] + step] = now[:some]
        now[:some] = origin[first[:some] + step, now[:some]]
    return chosen


def _refined(explained: Array, at: Whole) -> tuple[Array, NDArray[np.bool_]]:
    """Fit a parabola to the peak within a pixel of each shift: return pixels, and whether the station is matched."""
    last = explained.shape[1] - 1
    near = np.abs(np.arange(last + 1) - at[:, None]) <= _CLIMB
    at = np.where(near, explained, -np.inf).argmax(1)
    rows, inner = np.arange(len(at)), np.clip(at, 1, last - 1)
    before, peak, after = (explained[rows, inner + n] for n in (-1, 0, 1))
    curve = before - 2 * peak + after
    top = (inner == at) & (peak >= before) & (peak >= after) & (curve < 0)
    part = np.where(top, 0.5 * (before - after) / np.where(top, curve, -1.0), 0.0)
    return _STEP * (inner - last / 2 + part), top & (peak > SEEN)


def _straight_residual(place: Array, value: Array) -> float:
    place, value = place - place.mean(), value - value.mean()
    return float((value**2).sum() - (place @ value) ** 2 / (place @ place))
