"""What is compared in a layer study, and under which equal budget."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from archsr.config.table import Count, Table
from archsr.config.training import LayerGroup, TrainConfig


class Candidate(Table):
    """Layers that are compared with others."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Its name in tables.", examples=["last"]
    )
    layers: Annotated[tuple[str | LayerGroup, ...], Field(min_length=1)] = Field(
        description="What is trained, as of training.layers.", examples=[["conv_last"]]
    )
    lr_scale: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Factor of its learning rates upon those of the common config."
    )


class Budget(Table):
    """What all candidates have equally much of."""

    equal: Literal["iterations", "time", "memory"] = Field(
        default="iterations",
        description='"iterations": those of the common config; "time": so many minutes of iterations on this machine, '
        'for which the stages are made longer or shorter by one factor; "memory": the iterations of the config within '
        "so many gigabytes of one device, in the way that is fastest there (a candidate that cannot is left out).",
    )
    minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description='Minutes of each candidate, with "time" only.'
    )
    gigabytes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description='Memory of the device in GB, with "memory" only.'
    )

    @model_validator(mode="after")
    def _has_its_size(self) -> Self:
        if (self.minutes is None) == (self.equal == "time"):
            raise ValueError('minutes goes with equal = "time"')
        if (self.gigabytes is None) == (self.equal == "memory"):
            raise ValueError('gigabytes goes with equal = "memory"')
        return self


class StudyConfig(Table):
    """A layer study: candidates × seeds, each trained as `train` says but for its layers."""

    renamed: ClassVar[Mapping[str, str]] = {"measure": "metric"}

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the study. Everything lies in runs/name.", examples=["layer_study"]
    )
    runs: str = Field(default="runs", description="Folder of the run folders.")
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)] = Field(
        default=(0, 1),
        description="Seeds of the order of samples, crops, degradations and noise. Each candidate is trained with all.",
    )
    metric: Literal["balance", "psnr", "ssim", "features", "niqe_distance"] = Field(
        default="balance",
        description="What decides which candidate wins, on the validation pairs, as validation.best does in a run.",
    )
    limit: Count = Field(default=0, description="The most test images that are used; 0: all.")
    budget: Budget = Budget()
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=2)] = Field(
        description="What is compared, one [[candidates]] each, at least two."
    )
    train: TrainConfig = Field(description="A whole training config, without runs and seeds of its own.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [c.name for c in self.candidates]
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"candidates: two are called {min(doubled)!r}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each once")
        return self
