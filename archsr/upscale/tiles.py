"""Cutting a picture into tiles with a halo of context: geometry only."""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Tile:
    """A core of the picture, and the larger window to look at for it; all in input pixels, ends exclusive."""

    top: int
    left: int
    bottom: int
    right: int
    outer_top: int
    outer_left: int
    outer_bottom: int
    outer_right: int


def plan_tiles(height: int, width: int, *, tile: int, halo: int) -> list[Tile]:
    """Cores of about `tile` a side that partition the picture, each with up to `halo` pixels around it.

    `tile` 0 is the whole picture. The halo stops at the picture's edge, so edges are treated as if untiled.
    Raises ValueError for negative sizes.
    """
    if tile < 0 or halo < 0:
        raise ValueError(f"tile ({tile}) and halo ({halo}) must not be negative")
    tops, lefts = _cuts(height, tile), _cuts(width, tile)
    return [
        Tile(
            top=top,
            left=left,
            bottom=bottom,
            right=right,
            outer_top=max(0, top - halo),
            outer_left=max(0, left - halo),
            outer_bottom=min(height, bottom + halo),
            outer_right=min(width, right + halo),
        )
        for top, bottom in tops
        for left, right in lefts
    ]


def _cuts(side: int, tile: int) -> list[tuple[int, int]]:
    """Equal parts of at most `tile`: no thin rest at the end."""
    count = 1 if tile == 0 else -(-side // tile)
    ends = [side * i // count for i in range(count + 1)]
    return list(pairwise(ends))
