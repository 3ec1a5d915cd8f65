"""Measures whether a building's straight lines are still present, straight and in place, and whether any were added.

LSD (von Gioi et al. 2012, OpenCV's) finds segments in the luma of both images. What it finds depends on contrast, so it
only proposes lines. Each point of a line is then checked at a scale at which blur and sharpening make little
difference: both images are low-passed, and the other image must have a gradient peak at that place in that direction,
at least a third as strong. Points whose own peak would not survive a blur of 2 px are skipped, because a stronger
neighbour hides them and nobody could tell whether they are lost or only blurred.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates
from torch import Tensor

from archsr.metrics.bend import bend_of
from archsr.metrics.psnr_ssim import luma

Array = NDArray[np.float64]

LONGEST_IGNORED = 20.0  # pixels: shorter segments are texture
SIGMAS = (2.0, 8.0**0.5)  # pixels: of the low-pass, and of the low-pass after a blur of 2 px
NEAR = 2.0  # pixels: a peak of the other image this near counts as the same line
TURNED = np.tan(np.radians(10.0))  # and it may be turned this much
WEAKEST = 0.33  # share of the image's own peak
SMALLEST = 64  # side of an image
_OWN_NEAR, _OWN_TURNED = 1.5, np.tan(np.radians(6.0))  # for an image's own peaks: narrower (hysteresis)
_GRAIN = 0.2  # levels per pixel: weaker peaks are noise
_EVERY = 2  # pixels between points
_STEP = 0.5  # pixels between samples across a line


@dataclass(frozen=True)
class Lines:
    """Comparison of the lines of two images.

    `kept`: the share of the original's line length that is found. `invented`: the length of lines that only the result
    has, as a share of it plus the original's length. `bend`: how far lines bend, in pixels (`bend.bend_of`). Points
    without a stable peak of their own (in dense patterns) are not counted. All are NaN if the original has no lines;
    `bend` also if too few lines can be followed.
    """

    kept: float
    invented: float
    bend: float

    @property
    def fidelity(self) -> float:
        """Return the harmonic mean of `kept` and 1 - `invented`, divided by 1 + bend: 1 is perfect, 0 is the worst.

        If no lines can be followed, the bend is left out: such lines already count as lost.
        """
        real = 1 - self.invented
        both = self.kept + real
        bend = 0.0 if np.isnan(self.bend) else self.bend
        return 0.0 if both == 0 else 2 * self.kept * real / both / (1 + bend)


def compare_lines(sr: Tensor, gt: Tensor) -> Lines:
    """Compare the lines of two images (1, 3, h, w) in [0, 1]; all NaN below 64 pixels or without lines in `gt`."""
    nothing = Lines(*[float("nan")] * 3)
    if min(gt.shape[2:]) < SMALLEST:
        return nothing
    result, original = (_luma(p) for p in (sr, gt))
    theirs, ours = (_longer(_detected(p), LONGEST_IGNORED) for p in (gt, sr))
    now, before = ([_gradient(p, sigma) for sigma in SIGMAS] for p in (result, original))
    length, lost = _missing(theirs, before, now[0])
    if length == 0:
        return nothing
    invented = _missing(ours, now, before[0])[1]
    return Lines(1 - lost / length, invented / (invented + length), bend_of(theirs, result, original))


def beside_lines(image: Tensor, *, shortest: float, within: int) -> NDArray[np.bool_]:
    """Return a mask (h, w) of the pixels of (1, 3, h, w) in [0, 1] within `within` pixels of a straight segment."""
    mask = np.zeros(image.shape[2:], dtype=np.uint8)
    for x, y, to_x, to_y in np.round(_longer(_detected(image), shortest)).astype(int).tolist():
        cv2.line(mask, (x, y), (to_x, to_y), (1,), 2 * within + 1)
    return mask > 0


@lru_cache(maxsize=2)  # a result and its ground truth, which two metrics need; tensors are equal by identity
def _detected(image: Tensor) -> Array:
    return segments(_luma(image), shortest=0.0)


def segments(image: Array, *, shortest: float = LONGEST_IGNORED) -> Array:
    """Return (n, 4): x and y of both ends of the straight segments of an image (h, w) in [0, 255]."""
    detector = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD)
    found: Any = detector.detect(np.clip(np.round(image), 0, 255).astype(np.uint8))[0]  # None where there are none
    lines = np.zeros((0, 4)) if found is None else np.asarray(found, dtype=np.float64).reshape(-1, 4)
    return _longer(lines, shortest)


def _longer(lines: Array, shortest: float) -> Array:
    return lines[np.hypot(lines[:, 2] - lines[:, 0], lines[:, 3] - lines[:, 1]) >= shortest]


def _luma(image: Tensor) -> Array:
    """Return MATLAB's Y stretched to the full range."""
    y = luma(image.cpu().clamp(0, 1))[0, 0].numpy()
    return np.asarray((y * 255 - 16) * 255 / 219, dtype=np.float64)


def _gradient(image: Array, sigma: float) -> Array:
    """Return the x and y gradients of the low-passed image, (2, h, w), in levels per pixel."""
    across = (gaussian_filter1d(image, sigma, axis=axis, truncate=3) for axis in (0, 1))
    return np.stack([gaussian_filter1d(p, sigma, axis=1 - n, order=1, truncate=3) for n, p in enumerate(across)])


def _missing(lines: Array, own: list[Array], other: Array) -> tuple[int, int]:
    """Count the points of an image's lines that have a peak at both scales, and those the other image lacks."""
    points, normals = _points(lines)
    mine, blurred = (_peaks(g, points, normals, near=_OWN_NEAR, turned=_OWN_TURNED) for g in own)
    seen = (mine > _GRAIN) & (blurred > WEAKEST * mine)
    there = _peaks(other, points[seen], normals[seen], near=NEAR, turned=TURNED)
    return int(seen.sum()), int((there < WEAKEST * mine[seen]).sum())


def _points(lines: Array) -> tuple[Array, Array]:
    """Return (n, 2) points on the segments and (n, 2) their normals."""
    points, normals = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for line in lines:
        length = float(np.hypot(*(line[2:] - line[:2])))
        count, along = int(length // _EVERY), (line[2:] - line[:2]) / length
        points.append(line[:2] + ((np.arange(count) + 0.5) * length / count)[:, None] * along)
        normals.append(np.tile([-along[1], along[0]], (count, 1)))
    return np.concatenate(points), np.concatenate(normals)


def _peaks(gradient: Array, points: Array, normals: Array, *, near: float, turned: float) -> Array:
    """Return (n,): the highest gradient peak across a line within `near` pixels and `turned`, or 0 if there is none."""
    places = np.arange(-near - _STEP, near + 1.5 * _STEP, _STEP)
    at = points[:, None] + places[:, None] * normals[:, None]  # (points, places, 2)
    x, y = (map_coordinates(g, [at[..., 1], at[..., 0]], order=1, mode="nearest") for g in gradient)
    across = np.abs(x * normals[:, :1] + y * normals[:, 1:])
    along = np.abs(y * normals[:, :1] - x * normals[:, 1:])[:, 1:-1]
    inner = across[:, 1:-1]
    peak = (inner >= across[:, :-2]) & (inner >= across[:, 2:]) & (along <= turned * inner)
    return np.asarray(np.where(peak, inner, 0.0).max(1))
