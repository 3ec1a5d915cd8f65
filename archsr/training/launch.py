"""One launch of `train.py`: a run or a dry run (`debug.py` has the debug mode)."""

import re

import torch

from archsr.checkpoint import load_newest
from archsr.checkpoint.ancestry import where_is
from archsr.config import TrainConfig, config_file
from archsr.errors import UserError, first_line, is_out_of_memory
from archsr.models.build import build
from archsr.runs.folders import folder_of
from archsr.training.data import open_data
from archsr.training.layers import select, table
from archsr.training.logging.trackers import check_trackers
from archsr.training.loop import train
from archsr.training.losses import feature_losses
from archsr.training.memory.auto_batch import available_here, expected
from archsr.training.memory.forecast import forecast
from archsr.training.memory.plan import after_out_of_memory
from archsr.training.precision import with_precision
from archsr.training.processes import joined
from archsr.training.resuming import check_same_run
from archsr.training.setup import with_micro_batch
from archsr.utils.stopping import StopRequest
from archsr.utils.world import World


def run(config: TrainConfig, *, resume: bool, stop_request: StopRequest | None = None) -> None:
    """Train. Every process calls it. Raises `Stopped` if `stop_request` ended the run."""
    torch.backends.cudnn.benchmark = True  # all crops have the same size
    config = with_precision(config, resume=resume)
    with joined(config) as (accelerator, world):
        _check_alike(config, world)  # all ranks
        try:
            train(config, accelerator, world, resume=resume, stop_request=stop_request)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(_out_of_memory(config, world, accelerator.device, error)) from None


def _check_alike(config: TrainConfig, world: World) -> None:
    found = world.gather(config.training.precision)  # all ranks
    if len(set(found)) > 1:
        raise UserError(
            f"training.precision: the ranks chose different types ({', '.join(found)}); set one for all: "
            "--set training.precision=fp32"
        )


def _out_of_memory(config: TrainConfig, world: World, device: torch.device, error: Exception) -> str:
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 2**63
    told = after_out_of_memory(with_micro_batch(config, world), memory, processes=world.size)
    return f"out of memory ({first_line(error)})\n{told}\n--resume goes on from the last checkpoint"


def dry_run(config: TrainConfig, *, resume: bool) -> bool:
    """Print whether all inputs are there, the trained layers, the memory forecast, and the resolved config.

    It changes nothing. Return whether a run could start.
    """
    config = with_precision(config, resume=resume)
    with torch.device("meta"):
        net = build(config.model)
        groups = select(net, config.training.layers)
    said = readiness(config, resume=resume)
    print(f"{said}\n{table(net, groups)}")
    whole = config_file.dump(config)
    if config.training.micro_batch == "auto":
        config = expected(config, available_here())
        print(f"micro-batch: a run would try {config.training.micro_batch} first")
    print(f"memory forecast per process, without the framework's own memory:\n{forecast(config).table()}")
    print(f"the whole config:\n{whole}")
    return re.search(r"\bNOT (READY|HERE|THERE)\b", said) is None


def readiness(config: TrainConfig, *, resume: bool) -> str:
    """Return one line each on whether weights, trackers, shards and run folder are ready."""
    sources = {"generator": config.model.weights}
    if config.losses.gan.weight:
        sources["discriminator"] = config.discriminator.weights
    sources |= feature_losses.sources(config.losses)
    lines = [f"  {name:15}{source}: {where_is(source)}" for name, source in sources.items()]
    lines.append(f"  {'trackers':15}{_trackers(config)}")
    lines.append(f"  {'shards':15}{_shards(config)}")
    lines.append(f"  {'run folder':15}{_folder(config, resume=resume)}")
    return "\n".join(["inputs:", *lines])


def _trackers(config: TrainConfig) -> str:
    try:
        check_trackers(config.log.trackers)
    except UserError as error:
        return f"NOT READY: {error}"
    return ", ".join(config.log.trackers) or "none"


def _shards(config: TrainConfig) -> str:
    try:
        data = open_data(config)
    except UserError as error:
        return f"NOT READY: {error}"
    return data.summary()


def _folder(config: TrainConfig, *, resume: bool) -> str:
    folder = folder_of(config)
    saved, skipped = load_newest(folder, world=World())
    if saved is None and (problem := config.problem_with_targets):
        return f"NOT READY: {problem}"
    damaged = f"; {len(skipped)} damaged" if skipped else ""
    if saved is None:
        return f"{folder}: no checkpoint{damaged}; a run would start at step 0"
    if not resume:
        return f"NOT READY: {folder} holds a run at step {saved.step}{damaged}; --resume continues it"
    try:
        check_same_run(config, folder, saved)
    except UserError as error:
        return f"NOT READY: {error}"
    return f"{folder}: would continue at step {saved.step}{damaged}"
