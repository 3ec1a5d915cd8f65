"""Telling floor plans and drawings from photographs by simple statistics, without a network."""

import numpy as np
from PIL import Image

from archsr.images import Pixels

_SIDE = 384  # statistics are taken at this size, so that they do not depend on the scan's resolution


def drawing_score(pixels: Pixels) -> float:
    """0 (a photograph) to 1 (a drawing) for uint8 (h, w, 3).

    Drawings are mostly one bright paper colour and mostly perfectly flat. Photographs of white buildings have the
    colour but not the flatness; night skies have the flatness but not the brightness.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    small = np.asarray(image).astype(np.float64)
    if min(small.shape[:2]) < 2:
        return 0.0
    paper, brightness = _commonest(small)
    if brightness < 200:
        return 0.0
    luma = small @ np.array([0.299, 0.587, 0.114])
    steps = np.maximum(np.abs(np.diff(luma, axis=0))[:, :-1], np.abs(np.diff(luma, axis=1))[:-1])
    flat = float((steps <= 2).mean())
    return _ramp(paper, 0.30, 0.55) * _ramp(flat, 0.45, 0.75)


def _commonest(small: np.ndarray) -> tuple[float, float]:
    """The share of pixels near the commonest colour, and that colour's brightness (0-255)."""
    binned = (small // 8).astype(np.int64)
    codes, counts = np.unique(binned @ np.array([1024, 32, 1]), return_counts=True)
    code = int(codes[counts.argmax()])
    colour = np.array([code // 1024, code // 32 % 32, code % 32]) * 8 + 4
    return float((np.abs(small - colour).max(2) <= 16).mean()), float(colour.mean())


def _ramp(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0)


def reduced(image):
    return np.asarray(image)
