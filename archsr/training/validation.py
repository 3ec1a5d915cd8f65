"""Validation during training, with the function of `archsr evaluate` in float32, so that the numbers are equal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.metrics import Metric
from archsr.evaluation.pairs import Pairs, TestPair
from archsr.evaluation.selection import Figures, figures_of, mean
from archsr.evaluation.suite import evaluate
from archsr.images.pixels import tensor_to_pixels, to_float
from archsr.models.base import Generator
from archsr.training.compiling import eager
from archsr.training.logging.sheets import SIDE, Seen, of_each_scene
from archsr.upscaling.upscaler import Upscaler
from archsr.utils.world import World


@dataclass(frozen=True)
class Validation:
    """All values by metric and scene, equal on every rank and for any number of ranks; and images of rank 0."""

    figures: Figures
    images: int
    seen: list[Seen]

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the images."""
        return {name: mean(scenes) for name, scenes in self.figures.items()}


def validate(
    net: Generator,
    pairs: Pairs,
    metrics: Sequence[Metric],
    *,
    images: int,
    device: torch.device,
    world: World,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Validation:
    """Restore the validation pairs with `net` (unwrapped, in float32) and measure the metrics. A collective.

    Raises `EvaluationCancelledError` if `is_cancelled`, called before every image, is true on any rank.
    """
    seen: list[Seen] = []

    def look(pair: TestPair, made: Mapping[str, Tensor]) -> None:
        if world.rank == 0 and images:
            seen[:] = of_each_scene([*seen, _seen(pair, made["now"])], images)

    now = ComparedModel("now", "now", Upscaler(net, device=device, tile=0).restore)
    with eager():
        scores = evaluate(pairs, [now], metrics, world=world, brief=True, on_images=look, is_cancelled=is_cancelled)
    return Validation(figures_of(scores, "now"), len(scores.rows), seen)


def _seen(pair: TestPair, sr: Tensor) -> Seen:
    """Return the nearest-neighbour upscaled input, the result and the ground truth, each cropped to its centre."""
    lq, gt = to_float(pair.lq)[None], to_float(pair.gt)[None]
    enlarged = F.interpolate(lq, size=sr.shape[2:], mode="nearest")
    top, left = ((length - min(SIDE, length)) // 2 for length in sr.shape[2:])
    shown = (tensor_to_pixels(p[:, :, top : top + SIDE, left : left + SIDE]) for p in (enlarged, sr, gt))
    return Seen(pair.key, pair.scene, *shown)
