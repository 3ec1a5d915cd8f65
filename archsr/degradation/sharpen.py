"""Unsharp masking with a soft mask, as Real-ESRGAN sharpens its ground truth."""

from functools import lru_cache

import torch
from torch import Tensor

RADIUS = 25  # 51 taps: OpenCV gives σ = 0.3·((51 − 1)/2 − 1) + 0.8 = 8.0 for a radius of 50 made odd
SIGMA = 8.0
WEIGHT = 0.5
THRESHOLD = 10.0  # in 0-255 units, per channel


def sharpen(image: Tensor) -> Tensor:
    """Sharpen (b, c, h, w) in [0, 1], float32. The separable filter equals the reference's dense 51×51 one."""
    image = image.float().contiguous()
    if image.device.type == "cpu" and len(image) > 1:  # one by one they stay in the cache
        return torch.cat([_sharpened(single) for single in image.split(1)])
    return _sharpened(image)


def _sharpened(image: Tensor) -> Tensor:
    residual = image - _blur(image)
    soft = _blur((residual.abs().mul_(255) > THRESHOLD).float()).clamp_(max=1)
    change = residual.mul_(WEIGHT).add_(image).clamp_(0, 1).sub_(image)
    return change.mul_(soft).add_(image)


def _blur(x: Tensor) -> Tensor:
    """Blur with a Gaussian with reflected borders, as a product with a matrix from each side.

    CPU and GPU libraries are slow at single-channel convolutions with 51 taps: 550 ms for twelve images of 288 pixels
    on one core, against 27 ms for these products, which leave out the zeros beyond the band.
    """
    b, c, h, w = x.shape
    step = 48 if x.device.type == "cpu" else max(h, w)  # on a GPU launches cost more than zeros
    down, across = (_band(side, x.device) for side in (h, w))
    middle, out = torch.empty_like(x), x.new_empty(b * c * h, w)
    for i in range(0, h, step):
        near = slice(max(0, i - RADIUS), i + step + RADIUS)
        middle[:, :, i : i + step] = down[i : i + step, near] @ x[:, :, near]
    lines = middle.view(-1, w)
    for i in range(0, w, step):
        near = slice(max(0, i - RADIUS), i + step + RADIUS)
        out[:, i : i + step] = lines[:, near] @ across[i : i + step, near].T
    return out.view_as(x)


@lru_cache(maxsize=16)
def _band(side: int, device: torch.device) -> Tensor:
    """Return (side, side): row i holds the taps around i; those beyond an edge are folded back."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    place = torch.arange(side)[:, None] + offsets.long()
    period = max(1, 2 * (side - 1))
    folded = place.remainder(period)
    folded = torch.minimum(folded, period - folded).clamp(max=side - 1)
    band = torch.zeros(side, side, dtype=torch.float64)
    band.scatter_add_(1, folded, (taps / taps.sum()).expand(side, -1))
    return band.float().to(device)
