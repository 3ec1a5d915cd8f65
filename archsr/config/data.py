"""Settings of the training data."""

from typing import Annotated

from pydantic import Field

from archsr.config.table import Count, Positive, Table


class TagChoice(Table):
    """Select training samples by the tags that `archsr prepare` gave them."""

    only: tuple[str, ...] = Field(
        default=(), description="Train on samples with any of these tags (patterns with * and ?). Empty: all samples."
    )
    without: tuple[str, ...] = Field(default=(), description="Leave out samples with any of these tags (patterns).")
    balance: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={},
        description="Relative frequencies of tags: { interior = 1, exterior = 1 }. Samples of rare tags are repeated.",
    )


class DataConfig(Table):
    """The source of the training samples."""

    shards: str = Field(
        default="shards/photos",
        description="The dataset: a folder, or a URL (s3://, hf://datasets/, https:// or others that fsspec supports).",
    )
    cache: str = Field(
        default="shards/.cache",
        description='Cache folder for shards from a URL, shared by the processes of a machine, e.g. "$TMPDIR/shards".',
    )
    cache_gb: Annotated[float, Field(gt=0)] = Field(
        default=50.0, description="Maximum size of the cache in GB. It must hold at least two windows of shards."
    )
    retries: Count = Field(default=7, description="Retries of a failed transfer, after 0.5, 1, 2, ... 30 seconds.")
    tags: TagChoice = TagChoice()
    gt_size: Annotated[int, Field(ge=32, multiple_of=8)] = Field(
        default=256, description="Side of the ground-truth crop in pixels; a multiple of 8."
    )
    hflip: bool = Field(default=True, description="Mirror half of the crops horizontally.")
    rot90: bool = Field(
        default=False,
        description="Rotate crops by 0 to 3 quarter turns. Off by default, because buildings are upright.",
    )
    window: Positive = Field(default=8, description="Number of shards whose samples are shuffled together.")
    workers: Count = Field(default=4, description="Decoding processes per GPU; 0: the training process decodes.")
