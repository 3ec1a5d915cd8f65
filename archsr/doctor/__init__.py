"""`archsr doctor`: check what would stop a run on this machine, with these weights and data, and say how to fix it."""

from collections.abc import Iterator
from pathlib import Path

from archsr.config import TrainConfig
from archsr.doctor import assets, machine
from archsr.doctor.line import Line


def examine(
    config: TrainConfig | None, *, processes: int = 1, here: int | None = None, every: bool = False
) -> Iterator[Line]:
    """Yield the result of every check that one process can make; with a config also those of weights and data.

    `processes` is the number of processes of the run, `here` how many of them run on this machine (default: all). With
    `every`, all shards are hashed.
    """
    here = here or processes
    yield machine.python()
    yield machine.torch_and_vision()
    yield machine.gpus()
    yield machine.collectives()
    yield machine.decoders()
    yield machine.disk(Path(config.runs) if config else Path("runs"), "disk")
    if config is None:
        yield from assets.available_weights()
        return
    yield machine.readers(config.data.workers, here)
    yield machine.shared_memory(here * assets.batches_in_memory(config))
    if "://" in config.data.shards:
        yield assets.room(config)
    yield assets.layers(config)
    yield assets.targets(config)
    yield from assets.weights(config)
    lines = list(assets.shards(config, every=every))
    yield from lines
    if lines[0].state == "ok":
        yield assets.sharing(config, processes)
