"""Whether straight lines of a building are still there, straight and in their places, and none were added.

Segments are found in the luma of both pictures by LSD (von Gioi et al. 2012, OpenCV's). A segment of the original is
looked for point by point, so that one that is found in two pieces is not lost.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from archsr.evaluate.bend import bend_of
from archsr.metrics import luma

Array = NDArray[np.float64]

LONGEST_IGNORED = 20.0  # pixels: shorter segments are texture
NEAR = 2.0  # pixels beside a line within which a point of another is the same
TURNED = np.radians(8.0)  # and how much it may be turned
SMALLEST = 64  # side of a picture


@dataclass(frozen=True)
class Lines:
    """`kept`: share of the original's length of lines that is found; `invented`: share of the result's that the
    original has not; `bend`: how far lines wave, in pixels (`bend.bend_of`); `short`: pixels by which the ends of lines
    fall short, on average. NaN where the original has no lines; `bend` also where too few can be followed.
    """

    kept: float
    invented: float
    bend: float
    short: float

    @property
    def fidelity(self) -> float:
        """Harmonic mean of what is kept and what is not invented, divided by 1 + bend: 1 is perfect, 0 nothing left.

        Lines that cannot be followed are not kept either: there the bend is left out.
        """
        real = 1 - self.invented
        both = self.kept + real
        bend = 0.0 if np.isnan(self.bend) else self.bend
        return 0.0 if both == 0 else 2 * self.kept * real / both / (1 + bend)


def compare_lines(sr: Tensor, gt: Tensor) -> Lines:
    """Lines of two pictures (1, 3, h, w) in [0, 1]; nothing but NaN below 64 pixels or without lines in `gt`."""
    nothing = Lines(*[float("nan")] * 4)
    if min(gt.shape[2:]) < SMALLEST:
        return nothing
    result, original = (_luma(p) for p in (sr, gt))
    theirs, ours = segments(original), segments(result)
    if len(theirs) == 0:
        return nothing
    kept, short = _found(theirs, ours, segments(result, shortest=LONGEST_IGNORED / 2))
    invented = 0.0
    if len(ours):
        invented = 1 - _found(ours, theirs, segments(original, shortest=LONGEST_IGNORED / 2))[0]
    return Lines(kept, invented, bend_of(theirs, result, original), short)


def segments(picture: Array, *, shortest: float = LONGEST_IGNORED) -> Array:
    """(n, 4): x and y of both ends of the straight segments of a picture (h, w) of levels 0 to 255."""
    detector = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD)
    found: Any = detector.detect(np.clip(np.round(picture), 0, 255).astype(np.uint8))[0]  # None where there are none
    lines = np.zeros((0, 4)) if found is None else np.asarray(found, dtype=np.float64).reshape(-1, 4)
    return lines[np.hypot(lines[:, 2] - lines[:, 0], lines[:, 3] - lines[:, 1]) >= shortest]


def _luma(picture: Tensor) -> Array:
    """Full-range levels: MATLAB's Y without its foot."""
    y = luma(picture.cpu().clamp(0, 1))[0, 0].numpy()
    return np.asarray((y * 255 - 16) * 255 / 219, dtype=np.float64)


def _found(wanted: Array, whole: Array, pieces: Array) -> tuple[float, float]:
    """Share of the length of `wanted` that lies on `whole` or `pieces`, and how far found stretches fall short."""
    there = np.concatenate([whole, pieces])
    length = hit = short = 0.0
    low, high = (f(there[:, :2], there[:, 2:]) for f in (np.minimum, np.maximum))
    for line in wanted:
        points = _points(line)
        around = np.all((high >= points.min(0) - NEAR - 1) & (low <= points.max(0) + NEAR + 1), axis=1)
        mask = _on(points, line, there[around])
        length += len(points)
        hit += float(mask.sum())
        places = np.flatnonzero(mask)
        short += float(len(points) if len(places) == 0 else places[0] + len(points) - 1 - places[-1]) / 2
    return hit / length, short / len(wanted)


def _points(line: Array) -> Array:
    """(n, 2): points of a segment, a pixel apart."""
    count = int(np.hypot(line[2] - line[0], line[3] - line[1])) + 1
    share = np.linspace(0, 1, count)[:, None]
    return line[None, :2] * (1 - share) + line[None, 2:] * share


def _on(points: Array, line: Array, others: Array) -> NDArray[np.bool_]:
    """Which points lie on a segment of `others` that runs the same way."""
    starts, along = others[:, :2], others[:, 2:] - others[:, :2]
    lengths = np.hypot(along[:, 0], along[:, 1])
    direction = (line[2:] - line[:2]) / np.hypot(*(line[2:] - line[:2]))
    parallel = np.abs(along @ direction) >= np.cos(TURNED) * lengths
    starts, along, lengths = starts[parallel], along[parallel], lengths[parallel]
    if len(starts) == 0:
        return np.zeros(len(points), dtype=np.bool_)
    unit = along / lengths[:, None]
    gap = points[:, None, :] - starts[None]  # (points, others, 2)
    far = np.einsum("pod,od->po", gap, unit)
    beside = np.abs(gap[..., 0] * unit[:, 1] - gap[..., 1] * unit[:, 0])
    return np.any((beside <= NEAR) & (far >= -1) & (far <= lengths + 1), axis=1)
