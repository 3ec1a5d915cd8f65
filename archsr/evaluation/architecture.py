"""Metrics for photographs of buildings that general metrics miss (tests/measure/measure_architecture.py).

All of them work offline on single images. They measure different things and should not be added up.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from archsr.evaluation.metrics import Metric
from archsr.metrics.colour import local_drift
from archsr.metrics.lines import beside_lines, compare_lines
from archsr.metrics.psnr_ssim import luma

FLAT = 4.0  # levels: an area is flat if the fine detail of the ground truth stays below this
_WINDOW = 5  # pixels: detail is the difference from the mean of a square of this side
_AROUND = 9  # pixels: nothing this near to an edge counts as flat
_SHORTEST = 10.0  # pixels: longer segments are lines, not texture
_BESIDE = 6  # pixels around lines that are not measured
_BLURS = (1.0, 2.5)  # sigmas of the blurred copies
_GRAIN = 0.03  # levels: regularises the least-squares fit
_SHARE = 0.002  # share of an image that must be flat


def architecture() -> list[Metric]:
    """Return the metrics for a score card."""
    lines = lru_cache(maxsize=1)(compare_lines)  # four metrics use the same result
    return [
        Metric("lines", "line fidelity", True, lambda sr, gt, _: lines(sr, gt).fidelity),
        Metric("lines_kept", "lines kept", True, lambda sr, gt, _: lines(sr, gt).kept),
        Metric("lines_invented", "lines invented", False, lambda sr, gt, _: lines(sr, gt).invented),
        Metric("lines_bend", "bend of lines, px", False, lambda sr, gt, _: lines(sr, gt).bend),
        Metric("colour", "colour drift, ΔE00", False, lambda sr, gt, _: float(local_drift(sr.double(), gt.double()))),
        Metric("false_texture", "false texture, levels", False, lambda sr, gt, _: false_texture(sr, gt)),
        Metric("consistency", "unlike its input, levels", False, lambda sr, gt, lq: unlike_input(sr, gt, lq)),
    ]  # fmt: skip


def false_texture(sr: Tensor, gt: Tensor) -> float:
    """Measure fine detail of `sr` in flat areas beyond what `gt` has there: RMS in levels of 255, 0 is perfect.

    Both are (1, 3, h, w) in [0, 1]. Areas near straight lines of either image are left out. Only added texture counts,
    so the result is never negative. If `sr` has more detail, `gt` is replaced by the weighted sum of itself and two
    blurred copies that is nearest to `sr`, so blur and sharpening do not count. Returns NaN if almost nothing is flat.
    """
    result, original = (_detail(p) for p in (sr, gt))
    flat = F.max_pool2d(original.abs(), _AROUND, stride=1, padding=_AROUND // 2) < FLAT
    lines = [beside_lines(p, shortest=_SHORTEST, within=_BESIDE) for p in (sr, gt)]
    flat &= ~torch.from_numpy(lines[0] | lines[1])
    if flat.double().mean() < _SHARE:
        return float("nan")
    copies = [original[flat], *(_detail(_blurred(gt, sigma))[flat] for sigma in _BLURS)]
    now, before = (float(d.square().mean().sqrt()) for d in (result[flat], copies[0]))
    filtered = float(_nearest_sum(copies, result[flat]).square().mean().sqrt())
    return max(0.0, now - max(before, filtered))


def _blurred(image: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(image.double().cpu().numpy(), (0, 0, sigma, sigma), truncate=4))


def _nearest_sum(copies: list[Tensor], wanted: Tensor) -> Tensor:
    """Return the weighted sum of `copies`, each (n,), that is nearest to `wanted`."""
    table = torch.stack(copies, 1)
    alike = table.T @ table + _GRAIN**2 * len(table) * torch.eye(len(copies), dtype=table.dtype)
    return table @ torch.linalg.solve(alike, table.T @ wanted)


def _detail(image: Tensor) -> Tensor:
    """Return luma minus its local mean, in levels, (1, 1, h, w)."""
    y = luma(image.cpu().clamp(0, 1)) * 255 * 255 / 219
    side = _WINDOW // 2
    return y - F.avg_pool2d(F.pad(y, (side,) * 4, mode="reflect"), _WINDOW, stride=1)


def unlike_input(sr: Tensor, gt: Tensor, lq: Tensor) -> float:
    """Compare how well the result and the ground truth agree with the input, in levels of 255; 0 is perfect.

    Returns the difference between two distances from the input: the result's and the ground truth's. A result that is
    nearer to the input than the ground truth has kept the input's noise. `sr` and `gt` are (1, 3, s·h, s·w), `lq` is
    (1, 3, h, w), all in [0, 1].
    """
    return abs(consistency(sr, lq) - consistency(gt, lq))


def consistency(sr: Tensor, lq: Tensor) -> float:
    """Return the mean absolute difference between `sr`, downsampled by area means, and `lq`, in levels of 255."""
    reduced = F.interpolate(sr.double().cpu(), size=lq.shape[2:], mode="area")
    return float((reduced - lq.double().cpu()).abs().mean() * 255)
