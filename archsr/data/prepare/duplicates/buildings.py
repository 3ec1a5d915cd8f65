"""Finds the same building from nearby viewpoints by matching local features and verifying them geometrically.

Features are SIFT (Lowe 2004) without orientation, because photographs of buildings are upright, with square roots of
normalised descriptors (Arandjelovic & Zisserman 2012). They are matched as mutual nearest neighbours with Lowe's ratio
and verified by a homography with MAGSAC++ (Barath et al. 2020), because façades are planes. The letters of one shop
sign match on two houses, so matching points must be spread over both photographs or be very many.
"""

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from archsr.images.pixels import formats_of

Floats = NDArray[np.float32]

_SIDE, _POINTS = 480, 400  # longest side of the downscaled photograph in pixels; number of strongest features
_RATIO = 0.8
_TOLERANCE = 5.0  # pixels of the downscaled photograph
_LEAST, _CELLS, _ROWS = 7, 4, 3  # least matching points; cells and rows of an 8 x 8 grid: letters fill one row
_ALWAYS = 24  # this many matching points need not be spread
_TURN = 20.0  # degrees; a homography that turns or bends more is a chance match


@dataclass(frozen=True)
class LocalFeatures:
    """Points (n, 2) in pixels of the downscaled photograph, descriptors (n, 128) of length 1, and its size."""

    points: Floats
    descriptors: Floats
    size: tuple[int, int]


def features_of(content: bytes) -> LocalFeatures:
    """Return the strongest features of an encoded photograph, downscaled to a longest side of 480 pixels."""
    cv2.setNumThreads(1)
    with Image.open(io.BytesIO(content), formats=formats_of(content)) as opened:
        opened.draft("L", (2 * _SIDE, 2 * _SIDE))  # JPEG: decoded at a fraction of its size
        image = ImageOps.exif_transpose(opened).convert("L")
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(image)
    sift = cv2.SIFT.create(nfeatures=2 * _POINTS, contrastThreshold=0.02)
    found = {(round(k.pt[0], 1), round(k.pt[1], 1), round(k.size, 1)): k for k in sift.detect(pixels, None)}
    strongest = sorted(found.values(), key=lambda k: (-k.response, k.pt))[:_POINTS]
    for keypoint in strongest:
        keypoint.angle = 0.0
    if not strongest:
        return LocalFeatures(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32), image.size)
    strongest, descriptors = sift.compute(pixels, strongest)
    sums = descriptors.sum(1, keepdims=True) + 1e-6
    points = np.array([k.pt for k in strongest], np.float32)
    return LocalFeatures(points, np.sqrt(descriptors / sums).astype(np.float32), image.size)


def agreeing(a: LocalFeatures, b: LocalFeatures) -> int:
    """Count the features of two photographs that fit one homography; 0 if too few or probably by chance."""
    if min(len(a.points), len(b.points)) < _LEAST:
        return 0
    x, y = _matched(a, b)
    if len(x) < _LEAST:
        return 0
    cv2.setRNGSeed(0)
    plane, chosen = cv2.findHomography(x, y, cv2.USAC_MAGSAC, _TOLERANCE, maxIters=500, confidence=0.999)
    if plane is None or not _plausible(np.asarray(plane, np.float64), a.size):  # pyright: ignore[reportUnnecessaryComparison]
        return 0
    inside = chosen[:, 0] > 0
    count = int(inside.sum())
    spread = _is_spread(x[inside], a.size) and _is_spread(y[inside], b.size)
    return count if count >= _ALWAYS or (count >= _LEAST and spread) else 0


def _matched(a: LocalFeatures, b: LocalFeatures) -> tuple[Floats, Floats]:
    """Return the points of mutual nearest neighbours that are much nearer than the second nearest."""
    likeness = a.descriptors @ b.descriptors.T
    order = np.argpartition(-likeness, 1, axis=1)[:, :2]
    two = np.take_along_axis(likeness, order, 1)
    nearest = np.where(two[:, 0] >= two[:, 1], order[:, 0], order[:, 1])
    first, second = (np.sqrt(np.maximum(2 - 2 * v, 0)) for v in (two.max(1), two.min(1)))
    good = (first < _RATIO * second) & (likeness.argmax(0)[nearest] == np.arange(len(a.points)))
    return a.points[good], b.points[nearest[good]]


def _plausible(plane: NDArray[np.float64], size: tuple[int, int]) -> bool:
    """Return whether a homography maps a photograph to a convex shape of similar size and orientation."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)[:, None]
    mapped = cv2.perspectiveTransform(corners, plane)[:, 0]
    edges = np.roll(mapped, -1, 0) - mapped
    following = np.roll(edges, -1, 0)
    if (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] <= 0).any():
        return False
    top, right, bottom, left = (float(v) for v in np.hypot(edges[:, 0], edges[:, 1]))
    across, down = (top + bottom) / 2 / width, (left + right) / 2 / height
    similar = 0.4 < across < 2.5 and 0.4 < down < 2.5 and 0.6 < across / down < 1 / 0.6
    parallel = max(top, bottom) < 2 * min(top, bottom) and max(left, right) < 2 * min(left, right)
    return similar and parallel and abs(float(np.degrees(np.arctan2(edges[0, 1], edges[0, 0])))) < _TURN


def _is_spread(points: Floats, size: tuple[int, int]) -> bool:
    cells = np.unique((points / np.array(size, np.float32) * 8).astype(np.int64), axis=0)
    return len(cells) >= _CELLS and len(np.unique(cells[:, 1])) >= _ROWS
