"""Tiled copies of images on disk, so that the page decodes and sends only the tiles that a visitor looks at."""

from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from archsr.upscaling.resizing import to_size
from archsr.upscaling.source import ImageSource, open_source

SIDE = 512  # pixels of a tile that the page fetches
PREVIEW_SIDE = 1600  # pixels of the longer side of the preview
_VIEW, _PREVIEW = "view.tif", "whole.jpg"
_MAX_LOSSLESS = 24_000_000  # pixels
_TIFF_TILE = 256
_NO_METADATA = 0
_MAX_FACTOR = 16  # between the size that is asked for and the image's own


def busiest_corner(preview: Path, *, size: tuple[int, int]) -> tuple[int, int]:
    """Return left and top of the busiest square of `SIDE` pixels in an image of `size` (width, height).

    `preview` is the same image, downscaled. The square is clipped if the image is smaller.
    """
    image = pyvips.Image.new_from_file(str(preview)).colourspace("b-w")
    factor = image.width / size[0]
    grey: NDArray[np.float64] = image.numpy().astype(np.float64).reshape(image.height, image.width)
    top, left = busiest_window(grey, max(1, min(int(SIDE * factor), *grey.shape)))
    max_left, max_top = max(0, size[0] - SIDE), max(0, size[1] - SIDE)
    return min(max_left, int(left / factor)), min(max_top, int(top / factor))


def busiest_window(grey: NDArray[np.float64], side: int) -> tuple[int, int]:
    """Return top and left of the `side` × `side` window of a (h, w) image with the largest sum of gradients."""
    edges = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    sums = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = divmod(int(windows.argmax()), windows.shape[1])
    return top, left


def make_view(path: Path, folder: Path) -> None:
    """Write an image into `folder`, upright and in 8-bit sRGB: as a tiled TIFF, and as a small preview.

    Raises `pyvips.Error` if the colour profile cannot be applied.
    """
    image = _to_srgb(open_source(path))
    options: dict[str, Any] = {"compression": "jpeg", "Q": 95}
    if image.width * image.height <= _MAX_LOSSLESS:
        options = {"compression": "deflate", "predictor": "horizontal", "level": 1}
    options |= {"tile": True, "tile_width": _TIFF_TILE, "tile_height": _TIFF_TILE}
    image.tiffsave(str(folder / _VIEW), bigtiff=True, keep=_NO_METADATA, **options)
    view = _open(folder)
    preview = view.resize(min(1.0, PREVIEW_SIDE / max(view.width, view.height)), kernel="lanczos3")
    preview.jpegsave(str(folder / _PREVIEW), Q=90, keep=_NO_METADATA)


def preview_path(folder: Path) -> Path:
    """Return the path of the preview that `make_view` wrote."""
    return folder / _PREVIEW


def view_files(folder: Path) -> tuple[Path, Path]:
    """Return the paths of both files that `make_view` wrote."""
    return folder / _VIEW, folder / _PREVIEW


def tile_png(folder: Path, size: tuple[int, int], column: int, row: int) -> bytes | None:
    """Return one tile as PNG, of the image resized to `size` (width, height) by bicubic; None if there is none."""
    width, height = size
    if not (folder / _VIEW).is_file():
        return None
    view = _open(folder)
    left, top = column * SIDE, row * SIDE
    if not (0 <= left < width <= _MAX_FACTOR * view.width and 0 <= top < height <= _MAX_FACTOR * view.height):
        return None
    return _crop(view, size, (left, top)).pngsave_buffer(compression=1)


def write_crop(folder: Path, size: tuple[int, int], corner: tuple[int, int], target: Path) -> None:
    """Write the square at `corner` (left, top) of the image resized to `size` as a PNG file."""
    _crop(_open(folder), size, corner).pngsave(str(target), compression=1)


def _crop(view: pyvips.Image, size: tuple[int, int], corner: tuple[int, int]) -> pyvips.Image:
    (width, height), (left, top) = size, corner
    view = to_size(view, height, width)
    width, height = min(width, view.width), min(height, view.height)
    return view.crop(left, top, min(SIDE, width - left), min(SIDE, height - top))


def _open(folder: Path) -> pyvips.Image:
    return pyvips.Image.new_from_file(str(folder / _VIEW), access="random")


def _to_srgb(source: ImageSource) -> pyvips.Image:
    image = source.image
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, depth=8)
    elif image.bands == 1:
        image = image.copy(interpretation="grey16" if source.bits == 16 else "b-w").colourspace("srgb")
    else:
        image = image.copy(interpretation="rgb16" if source.bits == 16 else "srgb").colourspace("srgb")
    if source.alpha is None:
        return image.cast("uchar")
    alpha = source.alpha.cast("uchar", shift=source.bits == 16)
    return image.cast("uchar").bandjoin(alpha).flatten(background=[255])
