"""Metrics without ground truth: natural looks, sharpness and agreement with the input.

Downsampling a result should give its input. If it does not, the model removed noise or invented detail; no metric tells
which.
"""

import sys
from functools import lru_cache

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from archsr.evaluation.metrics import NO_REFERENCE, Metric, extra, is_cached, standard
from archsr.evaluation.pairs import reduced
from archsr.images.pixels import pixels_to_tensor, sharpness, tensor_to_pixels
from archsr.metrics.colour import local_drift
from archsr.metrics.psnr_ssim import luma, psnr

SQUARE = 32  # pixels: side of the squares of the input of which the worst counts
_PERFECT = 100.0  # dB: the maximum that is reported
_NOT_HERE = "its weights are not on this machine (`--metric {name}` downloads them)"


def metrics_without_truth(border: int, names: tuple[str, ...] = ()) -> tuple[list[Metric], dict[str, str]]:
    """Return the metrics, and the reasons for those that are not available.

    `border` pixels are cropped before NIQE. `names` are further metrics of pyiqa, which may be downloaded; those of
    `NO_REFERENCE` are added if their files are on this machine.
    """
    ours = [
        Metric("agreement", "agreement with the input, dB", True, lambda sr, _, lq: _agreement(sr, lq), False),
        Metric("agreement_worst", "agreement where it is worst, dB", True,
                lambda sr, _, lq: worst_square(downsampled(sr, lq), lq)[0], False),
        Metric("agreement_colour", "colour drift from the input, ΔE00", False,
                lambda sr, _, lq: float(local_drift(downsampled(sr, lq).double(), lq.double())), False),
        *(m for m in standard(border) if m.name == "niqe"),
        Metric("sharpness", "sharpness, levels", True, lambda sr, _, __: _sharpness(sr), False),
    ]  # fmt: skip
    wanted = dict.fromkeys([*names, *(name for name in NO_REFERENCE if is_cached(name))])
    more, missing = extra(list(wanted))
    for metric in more:
        if metric.needs_gt:
            missing[metric.name] = "it needs ground truth, which photographs do not have"
    absent = {name: _NOT_HERE.format(name=name) for name in NO_REFERENCE if name not in wanted}
    return [*ours, *(m for m in more if not m.needs_gt)], {**missing, **absent}


def _agreement(sr: Tensor, lq: Tensor) -> float:
    return min(_PERFECT, float(psnr(luma(downsampled(sr, lq)), luma(lq), border=0)))


@lru_cache(maxsize=1)  # three metrics and the worst square need it; tensors are equal by identity
def downsampled(sr: Tensor, lq: Tensor) -> Tensor:
    """Downsample (1, 3, s·h, s·w) to the size of `lq` (1, 3, h, w) by MATLAB's bicubic, in 8 bits, on the CPU."""
    return pixels_to_tensor(reduced(tensor_to_pixels(sr), sr.shape[2] // lq.shape[2]))


def worst_square(found: Tensor, lq: Tensor) -> tuple[float, int, int]:
    """Return the lowest PSNR on Y of a square of `SQUARE` pixels in dB, and its top and left.

    Both images are (1, 3, h, w) in [0, 1]. Squares are half a side apart; a smaller image is one square.
    """
    error = (luma(found) - luma(lq)).square()
    sides = [min(SQUARE, side) for side in lq.shape[2:]]
    steps = [max(1, side // 2) for side in sides]
    means = F.avg_pool2d(error, sides, stride=steps)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    decibels = -10 * means[row, column].clamp(min=10 ** (-_PERFECT / 10)).log10()
    return float(decibels), row * steps[0], column * steps[1]


def _sharpness(sr: Tensor) -> float:
    return sharpness(Image.fromarray(tensor_to_pixels(sr)), side=sys.maxsize)
