"""The shape of a blur, from profiles across strong edges: a Gaussian or a disc.

A line, of a moved camera, cannot be told from these profiles: façades have more edges in one direction than in others.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archsr.metrics.edges import edge_profiles

Shape = Literal["", "gaussian", "disc"]

_LEAST = 40  # edges
_NARROW = 3.6  # pixels from a tenth to nine tenths of the height, below which pixels hide the shape
_ROUND = 1.79  # of the ratio of two widths: 1.90 for a Gaussian, 1.70 for a disc


def blur_shape(luma: NDArray[np.float32]) -> Shape:
    """Return the shape of the blur in luma (n, h, w); empty if edges are too few or too narrow to tell."""
    widths = [_widths(view) for view in (luma, np.ascontiguousarray(luma.swapaxes(1, 2)))]
    told = [w for w in widths if w is not None]
    wide = [w for w in told if w[0] >= _NARROW]
    if not wide:
        return ""
    return "disc" if float(np.mean([outer / inner for outer, inner in wide])) < _ROUND else "gaussian"


def _widths(luma: NDArray[np.float32]) -> tuple[float, float] | None:
    """Return the widths of the mean edge along x from 10 % to 90 % and from 25 % to 75 % of its height, in pixels."""
    profiles = edge_profiles(luma, across_only=True)
    if len(profiles) < _LEAST:
        return None
    middle = profiles.shape[1] // 2
    steepest = profiles[:, middle] - profiles[:, middle - 1]
    sharp = profiles[(steepest >= np.quantile(steepest, 0.6)) & (np.abs(profiles[:, middle - 1] - 0.5) < 0.35)]
    if len(sharp) < _LEAST // 4:
        return None
    centred = np.maximum.accumulate(np.median(_aligned(sharp), axis=0))
    at = np.arange(len(centred))
    low, first, last, high = (float(np.interp(q, centred, at)) for q in (0.1, 0.25, 0.75, 0.9))
    return (high - low) / _FINE, max(last - first, 1e-3) / _FINE


_FINE = 4  # samples per pixel of the mean edge


def _aligned(profiles: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the profiles with their halves of the height at one place, interpolated linearly."""
    width = profiles.shape[1]
    offsets = np.arange(-(width // 2 - 2) * _FINE, (width // 2 - 2) * _FINE + 1) / _FINE
    pixel = np.arange(width)
    lines: list[NDArray[np.float64]] = []
    for profile in profiles:
        i = width // 2 - 1
        step = max(float(profile[i + 1] - profile[i]), 1e-3)
        crossing = i + (0.5 - float(profile[i])) / step
        lines.append(np.interp(crossing + offsets, pixel, profile))
    return np.array(lines)
