"""Measures what limits a photograph as a training target: the file, the resolution, noise, edges and tones.

All functions are pure and deterministic and use no network. Their cost is bounded: nine windows of 256² pixels, spread
over the photograph, stand for the whole. tests/measure/quality_of_truth.py plants each damage and measures the errors.
"""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from archsr.images.pixels import Pixels
from archsr.metrics.edges import edge_profiles, edge_width, overshoot

Values = NDArray[np.float32]

GRID = 8  # pixels of a JPEG's blocks
_SIDE, _WINDOWS = 256, 3  # pixels of a window; windows along each side
_SEGMENT, _EVERY = 128, 3  # pixels of a line's piece for the spectrum; every third line
_FALL = 4.0  # decibels below the photograph's own low frequencies
_ROLL = 1.2  # from the frequency of that fall to the true limit, as interpolation kernels roll off before it
_CELL = 16  # pixels of a cell of the flat areas
_TENTH = 1.14  # from the lower tenth of the cells' values to their mean, for white noise
_BAND = 32  # pixels of a cell in which bands are looked for
_CALM = 12  # levels: a larger jump at a grid line is an edge of the motif
# the luma table of the JPEG standard (annex K.1), sorted; a file's table is a multiple of it
_STANDARD = np.array([
    10, 11, 12, 12, 13, 14, 14, 14, 16, 16, 16, 17, 18, 19, 22, 22, 24, 24, 24, 26, 29, 35, 37, 40, 40, 49, 51, 51, 55,
    55, 56, 56, 57, 58, 60, 61, 62, 64, 64, 68, 69, 72, 77, 78, 80, 81, 87, 87, 92, 92, 95, 98, 99, 100, 101, 103, 103,
    103, 104, 109, 112, 113, 120, 121,
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quality:
    """What a photograph is worth as a target.

    `resolution` (0 to 1] is the share of each side that it resolves. `blocks` is the jump at the lines of an 8×8 grid
    in levels, above the jumps beside them, and `grid` the phase (x, y) of its lines in pixels. `jpeg` is the quality of
    its quantisation table from 1 to 100 and `chroma` its sampling (0 and empty: no JPEG). `noise` is a standard
    deviation in levels, `blur` the width of strong edges in pixels, `halo` the overshoot beside them relative to their
    height, `clipped` the share of pixels in large black or white areas, `banding` the share in visible steps.
    """

    resolution: float = 1.0
    blocks: float = 0.0
    grid: tuple[int, int] = (0, 0)
    jpeg: int = 0
    chroma: str = ""
    noise: float = 0.0
    blur: float = 0.0
    halo: float = 0.0
    clipped: float = 0.0
    banding: float = 0.0


def quality_from(plain: Mapping[str, Any] | None) -> Quality | None:
    """Return the stored quality of a photograph; None if it was not measured."""
    if not plain:
        return None
    stored: dict[str, Any] = dict(plain)
    stored["grid"] = tuple(plain["grid"])
    return Quality(**stored)


def measure(pixels: Pixels, content: bytes = b"") -> Quality:
    """Measure uint8 (h, w, 3); `content` is its file, whose JPEG tables are read."""
    views = windows(pixels)
    luma, green = luma_of(views), views[..., 1]
    sigma = noise(green)
    strength, grid = blockiness(luma)
    profiles = edge_profiles(luma)
    quality, chroma = jpeg_facts(content)
    return Quality(
        resolution=round(resolution(luma, sigma=sigma), 3),
        blocks=round(strength, 3),
        grid=grid,
        jpeg=quality,
        chroma=chroma,
        noise=round(sigma, 3),
        blur=round(edge_width(profiles), 3),
        halo=round(overshoot(profiles), 4),
        clipped=round(clipped(pixels), 4),
        banding=round(banding(green), 4),
    )


def windows(pixels: Pixels) -> Pixels:
    """Return at most nine windows (n, h, w, 3) of at most 256 pixels a side, evenly spread.

    Left and top are multiples of 8, so that a grid has one phase in all of them.
    """
    height, width = pixels.shape[:2]
    tops, lefts = _starts(height), _starts(width)
    return np.stack([pixels[t : t + _SIDE, x : x + _SIDE] for t in tops for x in lefts])


def _starts(side: int) -> list[int]:
    if side <= _SIDE:
        return [0]
    return sorted({(side - _SIDE) * i // (_WINDOWS - 1) // GRID * GRID for i in range(_WINDOWS)})


def luma_of(views: Pixels) -> Values:
    """Return luma of uint8 (..., 3) as float32 in levels."""
    return views.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


# ---------------------------------------------------------------- resolution


def resolution(luma: Values, *, sigma: float = 0.0) -> float:
    """Return the share (0 to 1] of its size that luma (n, h, w) resolves; `sigma` is its noise in levels.

    The power spectrum of lines, times the square of the frequency, is flat for a sharp photograph of edges. An enlarged
    one falls at the former sampling limit. The answer is the frequency from which it stays 4 dB below the photograph's
    own low frequencies, times 1.2, because interpolation kernels roll off early. The better of the two directions
    counts, so a photograph that was shaken in one is not called enlarged. An image of less than 128 pixels a side
    counts as 1.
    """
    if min(luma.shape[1:]) < _SEGMENT:
        return 1.0
    return min(1.0, max(_limit(spectrum(view, sigma)) for view in (luma, luma.swapaxes(1, 2))))


def spectrum(luma: Values, sigma: float) -> Values:
    """Return the power (64,) along lines by frequency, relative to low frequencies, without white noise, in dB.

    Only the half of the pieces with more structure counts, each relative to its own, and the median of them: no single
    edge, such as a caption's, prevails.
    """
    lines = sliding_window_view(luma[:, ::_EVERY], _SEGMENT, axis=2)[:, :, :: _SEGMENT // 2].reshape(-1, _SEGMENT)
    taper = np.hanning(_SEGMENT).astype(np.float32)
    frequency = np.arange(1, _SEGMENT // 2 + 1, dtype=np.float32)
    power = np.abs(np.fft.rfft((lines - lines.mean(1, keepdims=True)) * taper, axis=1)[:, 1:]) ** 2
    white = sigma**2 * float((taper**2).sum())
    low = ((power[:, 3:15] - white) * frequency[3:15] ** 2).mean(1)
    kept = (low >= np.median(low)) & (low > 0)
    if not kept.any():
        return np.zeros(_SEGMENT // 2, np.float32)
    middle = np.median(power[kept] / low[kept, None], axis=0) / np.log(2)  # the median of a power is log 2 of its mean
    shares = (middle - white * np.median(1 / low[kept])) * frequency**2
    smooth = np.convolve(np.pad(shares, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return (10 * np.log10(np.maximum(smooth, 1e-6))).astype(np.float32)


def _limit(decibels: Values) -> float:
    """Return the frequency, as a share of the highest, from which the spectrum stays below the fall."""
    above = np.flatnonzero(decibels >= -_FALL)
    if not len(above):
        return 1 / len(decibels)
    last = int(above[-1])
    if last + 1 == len(decibels):
        return 1.0
    part = (decibels[last] + _FALL) / (decibels[last] - decibels[last + 1])
    return min(1.0, _ROLL * (last + 1 + float(part)) / len(decibels))


# ---------------------------------------------------------------- JPEG


def blockiness(luma: Values) -> tuple[float, tuple[int, int]]:
    """Return the strength of an 8×8 grid in luma (n, h, w) in levels, and the phase (x, y) of its lines.

    A jump is the part of a step between two pixels that the steps beside it do not explain. The strength is the mean
    jump at the phase with the highest, less the median of all phases, in the direction in which it is weaker: a row of
    windows may repeat every 8 pixels, but hardly in both.
    """
    across, down = jumps(luma), jumps(luma.swapaxes(1, 2))
    x, y = int(across.argmax()), int(down.argmax())
    strength = min(float(phases.max() - np.median(phases)) for phases in (across, down))
    return max(0.0, strength), (x, y)


def jumps(luma: Values) -> Values:
    """Return the mean jump (8,) in levels between pixel x - 1 and pixel x, by x modulo 8."""
    if luma.shape[2] < 4 * GRID:
        return np.zeros(GRID, np.float32)
    step = np.diff(luma, axis=2)
    jump = np.abs(step[..., 1:-1] - (step[..., :-2] + step[..., 2:]) / 2)
    columns = np.minimum(jump, _CALM).mean((0, 1))
    places = (np.arange(len(columns)) + 2) % GRID
    return (np.bincount(places, columns, GRID) / np.bincount(places, minlength=GRID)).astype(np.float32)


@dataclass(frozen=True)
class JpegHeader:
    """A JPEG's luma table (64,), row by row, and its chroma sampling, such as "4:2:0" (empty: other)."""

    luma: NDArray[np.float64]
    sampling: str


def jpeg_header(content: bytes) -> JpegHeader | None:
    """Read the tables of a JPEG file; None for another format."""
    if content[:3] != b"\xff\xd8\xff":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=["JPEG", "MPO"]) as image:
            tables = getattr(image, "quantization", {})
            sampling = JpegImagePlugin.get_sampling(image) if image.mode != "L" else -1
    luma = np.asarray(tables[min(tables)], np.float64)
    return JpegHeader(luma, {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}.get(sampling, ""))


def jpeg_facts(content: bytes) -> tuple[int, str]:
    """Return a JPEG's quality from 1 to 100, by its luma table, and its chroma sampling; otherwise (0, "").

    The quality is that of the standard's tables (libjpeg, most cameras) with the most similar steps.
    """
    header = jpeg_header(content)
    if header is None:
        return 0, ""
    wanted = np.stack([_table(quality) for quality in range(1, 101)])
    return int(np.abs(wanted - np.sort(header.luma)).sum(1).argmin()) + 1, header.sampling


def _table(quality: int) -> NDArray[np.float64]:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_STANDARD * scale + 50) // 100, 1, 255).astype(np.float64)


# ---------------------------------------------------------------- noise and tones


def noise(channel: Pixels) -> float:
    """Return the standard deviation of noise in one channel, uint8 (n, h, w), in levels.

    It is measured by a high-pass (second differences in both directions), as a mean absolute value in each cell that is
    neither black nor white, without the noise of rounding. The lower tenth of the flatter half of the cells counts,
    because texture looks like noise: so a photograph needs some calm area.
    """
    rows, columns = (side // _CELL for side in channel.shape[1:])
    if not rows or not columns:
        return 0.0
    whole = channel[:, : rows * _CELL, : columns * _CELL].astype(np.int16)
    fine = whole.reshape(len(whole), rows, 4, 4, columns, 4, 4).mean((3, 6), dtype=np.float32)
    level, uneven = fine.mean((2, 4)), fine.std((2, 4))
    used = (level > 8) & (level < 247)
    if not used.any():
        return 0.0
    flat = used & (uneven <= np.median(uneven[used]))
    high = np.abs(np.diff(np.diff(whole, 2, axis=1), 2, axis=2))
    size = _CELL - 2  # without the differences that reach into the next cell
    inside = np.pad(high, ((0, 0), (0, 2), (0, 2))).reshape(len(whole), rows, _CELL, columns, _CELL)
    means = inside[:, :, :size, :, :size].mean((2, 4), dtype=np.float32)[flat]
    sigma = float(np.quantile(means, 0.1)) * (np.pi / 2) ** 0.5 / 6 * _TENTH
    return max(0.0, sigma**2 - 1 / 12) ** 0.5


def clipped(pixels: Pixels) -> float:
    """Return the share of cells of 16 pixels in uint8 (h, w, 3) in which nine tenths are white (255) or black (0)."""
    some = pixels[::4, ::4]
    rows, columns = (side // 4 for side in some.shape[:2])
    if not rows or not columns:
        return 0.0
    ends = np.stack([some.min(2) == 255, some.max(2) == 0])[:, : rows * 4, : columns * 4]
    shares = ends.reshape(2, rows, 4, columns, 4).mean((2, 4))
    return float((shares >= 0.9).any(0).mean())


def banding(channel: Pixels) -> float:
    """Return the share of 32-pixel cells of a channel, uint8 (n, h, w), that are a slope in visible steps.

    Such a cell spans 4 to 40 levels, at least seven tenths of its pixels equal both neighbours, and most of the other
    steps are of two levels and more.
    """
    rows, columns = (side // _BAND for side in channel.shape[1:])
    if not rows or not columns:
        return 0.0
    whole = channel[:, : rows * _BAND, : columns * _BAND].astype(np.int16)
    cells = whole.reshape(len(whole), rows, _BAND, columns, _BAND).swapaxes(2, 3).reshape(-1, _BAND, _BAND)
    reach = cells.max((1, 2)) - cells.min((1, 2))
    cells = cells[(reach >= 4) & (reach <= 40)]
    across, down = np.abs(np.diff(cells, axis=2))[:, :-1], np.abs(np.diff(cells, axis=1))[:, :, :-1]
    step = np.maximum(across, down)
    level, visible = (step == 0).mean((1, 2)), (step >= 2).mean((1, 2))
    return int(((level >= 0.7) & (visible >= 0.6 * (1 - level))).sum()) / len(reach)
