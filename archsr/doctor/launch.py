"""Checks that need all processes of a launcher: whether they reach each other, how fast, and a step of training."""

import os
import time
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from archsr.config import TrainConfig
from archsr.doctor.line import Line, ok
from archsr.errors import UserError
from archsr.training.processes import begin, end
from archsr.training.setup import generator_for, shared_out

_SECONDS = 10.0
_SIZE = 4 * 2**20  # numbers that are summed over the processes


def launch(config: TrainConfig) -> list[Line]:
    """Ten seconds of sums over all processes, and one step of training on each. All ranks call it; only rank 0 tells.

    Raises `UserError` where the processes are not those that were asked for.
    """
    accelerator, world = begin(config)
    try:
        names = world.gather(f"{os.uname().nodename}:{accelerator.device}")  # all ranks
        lines = [ok("processes", f"{world.size}: {', '.join(names)}")]
        if world.size > 1:
            lines += _sums(accelerator.device, world.size)  # all ranks
        took = world.gather(_step(shared_out(config, world), accelerator.device))  # all ranks
        lines.append(_steps(took))
        return lines if world.rank == 0 else []
    finally:
        end()


def _sums(device: torch.device, size: int) -> Iterator[Line]:
    numbers = torch.ones(_SIZE, device=device)
    begun, rounds = time.perf_counter(), 0
    going = torch.ones(1, device=device)
    while going.item():
        numbers.fill_(1)
        dist.all_reduce(numbers)  # all ranks
        rounds += 1
        going.fill_(float(time.perf_counter() - begun < _SECONDS))
        dist.all_reduce(going, op=dist.ReduceOp.MIN)  # all ranks: they stop together
    if not bool((numbers == size).all()):
        what = f"a sum over {size} processes is not {size}"
        yield Line("collectives", "wrong", what, "NCCL_DEBUG=INFO, and see your network")
        return
    speed = rounds * _SIZE * 4 / (time.perf_counter() - begun) / 1e6
    yield ok("collectives", f"{rounds} sums of {_SIZE * 4 // 2**20} MiB in {_SECONDS:g} s: {speed:.0f} MB/s")


def _step(config: TrainConfig, device: torch.device) -> float | str:
    """Seconds of a forward and backward pass after a first one, or what went wrong."""
    try:
        net = generator_for(config).to(device).train()
        side = config.data.gt_size // config.model.scale
        lq = torch.rand(int(config.training.micro_batch), 3, side, side, device=device)
        _pass(net, lq)
        begun = time.perf_counter()
        _pass(net, lq)
        return time.perf_counter() - begun
    except (UserError, RuntimeError) as error:
        return str(error).splitlines()[0]


def _pass(net: torch.nn.Module, lq: Tensor) -> None:
    net(lq).abs().mean().backward()
    if lq.device.type == "cuda":
        torch.cuda.synchronize(lq.device)


def _steps(took: list[float | str]) -> Line:
    failed = [f"rank {rank}: {found}" for rank, found in enumerate(took) if isinstance(found, str)]
    if failed:
        return Line("training step", "wrong", "; ".join(failed), "archsr plan CONFIG shows what fits into memory")
    seconds = [found for found in took if not isinstance(found, str)]
    said = f"forward and backward {min(seconds):.2f} to {max(seconds):.2f} s"
    if max(seconds) > 1.5 * min(seconds):
        return Line("training step", "warning", said, "the slowest sets the pace: is something else on its device?")
    return ok("training step", said)
