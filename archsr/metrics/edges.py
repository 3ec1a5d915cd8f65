"""Profiles across strong straight edges: how wide they are, and whether sharpening left halos beside them."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

_REACH = 10  # pixels to either side
_MOST = 6000  # edges per direction
_LEAST = 20  # edges, below which nothing is measured
_HEIGHT = 40.0  # levels between the two sides of a strong edge
_CALM = 0.15  # of the height: the standard deviation of a calm side
_SLOPE = 4.0  # levels per pixel at least, in the middle of an edge


def edge_profiles(luma: Values, *, across_only: bool = False) -> Values:
    """Return profiles (n, 22) across the strong edges of luma (n, h, w), 0 on their dark and 1 on their bright side.

    The steepest step is between the two pixels in the middle. Both sides are calm, so that thin bars are no edges.
    `across_only`: only profiles along x.
    """
    if across_only:
        return _across(luma)
    return np.concatenate([_across(luma), _across(np.ascontiguousarray(luma.swapaxes(1, 2)))])


def _across(luma: Values) -> Values:
    """Return the profiles along x, rising: those that fall are mirrored."""
    width = 2 * _REACH + 2
    if luma.shape[2] <= width:
        return np.zeros((0, width), np.float32)
    step = np.diff(luma, axis=2)
    size = np.abs(step)
    middle = size[..., _REACH:-_REACH]
    highest = (middle >= size[..., _REACH - 1 : -_REACH - 1]) & (middle > size[..., _REACH + 1 : 1 - _REACH])
    places = np.argwhere(highest & (middle >= _SLOPE))
    places = places[:: -(-len(places) // _MOST) or 1]
    if not len(places):
        return np.zeros((0, width), np.float32)
    columns = places[:, 2:] + np.arange(width)
    lines = luma[places[:, :1], places[:, 1:2], columns]
    falling = lines[:, _REACH] > lines[:, _REACH + 1]
    lines[falling] = lines[falling, ::-1]
    dark, bright = lines[:, :4], lines[:, -4:]
    low, height = dark.mean(1), bright.mean(1) - dark.mean(1)
    calm = np.maximum(dark.std(1), bright.std(1)) <= _CALM * height
    kept = calm & (height >= _HEIGHT)
    return (lines[kept] - low[kept, None]) / height[kept, None]


def edge_width(profiles: Values) -> float:
    """Return the width of the sharper edges in pixels: height over steepest step, the lower quartile; 0 without edges.

    A step from one pixel to the next has the width 1, a Gaussian blur of σ pixels about 2.5 σ.
    """
    if len(profiles) < _LEAST:
        return 0.0
    steepest = profiles[:, _REACH + 1] - profiles[:, _REACH]
    return float(np.quantile(1 / np.maximum(steepest, 0.05), 0.25))


def overshoot(profiles: Values) -> float:
    """Return how far profiles turn back beside their edge, as a share of its height; 0 without edges.

    It is the fall from the extreme within three pixels of the edge to the mean of the fourth to sixth: the median of
    the steeper half of the edges, averaged over both sides. The tails of a blurred edge go on rising and count as 0.
    """
    if len(profiles) < _LEAST:
        return 0.0
    steepest = profiles[:, _REACH + 1] - profiles[:, _REACH]
    steep = profiles[steepest >= np.median(steepest)]
    sides = (steep[:, _REACH + 1 :], 1 - steep[:, _REACH::-1])
    return max(0.0, sum(float(np.median(side[:, :3].max(1) - side[:, 3:6].mean(1))) for side in sides) / 2)
