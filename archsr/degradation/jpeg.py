"""JPEG compression of a batch, each sample at its own quality; the DCT is a product with a 64×64 matrix.

It follows the reference's differentiable JPEG without its gradients: real-valued quality, a table that is scaled but
not rounded, coefficients rounded half to even, and a result that is clamped but not rounded to 8 bits. Colours are
averaged before, and after that repeated (the reference, which has 4:2:0 only) or interpolated (libjpeg's default).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from archsr.degradation.canvas import Canvas, extend

SAMPLINGS = ("4:2:0", "4:2:2", "4:4:0", "4:4:4", "4:2:0 interpolated", "4:2:2 interpolated", "4:4:0 interpolated")
TABLES = ("standard", "robidoux", "flat")  # by number, in the order of config.JpegTables
INTERPOLATED = 4  # the first of them, by number
_CELLS = ((2, 2), (1, 2), (2, 1), (1, 1), (2, 2), (1, 2), (2, 1))  # rows and columns of pixels that share one colour

# ITU T.81 Annex K; rows are vertical frequencies
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
# N. Robidoux's table for luma and chroma, the default of MozJPEG (github.com/mozilla/mozjpeg, jcparam.c, set 3)
ROBIDOUX = torch.tensor(
    [
        [16, 16, 16, 18, 25, 37, 56, 85],
        [16, 17, 20, 27, 34, 40, 53, 75],
        [16, 20, 24, 31, 43, 62, 91, 135],
        [18, 27, 31, 40, 53, 74, 106, 156],
        [25, 34, 43, 53, 69, 94, 131, 189],
        [37, 40, 62, 74, 94, 124, 169, 238],
        [56, 53, 91, 106, 131, 169, 226, 311],
        [85, 75, 135, 156, 189, 238, 311, 418],
    ],
    dtype=torch.float32,
)
FLAT = torch.full((8, 8), 16.0)  # the same source, set 1
CHROMA = torch.full((8, 8), 99.0)
CHROMA[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])

_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_TO_RGB = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])


def jpeg(
    canvas: Canvas,
    quality: Tensor,
    *,
    transposed_luma: bool = False,
    black_border: bool = False,
    sampling: Tensor | None = None,
    present: Collection[int] = (0,),
    table: Tensor | None = None,
) -> Tensor:
    """Compress each sample of the canvas at `quality` (b,) in [1, 100]; pixels (b, 3, H, W) in [0, 1].

    `sampling`: int (b,) on the canvas's device, places in SAMPLINGS, needed only if `present`, the places that occur,
    are several. `transposed_luma` and `black_border` are quirks of the reference: its luma table has rows and columns
    swapped, and sizes that are no multiple of 16 are padded with black instead of the edge. `table`: int (b,), places
    in TABLES, the standard one without it; the others are scaled alike, to at most 255 as in a baseline file.
    """
    b, _, h, w = canvas.pixels.shape
    total = (-(-h // 16) * 16, -(-w // 16) * 16)
    clamped = canvas.with_pixels(canvas.pixels.clamp(0, 1))
    padded = extend(clamped, before=0, total=total, mode="replicate")
    if black_border and not (canvas.whole and (h, w) == total):
        padded = padded * Canvas(padded, canvas.height, canvas.width).valid()
    tables = _constants(padded.device)
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    ycc = ((tables.to_ycc * 255) @ padded.flatten(2)).view(b, 3, *total)
    of_luma, of_chroma = tables.luma_transposed if transposed_luma else tables.luma, tables.chroma
    if table is not None:
        of_luma, of_chroma = (_chosen(standard, table, factor) for standard in (of_luma, of_chroma))
    luma = _quantise(ycc[:, :1] - 128, of_luma, factor)
    colours = Canvas(ycc[:, 1:], canvas.height, canvas.width)
    planes = {number: _chroma(colours, number, of_chroma, factor) for number in sorted(present)}
    _, chroma = planes.popitem()
    for number, other in planes.items():
        assert sampling is not None
        chroma = torch.where((sampling == number)[:, None, None, None], other, chroma)
    ycc[:, :1] = luma
    ycc[:, 1:] = chroma
    rgb = (tables.to_rgb @ ycc.flatten(2)).view(b, 3, *total)
    return rgb.add_(128).clamp_(0, 255).div_(255)[:, :, :h, :w]


def _chosen(standard: Tensor, table: Tensor, factor: Tensor) -> Tensor:
    """Return (b, 1, 1, 1, 64): each sample's table in TABLES."""
    others = _constants(table.device).others[(table - 1).clamp(min=0)]
    own = others.minimum(255 / factor[:, None])
    return torch.where((table == 0)[:, None], standard, own)[:, None, None, None]


def _chroma(colours: Canvas, number: int, table: Tensor, factor: Tensor) -> Tensor:
    """Compress the colours, whose canvas is padded to whole blocks, as in SAMPLINGS[number]."""
    y, x = _CELLS[number]
    small = colours.pixels if (y, x) == (1, 1) else F.avg_pool2d(colours.pixels, (y, x))
    small = _quantise(small, table, factor)
    if number < INTERPOLATED:
        return repeat(small, "b c h w -> b c (h y) (w x)", y=y, x=x)
    (h, w), sides = small.shape[2:], ((colours.height + y - 1) // y, (colours.width + x - 1) // x)
    around = extend(Canvas(small, *sides), before=1, total=(h + 2, w + 2), mode="replicate")
    return F.interpolate(around, scale_factor=(y, x), mode="bilinear", align_corners=False)[:, :, y:-y, x:-x]


def _quantise(plane: Tensor, table: Tensor, factor: Tensor) -> Tensor:
    """Apply the DCT, divide by table·factor, round, and invert; `plane` (b, c, 8m, 8n) is centred on 0."""
    dct = _constants(plane.device).dct
    blocks = rearrange(plane, "b c (m y) (n x) -> b c m n (y x)", y=8, x=8)
    steps = table * factor[:, None, None, None, None]
    restored = (blocks @ dct.T).div_(steps).round_().mul_(steps) @ dct
    return rearrange(restored, "b c m n (y x) -> b c (m y) (n x)", y=8, x=8)


@dataclass(frozen=True)
class _Constants:
    """Tables of 64 in the row order of a block, the DCT of 8×8 blocks as (64, 64), and the colour matrices.

    `others` (2, 64): those of TABLES after the standard.
    """

    luma: Tensor
    luma_transposed: Tensor
    chroma: Tensor
    others: Tensor
    dct: Tensor
    to_ycc: Tensor
    to_rgb: Tensor


@lru_cache(maxsize=8)
def _constants(device: torch.device) -> _Constants:
    n = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2 * n[None] + 1) * n[:, None] * math.pi / 16) * 0.5
    basis[0] /= math.sqrt(2)
    dct = torch.kron(basis, basis).float()
    others = torch.stack([ROBIDOUX.reshape(64), FLAT.reshape(64)])
    flat = (LUMA.reshape(64), LUMA.T.reshape(64), CHROMA.reshape(64), others, dct, _TO_YCC, _TO_RGB)
    return _Constants(*(tensor.to(device) for tensor in flat))
