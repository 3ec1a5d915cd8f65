"""Perceptual colour differences: sRGB to CIE Lab, and CIEDE2000."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SQUARE = 32  # pixels over which a colour is averaged

# sRGB (IEC 61966-2-1) to XYZ, divided by the white point D65 of the 2° observer
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


def lab(rgb: Tensor) -> Tensor:
    """Convert (..., 3) sRGB in [0, 1] to (..., 3) CIE L*a*b* (D65)."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ rgb.new_tensor(_TO_XYZ).T / rgb.new_tensor(_WHITE)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=0) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """Return CIEDE2000 of two (..., 3) Lab colours, (...).

    A value of 1 is just noticeable (Sharma, Wu and Dalal 2005).
    """
    l1, a1, b1 = first.double().unbind(-1)
    l2, a2, b2 = second.double().unbind(-1)
    mean_c7 = ((a1.hypot(b1) + a2.hypot(b2)) / 2) ** 7
    g = 0.5 * (1 - (mean_c7 / (mean_c7 + 25**7)).sqrt())
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = a1.hypot(b1), a2.hypot(b2)
    h1, h2 = (torch.atan2(b, a) % math.tau for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    # --- differences of lightness, chroma and hue
    dh = h2 - h1
    dh = torch.where(dh > math.pi, dh - math.tau, torch.where(dh < -math.pi, dh + math.tau, dh))
    dh = torch.where(grey, torch.zeros_like(dh), dh)
    big_dh = 2 * (c1 * c2).sqrt() * (dh / 2).sin()
    # --- their means and weights
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    apart = (h1 - h2).abs() > math.pi
    mean_h = (h1 + h2) / 2 + torch.where(apart, torch.where(h1 + h2 < math.tau, math.pi, -math.pi), 0.0)
    mean_h = torch.where(grey, h1 + h2, mean_h)
    t = 1 - 0.17 * (mean_h - math.radians(30)).cos() + 0.24 * (2 * mean_h).cos()
    t = t + 0.32 * (3 * mean_h + math.radians(6)).cos() - 0.20 * (4 * mean_h - math.radians(63)).cos()
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / (20 + (mean_l - 50) ** 2).sqrt()
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    turn = math.radians(30) * (-(((mean_h.rad2deg() - 275) / 25) ** 2)).exp()
    r = -2 * (mean_c**7 / (mean_c**7 + 25**7)).sqrt() * (2 * turn).sin()
    dl, dc, dh = (l2 - l1) / s_l, (c2 - c1) / s_c, big_dh / s_h
    return (dl**2 + dc**2 + dh**2 + r * dc * dh).clamp(min=0).sqrt()


def local_drift(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean CIEDE2000 between local mean colours of two images (b, 3, h, w), as (b,).

    Colours are averaged over squares of `SQUARE` pixels (the whole side if an image is smaller), half a square apart.
    Detail is averaged away, but red in one place does not cancel green in another.
    """
    size = [min(SQUARE, n) for n in second.shape[2:]]
    means = [F.avg_pool2d(p, size, stride=[max(1, n // 2) for n in size]).movedim(1, -1) for p in (first, second)]
    return ciede2000(lab(means[0]), lab(means[1])).mean((1, 2))
