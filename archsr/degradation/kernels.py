"""Blur kernels: seven families, disc, line and the identity, rendered for a whole batch on any device.

Formulas of the families: Real-ESRGAN (arXiv 2107.10833, section 3.2 and the appendix).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from archsr.degradation.canvas import Canvas, extend

SIZE = 21  # the size in which Real-ESRGAN centres its kernels of 7 to 21 taps
TAPS = (7, 9, 11, 13, 15, 17, 19, 21)

GAUSSIAN, GENERALIZED, PLATEAU, SINC, IDENTITY, DISC, LINE = range(7)
_POINTS = 64  # of a line


@dataclass(frozen=True)
class KernelParams:
    """One kernel per sample, each field (b,): `kind` and `taps` int64, the rest float32.

    `sigma_x`, `sigma_y` in pixels and `theta` in radians shape the first three kinds, `beta` the second and third,
    `cutoff` (radians per pixel) the sinc. A disc has its radius in `sigma_x` and `sigma_y`, a line its length in them
    and its direction in `theta`.
    """

    kind: Tensor
    taps: Tensor
    sigma_x: Tensor
    sigma_y: Tensor
    theta: Tensor
    beta: Tensor
    cutoff: Tensor


def concatenated(*params: KernelParams) -> KernelParams:
    """Concatenate the kernels of several batches."""
    return KernelParams(**{f.name: torch.cat([getattr(p, f.name) for p in params]) for f in fields(KernelParams)})


def render(
    params: KernelParams,
    *,
    device: torch.device | str | None = None,
    size: int = SIZE,
    kinds: Collection[int] = range(7),
) -> Tensor:
    """Return the kernels (b, size, size), float32, each summing to 1.

    They are computed in float64, because the sum of a sinc loses precision in float32. On a CPU each kind is computed
    only for its own samples. On a GPU all of `kinds`, which must include those that occur, are computed for all
    samples, because reading the kinds would wait for the device.
    """
    kind, taps, *shape = (getattr(params, f.name).to(device)[:, None, None] for f in fields(KernelParams))
    shape = [value.double() for value in shape]
    axis = torch.arange(size, device=kind.device, dtype=torch.float64) - size // 2
    y, x = axis[None, :, None], axis[None, None, :]
    values = ((x == 0) & (y == 0)).double().expand(len(kind), size, size).clone()
    for number, formula in _FORMULAS.items():
        if number not in kinds:
            continue
        chosen = kind == number
        if kind.device.type != "cpu":
            values = torch.where(chosen, formula(x, y, shape), values)
        elif len(rows := chosen.flatten().nonzero()[:, 0]):
            values[rows] = formula(x, y, [value[rows] for value in shape])
    reach = (taps - 1) / 2
    values = values * ((x.abs() <= reach) & (y.abs() <= reach))
    return (values / values.sum((1, 2), keepdim=True)).float()


def _mahalanobis(x: Tensor, y: Tensor, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor) -> Tensor:
    """Return pᵀ Σ⁻¹ p for p = (x, y), Σ = R(θ) diag(σx², σy²) R(θ)ᵀ."""
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
    """Return the circular low-pass ω J₁(ω r) / (2π r), with its limit ω² / 4π at the centre."""
    cutoff = shape[4]
    r = torch.sqrt(x**2 + y**2)
    safe = torch.where(r == 0, 1.0, r)
    ring = cutoff * torch.special.bessel_j1(cutoff * safe) / (2 * torch.pi * safe)
    return torch.where(r == 0, cutoff**2 / (4 * torch.pi), ring)


def _disc(x: Tensor, y: Tensor, shape: Sequence[Tensor]) -> Tensor:
    """Return about how much of each pixel the disc covers."""
    return (shape[0] + 0.5 - torch.sqrt(x**2 + y**2)).clamp(0, 1)


def _line(x: Tensor, y: Tensor, shape: Sequence[Tensor]) -> Tensor:
    """Return the mean of points along the line, each shared among its four pixels as in bilinear interpolation."""
    length, _, theta = (value[..., None] for value in shape[:3])
    along = ((torch.arange(_POINTS, device=x.device) + 0.5) / _POINTS - 0.5) * length
    across = 1 - (x[..., None] - along * torch.cos(theta)).abs()
    down = 1 - (y[..., None] - along * torch.sin(theta)).abs()
    return (across.clamp(min=0) * down.clamp(min=0)).mean(-1)


# functions of x, y and (sigma_x, sigma_y, theta, beta, cutoff), each (b, 1, 1); the identity has none
_FORMULAS = {GAUSSIAN: _gaussian, GENERALIZED: _generalized, PLATEAU: _plateau, SINC: _sinc, DISC: _disc, LINE: _line}


def blur(canvas: Canvas, params: KernelParams, kernels: Tensor | None = None) -> Canvas:
    """Cross-correlate with reflected borders.

    `params` is on the CPU. `kernels` (b, k, k) is the result of `render` on the canvas's device, with k at least the
    largest number of taps. Samples with the identity are not touched.
    """
    # by FFT, whose time does not depend on the kernel: 12 images of 288 pixels, one core, 16 ms. A convolution takes
    # 13 ms with 7 taps and 90 ms with 21
    same = params.kind == IDENTITY
    if bool(same.all()):
        return canvas
    kernels = render(params, device=canvas.pixels.device) if kernels is None else kernels
    reach = int(torch.where(same, 1, params.taps).max()) // 2
    centre = kernels.shape[-1] // 2
    middle = slice(centre - reach, centre + reach + 1)
    h, w = canvas.pixels.shape[2:]
    padded = extend(canvas, before=reach, total=(h + 2 * reach, w + 2 * reach), mode="reflect")
    filtered = _correlate(padded, kernels[:, None, middle, middle])[:, :, :h, :w]
    if bool(same.any()):
        filtered = torch.where((kernels[:, centre, centre] == 1)[:, None, None, None], canvas.pixels, filtered)
    return canvas.with_pixels(filtered)


def _correlate(padded: Tensor, kernels: Tensor) -> Tensor:
    """Return (b, c, h, w), equal to `conv2d` with (b, 1, k, k) in its top-left and wrapped around behind it."""
    fast = [next_fast_len(side, real=True) or side for side in padded.shape[2:]]
    spectrum = torch.fft.rfft2(padded, s=fast) * torch.fft.rfft2(kernels, s=fast).conj()
    return torch.fft.irfft2(spectrum, s=fast)
