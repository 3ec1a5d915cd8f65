"""`training.micro_batch = "auto"`: the largest micro-batch that fits, from the forecast and then by trial."""

import dataclasses
import os
from collections.abc import Callable

import psutil
import torch
from accelerate.utils import find_executable_batch_size
from torch import Tensor

from archsr.config import TrainConfig
from archsr.degradation.apply import Pair
from archsr.errors import UserError
from archsr.models.base import Generator
from archsr.training.memory.forecast import POOL, forecast
from archsr.training.memory.plan import changed, largest_micro_batch
from archsr.training.step import Parts, accumulate
from archsr.utils.world import World


def available(device: torch.device) -> int:
    """Bytes that this process may fill: what is free on its GPU, or its share of the machine's free memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def available_here() -> int:
    """The same for the first GPU of this machine, or its processor."""
    return available(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def expected(config: TrainConfig, memory: int, *, processes: int = 1) -> TrainConfig:
    """`config` with the micro-batch that the forecast lets hope for in place of "auto"; any other as it is."""
    if config.training.micro_batch != "auto":
        return config
    return changed(config, micro_batch=largest_micro_batch(config, memory, processes=processes))


def fitted(config: TrainConfig, parts: Parts, raw_g: Generator, world: World, *, last: int | None) -> TrainConfig:
    """`config` with one micro-batch for all processes: the smallest of those that each found by trial.

    The trial begins with `last`, that of the run that goes on, so that it goes on bit for bit; else with the forecast.
    The global batch and the order of samples stay: what is less in a pass is accumulated. Raises `UserError` where not
    even one sample fits.
    """
    device = parts.accelerator.device
    start = last or largest_micro_batch(config, available(device), processes=world.size)
    share = config.training.global_batch // world.size
    # without the launcher's wrappers: no process may wait for another that ran out of memory
    alone = dataclasses.replace(parts, net_g=raw_g, net_d=parts.raw_d if parts.net_d else None)
    found = world.on_all_ranks(
        lambda: largest(start, share, lambda size: attempt(config, alone, world, size))
    )  # all ranks
    agreed = min(world.gather(found))  # all ranks
    return changed(config, micro_batch=agreed)


def largest(start: int, share: int, attempt: Callable[[int], None]) -> int:
    """The first divisor of `share` from `start` downwards for which `attempt` does not run out of memory."""
    sizes = (n for n in range(min(start, share), 0, -1) if share % n == 0)

    def smaller() -> int:
        return next(sizes, 0)

    def tried(batch_size: int) -> int:
        attempt(batch_size)
        return batch_size

    search = find_executable_batch_size(tried, starting_batch_size=smaller(), reduce_batch_size_fn=smaller)
    try:
        return search()
    except RuntimeError as error:
        if "reached zero" not in str(error):
            raise
        raise UserError(
            'training.micro_batch = "auto": not even one sample fits; recompute more (archsr plan says what), or lower '
            "data.gt_size"
        ) from None


def attempt(config: TrainConfig, parts: Parts, world: World, size: int) -> None:
    """The gradients of one micro-batch of grey images, beside as much memory as optimisers and pool will take.

    Leaves the networks as they were: no gradients, and buffers (power iterations, running statistics) put back.
    """
    device, side = parts.accelerator.device, config.data.gt_size
    kept = _buffers(parts)
    reserve = torch.empty(_to_come(config, world, size), dtype=torch.uint8, device=device)
    gt = torch.full((size, 3, side, side), 0.5, device=device)
    lq = gt[:, :, : side // config.model.scale, : side // config.model.scale].contiguous()
    try:
        accumulate(parts, iter([Pair(lq, gt)]), count=1)
    finally:
        del reserve
        for net in (parts.net_g, parts.raw_d):
            if net is not None:
                net.zero_grad(set_to_none=True)
        for buffer, value in kept:
            buffer.copy_(value)


def _buffers(parts: Parts) -> list[tuple[Tensor, Tensor]]:
    nets = [net for net in (parts.net_g, parts.raw_d) if net is not None]
    return [(buffer, buffer.clone()) for net in nets for buffer in net.buffers()]


def _to_come(config: TrainConfig, world: World, size: int) -> int:
    """Bytes of Adam's two moments and of this process's pool, which do not exist before the first iteration."""
    parts = forecast(changed(config, micro_batch=size)).parts
    return sum(v // 2 for k, v in parts.items() if "gradients" in k) + parts[POOL] // world.size
