"""Distinguishes drawings, scans, renders on blank ground and flat graphics from photographs, without a network.

A logistic model uses fourteen readable features: how much of an image is exactly flat, whether it is flat everywhere or
only in the sky or in clipped whites, and whether dark and light meet in lines. Photographs have light falloff and
texture nearly everywhere, which survive downscaling and compression; drawings have neither.

Burnt-out sun and haze make photographs flat, too. So a second logistic model has to agree: it measures steps and tones
relative to the image's own range. An image is a drawing if both agree. The weights of both come from
tests/measure/fit_drawings.py.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archsr.images.pixels import Pixels

SIDE = 256  # everything is measured at this size, so that it does not depend on the resolution
_LEAST = 12  # pixels of the shorter side, below which nothing is measured
_CELLS = 10  # per side, of the grid that checks whether flatness is everywhere
_LIMIT = 12.0  # of the logit
_BINS = 25  # of the tones between an image's darkest and brightest

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

# feature and weight; `log x` is the natural logarithm of x + 0.02
WEIGHTS: tuple[tuple[str, float], ...] = (
    ("bias", 24.972),
    ("log exact", -6.012),
    ("log exact, unclipped", 5.703),
    ("middling", 15.456),
    ("log strong", 5.992),
    ("smooth", -20.064),
    ("log soft", -6.296),
    ("line", -26.756),
    ("log line", 6.820),
    ("contrast", -7.047),
    ("brightness", 11.561),
    ("cells flat, median", 12.415),
    ("log cells flat, quarter", 5.657),
    ("cells exact, quarter", 26.312),
    ("paper x log cells exact", -13.371),
)

# of the second model
SECOND: tuple[tuple[str, float], ...] = (
    ("bias", 29.904),
    ("log exact", -3.967),
    ("log exact, unclipped", 3.537),
    ("log soft", -2.387),
    ("log range", 5.146),
    ("log mean step", 8.339),
    ("log steep", -4.729),
    ("entropy", -8.306),
    ("middle tones", 18.735),
)
_SHARED = [0, *(next(i for i, (name, _) in enumerate(WEIGHTS) if name == shared) for shared, _ in SECOND[1:4])]


def reduced(image: Image.Image) -> Pixels:
    """Return uint8 (h, w, 3), area-averaged so that the longer side is at most 256; smaller images are unchanged."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    scale = SIDE / max(rgb.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in rgb.size)
        rgb = rgb.resize((width, height), Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(rgb)


def drawing_score(small: Pixels) -> float:
    """Return 0 (a photograph) to 1 (a drawing, scan, render, map or logo) for uint8 (h, w, 3) from `reduced`.

    Deterministic. Images thinner than 12 pixels at that size count as photographs.
    """
    if min(small.shape[:2]) < _LEAST:
        return 0.0
    seen = features(small)
    logit = min(float(seen @ _weights(WEIGHTS)), float(relative_features(small, seen) @ _weights(SECOND)))
    return 1 / (1 + math.exp(-min(max(logit, -_LIMIT), _LIMIT)))


def features(small: Pixels) -> Values:
    """Return the features of `WEIGHTS` in that order: shares of pixels in [0, 1] or logarithms of them.

    A step is the difference of a pixel from its right or lower neighbour, in levels of luma.
      exact: steps of 0; unclipped: the same, among pixels that are neither white (from 250) nor black (up to 3)
      middling, strong: steps of 3 to 23, of 48 or more; soft: steps of 1 to 3 among those up to 3
      smooth: pixels within a level of the mean of their four neighbours
      line: pixels that differ by 12 levels or more from two similar sides, over all steps of 12 or more
      contrast: from the 2nd to the 98th percentile of luma
      paper, brightness: luma within 2 levels of the most frequent, and that level
      cells: in a grid of 10×10 cells, the shares of 3×3 pixels with no step above 2 (flat), and of steps of 0 (exact);
      their median and lower quartile
    """
    luma = _luma(small)
    here = luma[:-1, :-1]
    step = np.maximum(_gap(luma[:-1, 1:], here), _gap(luma[1:, :-1], here))
    exact, calm, unclipped = step == 0, step <= 2, (here < 250) & (here > 3)
    pairs = calm[:-1] & calm[1:]
    flat_cells, exact_cells = _cells(pairs[:, :-1] & pairs[:, 1:]), _cells(exact)
    flat_quarter, exact_quarter = (float(cells[len(cells) // 4]) for cells in (flat_cells, exact_cells))
    slight, level = _share(step <= 3), _share(exact)
    line = (_lines(luma) + _lines(luma.T)) / (_share(step >= 12) + 0.002)
    paper, brightness, contrast = _tones(luma)
    return np.array([
        1.0, _log(level), _log(_share(exact & unclipped) / (_share(unclipped) + 0.01)),
        _share((step >= 3) & (step < 24)), _log(_share(step >= 48)), _share(_smooth(luma)),
        _log((slight - level + 0.01) / (slight + 0.01)), line, _log(line), contrast, brightness,
        float(flat_cells[len(flat_cells) // 2]), _log(flat_quarter), exact_quarter, paper * _log(exact_quarter),
    ])  # fmt: skip


def relative_features(small: Pixels, seen: Values) -> Values:
    """Return the features of `SECOND` in that order; `seen` are the image's `features`.

    They are measured in quarters of a level, so that haze does not round texture away; steps are as in `features`.
      range: from the darkest to the brightest tone, without 0.2 % of pixels at either end
      mean step: relative to the range; steep: steps above a twentieth of the range
      entropy: of 25 tones that divide the range, in nats; middle tones: pixels 3 to 9 tones from the most frequent
    """
    quarters = _quarters(small)
    here = quarters[:-1, :-1]
    step = np.maximum(np.abs(quarters[:-1, 1:] - here), np.abs(quarters[1:, :-1] - here))
    counts = np.bincount(quarters.ravel(), minlength=1021)
    low, high = np.searchsorted(counts.cumsum(), [0.002 * quarters.size, 0.998 * quarters.size])
    reach = max(4, int(high - low))
    places = ((np.arange(1021) - low) / reach).clip(0, 0.9999) * _BINS
    tones = np.bincount(places.astype(np.intp), weights=counts, minlength=_BINS) / quarters.size
    away = np.abs(np.arange(_BINS) - tones.argmax())
    entropy = -float((tones * np.log(np.maximum(tones, 1e-12))).sum())
    return np.array([
        *seen[_SHARED], _log(reach / 1020), _log(float(step.mean()) / reach), _log(_share(step > 0.05 * reach)),
        entropy, float(tones[(away > 2) & (away < 10)].sum()),
    ])  # fmt: skip


def _weights(named: tuple[tuple[str, float], ...]) -> Values:
    return np.array([weight for _, weight in named])


def _log(share: float) -> float:
    return math.log(share + 0.02)


def _share(mask: Mask) -> float:
    return int(np.count_nonzero(mask)) / mask.size


def _gap(a: Pixels, b: Pixels) -> Pixels:
    """Return |a - b| without leaving uint8."""
    return np.maximum(a, b) - np.minimum(a, b)


def _quarters(small: Pixels) -> NDArray[np.int16]:
    """Return r + 2g + b as int16 (h, w): luma in quarters of a level."""
    red, green, blue = (small[..., c].astype(np.int16) for c in range(3))
    return red + 2 * green + blue


def _luma(small: Pixels) -> Pixels:
    """Return (r + 2g + b) / 4 as uint8 (h, w)."""
    return (_quarters(small) >> 2).astype(np.uint8)


def _lines(luma: Pixels) -> float:
    """Return the share of pixels that differ from those two pixels to either side, if both sides are similar."""
    left, middle, right = luma[:, :-4], luma[:, 2:-2], luma[:, 4:]
    return _share((_gap(left, right) <= 3) & (_gap(left, middle) >= 12))


def _smooth(luma: Pixels) -> Mask:
    """Return where a pixel differs from the mean of its four neighbours by less than one level."""
    wide = luma.astype(np.int16)
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    return np.abs(4 * wide[1:-1, 1:-1] - around) <= 3


def _tones(luma: Pixels) -> tuple[float, float, float]:
    below = np.concatenate([[0], np.bincount(luma.ravel(), minlength=256).cumsum()])
    window = below[5:] - below[:-5]  # pixels of five neighbouring levels
    first = int(window.argmax())
    low, high = np.searchsorted(below, [0.02 * luma.size, 0.98 * luma.size])
    return int(window[first]) / luma.size, (first + 2) / 255, float(high - low) / 255


def _cells(mask: Mask) -> Values:
    """Return the shares of `mask` in the cells of a grid, sorted."""
    rows, columns = (max(1, side // max(1, side // _CELLS)) for side in mask.shape)
    rows, columns = min(rows, _CELLS), min(columns, _CELLS)
    high, wide = mask.shape[0] // rows, mask.shape[1] // columns
    used = mask[: rows * high, : columns * wide].view(np.uint8)
    sums = used.reshape(rows, high, columns * wide).sum(1, dtype=np.uint16).reshape(rows, columns, wide).sum(2)
    return np.sort(sums.ravel()) / (high * wide)
