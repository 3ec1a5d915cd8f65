"""Statistics of a patch by which degradations differ: spectrum, edges, noise, blocks, steps between pixels, colours."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from archsr.degradation.fitting.grain import grain
from archsr.images.pixels import Pixels
from archsr.metrics.edges import edge_profiles, edge_width, overshoot
from archsr.metrics.quality import jumps, luma_of, noise, resolution, spectrum

Values = NDArray[np.float64]

_BANDS = (2, 8, 16, 22, 28, 34, 40, 46, 52, 58, 64)  # of the 64 frequencies of a spectrum
# those from which the numbers of a degradation are estimated; the others only tell two sets apart
TRACES = 24
COUNT = TRACES + 19


def features(patch: Pixels, *, only_traces: bool = False) -> Values:
    """Return statistics (COUNT or TRACES,) of a patch uint8 (h, w, 3) of at least 128 pixels a side, all finite.

    `only_traces`: those from which numbers are estimated.
    """
    views = patch[None]
    luma = luma_of(views)
    traces = _traces(views, luma)
    return traces if only_traces else np.concatenate([traces, _others(patch, luma)])


def _traces(views: Pixels, luma: NDArray[np.float32]) -> Values:
    seen = grain(views)
    across, down = spectrum(luma, seen.luma), spectrum(luma.swapaxes(1, 2), seen.luma)
    levels = np.logaddexp(across, down)
    profiles = edge_profiles(luma)
    larger = grain(_halved(views))  # JPEG leaves more noise at lower frequencies
    sigma = noise(views[..., 1])
    strength = float(np.mean([(p := jumps(view))[0] - np.median(p) for view in (luma, luma.swapaxes(1, 2))]))
    directions = np.abs(np.clip(across, -30, 20) - np.clip(down, -30, 20))[20:]
    told = [
        np.log(edge_width(profiles) or 2.0), overshoot(profiles), _log(sigma), _log(seen.luma), _log(seen.chroma),
        _known(seen.correlation), strength, resolution(luma, sigma=sigma), _log(larger.luma), _log(larger.chroma),
        _known(larger.correlation), _log(seen.luma) - _log(larger.luma), directions.mean(),
        min(len(profiles), 500) / 500,
    ]  # fmt: skip
    bands = [float(np.clip(levels[a:b], -30, 20).mean()) for a, b in pairwise(_BANDS)]
    return np.array([*bands, *told])


def _halved(views: Pixels) -> Pixels:
    rows, columns = (side // 2 for side in views.shape[1:3])
    pairs = views[:, : rows * 2, : columns * 2].reshape(len(views), rows, 2, columns, 2, 3)
    return pairs.mean((2, 4)).round().astype(np.uint8)


def _known(correlation: float) -> float:
    return correlation if correlation == correlation else 0.7


def _log(sigma: float) -> float:
    return float(np.log(sigma + 0.15))


def _others(patch: Pixels, luma: NDArray[np.float32]) -> Values:
    """Return what the estimates do not use: how steps are distributed, at two scales, in luma and in the colours."""
    plane = luma[0]
    half = plane[: len(plane) // 2 * 2, : plane.shape[1] // 2 * 2].reshape(len(plane) // 2, 2, -1, 2).mean((1, 3))
    found: list[float] = []
    for image in (plane, half):
        steps = np.abs(np.concatenate([np.diff(image, axis=0).ravel(), np.diff(image, axis=1).ravel()]))
        size = float(np.sqrt((steps**2).mean())) + 1e-3
        found += [float(np.log(np.quantile(steps, q) / size + 0.01)) for q in (0.25, 0.5, 0.75, 0.9, 0.99)]
        found.append(float(np.log(np.abs(np.diff(image, 2, axis=0)).mean() / steps.mean() + 1e-3)))
    found += [float((plane[:, 1:] == plane[:, :-1]).mean()), float((plane[1:] == plane[:-1]).mean())]
    colours = patch.astype(np.float32)
    for channel in (0, 2):
        chroma = colours[..., channel] - plane
        fine, coarse = np.abs(np.diff(chroma, axis=1)).mean(), np.abs(chroma[:, 8:] - chroma[:, :-8]).mean()
        found.append(float(np.log((fine + 0.05) / (coarse + 0.1))))
    twos = [np.abs(np.diff(colours[..., 0] - plane, axis=a)).mean(1 - a) for a in (0, 1)]
    found += [float(t[1::2].mean() / (t[::2].mean() + 0.05)) for t in twos]  # repeated colours change at every other
    high = np.abs(np.diff(np.diff(plane, axis=0), axis=1))
    return np.array([*found, float(np.log(np.median(high) + 0.1))])
