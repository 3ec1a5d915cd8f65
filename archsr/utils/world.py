"""The processes of a run, and the few collectives on plain objects that they need besides DDP."""

import contextlib
import datetime
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from archsr.errors import ElsewhereError, UserError

T = TypeVar("T")
CONNECT_TIMEOUT = datetime.timedelta(minutes=10)  # for all processes to connect
COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=60)  # for work of one rank while the others wait: downloads, slow disks
TWO_ON_CPU = "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N"


@dataclass(frozen=True)
class World:
    """This process's `rank` among `size`. Every method is a collective: all ranks call it in the same order."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in rank order, on all ranks."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)  # all ranks
        return cast(list[T], values)

    def broadcast(self, value: T) -> T:
        """Return rank 0's value on all ranks."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)  # all ranks
        return box[0]

    def on_all_ranks(self, work: Callable[[], T]) -> T:
        """Run `work` on every rank. If it raises `UserError` on any rank, every rank raises, so that none waits."""
        result: list[T] = []
        error: UserError | None = None
        try:
            result.append(work())
        except UserError as problem:
            error = problem
        failed = [(rank, text) for rank, text in enumerate(self.gather(error and str(error))) if text]  # all ranks
        if not failed:
            return result[0]
        rank, text = failed[0]
        if error is None or rank != self.rank:
            raise ElsewhereError(text)
        raise UserError(text) if isinstance(error, ElsewhereError) else error


def connect(*, rank: int, size: int, timeout: datetime.timedelta) -> World:
    """Return the world of an initialised process group. Every rank must connect within `timeout`.

    Objects travel over a separate gloo group: it works on CPU tensors, and its long timeout outlasts a slow write on
    rank 0, where NCCL's would kill the other ranks. If a rank dies, its connections close, so that the others notice at
    once.
    """
    if size == 1:
        return World()
    group = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=timeout))
    backend = group._get_backend(torch.device("cpu"))  # pyright: ignore[reportPrivateUsage]
    backend._set_default_timeout(COLLECTIVE_TIMEOUT)  # pyright: ignore[reportPrivateUsage] - public from torch 2.15 on only
    return World(rank, size, group)


@contextlib.contextmanager
def launched_world() -> Generator[World]:
    """Yield the world that the launcher's environment describes, over gloo only, for work without DDP."""
    refuse_lost_processes()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    dist.init_process_group("gloo", timeout=CONNECT_TIMEOUT)
    try:
        yield connect(rank=dist.get_rank(), size=size, timeout=CONNECT_TIMEOUT)
    finally:
        dist.destroy_process_group()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_lost_processes() -> None:
    """Raise `UserError` if the launcher started one process instead of several.

    `accelerate launch --cpu --num_processes 2` does so silently. It sets MASTER_PORT but no WORLD_SIZE.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:
        raise UserError(
            "accelerate launch should start several processes but started only this one (it does so with --cpu). "
            f"Start them with: {TWO_ON_CPU} ..."
        )
