"""Settings of the preparation: how a folder of photographs becomes shards."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.degrade import DegradeConfig
from archsr.config.table import Count, Positive, Table, Unit


class PrepareConfig(Table):
    """How a folder of photographs becomes shards."""

    seed: Count = 0
    scale: Literal[1, 2, 3, 4] = 4
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    tile: Annotated[int, Field(ge=64, multiple_of=4)] = 512
    min_side: Positive = 288
    pair_size: Annotated[int, Field(ge=32, multiple_of=4)] = 512
    pairs_per_photo: Positive = 4
    drawings: Literal["leave_out", "keep"] = "leave_out"
    drawing_threshold: Unit = 0.5
    bad_files: Literal["skip", "raise"] = "skip"
    max_bad_share: Unit = 0.5
    max_pixels: Positive = 150_000_000
    samples_per_shard: Positive = 512
    degrade: DegradeConfig = DegradeConfig()

    @property
    def multiple(self) -> int:
        """What the sides of evaluation pairs must be multiples of: ×1 and ×2 networks fold 4 or 2 pixels into one."""
        return 3 if self.scale == 3 else 4

    @model_validator(mode="after")
    def _leaves_a_train_split(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; nothing is left to train on")
        if self.degrade.margin % self.multiple or self.pair_size % self.multiple:
            raise ValueError(f"degrade.margin and pair_size must be multiples of {self.multiple} at scale {self.scale}")
        smallest = self.degrade.margin + 64
        if self.min_side < smallest:
            raise ValueError(f"min_side ({self.min_side}) must be at least degrade.margin + 64 ({smallest})")
        return self
