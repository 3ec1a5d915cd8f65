"""Losses that compare two images without a network: from `sr` and `target`, both (b, 3, h, w), to a scalar.

They compute in the images' dtype, which is float32 even under autocast. `target` gets no gradient.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.config import CharbonnierLoss, ColourLoss, FrequencyLoss, GradientLoss, LdlLoss, Loss, MsSsimLoss
from archsr.metrics import psnr_ssim
from archsr.models.memory_efficient import l1

# scaled so that a ramp of 1 per pixel has a gradient of 1
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
_LAPLACE = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
_CONSTANTS = {
    "sobel": torch.stack([_SOBEL, _SOBEL.T]),
    "laplacian": _LAPLACE[None],
    "ms_ssim": torch.tensor(psnr_ssim.MS_SSIM_WEIGHTS),
}


def pixel(sr: Tensor, target: Tensor, _: Loss) -> Tensor:
    """Return the mean absolute error."""
    return l1(sr, target)


def charbonnier(sr: Tensor, target: Tensor, config: CharbonnierLoss) -> Tensor:
    """Return the mean of sqrt(d² + ε²) (Lai 2017). BasicSR's `eps` is our ε²."""
    return ((sr - target.detach()).square() + config.epsilon**2).sqrt().mean()


def frequency(sr: Tensor, target: Tensor, config: FrequencyLoss) -> Tensor:
    """Return a distance between the orthonormal Fourier transforms of the channels.

    `l1`: mean absolute error of real and imaginary parts. `focal` (Jiang 2021): mean of w·|d|², where w = |d|^α is
    divided by its maximum in the channel and gets no gradient.
    """
    difference = torch.view_as_real(torch.fft.fft2(sr - target.detach(), norm="ortho"))  # (b, c, h, w, 2)
    if config.kind == "l1":
        return difference.abs().mean()
    squared = difference.square().sum(-1)
    weight = squared.detach() ** (config.alpha / 2)
    largest = weight.amax((2, 3), keepdim=True)
    return (weight / largest.clamp_min(torch.finfo(weight.dtype).tiny) * squared).mean()


def gradient(sr: Tensor, target: Tensor, config: GradientLoss) -> Tensor:
    """Return the mean absolute error of each channel's edges, without the outermost pixels."""
    filters = _placed(config.kind, sr)[:, None]  # (n, 1, 3, 3)
    b, c, h, w = sr.shape
    return F.conv2d((sr - target.detach()).reshape(b * c, 1, h, w), filters).abs().mean()


def _placed(name: str, like: Tensor) -> Tensor:
    """Return a constant on the device of `like`. A GPU gets it once, because the host waits for such a copy."""
    if like.device.type != "cuda":
        return _CONSTANTS[name].to(like)
    return _sent(name, like.device, like.dtype)


@lru_cache
def _sent(name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    return _CONSTANTS[name].to(device, dtype)


def colour(sr: Tensor, target: Tensor, config: ColourLoss) -> Tensor:
    """Return the mean absolute error of the mean colours of `size` × `size` squares, without incomplete squares."""
    return F.avg_pool2d(sr - target.detach(), config.size).abs().mean()


def ms_ssim(sr: Tensor, target: Tensor, config: MsSsimLoss) -> Tensor:
    """Return 1 - MS-SSIM (Wang 2003) over RGB, averaged over images.

    Uses the published weights of the finest `scales`, divided by their sum.
    """
    weights = _placed("ms_ssim", sr)[: config.scales]
    return 1 - psnr_ssim.ms_ssim(sr, target.detach(), weights / weights.sum()).mean()


def ldl(sr: Tensor, target: Tensor, averaged: Tensor, config: LdlLoss) -> Tensor:
    """Return the mean of map·|sr - target| (Liang 2022). `averaged` is the averaged generator's result for the same lq.

    The map takes part in the gradient, as in the authors' code.
    """
    return (artefacts(sr, target, averaged, window=config.window) * (sr - target.detach()).abs()).mean()


def artefacts(sr: Tensor, target: Tensor, averaged: Tensor, *, window: int) -> Tensor:
    """Return LDL's map (b, 1, h, w).

    It is the local variance of the residual times the image's variance to the power 1/5, and zero where the averaged
    generator is further from the target.
    """
    target = target.detach()
    residual = (sr - target).abs().sum(1, keepdim=True)
    before = (averaged.detach() - target).abs().sum(1, keepdim=True)
    # the tiny number gives equal images a gradient: that of the root is infinite at 0
    whole = (residual.var((1, 2, 3), keepdim=True) + 1e-20) ** 0.2
    padded = F.pad(residual, [window // 2] * 4, mode="reflect")
    # two passes: mean of squares minus square of the mean would cancel small variances
    patches = padded.unfold(2, window, 1).unfold(3, window, 1)  # (b, 1, h, w, window, window)
    return torch.where(residual < before, 0.0, whole * patches.var((-1, -2)))


# `ldl` is not here, because it needs a third image
IMAGE_LOSSES: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {
    "pixel": pixel,
    "charbonnier": charbonnier,
    "frequency": frequency,
    "gradient": gradient,
    "ms_ssim": ms_ssim,
    "colour": colour,
}
