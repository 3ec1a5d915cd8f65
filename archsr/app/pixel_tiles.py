"""Images that a page looks at pixel by pixel: in tiles on disk, so that only what is seen is decoded and sent."""

from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from archsr.upscaling.resizing import to_size
from archsr.upscaling.source import ImageSource, open_source


def detail_of(whole: Path, *, of: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the square of 512 pixels with the strongest edges, in an image of `of` (width, height).

    `whole` is the same image, small. A narrower image has no more than there is of it.
    """
    image = pyvips.Image.new_from_file(str(whole)).colourspace("b-w")
    factor = image.width / of[0]
    grey: NDArray[np.float64] = image.numpy().astype(np.float64).reshape(image.height, image.width)
    top, left = busiest(grey, max(1, min(int(SIDE * factor), *grey.shape)))
    most_left, most_top = max(0, of[0] - SIDE), max(0, of[1] - SIDE)
    return min(most_left, int(left / factor)), min(most_top, int(top / factor))


def busiest(grey: NDArray[np.float64], side: int) -> tuple[int, int]:
    """Top and left of the `side` × `side` window of a (h, w) image whose gradients add up to most."""
    edges = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    sums = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = divmod(int(windows.argmax()), windows.shape[1])
    return top, left


SIDE = 512  # pixels of a crop
WHOLE = 1600  # pixels of the longer side of the image as a whole
_VIEW, _WHOLE = "view.tif", "whole.jpg"
_LOSSLESS = 24_000_000  # pixels up to which nothing is lost
_TILE = 256
_BARE = 0  # without metadata
_LARGEST = 16  # times the image's own side


def make_view(path: Path, folder: Path) -> None:
    """An image file, upright and in sRGB of 8 bits, in tiles of `folder`, and once as a whole. Raises pyvips.Error."""
    source = open_source(path)
    image = _shown(source)
    target = str(folder / _VIEW)
    if image.width * image.height <= _LOSSLESS:
        image.tiffsave(target, tile=True, tile_width=_TILE, tile_height=_TILE, bigtiff=True, keep=_BARE,
                       compression="deflate", predictor="horizontal", level=1)  # fmt: skip
    else:
        image.tiffsave(target, tile=True, tile_width=_TILE, tile_height=_TILE, bigtiff=True, keep=_BARE,
                       compression="jpeg", Q=95)  # fmt: skip
    view = _open(folder)
    longest = max(view.width, view.height)
    small = view.resize(min(1.0, WHOLE / longest), kernel="lanczos3")
    small.jpegsave(str(folder / _WHOLE), Q=90, keep=_BARE)


def whole_of(folder: Path) -> Path:
    """The image as a whole, a small file."""
    return folder / _WHOLE


def files_of(folder: Path) -> tuple[Path, Path]:
    """What `make_view` writes."""
    return folder / _VIEW, folder / _WHOLE


def crop(folder: Path, size: tuple[int, int], column: int, row: int) -> bytes | None:
    """A PNG: the square at `column`, `row` of the image brought to `size` (width, height), enlarged by bicubic.

    None where there is no such image or square.
    """
    width, height = size
    if not (folder / _VIEW).is_file():
        return None
    view = _open(folder)
    left, top = column * SIDE, row * SIDE
    if not (0 <= left < width <= _LARGEST * view.width and 0 <= top < height <= _LARGEST * view.height):
        return None
    return _cut(view, size, (left, top)).pngsave_buffer(compression=1)


def detail(folder: Path, size: tuple[int, int], corner: tuple[int, int], target: Path) -> None:
    """The square whose left and top are `corner`, in a PNG file of its own."""
    _cut(_open(folder), size, corner).pngsave(str(target), compression=1)


def _cut(view: pyvips.Image, size: tuple[int, int], corner: tuple[int, int]) -> pyvips.Image:
    (width, height), (left, top) = size, corner
    view = to_size(view, height, width)
    width, height = min(width, view.width), min(height, view.height)
    return view.crop(left, top, min(SIDE, width - left), min(SIDE, height - top))


def _open(folder: Path) -> pyvips.Image:
    return pyvips.Image.new_from_file(str(folder / _VIEW), access="random")


def _shown(source: ImageSource) -> pyvips.Image:
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
