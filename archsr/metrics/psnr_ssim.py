"""PSNR and SSIM with the usual protocol: 8-bit values, cropped borders, each image by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, table 1, finest scale first


def psnr(sr: Tensor, gt: Tensor, *, border: int = 4) -> Tensor:
    """Return the peak signal-to-noise ratio in dB over RGB jointly, (b,) float64; higher is better.

    `sr` and `gt`, (b, c, h, w) in [0, 1], are rounded to 8 bits and cropped by `border` pixels on each side. Equal
    images give infinity.
    """
    a, b = _levels(sr, border), _levels(gt, border)
    error = ((a - b) ** 2).mean((1, 2, 3))
    return 10 * torch.log10(255**2 / error)


def ssim(sr: Tensor, gt: Tensor, *, border: int = 4) -> Tensor:
    """Return the structural similarity (Wang et al. 2004), mean over channels, (b,) float64; higher is better.

    It uses an 11×11 Gaussian window of σ 1.5 and only the valid region. Other conventions are as for `psnr`.
    """
    luminance, structure = similarity(_levels(sr, border), _levels(gt, border), 255)
    return (luminance * structure).mean((1, 2, 3))


def similarity(a: Tensor, b: Tensor, peak: float) -> tuple[Tensor, Tensor]:
    """Return SSIM's two factors, luminance and contrast-structure, each (b, c, h - 10, w - 10), of (b, c, h, w)."""
    mean_a, mean_b = _window(a), _window(b)
    variance_a = _window(a * a) - mean_a**2
    variance_b = _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return luminance, structure


def ms_ssim(a: Tensor, b: Tensor, weights: Tensor, *, peak: float = 1.0) -> Tensor:
    """Return MS-SSIM (Wang 2003) of (b, c, h, w), averaged over channels, (b,); higher is better.

    `weights` are those of the scales, finest first. A negative average of contrast and structure is clamped to a tiny
    positive number, because its root is undefined. The last row or column of an odd side is left out when halving.
    """
    factors: list[Tensor] = []  # (b,) each
    for scale in range(len(weights)):
        luminance, structure = similarity(a, b, peak)
        last = scale == len(weights) - 1
        factors.append((luminance * structure if last else structure).mean((1, 2, 3)).clamp_min(1e-6))
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return (torch.stack(factors, 1) ** weights).prod(1)


def luma(image: Tensor) -> Tensor:
    """Return MATLAB's Y of RGB (b, 3, h, w) in [0, 1], as (b, 1, h, w) in [16, 235] / 255, not rounded."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=image.device)
    y = torch.einsum("c,bchw->bhw", weights, image.double()) + 16
    return (y / 255)[:, None]


def _levels(image: Tensor, border: int) -> Tensor:
    inner = image[:, :, border : image.shape[2] - border, border : image.shape[3] - border]
    scaled = inner.double().clamp(0, 1) * 255
    return scaled.round() if image.shape[1] == 3 else scaled  # Y is compared unrounded, as is usual


def _window(x: Tensor) -> Tensor:
    offsets = torch.arange(-5, 6, dtype=x.dtype, device=x.device)
    taps = torch.exp(-(offsets**2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    flat = x.reshape(-1, 1, *x.shape[2:])
    rows = F.conv2d(flat, taps.view(1, 1, -1, 1))
    filtered = F.conv2d(rows, taps.view(1, 1, 1, -1))
    return filtered.view(*x.shape[:2], *filtered.shape[2:])
