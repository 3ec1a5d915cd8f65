"""JPEG compression of a batch, each sample at its own quality: DCT as 64×64 matrix products.

Follows the reference's differentiable JPEG without its gradients: 4:2:0, real-valued quality, table scaled but not
rounded, coefficients rounded half to even, result clamped and not rounded to 8 bits.
"""

import math

import torch
from einops import rearrange, repeat
from torch import Tensor

from archsr.degrade.canvas import Canvas, extend

# ITU T.81 Annex K, rows are vertical frequencies
LUMA = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
)
CHROMA = torch.full((8, 8), 99.0)
CHROMA[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])

_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_TO_RGB = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])


def jpeg(canvas: Canvas, quality: Tensor, *, transposed_luma: bool = False, black_border: bool = False) -> Tensor:
    """Compress each sample of the canvas at `quality` (b,) in [1, 100]; pixels (b, 3, H, W) in [0, 1].

    `transposed_luma` and `black_border` are the reference's quirks: its luma table has rows and columns swapped, and
    sizes that are no multiple of 16 are filled up with black instead of the edge.
    """
    _, _, h, w = canvas.pixels.shape
    total = (-(-h // 16) * 16, -(-w // 16) * 16)
    alive = Canvas(canvas.pixels.clamp(0, 1), canvas.height, canvas.width)
    padded = extend(alive, before=0, total=total, mode="replicate")
    if black_border:
        padded = padded * Canvas(padded, canvas.height, canvas.width).alive()
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    ycc = torch.einsum("kc,bchw->bkhw", _TO_YCC.to(padded), padded * 255)
    luma = _quantise(ycc[:, :1] - 128, LUMA.T if transposed_luma else LUMA, factor)
    chroma = rearrange(ycc[:, 1:], "b c (h y) (w x) -> b c h w (y x)", y=2, x=2).mean(-1)
    chroma = repeat(_quantise(chroma, CHROMA, factor), "b c h w -> b c (h y) (w x)", y=2, x=2)
    rgb = torch.einsum("kc,bchw->bkhw", _TO_RGB.to(padded), torch.cat((luma + 128, chroma), 1))
    return (rgb.clamp(0, 255) / 255)[:, :, :h, :w]


def _quantise(plane: Tensor, table: Tensor, factor: Tensor) -> Tensor:
    """DCT, divide by table·factor, round, and back; plane (b, c, 8m, 8n) already centred on 0."""
    dct = _dct64(plane.device)
    blocks = rearrange(plane, "b c (m y) (n x) -> b c m n (y x)", y=8, x=8)
    steps = table.to(plane.device).reshape(64) * factor[:, None, None, None, None]
    restored = (torch.round(blocks @ dct.T / steps) * steps) @ dct
    return rearrange(restored, "b c m n (y x) -> b c (m y) (n x)", y=8, x=8)


def _dct64(device: torch.device) -> Tensor:
    """Orthonormal 2-D DCT-II of 8×8 blocks as one (64, 64) matrix."""
    n = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2 * n[None] + 1) * n[:, None] * math.pi / 16) * 0.5
    basis[0] /= math.sqrt(2)
    return torch.kron(basis, basis).float().to(device)
