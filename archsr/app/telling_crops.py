"""Where in an image the most is to be seen."""

from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from archsr.app.pixel_tiles import SIDE


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
