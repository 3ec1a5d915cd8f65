"""The processes of a run, and the few collectives on plain objects that they need besides DDP."""

import datetime
from dataclasses import dataclass
from typing import TypeVar, cast

import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's `rank` among `size`. Every method is a collective: all ranks call it, in the same order."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in rank order, on all ranks."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)  # all ranks
        return cast(list[T], values)

    def broadcast(self, value: T) -> T:
        """Rank 0's value on all ranks."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)  # all ranks
        return box[0]


def connect(*, rank: int, size: int) -> World:
    """The world of an initialised process group.

    Objects travel over a gloo group of its own: it works on CPU tensors, and its long timeout outlasts a slow write
    on rank 0, where NCCL's ten minutes would kill the other ranks.
    """
    if size == 1:
        return World()
    group = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=datetime.timedelta(minutes=60)))
    return World(rank, size, group)
