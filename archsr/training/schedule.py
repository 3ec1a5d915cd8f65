"""Stages and their learning rates: which stage an iteration belongs to, and its rate there.

Arithmetic on the config, the iteration, and the ends of stages that a plateau ended early; nothing else, so that a
resumed run goes on exactly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archsr.config import DiscriminatorConfig, Stage

if TYPE_CHECKING:  # `archsr runs` needs no torch
    from archsr.evaluation.selection import Figures, Rule


@dataclass(frozen=True)
class StagePosition:
    """Where iteration `start` + `done` lies: in `stage`, number `number`, which ends at `end`."""

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
    """The learning rate of a stage's iteration `done` (0, 1, ...).

    Warm-up rises from lr / warmup to lr. Then `cosine` and `linear` fall towards `lr_end`, which the iteration after
    the last would have; `multistep` multiplies by `gamma` from each milestone on. As torch.optim.lr_scheduler has it.
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
    """The place of iteration `step` (0, 1, ...); the end of the last stage beyond the end.

    `ends`: by the number of a stage, the iteration at which a plateau ended it.
    """
    start = 0
    for number, stage in enumerate(stages):
        end = ends.get(str(number), start + stage.iterations)
        if step < end or number == len(stages) - 1:
            return StagePosition(number, stage, start, end, min(step, end) - start)
        start = end
    raise ValueError("no stages")


def total_of(stages: Sequence[Stage], ends: Mapping[str, int]) -> int:
    """All iterations of a run; with plateaus still to come, at most."""
    total = 0
    for number, stage in enumerate(stages):
        total = ends.get(str(number), total + stage.iterations)
    return total


def open_end(stages: Sequence[Stage], ends: Mapping[str, int]) -> bool:
    """Whether a plateau may still end a stage early."""
    return any(stage.until == "plateau" and str(number) not in ends for number, stage in enumerate(stages))


def generator_learns(judge: DiscriminatorConfig, step: int) -> bool:
    """Whether the generator learns in iteration `step` (0, 1, ...): after the warm-up, in every so-manieth."""
    return step >= judge.warmup and (step - judge.warmup) % judge.every == 0


def validation_due(step: int, total: int, every: int) -> bool:
    """Whether one belongs after iteration `step` (1, 2, ...) of `total`; 0 is before the first."""
    return step % every == 0 or step == total


def seconds_left(step: int, total: int, *, each: float, every: int, validating: float) -> float:
    """Until `total` from after iteration `step`, which takes `each` seconds, but before a validation that is due there.

    `validating`: seconds of a validation, one after `every` iterations and one at the end.
    """
    validations = total // every - (max(step, 1) - 1) // every + (total % every > 0)
    return (total - step) * each + validations * validating


def validation_share(*, each: float, every: int, validating: float) -> float:
    """The share of a run's time that validation takes: `validating` seconds after `every` iterations of `each`."""
    return validating / (validating + every * each)


@dataclass(frozen=True)
class Plateau:
    """Of the stage `number`: figures of its best weights, and how many validations since brought none better."""

    number: int
    best: "Figures"
    waited: int = 0


def judged(
    plateau: Plateau | None, place: StagePosition, figures: "Figures", *, start: "Figures", rule: "Rule"
) -> Plateau:
    """After another validation. A new stage begins anew; better is what the rule prefers, by at least `min_delta`."""
    if plateau is None or plateau.number != place.number:
        return Plateau(place.number, figures)
    if rule.wins(figures, plateau.best, start, least=place.stage.min_delta):
        return Plateau(place.number, figures)
    return Plateau(place.number, plateau.best, plateau.waited + 1)


def changed_at(a: Sequence[Stage], b: Sequence[Stage], ends: Mapping[str, int], step: int) -> str:
    """Where the first `step` iterations have other rates or subsets under the two, in words; empty where nowhere."""
    for n in range(step):
        x, y = place_of(a, n, ends), place_of(b, n, ends)
        if (x.lr, x.stage.subset) != (y.lr, y.stage.subset):
            there, here = (f"lr {p.lr:g}, subset {p.stage.subset:g}" for p in (x, y))
            return (
                f"training.stages: iteration {n + 1} of the {step} that are done had {there}, and would have had {here}"
                "; what comes after them can be changed"
            )
    return ""
