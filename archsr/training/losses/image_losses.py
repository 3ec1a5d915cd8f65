"""Losses that compare two images without a network: functions of `sr` and `target`, both (b, 3, h, w), to a scalar.

All in the dtype of the images, which is float32 whatever autocast says; `target` gets no gradient.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.config import CharbonnierLoss, ColourLoss, FrequencyLoss, GradientLoss, LdlLoss, Loss, MsSsimLoss
from archsr.metrics.psnr_ssim import similarity
from archsr.models.memory_efficient import l1

# a ramp of one per pixel has a gradient of 1
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
_LAPLACE = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
_MS_SSIM = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, table 1: from the finest scale
_EDGES = {"sobel": torch.stack([_SOBEL, _SOBEL.T]), "laplacian": _LAPLACE[None]}


def pixel(sr: Tensor, target: Tensor, _: Loss) -> Tensor:
    """Mean absolute error."""
    return l1(sr, target)


def charbonnier(sr: Tensor, target: Tensor, config: CharbonnierLoss) -> Tensor:
    """Mean of sqrt(d² + ε²) (Lai 2017). BasicSR writes its `eps` for our ε²."""
    return ((sr - target.detach()).square() + config.epsilon**2).sqrt().mean()


def frequency(sr: Tensor, target: Tensor, config: FrequencyLoss) -> Tensor:
    """Of the orthonormal Fourier transform of each channel.

    `l1`: mean absolute error of real and imaginary parts. `focal` (Jiang 2021): mean of w·|d|², w = |d|^α divided by
    its largest of the channel, and without a gradient.
    """
    difference = torch.view_as_real(torch.fft.fft2(sr - target.detach(), norm="ortho"))  # (b, c, h, w, 2)
    if config.kind == "l1":
        return difference.abs().mean()
    squared = difference.square().sum(-1)
    weight = squared.detach() ** (config.alpha / 2)
    largest = weight.amax((2, 3), keepdim=True)
    return (weight / largest.clamp_min(torch.finfo(weight.dtype).tiny) * squared).mean()


def gradient(sr: Tensor, target: Tensor, config: GradientLoss) -> Tensor:
    """Mean absolute error of the edges of each channel, the outermost pixels left out."""
    filters = _EDGES[config.kind].to(sr)[:, None]  # (n, 1, 3, 3)
    b, c, h, w = sr.shape
    return F.conv2d((sr - target.detach()).reshape(b * c, 1, h, w), filters).abs().mean()


def colour(sr: Tensor, target: Tensor, config: ColourLoss) -> Tensor:
    """Mean absolute error of the mean colours of squares of `size` pixels; pixels that fill no square are left out."""
    return F.avg_pool2d(sr - target.detach(), config.size).abs().mean()


def ms_ssim(sr: Tensor, target: Tensor, config: MsSsimLoss) -> Tensor:
    """1 - MS-SSIM (Wang 2003) of each image, over RGB, averaged over images.

    The published weights of the finest `scales`, divided by their sum. Contrast with structure that is negative on
    average counts as almost none, since a root of it has no value.
    """
    a, b = sr, target.detach()
    weights = torch.tensor(_MS_SSIM[: config.scales], dtype=sr.dtype, device=sr.device)
    factors: list[Tensor] = []  # (b,) each
    for scale in range(config.scales):
        luminance, structure = similarity(a, b, 1.0)
        last = scale == config.scales - 1
        factors.append((luminance * structure if last else structure).mean((1, 2, 3)).clamp_min(1e-6))
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return 1 - (torch.stack(factors, 1) ** (weights / weights.sum())).prod(1).mean()


def ldl(sr: Tensor, target: Tensor, averaged: Tensor, config: LdlLoss) -> Tensor:
    """Mean of map·|sr - target| (Liang 2022). `averaged`: what the moving average of the generator makes of the lq.

    The map takes part in the gradient, as in the authors' code.
    """
    return (artefacts(sr, target, averaged, window=config.window) * (sr - target.detach()).abs()).mean()


def artefacts(sr: Tensor, target: Tensor, averaged: Tensor, *, window: int) -> Tensor:
    """(b, 1, h, w): local variance of the residual times the image's to the power 1/5, zero where the averaged
    generator is further from the target."""
    target = target.detach()
    residual = (sr - target).abs().sum(1, keepdim=True)
    before = (averaged.detach() - target).abs().sum(1, keepdim=True)
    # without the tiny number equal images would have no gradient: that of the root is infinite at 0
    whole = (residual.var((1, 2, 3), keepdim=True) + 1e-20) ** 0.2
    padded = F.pad(residual, [window // 2] * 4, mode="reflect")
    # two passes: mean of squares minus square of the mean would lose what a small variance consists of
    patches = padded.unfold(2, window, 1).unfold(3, window, 1)  # (b, 1, h, w, window, window)
    return torch.where(residual < before, 0.0, whole * patches.var((-1, -2)))


# of two images alone; `ldl` needs a third
IMAGE_LOSSES: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {
    "pixel": pixel,
    "charbonnier": charbonnier,
    "frequency": frequency,
    "gradient": gradient,
    "ms_ssim": ms_ssim,
    "colour": colour,
}
