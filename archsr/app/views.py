"""Pictures for the page: as large as a browser bears, in sRGB, both sides of a comparison of one size."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

MOST = 24_000_000  # pixels of a picture on the page; larger ones are reduced to that
_LOSSLESS = 4_000_000  # pixels up to which it is a PNG
_SIDE = 512  # of a detail


@dataclass(frozen=True)
class Size:
    """Height and width."""

    height: int
    width: int


def shown_size(height: int, width: int, *, most: int = MOST) -> Size:
    """The size at which a picture of height × width is shown: its own if it has at most `most` pixels."""
    factor = min(1.0, (most / (height * width)) ** 0.5)
    return Size(max(1, int(height * factor)), max(1, int(width * factor)))


def make_view(picture: Path, folder: Path, size: Size) -> Path:
    """A picture file at `size`, upright and in sRGB, enlarged or reduced by Lanczos, in a new file of `folder`."""
    image = _sized(picture, size)
    lossless = size.height * size.width <= _LOSSLESS
    target = folder / f"{picture.stem}.view{'.png' if lossless else '.jpg'}"
    if lossless:
        image.pngsave(str(target), compression=3)
    else:
        image.jpegsave(str(target), Q=95, subsample_mode="off")
    return target


def _sized(picture: Path, size: Size) -> pyvips.Image:
    image = pyvips.Image.thumbnail(
        str(picture), size.width, height=size.height, size="force", output_profile="srgb", fail_on="error"
    )
    return image.flatten(background=[255]) if image.hasalpha() else image


def detail_of(view: Path, *, side: int = _SIDE) -> tuple[int, int]:
    """Left and top of the square of `side` pixels with the strongest edges, or of what there is of it."""
    image = pyvips.Image.new_from_file(str(view)).colourspace("b-w")
    factor = min(1.0, 1024 / max(image.width, image.height))
    grey: NDArray[np.float64] = (
        image.resize(factor).numpy().astype(np.float64).reshape(-1, max(1, round(image.width * factor)))
    )
    top, left = busiest(grey, max(1, min(int(side * factor), *grey.shape)))
    most_left, most_top = max(0, image.width - side), max(0, image.height - side)
    return min(most_left, int(left / factor)), min(most_top, int(top / factor))


def busiest(grey: NDArray[np.float64], side: int) -> tuple[int, int]:
    """Top and left of the `side` × `side` window of a (h, w) picture whose gradients add up to most."""
    edges = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    sums = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = divmod(int(windows.argmax()), windows.shape[1])
    return top, left


def cut(view: Path, folder: Path, left: int, top: int, *, side: int = _SIDE) -> Path:
    """The square at `left`, `top` of a view, as a PNG of its own."""
    image = pyvips.Image.new_from_file(str(view))
    target = folder / f"{view.stem}.detail.png"
    image.crop(left, top, min(side, image.width - left), min(side, image.height - top)).pngsave(str(target))
    return target
