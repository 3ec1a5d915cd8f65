"""Unsharp masking with a soft mask, as Real-ESRGAN sharpens its ground truth."""

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.degrade.canvas import extend, full

RADIUS = 25  # 51 taps: OpenCV's rule gives σ = 0.3·((51 − 1)/2 − 1) + 0.8 = 8.0 for a radius of 50 made odd
SIGMA = 8.0
WEIGHT = 0.5
THRESHOLD = 10.0  # in 0-255 units, per channel


def sharpen(picture: Tensor) -> Tensor:
    """(b, c, h, w) in [0, 1] to the same, float32. Two separable passes equal the reference's dense 51×51 filter."""
    picture = picture.float()
    residual = picture - _blur(picture)
    mask = (residual.abs() * 255 > THRESHOLD).float()
    soft = _blur(mask)
    sharp = (picture + WEIGHT * residual).clamp(0, 1)
    return soft * sharp + (1 - soft) * picture


def _blur(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    taps = (taps / taps.sum()).float()
    padded = extend(full(x), before=RADIUS, total=(h + 2 * RADIUS, w + 2 * RADIUS), mode="reflect")
    flat = padded.reshape(b * c, 1, h + 2 * RADIUS, w + 2 * RADIUS)
    rows = F.conv2d(flat, taps.view(1, 1, -1, 1))
    return F.conv2d(rows, taps.view(1, 1, 1, -1)).view(b, c, h, w)
