"""What matters in photographs of buildings and is in no general metric (tests/measure/measure_architecture.py).

All work offline on single images. They ask different questions and are not meant to be added up.
"""

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from archsr.evaluation.metrics import Metric
from archsr.evaluation.recent import Recent
from archsr.metrics.colour import local_drift
from archsr.metrics.lines import beside_lines, compare_lines
from archsr.metrics.psnr_ssim import luma

FLAT = 4.0  # levels: where the original's fine detail stays below, it is flat
_WINDOW = 5  # pixels: detail is what differs from the mean of such a square
_AROUND = 9  # pixels: of an edge so near nothing is called flat
_SHORTEST = 10.0  # pixels: longer segments are lines, no texture
_BESIDE = 6  # pixels: so near to them nothing is judged
_BLURS = (1.0, 2.5)  # sigmas of the copies
_GRAIN = 0.03  # levels: weaker detail explains nothing
_SHARE = 0.002  # of an image that must be flat


def architecture() -> list[Metric]:
    """The metrics, as a score card takes them."""
    lines = Recent(compare_lines, most=1)  # four figures are wanted of two images
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
    """Fine detail of `sr` where `gt` is flat and neither has straight lines, beyond what `gt` has there, as RMS in
    levels of 255; 0 is perfect.

    Both (1, 3, h, w) in [0, 1]. Only added texture counts: below zero it is 0. What `gt` has is taken as blurred or as
    sharpened as `sr` is, where that is more: the sum of it and two blurred copies that is nearest to `sr`. NaN where
    almost nothing is flat.
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
    """By a Gaussian, edges reflected."""
    return torch.from_numpy(gaussian_filter(image.double().cpu().numpy(), (0, 0, sigma, sigma), truncate=4))


def _nearest_sum(copies: list[Tensor], wanted: Tensor) -> Tensor:
    """The weighted sum of `copies`, each (n,), that is nearest to `wanted`."""
    table = torch.stack(copies, 1)
    alike = table.T @ table + _GRAIN**2 * len(table) * torch.eye(len(copies), dtype=table.dtype)
    return table @ torch.linalg.solve(alike, table.T @ wanted)


def _detail(image: Tensor) -> Tensor:
    """Luma minus its mean around, in levels, (1, 1, h, w)."""
    y = luma(image.cpu().clamp(0, 1)) * 255 * 255 / 219
    side = _WINDOW // 2
    return y - F.avg_pool2d(F.pad(y, (side,) * 4, mode="reflect"), _WINDOW, stride=1)


def unlike_input(sr: Tensor, gt: Tensor, lq: Tensor) -> float:
    """How much nearer or farther than the original a result is to its input, in levels of 255; 0 is perfect.

    A result should agree with what was seen. But `lq` is degraded: the original itself differs from it, and a result
    that differs less repeats its noise. `sr` and `gt` (1, 3, s·h, s·w), `lq` (1, 3, h, w) in [0, 1].
    """
    return abs(consistency(sr, lq) - consistency(gt, lq))


def consistency(sr: Tensor, lq: Tensor) -> float:
    """Mean absolute difference between the areas' means of `sr` and `lq`, in levels of 255."""
    reduced = F.interpolate(sr.double().cpu(), size=lq.shape[2:], mode="area")
    return float((reduced - lq.double().cpu()).abs().mean() * 255)
