"""`train.py --debug`: a few tiny steps through every stage of a run."""

import shutil
from pathlib import Path

import torch

from archsr.config import SCRATCH, LossConfig, PrepareConfig, Stage, Table, TrainConfig, TrainingConfig
from archsr.data.drawn_photos import draw_photos
from archsr.data.manifest import is_dataset
from archsr.data.prepare.pipeline import prepare
from archsr.models.weights import local_file, names
from archsr.training.loop import train
from archsr.training.losses.feature_losses import FEATURE_LOSSES, sources
from archsr.training.processes import joined
from archsr.utils.world import World

STEPS = 4


def debug(config: TrainConfig) -> None:
    """Train, validate, write snapshots and checkpoints, and resume, with anomaly detection and deterministic kernels.

    Each process uses two micro-batches of one small crop. If shards or weights are not on this machine, synthetic
    photographs and tiny untrained networks replace them, with a message. Nothing is downloaded.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    with joined(config.model_copy(update={"training": _fp32(config)})) as (accelerator, world):
        small = _shrink(config, world)
        if world.rank == 0:
            shutil.rmtree(Path(small.runs) / small.name, ignore_errors=True)
            _draw_if_absent(config, small)
        world.gather(None)  # all ranks: wait until the data exists
        with torch.autograd.set_detect_anomaly(True):
            folder = train(_iterations(small, STEPS // 2), accelerator, world, resume=False)
            _say(world, "debug: resuming for the second half")
            train(small, accelerator, world, resume=True)
        _say(world, f"debug: every stage passed on {world.size} process(es); the output is in {folder}")


def _say(world: World, text: str) -> None:
    if world.rank == 0:
        print(text, flush=True)


def _shrink(config: TrainConfig, world: World) -> TrainConfig:
    model, discriminator = config.model, config.discriminator
    if not _is_local(model.weights):
        _say(world, f"debug: {model.weights} is not on this machine: using a tiny untrained generator")
        model = model.tiny()
    if config.losses.gan.weight and not _is_local(discriminator.weights):
        _say(world, f"debug: {discriminator.weights} is not on this machine: using a tiny untrained discriminator")
        discriminator = discriminator.model_copy(update={"features": 8, "weights": SCRATCH})
    losses = config.losses
    absent = [f"{name} ({source})" for name, source in sources(losses).items() if not _is_local(source)]
    if absent:
        _say(world, f"debug: {', '.join(absent)} not on this machine: using random weights")
        losses = _untrained(losses)
    size = next(n for n in (64, 128, 256) if discriminator.problem_with_size(n) is None)
    shards = config.data.shards if is_dataset(config.data.shards) else str(Path(config.runs) / "debug-shards")
    training = _fp32(config).model_copy(update={"micro_batch": 1, "global_batch": 2 * world.size})
    small = config.model_copy(
        update={
            "name": f"{config.name}-debug",
            "model": model,
            "discriminator": discriminator,
            "losses": losses.model_copy(
                update={
                    "colour": losses.colour.model_copy(update={"size": min(size, losses.colour.size)}),
                    "ms_ssim": losses.ms_ssim.model_copy(update={"scales": min(3, losses.ms_ssim.scales)}),
                }
            ),
            "data": config.data.model_copy(update={"shards": shards, "gt_size": size, "workers": 0}),
            "degrade": config.degrade.model_copy(update={"pool_batches": 2}),
            "training": training,
            "validation": config.validation.model_copy(update={"every": 2, "samples": 2, "images": 1}),
            "checkpoint": config.checkpoint.model_copy(update={"every": 2}),
            "log": config.log.model_copy(update={"every": 1, "trackers": ("tensorboard",)}),
        }
    )
    return _iterations(small, STEPS)


def _fp32(config: TrainConfig) -> TrainingConfig:
    return config.training.model_copy(update={"precision": "fp32"})


def _iterations(config: TrainConfig, count: int) -> TrainConfig:
    stage = Stage(iterations=count, lr=config.training.stages[0].lr)
    return config.model_copy(update={"training": config.training.model_copy(update={"stages": (stage,)})})


def _untrained(losses: LossConfig) -> LossConfig:
    scratch: dict[str, Table] = {}
    for name in FEATURE_LOSSES:
        term: Table = getattr(losses, name)
        keys = {"weights", "balance"} & set(type(term).model_fields)
        scratch[name] = term.model_copy(update=dict.fromkeys(keys, SCRATCH))
    return losses.model_copy(update=scratch)


def _is_local(weights: str) -> bool:
    """Return whether a source can be read without the internet."""
    if weights == "timm":
        return False
    # files and "scratch" count as local: if a file is missing, opening it reports that
    return weights not in names() or local_file(weights) is not None


def _draw_if_absent(config: TrainConfig, small: TrainConfig) -> None:
    if is_dataset(config.data.shards):
        return
    print(f"debug: {config.data.shards}: no dataset on this machine: using synthetic photographs", flush=True)
    photos = Path(config.runs) / "debug-photos"
    draw_photos(photos, projects=8, views=1, plans=1)
    settings = PrepareConfig(scale=config.model.scale, val=0.15, test=0.08, tile=256, min_side=200, pair_size=96)
    prepare(photos, Path(small.data.shards), settings)
