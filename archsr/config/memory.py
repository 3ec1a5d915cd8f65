"""Types of the keys that trade computation for memory."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from archsr.config.table import Positive

# recomputed in the backward pass as one piece: nothing, each block of the body, each dense block, or a number of blocks
Recompute = Literal["none", "rrdb", "rdb"] | int
MicroBatch = int | Literal["auto"]


def _recompute(value: object) -> object:
    """Accept `true` and `false` from older configs as "rrdb" and "none"."""
    if isinstance(value, bool):
        return "rrdb" if value else "none"
    if value in ("none", "rrdb", "rdb") or (isinstance(value, int) and value > 0):
        return value
    raise ValueError(f'got {value!r}, expected "none", "rrdb", "rdb" or a number of blocks to recompute together')


def _micro_batch(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError(f'got {value!r}, expected a number above 0 or "auto"')


RecomputeKey = Annotated[Literal["none", "rrdb", "rdb"] | Positive, BeforeValidator(_recompute)]
MicroBatchKey = Annotated[Positive | Literal["auto"], BeforeValidator(_micro_batch)]
