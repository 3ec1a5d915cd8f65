"""Resampling as two matrix products, so that every sample of a batch can have its own factor and mode.

The rows of a matrix are the weights of `torch.nn.functional.interpolate` (area, bilinear and bicubic with a = -0.75;
`align_corners=False`, no antialiasing). The tests compare the two. One difference: if a factor other than 1 leaves the
size unchanged, interpolate copies for some modes on some devices; here the factor always counts. Lanczos and nearest
are PIL's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.degradation.canvas import Canvas, full, send

AREA, BILINEAR, BICUBIC = range(3)
LANCZOS, NEAREST = 4, 5  # 3 is MATLAB's bicubic, in `halving.py`
_ALL = (AREA, BILINEAR, BICUBIC, LANCZOS, NEAREST)
_LOBES = 3  # of Lanczos, on each side


def resize(
    canvas: Canvas, height: Tensor, width: Tensor, mode: Tensor, *, total: tuple[int, int], factor: Tensor | None = None
) -> Canvas:
    """Resample each sample to `height`, `width` (b,) on a canvas of `total`; `mode` (b,) is one of the five.

    With `factor` (b,) the coordinates follow it exactly, otherwise the ratio of the sizes (like interpolate's
    `scale_factor` and `size`). A factor of 1 or an unchanged size returns exactly the same pixels. If `mode` is on the
    CPU, only the modes that occur are computed.
    """
    device = canvas.pixels.device
    if device.type == "cpu" and len(mode) == 1 and canvas.whole and (int(height), int(width)) == total:
        single = _single(canvas, int(mode), total, None if factor is None else float(factor))
        if single is not None:
            return single
    present = frozenset(mode.tolist()) if mode.device.type == "cpu" else frozenset(_ALL)
    mode = send(mode, device) if mode.device.type == "cpu" else mode
    columns, rows = canvas.pixels.shape[3], canvas.pixels.shape[2]
    vertical = _matrix(canvas.height, height, mode, factor, shape=(total[0], rows), present=present)
    horizontal = _matrix(canvas.width, width, mode, factor, shape=(total[1], columns), present=present)
    pixels = canvas.pixels if canvas.whole else canvas.pixels.masked_fill(~canvas.valid(), 0)
    return Canvas(vertical[:, None] @ pixels @ horizontal.mT[:, None], height, width)


def _single(canvas: Canvas, mode: int, total: tuple[int, int], factor: float | None) -> Canvas | None:
    """Resample one sample on a CPU by interpolate itself, if it computes the same: it needs no matrices."""
    sides = canvas.pixels.shape[2], canvas.pixels.shape[3]
    if total == sides and factor in (None, 1.0):
        return canvas
    if factor is not None and (total[0] in (1, sides[0]) or total[1] in (1, sides[1])):
        return None
    if mode in (LANCZOS, NEAREST):
        return None
    if mode == AREA:
        return full(F.adaptive_avg_pool2d(canvas.pixels, total))
    name = "bilinear" if mode == BILINEAR else "bicubic"
    if factor is None:
        return full(F.interpolate(canvas.pixels, size=total, mode=name, align_corners=False))
    return full(F.interpolate(canvas.pixels, scale_factor=factor, mode=name, align_corners=False))


def _matrix(
    source: Tensor,
    target: Tensor,
    mode: Tensor,
    factor: Tensor | None,
    *,
    shape: tuple[int, int],
    present: frozenset[int],
) -> Tensor:
    """Return (b, out, in) weights; rows beyond `target` and columns beyond `source` are zero."""
    ratio = (source / target if factor is None else 1 / factor).float()[:, None]
    place = torch.arange(shape[0], device=source.device)[None]
    weights = torch.zeros(len(source), *shape, device=source.device)
    families: dict[int, Callable[[], Tensor]] = {
        AREA: lambda: _area(source[:, None], target[:, None], place, shape[1]),
        BILINEAR: lambda: _bilinear(source[:, None], ratio, place, shape[1]),
        BICUBIC: lambda: _bicubic(source[:, None], ratio, place, shape[1]),
        LANCZOS: lambda: _lanczos(source[:, None], ratio, place, shape[1]),
        NEAREST: lambda: _nearest(source[:, None], ratio, place, shape[1]),
    }
    for number in sorted(present):
        weights = torch.where((mode == number)[:, None, None], families[number](), weights)
    return weights * (place < target[:, None])[:, :, None]


def _area(source: Tensor, target: Tensor, place: Tensor, width: int) -> Tensor:
    """Average over [floor(i·in/out), ceil((i+1)·in/out)), like adaptive average pooling."""
    start = (place * source) // target
    end = ((place + 1) * source + target - 1) // target
    column = torch.arange(width, device=source.device)
    inside = (column >= start[:, :, None]) & (column < end[:, :, None])
    return inside / (end - start)[:, :, None]


def _bilinear(source: Tensor, ratio: Tensor, place: Tensor, width: int) -> Tensor:
    at = ((place + 0.5) * ratio - 0.5).clamp(min=0)
    left = at.floor().long().minimum(source - 1)
    share = (at - left).clamp(max=1)
    right = (left + 1).minimum(source - 1)
    return _put(left, 1 - share, width) + _put(right, share, width)


def _bicubic(source: Tensor, ratio: Tensor, place: Tensor, width: int) -> Tensor:
    at = (place + 0.5) * ratio - 0.5
    base = at.floor()
    t = at - base
    taps = (_outer(t + 1), _inner(t), _inner(1 - t), _outer(2 - t))
    weights = torch.zeros(1, device=source.device)
    for offset, tap in enumerate(taps):
        index = (base.long() + offset - 1).clamp(min=0).minimum(source - 1)
        weights = weights + _put(index, tap, width)
    return weights


def _lanczos(source: Tensor, ratio: Tensor, place: Tensor, width: int) -> Tensor:
    """Return the weights of sinc(x) · sinc(x / 3), widened by the ratio when downscaling."""
    wide = ratio.clamp(min=1)[:, :, None]
    column = torch.arange(width, device=source.device)
    x = (column + 0.5 - ((place + 0.5) * ratio)[:, :, None]) / wide
    inside = (x.abs() < _LOBES) & (column < source[:, :, None])
    weights = torch.sinc(x) * torch.sinc(x / _LOBES) * inside
    total = weights.sum(2, keepdim=True)
    return weights / torch.where(total == 0, 1.0, total)  # places far beyond the image's edge have no weight


def _nearest(source: Tensor, ratio: Tensor, place: Tensor, width: int) -> Tensor:
    index = ((place + 0.5) * ratio).floor().long().minimum(source - 1)
    return _put(index, torch.ones_like(index, dtype=torch.float32), width)


def _inner(x: Tensor, a: float = -0.75) -> Tensor:
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _outer(x: Tensor, a: float = -0.75) -> Tensor:
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _put(index: Tensor, value: Tensor, width: int) -> Tensor:
    """Turn (b, out) indices and values into (b, out, width) with one entry per row."""
    columns = torch.arange(width, device=index.device)
    return (columns == index[:, :, None]) * value[:, :, None]
