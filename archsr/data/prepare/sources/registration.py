"""Aligns a photograph with its low-quality image from another camera or program, without resampling either.

The displacement is found where the two correlate best (phase correlation, then OpenCV's `findTransformECC`, which
ignores gain and offset). It is taken away by whole pixels of the photograph, so at most half of one remains, which is
1/(2·scale) of a pixel of `lq`. Displacements of nine parts reveal a pair that no translation can align: it is rotated,
zoomed, or taken from another place.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archsr.config.prepare import RegistrationConfig
from archsr.images.pixels import Pixels
from archsr.metrics.quality import luma_of

_PARTS = 3  # parts along each side
_SMALLEST = 32  # pixels of `lq` along a part
_FLAT = 2.0  # levels a pixel: a part with less slope in some direction says nothing about its displacement
_SAME = 0.5  # correlation: below it a part does not show the same
_UNSEEN = 2.0  # levels: colours that differ by less, root mean square, stay as they are
_SQUARE = 16  # pixels of `lq` along the squares whose colours are compared
_DARK, _FEW = 8, 6  # levels at either end that clipping can touch; the fewest squares for a line

Plane = NDArray[np.float32]
Shift = tuple[float, float]
Colour = tuple[float, float, float]  # a number for each channel


@dataclass(frozen=True)
class Registration:
    """How a pair lies. Lengths are in pixels of `lq`, colours in levels.

    `shift` (x, y) is how far `lq` shows its content to the right of and below the photograph's. `spread` is how far
    the displacements of most parts lie from it. `correlation` is that of luma after the alignment. `gain` and `offset`
    map each channel of the photograph to `lq`; `colour` is the root mean square change that they make.
    """

    shift: tuple[float, float]
    spread: float
    correlation: float
    gain: Colour
    offset: Colour
    colour: float


def register(gt: Pixels, lq: Pixels, *, scale: int, reach: float) -> Registration:
    """Measure a pair, uint8 (scale·h, scale·w, 3) and (h, w, 3); displacements are looked for up to about `reach`."""
    small = _downsampled(gt, lq, scale)
    first, second = luma_of(small), luma_of(lq)
    shift, correlation = _displacement(first, second, reach)
    gain, offset, colour = _colours(*_overlapping(small, lq, (round(shift[0]), round(shift[1]))))
    return Registration(shift, _spread(first, second, shift), correlation, gain, offset, colour)


def refusal(found: Registration, config: RegistrationConfig) -> str:
    """Return why a pair is left out; empty if it is within the limits."""
    x, y = found.shift
    if found.correlation < config.min_correlation:
        return f"shows something else: correlation {found.correlation:.2f} (min_correlation {config.min_correlation:g})"
    if max(abs(x), abs(y)) > config.max_shift:
        return f"lies {x:+.2f}, {y:+.2f} of its pixels off (max_shift {config.max_shift:g})"
    if found.spread > config.max_spread:
        return (
            f"rotated, zoomed or from another place: its parts lie {found.spread:.2f} of its pixels apart "
            f"(max_spread {config.max_spread:g})"
        )
    if found.colour > config.max_colour:
        return f"has other colours by {found.colour:.1f} levels (max_colour {config.max_colour:g})"
    return ""


def aligned(gt: Pixels, lq: Pixels, found: Registration, *, scale: int) -> tuple[Pixels, Pixels, tuple[int, int]]:
    """Return the photograph and `lq` cut to what both show, and the shift in pixels of the photograph.

    The photograph takes the colours of `lq`, because a network shall keep its input's.
    """
    right, down = round(found.shift[0] * scale), round(found.shift[1] * scale)
    (left, columns), (top, rows) = (
        _cut(right, gt.shape[1], lq.shape[1], scale),
        _cut(down, gt.shape[0], lq.shape[0], scale),
    )
    gt = gt[top * scale - down : (top + rows) * scale - down, left * scale - right : (left + columns) * scale - right]
    lq = lq[top : top + rows, left : left + columns]
    return _recoloured(gt, found), lq, (right, down)


def _cut(shift: int, side: int, small: int, scale: int) -> tuple[int, int]:
    """Return the first pixel of `lq` that the photograph shows too, and how many follow."""
    first = max(0, -(-shift // scale))
    return first, min(small, (side + shift) // scale) - first


def _recoloured(gt: Pixels, found: Registration) -> Pixels:
    if found.colour <= _UNSEEN:
        return np.ascontiguousarray(gt)
    levels = np.arange(256)[:, None] * np.array(found.gain) + np.array(found.offset)
    table = np.clip(np.round(levels), 0, 255).astype(np.uint8)
    return np.stack([table[gt[..., c], c] for c in range(3)], axis=-1)


def _downsampled(gt: Pixels, lq: Pixels, scale: int) -> Pixels:
    """Return the photograph at the size of `lq`, its last pixels repeated or cut off if it is not exactly as large."""
    height, width = (side * scale for side in lq.shape[:2])
    gt = gt[:height, :width]
    missing = (0, height - gt.shape[0]), (0, width - gt.shape[1]), (0, 0)
    return np.asarray(Image.fromarray(np.pad(gt, missing, "edge")).reduce(scale))


def _displacement(first: Plane, second: Plane, reach: float) -> tuple[tuple[float, float], float]:
    """Return how far the content of `second` lies to the right of and below that of `first`, and their correlation."""
    (x, y), _ = cv2.phaseCorrelate(first, second, cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F))
    if max(abs(x), abs(y)) > 2 * reach + 2:  # a repetition, or nothing in common
        x = y = 0.0
    return _refined(first, second, (float(x), float(y)))


def _refined(first: Plane, second: Plane, start: Shift) -> tuple[Shift, float]:
    warp = np.array([[1, 0, start[0]], [0, 1, start[1]]], np.float32)
    everywhere = np.ones(first.shape, np.uint8)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    try:
        correlation, moved = cv2.findTransformECC(first, second, warp, cv2.MOTION_TRANSLATION, criteria, everywhere, 5)
    except cv2.error:  # it does not converge where the two have nothing in common
        return start, 0.0
    return (float(moved[0, 2]), float(moved[1, 2])), float(correlation)


def _spread(first: Plane, second: Plane, shift: Shift) -> float:
    """Return how far the displacements of most parts lie from `shift`: the upper quartile of the distances.

    A part whose lines all run in one direction says nothing along them, so the largest distance would mislead.
    """
    away: list[float] = []
    for rows in np.array_split(np.arange(first.shape[0]), _PARTS):
        for columns in np.array_split(np.arange(first.shape[1]), _PARTS):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            if min(len(rows), len(columns)) >= _SMALLEST and _lowest_structure(first[part]) > _FLAT:
                (x, y), correlation = _refined(first[part], second[part], shift)
                away += [float(np.hypot(x - shift[0], y - shift[1]))] if correlation > _SAME else []
    return float(np.quantile(away, 0.75)) if away else 0.0


def _lowest_structure(luma: Plane) -> float:
    """Return the root mean square slope in the direction in which a part changes least, in levels a pixel."""
    down, right = np.gradient(luma)
    tensor = np.array([[np.mean(right * right), np.mean(right * down)], [np.mean(right * down), np.mean(down * down)]])
    return float(np.sqrt(max(0.0, np.linalg.eigvalsh(tensor)[0])))


def _overlapping(small: Pixels, lq: Pixels, shift: tuple[int, int]) -> tuple[Pixels, Pixels]:
    x, y = shift
    height, width = lq.shape[:2]
    rows, columns = height - abs(y), width - abs(x)
    return (
        small[max(0, -y) : max(0, -y) + rows, max(0, -x) : max(0, -x) + columns],
        lq[max(0, y) : max(0, y) + rows, max(0, x) : max(0, x) + columns],
    )


def _colours(small: Pixels, lq: Pixels) -> tuple[Colour, Colour, float]:
    """Return gain and offset of each channel by least squares over squares of pixels, and the change that they make."""
    x, y = (_squares(pixels) for pixels in (small, lq))
    unclipped = (x > _DARK) & (x < 255 - _DARK) & (y > _DARK) & (y < 255 - _DARK)
    gain, offset = np.ones(3), np.zeros(3)
    for channel, seen in enumerate(unclipped.T):
        if seen.sum() >= _FEW and x[seen, channel].std() > 1:
            gain[channel], offset[channel] = np.polyfit(x[seen, channel], y[seen, channel], 1)
    change = float(np.sqrt(np.square(gain * x + offset - x).mean()))
    (a, b, c), (d, e, f) = gain.tolist(), offset.tolist()
    return (a, b, c), (d, e, f), change


def _squares(pixels: Pixels) -> NDArray[np.float64]:
    """Return the means (n, 3) of squares, which neither blur nor noise changes much."""
    side = min(_SQUARE, *pixels.shape[:2])
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    whole = pixels[: rows * side, : columns * side].astype(np.float64)
    return whole.reshape(rows, side, columns, side, 3).mean((1, 3)).reshape(-1, 3)
