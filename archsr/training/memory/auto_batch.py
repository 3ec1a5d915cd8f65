"""`training.micro_batch = "auto"`: find the largest micro-batch that fits, by the forecast and then by trial."""

import dataclasses
import os
from collections.abc import Callable

import psutil
import torch
from accelerate.utils import find_executable_batch_size
from torch import Tensor

from archsr.config import TrainConfig
from archsr.degradation.apply import Pair, apply
from archsr.degradation.recipe import draw
from archsr.errors import UserError
from archsr.models.base import Generator
from archsr.training.memory.forecast import POOL, forecast
from archsr.training.memory.plan import changed, largest_micro_batch
from archsr.training.step import Parts, accumulate
from archsr.utils.devices import best_device
from archsr.utils.seeds import generator
from archsr.utils.world import World

_RECIPES = 3  # degradations that a trial applies: their memory depends on the sizes that they draw


def available(device: torch.device) -> int:
    """Return the bytes this process may use: its GPU's free memory, or its share of the machine's free memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def available_here() -> int:
    """Return the bytes available on this machine's first GPU, or else to its CPU."""
    return available(best_device())


def expected(config: TrainConfig, memory: int, *, processes: int = 1) -> TrainConfig:
    """Return `config` with the forecast's micro-batch in place of "auto". A number stays as it is."""
    if config.training.micro_batch != "auto":
        return config
    return changed(config, micro_batch=largest_micro_batch(config, memory, processes=processes))


def fitted(config: TrainConfig, parts: Parts, raw_g: Generator, world: World, *, last: int | None) -> TrainConfig:
    """Return `config` with one micro-batch for all processes: the smallest that any of them found by trial.

    A resumed run starts the trial with its `last` micro-batch, so that it stays bit-identical; otherwise the trial
    starts with the forecast. Global batch and sample order do not change: smaller micro-batches are accumulated. Raises
    `UserError` if not even one sample fits.
    """
    device = parts.accelerator.device
    start = last or largest_micro_batch(config, available(device), processes=world.size)
    share = config.training.global_batch // world.size
    # without DDP wrappers: no process may wait for one that ran out of memory
    alone = dataclasses.replace(parts, net_g=raw_g, net_d=parts.raw_d if parts.net_d else None)
    found = world.on_all_ranks(
        lambda: largest(start, share, lambda size: attempt(config, alone, world, size))
    )  # all ranks
    agreed = min(world.gather(found))  # all ranks
    return changed(config, micro_batch=agreed)


def largest(start: int, share: int, attempt: Callable[[int], None]) -> int:
    """Return the largest divisor of `share`, at most `start`, for which `attempt` does not run out of memory."""
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
            'training.micro_batch = "auto": not even one sample fits; recompute more (see archsr plan), or lower '
            "data.gt_size"
        ) from None


def attempt(config: TrainConfig, parts: Parts, world: World, size: int) -> None:
    """Degrade and train one micro-batch of grey images, with the memory of optimisers and pool allocated.

    Afterwards the networks are unchanged: gradients are cleared and buffers (power iterations, running statistics)
    restored.
    """
    device, side = parts.accelerator.device, config.data.gt_size
    kept = _buffers(parts)
    reserve = torch.empty(_to_come(config, world, size), dtype=torch.uint8, device=device)
    sharp = torch.full((size, 3, *[side + config.degrade.margin] * 2), 0.5, device=device)
    for number in range(_RECIPES):
        rng = generator(config.seed, "micro-batch", number)
        apply(sharp, draw(config.degrade, rng, size, scale=config.model.scale, gt_size=side))
    del sharp
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
    """Return the bytes of Adam's two moments and this process's pool, which the first iteration allocates."""
    parts = forecast(changed(config, micro_batch=size)).parts
    return sum(v // 2 for k, v in parts.items() if "gradients" in k) + parts[POOL] // world.size
