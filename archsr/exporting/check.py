"""Check that an exported file gives torch's results."""

import math

import torch
from torch import Tensor

from archsr.errors import UserError
from archsr.models.base import Generator

# least PSNR in dB against torch in float32: rounding in another order, and rounding to 11 bits
LEAST = {"fp32": 80.0, "fp16": 50.0}
# not square and not the recorded size, so that fixed sizes are noticed
_SIZES = ((24, 40), (36, 20))


def probes(net: Generator) -> list[tuple[Tensor, Tensor]]:
    """Return images (1, 3, h, w) of two sizes, and the network's results, in float32."""
    images = [image(*size) for size in _SIZES]
    with torch.inference_mode():
        return [(p, net(p)) for p in images]


def image(height: int, width: int) -> Tensor:
    """Return (1, 3, h, w) in [0, 1]: waves and a little noise."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    waves = torch.stack([0.5 + 0.4 * torch.sin(0.3 * (c + 1) * x + 0.2 * y) for c in range(3)])[None]
    noise = torch.rand(waves.shape, generator=torch.Generator().manual_seed(0))
    return 0.9 * waves + 0.1 * noise


def psnr(a: Tensor, b: Tensor) -> float:
    """Return decibels for a range of 1; infinite if equal."""
    error = (a.double() - b.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def check_agreement(found: list[Tensor], expected: list[Tensor], *, tool: str, precision: str) -> str:
    """Return the lowest PSNR of `found` against torch in words. Raises `UserError` if it is too low."""
    worst = min(psnr(a, b) for a, b in zip(found, expected, strict=True))
    if not worst >= LEAST[precision]:  # NaN fails as well
        raise UserError(
            f"{tool} gives {worst:.1f} dB against torch, expected {LEAST[precision]:.0f} or more; nothing was written"
        )
    return f"{worst:.1f} dB against torch in fp32" if math.isfinite(worst) else "equal to torch in fp32, bit for bit"
