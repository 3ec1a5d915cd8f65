"""Restore every image with every model, measure the results, and gather the scores of all processes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.metrics import NAN, Metric
from archsr.evaluation.pairs import Pairs, TestPair
from archsr.evaluation.statistics.strata import difficulty_of, strength_of
from archsr.images.pixels import to_float
from archsr.upscaling.devices import comparable_numbers
from archsr.utils.progress import progress
from archsr.utils.world import World

PRIMARY = "features"  # the primary metric if no run's config names one
_TOGETHER = 16  # images of each process between collectives, so that no process runs far ahead


@dataclass(frozen=True)
class ImageScores:
    """One image: its number, key, scene and tags, and `values[model][metric]`; the model `gt` is the ground truth.

    `strength` is how much its recipe degrades, in levels; `difficulty` is the PSNR of bicubic upscaling in dB
    (strata.py).
    """

    number: int
    key: str
    scene: str
    values: dict[str, dict[str, float]]
    tags: tuple[str, ...] = ()
    strength: float = NAN
    difficulty: float = NAN


@dataclass(frozen=True, eq=False)  # compared by identity, as a cache key
class Scores:
    """The whole evaluation, in the order of the images. Every model except `baseline` is compared with it.

    `missing` gives the reason for each metric that could not be computed. `primary` is the metric that decides
    verdicts, set before the evaluation. `unjudged` gives the reason for each model without verdicts. `unit` is "crops",
    "images" or "photographs". `paths` are the lines of blends, from one end to the other. `truth`: rows have the model
    `gt`.
    """

    rows: list[ImageScores]
    compared_models: list[tuple[str, str]]
    metrics: list[Metric]
    baseline: str
    missing: dict[str, str] = field(default_factory=dict[str, str])
    primary: str = PRIMARY
    unjudged: dict[str, str] = field(default_factory=dict[str, str])
    unit: str = "images"
    paths: tuple[tuple[str, ...], ...] = ()
    truth: bool = True

    @property
    def challengers(self) -> list[str]:
        """The models that are compared with the baseline."""
        return [name for name, _ in self.compared_models if name != self.baseline]


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R", bound=ImageScores)


class Images(Protocol[T_co]):
    """A source of images, read by number."""

    def numbers(self) -> list[int]:
        """Return the numbers of the images to measure."""
        ...

    def read(self, numbers: list[int]) -> Iterable[T_co]:
        """Yield the images with these numbers."""
        ...


class EvaluationCancelledError(Exception):
    """The evaluation was cancelled before its end."""


def _ignore_images(pair: TestPair, made: Mapping[str, Tensor]) -> None:
    """Do nothing."""


def _never() -> bool:
    return False


def evaluate(
    pairs: Pairs,
    compared_models: Sequence[ComparedModel],
    metrics: Sequence[Metric],
    *,
    baseline: str = "",
    world: World | None = None,
    brief: bool = False,
    on_images: Callable[[TestPair, Mapping[str, Tensor]], None] = _ignore_images,
    is_cancelled: Callable[[], bool] = _never,
) -> Scores:
    """Restore and measure every pair. A collective: each process takes every n-th image, all get all scores.

    Images are restored one at a time, so the number of processes changes no digit. `baseline` is the model that the
    others are compared with, by default the last but one. `on_images` receives each pair and its results. `brief` is
    for validation: the bar only shows on a terminal, and rows have no strength and difficulty. Raises
    `EvaluationCancelledError` on all ranks if `is_cancelled`, called before each image, is true on any.
    """

    def of(pair: TestPair) -> ImageScores:
        return measure_pair(pair, compared_models, metrics, scale=None if brief else pairs.scale, on_images=on_images)

    rows = measure_all(pairs, of, world=world or World(), brief=brief, is_cancelled=is_cancelled)  # all ranks
    titles = [(c.name, c.title) for c in compared_models]
    chosen = baseline or titles[max(0, len(titles) - 2)][0]
    return Scores(rows, titles, list(metrics), chosen)


def measure_all(
    images: Images[T],
    of: Callable[[T], R],
    *,
    world: World,
    brief: bool = False,
    is_cancelled: Callable[[], bool] = _never,
) -> list[R]:
    """Return what `of` makes of each image, by number, and show the progress.

    A collective: each process takes every n-th image, all get all rows. Networks compute without TF32. `brief` and
    `is_cancelled` are as in `evaluate`.
    """
    numbers = images.numbers()
    rows: list[R] = []
    title = "validating" if brief else "evaluating"
    with progress(title, len(numbers), unit="image", shown=world.rank == 0) as advance:
        for start in range(0, len(numbers), _TOGETHER * world.size):
            part = numbers[start : start + _TOGETHER * world.size]
            own: list[R] = []
            for image in images.read(part[world.rank :: world.size]):
                if is_cancelled():
                    break
                with comparable_numbers():
                    own.append(of(image))
                advance(min(world.size, len(part) - world.size * (len(own) - 1)))
            shares = world.gather(None if is_cancelled() else own)  # all ranks
            if any(share is None for share in shares):
                raise EvaluationCancelledError
            rows += [row for share in shares for row in share or []]
    return sorted(rows, key=lambda row: row.number)


def measure_pair(
    pair: TestPair,
    compared_models: Sequence[ComparedModel],
    metrics: Sequence[Metric],
    *,
    scale: int | None,
    on_images: Callable[[TestPair, Mapping[str, Tensor]], None] = _ignore_images,
) -> ImageScores:
    """Measure one image restored by every model. Without a scale, skip strength and difficulty."""
    lq, gt = to_float(pair.lq)[None], to_float(pair.gt)[None]
    made = {c.name: quantised(c.restore(lq)) for c in compared_models}
    on_images(pair, made)
    values = {name: _figures(sr, gt, lq, metrics) for name, sr in made.items()}
    values["gt"] = {m.name: NAN if m.needs_gt else m.of(gt, gt, lq) for m in metrics}
    row = ImageScores(pair.number, pair.key, pair.scene, values, pair.tags)
    if scale is None:
        return row
    strength = NAN if pair.recipe is None else strength_of(pair.recipe)
    return replace(row, strength=strength, difficulty=difficulty_of(pair.gt, scale))


def _figures(sr: Tensor, gt: Tensor, lq: Tensor, metrics: Sequence[Metric]) -> dict[str, float]:
    return {m.name: m.of(sr, gt, lq) for m in metrics}


def quantised(image: Tensor) -> Tensor:
    """Round to 8 bits, as in a file."""
    return (image.clamp(0, 1) * 255).round().div(255).to(torch.float32)
