"""Stages and learning rates: the stage of an iteration, and its learning rate.

Everything depends only on the config, the iteration, and the stages that a plateau ended, so a resumed run is exact.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsr.config import DiscriminatorConfig, Stage

if TYPE_CHECKING:  # for types only: `archsr runs` needs no torch
    from archsr.evaluation.selection import Figures, Rule


@dataclass(frozen=True)
class StagePosition:
    """The position of iteration `start` + `done` in `stage`, number `number`, which ends at `end`."""

    number: int
    stage: Stage
    start: int
    end: int
    done: int

    @property
    def lr(self) -> float:
        """The learning rate of the iteration."""
        return lr_at(self.stage, self.done)


def lr_at(stage: Stage, done: int) -> float:
    """Return the learning rate of a stage's iteration `done` (0, 1, ...).

    Warm-up rises from lr / warmup to lr. Then `cosine` and `linear` fall towards `lr_end`, which would be reached one
    iteration after the last; `multistep` multiplies by `gamma` at each milestone. This matches
    torch.optim.lr_scheduler.
    """
    if done < stage.warmup:
        return stage.lr * (done + 1) / stage.warmup
    share = (done - stage.warmup) / max(1, stage.iterations - stage.warmup)
    if stage.schedule == "cosine":
        return stage.lr_end + (stage.lr - stage.lr_end) * (1 + math.cos(math.pi * share)) / 2
    if stage.schedule == "linear":
        return stage.lr + (stage.lr_end - stage.lr) * share
    if stage.schedule == "multistep":
        return stage.lr * stage.gamma ** sum(m <= done for m in stage.milestones)
    return stage.lr


def place_of(stages: Sequence[Stage], step: int, ends: Mapping[str, int]) -> StagePosition:
    """Return the position of iteration `step` (0, 1, ...), or the end of the last stage if `step` is beyond it.

    `ends` maps the number of a stage to the iteration at which a plateau ended it.
    """
    start = 0
    for number, stage in enumerate(stages):
        end = ends.get(str(number), start + stage.iterations)
        if step < end or number == len(stages) - 1:
            return StagePosition(number, stage, start, end, min(step, end) - start)
        start = end
    raise ValueError("no stages")


def total_of(stages: Sequence[Stage], ends: Mapping[str, int]) -> int:
    """Return the number of iterations of a run. It is a maximum if plateaus are still possible."""
    total = 0
    for number, stage in enumerate(stages):
        total = ends.get(str(number), total + stage.iterations)
    return total


def open_end(stages: Sequence[Stage], ends: Mapping[str, int]) -> bool:
    """Return whether a plateau may still end a stage early."""
    return any(stage.until == "plateau" and str(number) not in ends for number, stage in enumerate(stages))


def generator_learns(judge: DiscriminatorConfig, step: int) -> bool:
    """Return whether the generator is trained in iteration `step` (0, 1, ...): every n-th after the warm-up."""
    return step >= judge.warmup and (step - judge.warmup) % judge.every == 0


def validation_due(step: int, total: int, every: int) -> bool:
    """Return whether to validate after iteration `step` (1, 2, ...) of `total`, or before the first (0)."""
    return step % every == 0 or step == total


def seconds_left(step: int, total: int, *, each: float, every: int, validating: float) -> float:
    """Return the seconds from iteration `step` to `total`, at `each` seconds per iteration.

    `validating`: seconds of a validation; there is one every `every` iterations and one at the end. One that is due at
    `step` is still to come.
    """
    validations = total // every - (max(step, 1) - 1) // every + (total % every > 0)
    return (total - step) * each + validations * validating


def validation_share(*, each: float, every: int, validating: float) -> float:
    """Return validation's share of a run's time: `validating` seconds after `every` iterations of `each`."""
    return validating / (validating + every * each)


@dataclass(frozen=True)
class Plateau:
    """The metrics of the best weights in stage `number`, and the number of validations since."""

    number: int
    best: "Figures"
    waited: int = 0


def updated_plateau(
    plateau: Plateau | None, place: StagePosition, figures: "Figures", *, start: "Figures", rule: "Rule"
) -> Plateau:
    """Update the plateau after a validation. A new stage starts afresh.

    An improvement is what the rule prefers, by at least `min_delta`.
    """
    if plateau is None or plateau.number != place.number:
        return Plateau(place.number, figures)
    if rule.wins(figures, plateau.best, start, least=place.stage.min_delta):
        return Plateau(place.number, figures)
    return Plateau(place.number, plateau.best, plateau.waited + 1)


def changed_at(a: Sequence[Stage], b: Sequence[Stage], ends: Mapping[str, int], step: int) -> str:
    """Return the first of `step` iterations with another learning rate or subset, in words, or ""."""
    for n in range(step):
        x, y = place_of(a, n, ends), place_of(b, n, ends)
        if (x.lr, x.stage.subset) != (y.lr, y.stage.subset):
            there, here = (f"lr {p.lr:g}, subset {p.stage.subset:g}" for p in (x, y))
            return (
                f"training.stages: iteration {n + 1} of the {step} that are done had {there}, the config gives {here}"
                "; only later iterations can be changed"
            )
    return ""
