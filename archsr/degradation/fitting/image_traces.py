"""What one image tells about its degradation."""

import io
import warnings
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archsr.degradation.fitting.features import features
from archsr.degradation.fitting.grain import Grain, grain
from archsr.degradation.fitting.quantisation import (
    coefficients,
    first_quality,
    luma_table,
    own_grid,
    quality_of_pixels,
    second_grid,
)
from archsr.degradation.fitting.shape import Shape, blur_shape
from archsr.images.pixels import Pixels, read_photo
from archsr.metrics.quality import Quality, jpeg_header, luma_of, measure, spectrum, windows

LEAST = 128  # pixels of the shorter side of a patch and so of an image
PATCH = 192
_PATCHES = 3  # per image
_GRID = 0.02  # unevenness of the jumps from which a second grid is assumed, in an image of
_PIXELS = 200_000  # pixels; smaller ones are less even by chance
_HALVED = 9.0  # decibels by which halved colours fall below luma at high frequencies


@dataclass(frozen=True)
class Compression:
    """JPEG's traces in an image.

    `compressed`: "header" (a JPEG file), "pixels" (another format with a JPEG's steps) or empty. `jpeg`: the quality of
    the last compression (0: none seen); `standard`: whether its table is the JPEG standard's; `sampling`: "4:2:0" and
    so on, or empty. `earlier`: quality of an earlier compression on the same grid (0: none seen); `moved`: phase
    (x, y) of a second grid off the origin, or None.
    """

    compressed: str
    jpeg: int
    standard: bool
    sampling: str
    earlier: int
    moved: tuple[int, int] | None


@dataclass(frozen=True)
class ImageTraces(Compression):
    """One image: JPEG's traces, its name and size (w, h), the measured quality, noise, blur's shape, and patches.

    `patches`: uint8 (n, s, s, 3) with `statistics` (n, COUNT).
    """

    name: str
    size: tuple[int, int]
    quality: Quality
    noise: Grain
    shape: Shape
    patches: Pixels
    statistics: NDArray[np.float64]


def traces_of(name: str, content: bytes, *, side: int = PATCH) -> ImageTraces | None:
    """Measure an image file, with patches of at most `side` pixels; None if a side is shorter than LEAST.

    Raises `BadImageError`.
    """
    pixels = read_photo(content).pixels
    if min(pixels.shape[:2]) < LEAST:
        return None
    views = windows(pixels)
    quality = measure(pixels, content)
    patches = patches_of(pixels, side=side)
    last = _compression(content)
    return ImageTraces(
        name=name,
        size=(pixels.shape[1], pixels.shape[0]),
        **vars(last),
        quality=quality,
        noise=grain(views),
        shape=blur_shape(luma_of(views)),
        patches=patches,
        statistics=np.stack([features(patch) for patch in patches]),
    )


def patches_of(pixels: Pixels, *, side: int, count: int = _PATCHES) -> Pixels:
    """Return the patches (n, s, s, 3) of uint8 (h, w, 3) with the most contrast, on a grid of 8 pixels."""
    height, width = pixels.shape[:2]
    side = min(side, height // 8 * 8, width // 8 * 8)
    starts = [sorted({(length - side) * i // 2 // 8 * 8 for i in range(3)}) for length in (height, width)]
    found = [pixels[y : y + side, x : x + side] for y, x in product(*starts)]
    contrast = [float(patch[::4, ::4].std()) for patch in found]
    best = np.argsort(contrast, kind="stable")[::-1][:count]
    return np.stack([found[n] for n in sorted(best)])


def _compression(content: bytes) -> Compression:
    """Return the traces of JPEG. The pixels are those of the file, neither turned nor converted to sRGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content)) as image:
            whole = np.asarray(image.convert("RGB"))
    top, left = (max(0, (side - 1024) // 2) // 8 * 8 for side in whole.shape[:2])
    rgb = whole[top : top + 1024, left : left + 1024]
    luma, header = luma_of(rgb), jpeg_header(content)
    if header is None:
        x, y = own_grid(luma)
        luma = luma[y:, x:]
        quality, _ = quality_of_pixels(coefficients(luma))
        if not quality:
            return Compression(compressed="", jpeg=0, standard=False, sampling="", earlier=0, moved=None)
        compressed, standard, table, sampling = "pixels", True, luma_table(quality), sampling_of_pixels(rgb)
    else:
        errors = [float(np.abs(luma_table(q) - header.luma).sum()) for q in range(1, 101)]
        quality = int(np.argmin(errors)) + 1
        compressed, standard, table, sampling = "header", min(errors) == 0, header.luma, header.sampling
    earlier, _ = first_quality(luma, table)
    phase, uneven = second_grid(luma)
    limit = _GRID * max(1.0, (_PIXELS / luma.size) ** 0.5)
    moved = phase if uneven >= limit and not earlier else None
    return Compression(
        compressed=compressed, jpeg=quality, standard=standard, sampling=sampling, earlier=earlier, moved=moved
    )


def sampling_of_pixels(rgb: Pixels) -> str:
    """Return the sampling of colours that uint8 (h, w, 3) once had, by where their spectrum ends."""
    luma = luma_of(rgb)
    chroma = np.stack([rgb[..., c].astype(np.float32) - luma for c in (0, 2)])
    views = luma[None], chroma
    falls = [[float(_fall(v if axis == 2 else v.swapaxes(1, 2))) for v in views] for axis in (2, 1)]
    across, down = (of_luma - of_chroma > _HALVED for of_luma, of_chroma in falls)
    return {(True, True): "4:2:0", (True, False): "4:2:2", (False, True): "4:4:0", (False, False): "4:4:4"}[
        across, down
    ]


def _fall(view: NDArray[np.float32]) -> float:
    levels = spectrum(view, 0.0)
    return float(levels[44:60].mean() - levels[4:14].mean())
