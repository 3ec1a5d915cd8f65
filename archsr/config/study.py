"""Settings of a layer study: the candidates and their equal budget."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from archsr.config.table import Count, Table
from archsr.config.training import LayerGroup, TrainConfig


class Candidate(Table):
    """Layers to compare with others."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name in tables.", examples=["last"]
    )
    layers: Annotated[tuple[str | LayerGroup, ...], Field(min_length=1)] = Field(
        description="Layers to train, as in training.layers.", examples=[["conv_last"]]
    )
    lr_scale: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Learning rates relative to those of the common config."
    )


class Budget(Table):
    """The budget that is equal for all candidates."""

    equal: Literal["iterations", "time", "memory"] = Field(
        default="iterations",
        description=(
            '"iterations": those of the common config; "time": this many minutes of iterations on this machine, with '
            'all stages scaled by one factor; "memory": the iterations of the config within this many gigabytes of '
            "one device, in the fastest way that fits (other candidates are left out)."
        ),
    )
    minutes: Annotated[float, Field(gt=0)] | None = Field(default=None, description='Minutes each; only with "time".')
    gigabytes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description='Memory of the device in GB; only with "memory".'
    )

    @model_validator(mode="after")
    def _has_its_size(self) -> Self:
        if (self.minutes is None) == (self.equal == "time"):
            raise ValueError('set minutes if, and only if, equal = "time"')
        if (self.gigabytes is None) == (self.equal == "memory"):
            raise ValueError('set gigabytes if, and only if, equal = "memory"')
        return self


class StudyConfig(Table):
    """A layer study: candidates × seeds, each trained as `train` says except for its layers."""

    renamed: ClassVar[Mapping[str, str]] = {"measure": "metric"}

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the study. Its folder is runs/name.", examples=["layer_study"]
    )
    runs: str = Field(default="runs", description="Folder of the run folders.")
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)] = Field(
        default=(0, 1),
        description="Random seeds of sample order, crops, degradations and noise. Each candidate is trained with all.",
    )
    metric: Literal["balance", "psnr", "ssim", "features", "niqe_distance"] = Field(
        default="balance",
        description="The metric that chooses the winner on the validation pairs, like validation.best in a run.",
    )
    limit: Count = Field(default=0, description="Maximum number of test images; 0: all.")
    budget: Budget = Budget()
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=2)] = Field(
        description="At least two candidates, each a table [[candidates]]."
    )
    train: TrainConfig = Field(description="A complete training config, without runs and seed.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [c.name for c in self.candidates]
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"candidates: two have the name {min(doubled)!r}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each once")
        return self
