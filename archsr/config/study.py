"""What is compared in a layer study, and under which equal budget."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.table import Count, Table
from archsr.config.training import LayerGroup, TrainConfig


class Candidate(Table):
    """Layers to train, under a name for tables. `lr_scale`: times the learning rates of the common config."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    layers: Annotated[tuple[str | LayerGroup, ...], Field(min_length=1)]
    lr_scale: Annotated[float, Field(gt=0)] = 1.0


class Budget(Table):
    """What all candidates have equally much of.

    `iterations`: those of the common config. `time`: so many `minutes` of iterations on this machine; each candidate's
    stages are made longer or shorter by one factor. `memory`: the config's iterations within `gigabytes` of one device,
    with the micro-batch and the recomputing that are fastest there; a candidate that cannot is left out.
    """

    equal: Literal["iterations", "time", "memory"] = "iterations"
    minutes: Annotated[float, Field(gt=0)] | None = None
    gigabytes: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _has_its_size(self) -> Self:
        if (self.minutes is None) == (self.equal == "time"):
            raise ValueError('minutes goes with equal = "time"')
        if (self.gigabytes is None) == (self.equal == "memory"):
            raise ValueError('gigabytes goes with equal = "memory"')
        return self


class StudyConfig(Table):
    """Candidates × seeds, each trained as `train` says but for its layers.

    `measure` decides, on the validation pairs, as `validation.best` does in a run.

    `limit`: at most so many test pictures, 0 for all.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    runs: str = "runs"
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)] = (0, 1)
    measure: Literal["balance", "psnr", "ssim", "features", "niqe_distance"] = "balance"
    limit: Count = 0
    budget: Budget = Budget()
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=2)]
    train: TrainConfig

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [c.name for c in self.candidates]
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"candidates: two are called {min(doubled)!r}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each once")
        return self
