"""Noise in the flat areas of an image: its level, its correlation between channels, its dependence on brightness."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from archsr.images.pixels import Pixels
from archsr.metrics.quality import luma_of

Values = NDArray[np.float32]

_CELL = 16  # pixels of a cell
_CALMEST = 0.3  # of the cells, by their unevenness at a scale of four pixels
_QUIETEST = 0.35  # quantile of the variances of cells, as texture adds to them
_BINS = 6  # of brightness
_CLIPPED = 0.05  # of a cell's pixels, above which it is left out
_LEAST = 6  # cells, below which nothing is said


@dataclass(frozen=True)
class Grain:
    """Noise of an image, standard deviations in levels of 255.

    `luma` and `chroma` (of the differences to luma, root mean square of red and blue); `correlation` of the channels'
    noise, from 0 to 1, 1 for grey noise; `read` and `shot`: its variance at brightness x in [0, 1] is about read +
    shot·x, in squared levels; `shot` is negative if shadows are noisier. NaN where it cannot be told.
    """

    luma: float
    chroma: float
    correlation: float
    read: float
    shot: float


def grain(views: Pixels) -> Grain:
    """Measure windows uint8 (n, h, w, 3)."""
    covariances, levels = _cells(views)
    if len(levels) < _LEAST:
        return Grain(0.0, 0.0, float("nan"), float("nan"), float("nan"))
    weights = np.array([0.299, 0.587, 0.114])
    luma = np.einsum("i,nij,j->n", weights, covariances, weights)
    quiet = float(np.quantile(luma, _QUIETEST))
    kept = covariances[luma <= quiet].mean(0) if (luma <= quiet).any() else covariances.mean(0)
    variances = np.diag(kept)
    cross = (kept.sum() - variances.sum()) / 6
    correlation = float(np.clip(cross / max(float(np.mean(variances)), 1e-6), 0, 1))
    apart = [float(a @ covariances[luma <= quiet].mean(0) @ a) for a in np.eye(3)[[0, 2]] - weights]
    read, shot = _by_brightness(luma, levels)
    return Grain(_sigma(quiet), _sigma(float(np.mean(apart))), correlation, read, shot)


def _sigma(variance: float) -> float:
    return max(0.0, variance - 1 / 24) ** 0.5


def _cells(views: Pixels) -> tuple[NDArray[np.float64], Values]:
    """Return the covariances (n, 3, 3) of the high-passed channels in calm cells, and the cells' luma in [0, 1]."""
    rows, columns = (side // _CELL for side in views.shape[1:3])
    whole = views[:, : rows * _CELL, : columns * _CELL].astype(np.float32)
    high = np.diff(np.diff(whole, 2, axis=1), 2, axis=2) / 6  # a second difference in both directions, of unit gain
    high = np.pad(high, ((0, 0), (0, 2), (0, 2), (0, 0)))
    shape = (len(whole), rows, _CELL, columns, _CELL, 3)
    inner = high.reshape(shape)[:, :, : _CELL - 2, :, : _CELL - 2]
    covariances = np.einsum("nryxzc,nryxzd->nrxcd", inner, inner) / (_CELL - 2) ** 2
    luma = luma_of(views[:, : rows * _CELL, : columns * _CELL])
    coarse = luma.reshape(len(whole), rows, 4, 4, columns, 4, 4).mean((3, 6))
    level, uneven = coarse.mean((2, 4)), coarse.std((2, 4))
    clipped = ((whole >= 254) | (whole <= 1)).any(3).reshape(shape[:5])
    ends = clipped.mean((2, 4)) > _CLIPPED
    if ends.all():
        return np.zeros((0, 3, 3)), np.zeros(0, np.float32)
    calm = ~ends & (uneven <= np.quantile(uneven[~ends], _CALMEST))
    return covariances[calm].astype(np.float64), (level[calm] / 255).astype(np.float32)


def _by_brightness(variances: NDArray[np.float64], levels: Values) -> tuple[float, float]:
    """Return read and shot: a line through the quiet cells of bins of brightness. NaN if all are alike in it."""
    edges = np.linspace(0, 1, _BINS + 1)
    points: list[tuple[float, float, int]] = []
    for low, high in pairwise(edges):
        inside = (levels >= low) & (levels < high)
        if inside.sum() >= 6:
            quiet = float(np.quantile(variances[inside], _QUIETEST))
            points.append((float(levels[inside].mean()), quiet, int(inside.sum())))
    if len(points) < 2 or points[-1][0] - points[0][0] < 0.25:
        return float("nan"), float("nan")
    x, y, n = (np.array(column) for column in zip(*points, strict=True))
    slope, at_zero = np.polyfit(x, y, 1, w=np.sqrt(n))
    return float(at_zero), float(slope)
