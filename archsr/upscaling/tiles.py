"""Cut an image into overlapping tiles of one shape: geometry only.

A tile is a `window` that the network sees, and the `core` in its middle that is used. All windows of an image have the
same shape, so that they can be compiled, and are placed evenly. Neighbouring cores overlap by `feather` pixels on each
side of the seam, where one fades into the other.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class TileSpan:
    """One side of a tile in input pixels, ends exclusive: the window, and its core without the feather."""

    start: int
    end: int
    core_start: int
    core_end: int

    def used(self, feather: int, side: int) -> tuple[int, int]:
        """Return the used part of the window: the core, and `feather` pixels more towards each neighbour."""
        return (
            self.core_start - feather if self.core_start else 0,
            self.core_end + feather if self.core_end < side else side,
        )


def spans(side: int, *, tile: int, halo: int) -> list[TileSpan]:
    """Cover a side by windows of at most `tile` + 2·`halo` pixels.

    The core of a window is the part whose result is kept. Cores partition the side, and on each side of a core its
    window has `halo` pixels, or ends at the image's edge. `tile` 0 is one window. Raises ValueError for negative sizes.
    """
    if tile < 0 or halo < 0:
        raise ValueError(f"tile ({tile}) and halo ({halo}) must not be negative")
    most = tile + 2 * halo
    if tile == 0 or side <= most:
        return [TileSpan(0, side, 0, side)]
    count = -(-(side - 2 * halo) // tile)
    window = -(-(side + 2 * halo * (count - 1)) // count)
    starts = [(side - window) * i // (count - 1) for i in range(count)]
    # seams are in the middle of the overlaps
    seams = [0, *((after + before + window) // 2 for before, after in pairwise(starts)), side]
    return [TileSpan(s, s + window, a, b) for s, (a, b) in zip(starts, pairwise(seams), strict=True)]


def ramp(span: TileSpan, *, feather: int, side: int, scale: int, device: torch.device | None = None) -> Tensor:
    """Return the weight of each output pixel of a span's used part: 1 in the middle, fading linearly across seams.

    The weights of all spans add up to 1 everywhere. float32, computed on the device.
    """
    first, last = span.used(feather, side)
    weight = torch.ones((last - first) * scale, device=device)
    fading = 2 * feather * scale
    fade = (torch.arange(fading, dtype=torch.float32, device=device) + 0.5) / max(1, fading)
    if first:
        weight[:fading] *= fade
    if last < side:
        weight[len(weight) - fading :] *= fade.flip(0)
    return weight


def fitting_feather(wanted: int, spans_of_both_sides: list[TileSpan]) -> int:
    """Return `wanted`, or the largest feather for which the narrowest core has room on both sides."""
    return min(wanted, *(max(1, s.core_end - s.core_start) // 2 for s in spans_of_both_sides))
