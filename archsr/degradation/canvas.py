"""Batches of images of different sizes on one canvas.

A canvas is (b, c, H, W). Sample i occupies its top-left (h_i, w_i); the pixels beyond are undefined. Every operation
that reads beyond an edge first extends the sample by index, so that each sample is treated as if it were alone.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.utils.devices import copies_beside


@dataclass(frozen=True)
class Canvas:
    """`pixels` (b, c, H, W) float32; `height` and `width` (b,) int64 on the same device, at most H and W.

    `whole`: every sample is known to fill the canvas, without asking the device.
    """

    pixels: Tensor
    height: Tensor
    width: Tensor
    whole: bool = False

    def with_pixels(self, pixels: Tensor) -> "Canvas":
        """Return a canvas with the same sizes and other pixels."""
        return Canvas(pixels, self.height, self.width, self.whole)

    def filled(self) -> "Canvas":
        """Return the same canvas marked as `whole`. The caller knows that every sample fills it."""
        return Canvas(self.pixels, self.height, self.width, whole=True)

    def take(self, rows: Tensor) -> "Canvas":
        """Return the samples `rows`, int64 (n,) on the canvas's device."""
        return Canvas(self.pixels[rows], self.height[rows], self.width[rows], self.whole)

    def valid(self) -> Tensor:
        """Return bool (b, 1, H, W): which pixels belong to a sample."""
        rows = torch.arange(self.pixels.shape[2], device=self.pixels.device)
        columns = torch.arange(self.pixels.shape[3], device=self.pixels.device)
        inside_y = rows[None, :] < self.height[:, None]
        inside_x = columns[None, :] < self.width[:, None]
        return (inside_y[:, :, None] & inside_x[:, None, :])[:, None]


def full(pixels: Tensor) -> Canvas:
    """Return a canvas that every sample fills."""
    b, _, h, w = pixels.shape
    height, width = (torch.full((b,), side, device=pixels.device) for side in (h, w))
    return Canvas(pixels, height, width, whole=True)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to `device` without waiting for the device."""
    kept = tensor.pin_memory() if device.type == "cuda" else tensor
    return kept.to(device, non_blocking=copies_beside(device))


def extend(canvas: Canvas, *, before: int, total: tuple[int, int], mode: Literal["reflect", "replicate"]) -> Tensor:
    """Return pixels (b, c, *total): each sample with `before` extra rows and columns in front and the rest behind.

    `reflect` mirrors without repeating the edge, as often as needed; `replicate` repeats the edge.
    """
    h, w = canvas.pixels.shape[2:]
    after = total[0] - h - before, total[1] - w - before
    if canvas.whole and before == 0 and after == (0, 0):
        return canvas.pixels
    if canvas.whole and min(after) >= 0 and (mode == "replicate" or max(before, *after) < min(h, w)):
        return F.pad(canvas.pixels, (before, after[1], before, after[0]), mode=mode)
    rows = _index(canvas.height, before, total[0], mode)
    columns = _index(canvas.width, before, total[1], mode)
    taken = canvas.pixels.take_along_dim(rows[:, None, :, None], 2)
    return taken.take_along_dim(columns[:, None, None, :], 3)


def _index(size: Tensor, before: int, total: int, mode: str) -> Tensor:
    place = torch.arange(total, device=size.device)[None] - before
    last = (size - 1)[:, None]
    if mode == "replicate":
        return place.clamp(min=0).minimum(last)
    period = (2 * last).clamp(min=1)
    bounced = place.remainder(period)
    return bounced.minimum(period - bounced).minimum(last)
