"""Fade neighbouring tiles into each other, on the device that made them."""

from dataclasses import dataclass, field

from torch import Tensor

from archsr.upscaling.tiles import TileSpan, ramp


@dataclass
class Seams:
    """What tiles of an image of `height` and `width` input pixels leave to those on their right and below.

    Tiles come from left to right, and rows of tiles from top to bottom. `feather` is in input pixels.
    """

    height: int
    width: int
    feather: int
    scale: int
    _before: Tensor | None = None  # the end of the tile on the left
    _above: dict[int, Tensor] = field(default_factory=dict[int, Tensor])  # the ends of tiles above, by first column

    def join(self, core: Tensor, y: TileSpan, x: TileSpan) -> tuple[int, Tensor]:
        """Return the first output column and the finished part of the used part (3, h, w) of a tile.

        `core` is changed.
        """
        left, fading = x.used(self.feather, self.width)[0] * self.scale, 2 * self.feather * self.scale
        if not fading:
            return left, core
        core *= ramp(x, feather=self.feather, side=self.width, scale=self.scale, device=core.device)
        if self._before is not None:
            core[:, :, :fading] += self._before.to(core.device, non_blocking=True)
        self._before = None
        if x.core_end < self.width:
            self._before = core[:, :, -fading:].clone()
            core = core[:, :, :-fading]
        core *= ramp(y, feather=self.feather, side=self.height, scale=self.scale, device=core.device)[:, None]
        if y.core_start:
            core[:, :fading] += self._above[left].to(core.device, non_blocking=True)
        if y.core_end < self.height:
            self._above[left] = core[:, -fading:].clone()
            core = core[:, :-fading]
        return left, core
