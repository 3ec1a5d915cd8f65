"""Traces of JPEG in the DCT of an image: its quality, its grid, and whether it was compressed before.

Sources: Fan and de Queiroz (2003) for the quality of decompressed images, Lukáš and Fridrich (2003) for the histograms
of doubly compressed ones, whose smooth counterpart is the same image with a displaced grid.
"""

import math

import numpy as np
from numpy.typing import NDArray

from archsr.degradation.jpeg import LUMA
from archsr.metrics.quality import jumps

Values = NDArray[np.float64]

_QUALITIES = tuple(range(30, 98))  # of a table; higher ones leave steps of 1 and 2, hidden by rounding
_ROUNDING = 0.29  # standard deviation of a DCT coefficient after rounding to 8 bits: (1 / 12)^½
_ERROR = 0.45  # with the errors of colour conversion
_LOWEST = 0.08  # gain per coefficient (nats) from which pixels count as once compressed
_TWICE = 0.025  # the same for an earlier compression
_LEAST = 300  # coefficients other than zero, below which nothing is said
_BLOCKS = 6000  # blocks of an image that are looked at
# the nine lowest frequencies but the mean: places in a block of 64, row by row
_PLACES = np.array([1, 8, 16, 9, 2, 3, 10, 17, 24])


def luma_table(quality: float) -> Values:
    """Return the standard's luma table (64,) at a quality from 1 to 100, as libjpeg rounds it."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((LUMA.numpy().reshape(64).astype(np.float64) * int(scale) + 50) / 100), 1, 255)


def coefficients(luma: NDArray[np.float32], *, left: int = 0, top: int = 0) -> Values:
    """Return the DCT (n, 64) of the 8×8 blocks of luma (h, w) in levels, of a grid displaced by `left` and `top`."""
    part = luma[top:, left:]
    rows, columns = (side // 8 for side in part.shape)
    blocks = part[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    blocks = blocks[:: -(-len(blocks) // _BLOCKS) or 1].astype(np.float64)
    ends = (blocks.min((1, 2)) < 1) | (blocks.max((1, 2)) > 254)  # clipping moves coefficients off their steps
    return np.einsum("ky,nyx,lx->nkl", _DCT, blocks[~ends] - 128, _DCT).reshape(-1, 64)


def _basis() -> Values:
    n = np.arange(8)
    basis = np.cos((2 * n[None] + 1) * n[:, None] * math.pi / 16) * 0.5
    basis[0] /= math.sqrt(2)
    return basis


_DCT = _basis()


def quality_of_pixels(found: Values) -> tuple[int, float]:
    """Return the quality of the JPEG that left its steps in coefficients (n, 64), and the gain per coefficient in nats.

    Every coefficient that a table would not round to 0 is compared: how likely it lies so near to a multiple of its
    step, against anywhere. (0, gain) if no table explains them.
    """
    low = found[:, _PLACES]
    if not len(low):
        return 0, 0.0
    gains = [_gain(low, luma_table(quality)[_PLACES]) for quality in _QUALITIES]
    best = max(range(len(gains)), key=lambda n: (gains[n][0], n))  # of tables with equal low steps the finest
    total, count = gains[best]
    mean = total / max(count, 1)
    return (_QUALITIES[best], mean) if count >= _LEAST and mean >= _LOWEST else (0, mean)


def _gain(low: Values, steps: Values) -> tuple[float, int]:
    whole = np.rint(low / steps)
    used = whole != 0
    away = (low - whole * steps)[used]
    step = np.broadcast_to(steps, low.shape)[used]
    # a share of outliers keeps a single coefficient from deciding
    near = 0.9 * step * np.exp(-0.5 * (away / _ERROR) ** 2) / (_ERROR * math.sqrt(2 * math.pi)) + 0.1
    return float(np.log(near).sum()), int(used.sum())


def first_quality(luma: NDArray[np.float32], last: Values) -> tuple[int, float]:
    """Return the quality of an earlier JPEG on the same grid, under the last one's table (64,), and the gain in nats.

    The histogram of the steps is compared with what each earlier table would have left of the same image with its grid
    displaced by half a block, which has forgotten it. (0, gain) if none explains the histogram better than no earlier
    one. An earlier table with the same steps, or with divisors of them, leaves no trace.
    """
    steps = last[_PLACES]
    here = np.rint(coefficients(luma)[:, _PLACES] / steps)
    smooth = coefficients(luma, left=4, top=4)[:, _PLACES]
    count = int((here != 0).sum())
    if count < _LEAST or len(smooth) < 50:
        return 0, 0.0
    noise = np.random.default_rng(0).normal(0, _ROUNDING, smooth.shape)
    without = _likelihood(here, np.rint(smooth / steps))
    best, most = 0, 0.0
    for quality in _QUALITIES:
        table = luma_table(quality)[_PLACES]
        if np.all(table == steps):
            continue
        gain = (_likelihood(here, np.rint((np.rint(smooth / table) * table + noise) / steps)) - without) / count
        best, most = (quality, gain) if gain >= most else (best, most)
    return (best, most) if most >= _TWICE else (0, most)


_REACH = 12  # steps to either side that the histograms hold


def _likelihood(here: Values, model: Values) -> float:
    """Return the log-likelihood of whole numbers (n, f) under the histograms of `model` (m, f), column by column."""
    total = 0.0
    for column in range(here.shape[1]):
        seen, wanted = (_histogram(values[:, column]) for values in (here, model))
        total += float((seen * np.log((wanted + 0.5) / (wanted.sum() + 0.5 * len(wanted)))).sum())
    return total


def _histogram(whole: Values) -> Values:
    inside = whole[np.abs(whole) <= _REACH].astype(np.int64) + _REACH
    return np.bincount(inside, minlength=2 * _REACH + 1).astype(np.float64)


def second_grid(luma: NDArray[np.float32]) -> tuple[tuple[int, int], float]:
    """Return the phase (x, y) of a grid off the origin in luma (h, w), and how far its jumps stand out, from 0.

    The direction in which it is weaker counts. A file that was compressed, cropped and compressed again has one.
    """
    found = [_uneven(jumps(view[None])) for view in (luma, luma.T)]
    x, y = (int(shares.argmax()) for shares in found)
    return (x, y), min(float(shares.max()) for shares in found)


def _uneven(phases: NDArray[np.float32]) -> Values:
    """Return by how much the jumps of each phase exceed those of its mirror image, relative to the median.

    A grid at the origin raises both alike; phase 4, its own mirror image, is compared with its neighbours.
    """
    mirrored = phases[-np.arange(8)]
    mirrored[4] = (phases[3] + phases[5]) / 2
    shares = (phases - mirrored) / max(1e-6, float(np.median(phases)))
    shares[0] = 0
    return shares.astype(np.float64)


def own_grid(luma: NDArray[np.float32]) -> tuple[int, int]:
    """Return the phase (x, y) of the strongest grid in luma (h, w)."""
    x, y = (int(jumps(view[None]).argmax()) for view in (luma, luma.T))
    return x, y
