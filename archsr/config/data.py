"""Settings of where training samples come from."""

from typing import Annotated

from pydantic import Field

from archsr.config.table import Count, Positive, Table


class TagChoice(Table):
    """Training samples by the tags that `archsr prepare` gave them."""

    only: tuple[str, ...] = Field(
        default=(), description="Train on samples with any of these tags (patterns with * and ?). Empty: on all."
    )
    without: tuple[str, ...] = Field(default=(), description="Leave out samples with any of these tags (patterns).")
    balance: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={},
        description="Shares in which tags are seen: { interior = 1, exterior = 1 }. The rarer ones are repeated.",
    )


class DataConfig(Table):
    """Where training samples come from."""

    shards: str = Field(
        default="shards/photos",
        description="A dataset: a folder, or a URL (s3://, hf://datasets/, https:// and what else fsspec knows).",
    )
    cache: str = Field(
        default="shards/.cache",
        description='Folder for copies of shards at a URL, for all processes of a machine; e.g. "$TMPDIR/shards".',
    )
    cache_gb: Annotated[float, Field(gt=0)] = Field(
        default=50.0, description="The most that the cache holds, in GB; at least two windows of shards."
    )
    retries: Count = Field(
        default=7, description="How often a failed transfer is tried again, after 0.5, 1, 2, ... 30 seconds."
    )
    tags: TagChoice = TagChoice()
    gt_size: Annotated[int, Field(ge=32, multiple_of=8)] = Field(
        default=256, description="Side of the ground-truth crop in pixels, a multiple of 8."
    )
    hflip: bool = Field(default=True, description="Whether one crop in two is mirrored.")
    rot90: bool = Field(
        default=False,
        description="Whether crops are turned by 0 to 3 quarter turns. It is off because buildings stand upright.",
    )
    window: Positive = Field(default=8, description="Shards whose samples are mixed with each other.")
    workers: Count = Field(default=4, description="Decoding processes per GPU; 0: the training process itself decodes.")
