"""Blur kernels: seven families and the identity, a whole batch at once, on any device.

Formulas: Real-ESRGAN (arXiv 2107.10833, section 3.2 and the appendix).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 21  # the canvas; kernels of 7 to 21 taps are centred in it
TAPS = (7, 9, 11, 13, 15, 17, 19, 21)

GAUSSIAN, GENERALIZED, PLATEAU, SINC, IDENTITY = range(5)


@dataclass(frozen=True)
class KernelParams:
    """One kernel per sample, each field (b,): `kind` and `taps` int64, the rest float32.

    `sigma_x`, `sigma_y` in pixels and `theta` in radians shape the first three kinds, `beta` the second and third,
    `cutoff` (radians per pixel) the sinc.
    """

    kind: Tensor
    taps: Tensor
    sigma_x: Tensor
    sigma_y: Tensor
    theta: Tensor
    beta: Tensor
    cutoff: Tensor


def render(params: KernelParams, *, device: torch.device | str = "cpu") -> Tensor:
    """The kernels (b, 21, 21), float32, each summing to 1. Computed in float64: the sinc's normaliser cancels."""
    kind, taps, sigma_x, sigma_y, theta, beta, cutoff = (
        getattr(params, name).to(device, torch.float64)[:, None, None]
        for name in ("kind", "taps", "sigma_x", "sigma_y", "theta", "beta", "cutoff")
    )
    axis = torch.arange(SIZE, device=device, dtype=torch.float64) - SIZE // 2
    y, x = axis[None, :, None], axis[None, None, :]
    q = _mahalanobis(x, y, sigma_x, sigma_y, theta)
    values = torch.where(kind == PLATEAU, 1 / (1 + q**beta), torch.exp(-0.5 * q ** torch.where(kind == 0, 1.0, beta)))
    values = torch.where(kind == SINC, _sinc(x, y, cutoff), values)
    values = torch.where(kind == IDENTITY, ((x == 0) & (y == 0)).double(), values)
    reach = (taps - 1) / 2
    values = values * ((x.abs() <= reach) & (y.abs() <= reach))
    return (values / values.sum((1, 2), keepdim=True)).float()


def _mahalanobis(x: Tensor, y: Tensor, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor) -> Tensor:
    """pᵀ Σ⁻¹ p for p = (x, y), Σ = R(θ) diag(σx², σy²) R(θ)ᵀ."""
    along = (x * torch.cos(theta) + y * torch.sin(theta)) / sigma_x
    across = (y * torch.cos(theta) - x * torch.sin(theta)) / sigma_y
    return along**2 + across**2


def _sinc(x: Tensor, y: Tensor, cutoff: Tensor) -> Tensor:
    """Circular low-pass: ω J₁(ω r) / (2π r), with its limit ω² / 4π at the centre."""
    r = torch.sqrt(x**2 + y**2)
    safe = torch.where(r == 0, 1.0, r)
    ring = cutoff * torch.special.bessel_j1(cutoff * safe) / (2 * torch.pi * safe)
    return torch.where(r == 0, cutoff**2 / (4 * torch.pi), ring)
