"""Blur kernels: seven families and the identity, a whole batch at once, on any device.

Formulas: Real-ESRGAN (arXiv 2107.10833, section 3.2 and the appendix).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

SIZE = 21  # the canvas that Real-ESRGAN's kernels of 7 to 21 taps are centred in
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


def joined(*params: KernelParams) -> KernelParams:
    """Kernels of several batches as one batch."""
    return KernelParams(**{f.name: torch.cat([getattr(p, f.name) for p in params]) for f in fields(KernelParams)})


def render(params: KernelParams, *, device: torch.device | str | None = None, size: int = SIZE) -> Tensor:
    """The kernels (b, size, size), float32, each summing to 1. Computed in float64: the sinc's normaliser cancels.

    On a CPU each kind is computed for its own samples; a GPU, which would have to be asked, computes all for all.
    """
    kind, taps, *shape = (getattr(params, f.name).to(device)[:, None, None] for f in fields(KernelParams))
    shape = [value.double() for value in shape]
    axis = torch.arange(size, device=kind.device, dtype=torch.float64) - size // 2
    y, x = axis[None, :, None], axis[None, None, :]
    values = ((x == 0) & (y == 0)).double().expand(len(kind), size, size).clone()
    for number, formula in _FORMULAS.items():
        chosen = kind == number
        if kind.device.type != "cpu":
            values = torch.where(chosen, formula(x, y, shape), values)
        elif len(rows := chosen.flatten().nonzero()[:, 0]):
            values[rows] = formula(x, y, [value[rows] for value in shape])
    reach = (taps - 1) / 2
    values = values * ((x.abs() <= reach) & (y.abs() <= reach))
    return (values / values.sum((1, 2), keepdim=True)).float()


def _mahalanobis(x: Tensor, y: Tensor, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor) -> Tensor:
    """pᵀ Σ⁻¹ p for p = (x, y), Σ = R(θ) diag(σx², σy²) R(θ)ᵀ."""
    along = (x * torch.cos(theta) + y * torch.sin(theta)) / sigma_x
    across = (y * torch.cos(theta) - x * torch.sin(theta)) / sigma_y
    return along**2 + across**2


def _gaussian(x: Tensor, y: Tensor, shape: Sequence[Tensor]) -> Tensor:
    return torch.exp(-0.5 * _mahalanobis(x, y, *shape[:3]))


def _generalized(x: Tensor, y: Tensor, shape: Sequence[Tensor]) -> Tensor:
    return torch.exp(-0.5 * _mahalanobis(x, y, *shape[:3]) ** shape[3])


def _plateau(x: Tensor, y: Tensor, shape: Sequence[Tensor]) -> Tensor:
    return 1 / (1 + _mahalanobis(x, y, *shape[:3]) ** shape[3])


def _sinc(x: Tensor, y: Tensor, shape: Sequence[Tensor]) -> Tensor:
    """Circular low-pass: ω J₁(ω r) / (2π r), with its limit ω² / 4π at the centre."""
    cutoff = shape[4]
    r = torch.sqrt(x**2 + y**2)
    safe = torch.where(r == 0, 1.0, r)
    ring = cutoff * torch.special.bessel_j1(cutoff * safe) / (2 * torch.pi * safe)
    return torch.where(r == 0, cutoff**2 / (4 * torch.pi), ring)


# of x, y and (sigma_x, sigma_y, theta, beta, cutoff), each (b, 1, 1); the identity has none
_FORMULAS = {GAUSSIAN: _gaussian, GENERALIZED: _generalized, PLATEAU: _plateau, SINC: _sinc}
