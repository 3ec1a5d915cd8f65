"""NIQE, the natural image quality evaluator of Mittal, Soundararajan and Bovik (2013), without downloads.

The pristine model in `niqe_pristine.npz` (mean and covariance of 36 features over natural photographs) holds the
authors' published numbers, as distributed with BasicSR (Apache-2.0). The procedure follows the authors' MATLAB code.
Local moments are in single precision as in BasicSR, so that results match published tables. In flat regions, where a
variance is the difference of two large numbers, this changes NIQE by up to 0.005.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.special import gamma

from archsr.images.pixels import Pixels

Array = NDArray[np.float64]
Single = NDArray[np.float32]

BLOCK = 96
SMALLEST = 2 * BLOCK  # with fewer than four blocks the covariance is meaningless


def niqe(pixels: Pixels, *, border: int = 0) -> float:
    """Return NIQE of an image uint8 (h, w, 3) without `border` pixels on each side; lower is better.

    Returns NaN if fewer than two blocks have any texture. Raises ValueError if a side is below 192 pixels, because the
    value would be meaningless.
    """
    height, width = (side - 2 * border for side in pixels.shape[:2])
    if min(height, width) < SMALLEST:
        raise ValueError(f"NIQE needs {SMALLEST}×{SMALLEST} pixels, got {width}×{height}")
    y = np.round(pixels.astype(np.float64) / 255 @ np.array([65.481, 128.553, 24.966]) + 16)
    y = y[border : border + height, border : border + width]
    y = y[: height // BLOCK * BLOCK, : width // BLOCK * BLOCK]
    coarse = imresize(y / 255, scale=0.5) * 255
    features = np.concatenate([_features(y, BLOCK), _features(coarse, BLOCK // 2)], axis=1)
    mu, cov = _pristine()
    whole = features[~np.isnan(features).any(axis=1)]
    if len(whole) < 2:  # no covariance: the blocks are flat
        return float("nan")
    mean = np.nanmean(features, axis=0)
    spread = np.linalg.pinv((cov + np.cov(whole, rowvar=False)) / 2)
    difference = mu - mean
    return float(np.sqrt(difference @ spread @ difference))


@lru_cache(maxsize=1)
def _pristine() -> tuple[Array, Array]:
    stored = np.load(Path(__file__).with_name("niqe_pristine.npz"))
    return stored["mu"], stored["cov"]


def _features(y: Array, block: int) -> Array:
    """Return 18 features of each block, (blocks, 18), column by column as in MATLAB."""
    normalised = _mscn(y.astype(np.float32))
    rows, columns = (side // block for side in y.shape)
    blocks = [
        normalised[i * block : (i + 1) * block, j * block : (j + 1) * block]
        for j in range(columns)
        for i in range(rows)
    ]
    return np.array([_block_features(b) for b in blocks])


def _mscn(y: NDArray[np.float32]) -> Single:
    """Return the mean-subtracted, contrast-normalised luminance with a 7×7 Gaussian of σ 7/6."""
    taps = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    window = np.outer(taps, taps)
    window /= window.sum()
    mean = cast(Single, convolve(y, window, mode="nearest"))
    deviation = np.sqrt(np.abs(cast(Single, convolve(y**2, window, mode="nearest")) - mean**2))
    return cast(Single, (y - mean) / (deviation + 1))


def _block_features(block: Single) -> list[float]:
    alpha, left, right = _aggd(block)
    found = [alpha, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        alpha, left, right = _aggd(block * np.roll(block, shift, axis=(0, 1)))
        mean = (right - left) * (gamma(2 / alpha) / gamma(1 / alpha))
        found += [alpha, mean, left, right]
    return found


@lru_cache(maxsize=1)
def _grid() -> tuple[Array, Array]:
    alphas = np.arange(0.2, 10.001, 0.001)
    inverse = 1 / alphas
    return alphas, gamma(2 * inverse) ** 2 / (gamma(inverse) * gamma(3 * inverse))


def _aggd(block: Single) -> tuple[float, float, float]:
    """Fit shape and both scales of an asymmetric generalised Gaussian by moment matching."""
    x = block.ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.sqrt(np.mean(x[x < 0] ** 2)) if (x < 0).any() else np.nan
        right = np.sqrt(np.mean(x[x > 0] ** 2)) if (x > 0).any() else np.nan
        ratio = left / right
        r = np.mean(np.abs(x)) ** 2 / np.mean(x**2)
        r_norm = r * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    alphas, candidates = _grid()
    alpha = float(alphas[np.argmin((candidates - r_norm) ** 2)])
    widen = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
    return alpha, float(left * widen), float(right * widen)


def imresize(image: NDArray[Any], *, scale: float) -> Array:
    """Resize (h, w) or (h, w, c) like MATLAB's bicubic `imresize`: antialiased downscaling, mirrored borders."""
    result = image.astype(np.float64)
    for axis in (0, 1):
        weights = _matlab_matrix(image.shape[axis], scale)
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
    return result


@lru_cache(maxsize=16)
def _matlab_matrix(side: int, scale: float) -> Array:
    out = int(np.ceil(side * scale))
    shrink = min(scale, 1.0)
    reach = 4 / shrink
    centre = (np.arange(out) + 0.5) / scale - 0.5
    first = np.floor(centre - reach / 2).astype(int)
    taps = first[:, None] + np.arange(int(np.ceil(reach)) + 2)
    weights = shrink * _cubic(shrink * (centre[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(side), np.arange(side)[::-1]])[taps % (2 * side)]
    matrix = np.zeros((out, side))
    np.add.at(matrix, (np.arange(out)[:, None], mirrored), weights)
    return matrix


def _cubic(x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Evaluate Keys' kernel with a = -0.5."""
    a = np.abs(x)
    near = 1.5 * a**3 - 2.5 * a**2 + 1
    far = -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
    return np.where(a <= 1, near, np.where(a <= 2, far, 0.0))
