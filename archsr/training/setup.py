"""Build everything a run needs before its first iteration: data, networks and optimisers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call

from archsr import checkpoint
from archsr.checkpoint.ancestry import ancestors_of_start, with_file
from archsr.config import SCRATCH, ModelConfig, TrainConfig
from archsr.degradation.pool import PairPool
from archsr.errors import UserError
from archsr.evaluation.selection import Figures
from archsr.models.base import Discriminator, Generator
from archsr.models.build import build_discriminator
from archsr.models.cast_weights import CastWeights
from archsr.models.recompute import recompute_modules
from archsr.models.weights import initial_generator, load_weights
from archsr.runs.folders import folder_of
from archsr.training.compiling import compile_blocks, eager
from archsr.training.data import Data
from archsr.training.ema import Ema
from archsr.training.faults.hang import Alarm, stacks_of
from archsr.training.faults.nonfinite import RecentBatches
from archsr.training.layers import Group, select
from archsr.training.logging.run_warnings import RunWarnings
from archsr.training.losses.feature_losses import feature_losses
from archsr.training.memory.auto_batch import fitted
from archsr.training.memory.forecast import micro_batch_of
from archsr.training.optim import make_optimizer, skips_on_device
from archsr.training.step import Parts
from archsr.utils.devices import takes_channels_last
from archsr.utils.stopping import StopRequest
from archsr.utils.world import World


@dataclass
class Progress:
    """The progress of a run: iterations, samples taken from each subset's stream, and validation results.

    `start`, `chosen`: metrics of the first validation and of the chosen weights, `chosen_at` their iteration;
    `distance`: the perceptual distance in use. `skipped`: recent iterations without an update because a loss was NaN or
    Inf. `scored`: iteration and score of the last validation, None for weights that may not be chosen. `ends`: where
    plateaus ended stages; `plateau`: a `schedule.Plateau` as a table. `ident`: the run's identifier for trackers.
    `validating`: seconds. `ancestors`: the runs whose weights it began with, as plain data (`checkpoint/ancestry.py`).
    """

    step: int = 0
    taken: dict[str, int] = field(default_factory=dict[str, int])
    start: Figures | None = None
    chosen: Figures | None = None
    chosen_at: int = 0
    distance: str = ""
    skipped: list[int] = field(default_factory=list[int])
    scored: tuple[int, float | None] | None = None
    ends: dict[str, int] = field(default_factory=dict[str, int])
    plateau: dict[str, Any] | None = None
    ident: str = ""
    validating: float = 0.0
    ancestors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def scored_at(self) -> int | None:
        """The iteration of the last validation."""
        return self.scored[0] if self.scored else None


@dataclass(frozen=True)
class Run:
    """The state of a run on this rank.

    `defers`: the device decides whether an iteration is usable, and the host reads that one iteration later.
    """

    config: TrainConfig
    folder: Path
    data: Data
    accelerator: Accelerator
    world: World
    accumulation: int
    raw_g: Generator
    groups: list[Group]
    parts: Parts
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer | None
    ema: Ema
    pool: PairPool
    recent_batches: RecentBatches
    saver: checkpoint.Saver
    watch: RunWarnings
    alarm: Alarm
    defers: bool
    stop_request: StopRequest = field(default_factory=StopRequest)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The generator's optimiser, and the discriminator's if it is trained."""
        return [o for o in (self.optimizer_g, self.optimizer_d) if o is not None]


def with_micro_batch(config: TrainConfig, world: World) -> TrainConfig:
    """Return the config with the micro-batch for `world`: the largest divisor of a process's share of the batch.

    `training.micro_batch` is the upper limit; "auto" means none. Raises `UserError` if the global batch is not
    divisible by the number of processes.
    """
    training = config.training
    share, rest = divmod(training.global_batch, world.size)
    if rest:
        lower = training.global_batch - rest
        fitting = " or ".join(str(n) for n in (lower, lower + world.size) if n)
        raise UserError(
            f"training.global_batch ({training.global_batch}) is not divisible by {world.size} processes; "
            f"use {fitting}: --set training.global_batch={lower + world.size}"
        )
    most = share if training.micro_batch == "auto" else min(share, training.micro_batch)
    micro = max(n for n in range(1, most + 1) if share % n == 0)
    return config.model_copy(update={"training": training.model_copy(update={"micro_batch": micro})})


def fresh_progress(model: ModelConfig) -> Progress:
    """Return the progress of a new run, which remembers the runs whose weights it begins with."""
    return Progress(ancestors=[] if model.weights == SCRATCH else ancestors_of_start(model.weights))


def generator_for(config: TrainConfig, *, resumes: bool = False) -> Generator:
    """Return the generator with its initial weights; a run that `resumes` has its own and needs no other file."""
    model = config.model
    if resumes and not model.complete:
        model = model.model_copy(update={"weights": SCRATCH})
    net = initial_generator(with_file(model), seed=config.seed)
    net.check_precision(config.training.precision)
    return net


def discriminator_for(config: TrainConfig) -> Discriminator | None:
    """Return the discriminator with its initial weights, or None without a GAN loss."""
    if config.losses.gan.weight == 0:
        return None
    net = build_discriminator(config.discriminator, seed=config.seed)
    if config.discriminator.weights != SCRATCH:
        load_weights(net, config.discriminator.weights)
    return net.requires_grad_(config.discriminator.train).train(config.discriminator.train)


def make_run(
    config: TrainConfig,
    accelerator: Accelerator,
    world: World,
    data: Data,
    *,
    saved: checkpoint.Loaded | None = None,
    ident: str = "run",
) -> Run:
    """Build networks and optimisers. Layers are selected before optimisers and wrappers exist.

    From the checkpoint `saved` only the micro-batch is used, if the config has "auto"; its weights replace the initial
    ones, which are not read.
    """
    automatic = config.training.micro_batch == "auto"
    config = with_micro_batch(config, world)
    # a missing file or an unreachable site may affect one machine only
    raw_g, raw_d, features = world.on_all_ranks(
        lambda: (
            generator_for(config, resumes=saved is not None),
            discriminator_for(config),
            feature_losses(config.losses, size=config.data.gt_size, recompute=config.training.recompute_losses),
        )
    )  # all ranks
    groups = select(raw_g, config.training.layers)
    recompute_modules(raw_g, config.training.recompute)
    raw_g.recompute(config.training.gradient_checkpointing)
    if raw_d is not None:
        raw_d.recompute = config.training.recompute_discriminator
    if config.training.channels_last and takes_channels_last(accelerator.device):
        for net in (raw_g if raw_g.converts else None, raw_d, *features.values()):
            if net is not None:
                net.to(memory_format=torch.channels_last)
    first = config.training.stages[0]
    parameters = {k: p for g in groups for k, p in g.parameters.items()}
    net_g: nn.Module = accelerator.prepare_model(raw_g)
    net_d: nn.Module | None = None
    optimizer_d = None
    if raw_d is not None and config.discriminator.train:
        net_d = accelerator.prepare_model(raw_d)
        own = Group("discriminator", config.discriminator.lr_scale, dict(raw_d.named_parameters()))
        optimizer_d = make_optimizer([own], config.discriminator.optimizer, lr=first.lr)
    elif raw_d is not None:
        raw_d.to(accelerator.device)
    # stored pairs were not degraded batch by batch, so there is nothing to mix
    pooled = config.degrade.pool_batches * config.training.global_batch // world.size
    ema = Ema(parameters, config.training.ema)
    fp16 = config.training.precision == "fp16"
    if config.training.compile:
        compile_blocks(raw_g)
    # compiled code casts by itself
    kept = [*([] if config.training.compile else [raw_g]), *features.values(), *([] if raw_d is None else [raw_d])]
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(config.training.precision)
    scalers = [torch.amp.GradScaler(accelerator.device.type, enabled=fp16) for _ in range(2)]

    def averaged(lq: Tensor) -> Tensor:
        with eager():
            return functional_call(raw_g, ema.average, (lq,))

    parts = Parts(
        accelerator=accelerator,
        net_g=net_g,
        net_d=net_d,
        raw_d=raw_d,
        losses=config.losses,
        scaler_g=scalers[0],
        scaler_d=scalers[1],
        features={name: loss.to(accelerator.device) for name, loss in features.items()},
        casts=[CastWeights(net, dtype) for net in kept] if dtype else [],
        averaged=averaged,
    )
    if automatic:
        same = saved is not None and len(saved.own) == world.size
        last: int | None = saved.state.get("micro_batch") if saved is not None and same else None
        config = fitted(config, parts, raw_g, world, last=last)  # all ranks
    optimizer_g = make_optimizer(groups, config.training.optimizer, lr=first.lr)
    return Run(
        config=config,
        folder=folder_of(config),
        data=data,
        accelerator=accelerator,
        world=world,
        accumulation=config.training.global_batch // (micro_batch_of(config) * world.size),
        raw_g=raw_g,
        groups=groups,
        parts=parts,
        optimizer_g=optimizer_g,
        optimizer_d=optimizer_d,
        ema=ema,
        pool=PairPool(pooled if data.manifest.degrades else 0),
        recent_batches=RecentBatches(),
        saver=saver_for(config, world, ident=ident),
        watch=RunWarnings(),
        alarm=Alarm(
            stacks_of(folder_of(config), world.rank),
            seconds=60 * config.training.collective_timeout,
            active=world.size > 1,
        ),
        # with fp16 the scaler skips each network's update by itself
        defers=not fp16 and defers_on(accelerator.device, [o for o in (optimizer_g, optimizer_d) if o is not None]),
    )


def defers_on(device: torch.device, optimizers: Sequence[torch.optim.Optimizer]) -> bool:
    """Return whether the device can decide to skip an update. On a CPU it would save nothing."""
    return device.type == "cuda" and all(skips_on_device(o) for o in optimizers)


def saver_for(config: TrainConfig, world: World, *, ident: str) -> checkpoint.Saver:
    """Return the saver of the config's run folder. A collective."""
    kept = config.checkpoint
    keep = checkpoint.Keep(newest=kept.keep, best=kept.keep_best, hours=kept.keep_hours)
    mirror = checkpoint.Mirror(kept.mirror, keep=keep) if kept.mirror else None
    return checkpoint.Saver(folder_of(config), world=world, keep=keep, mirror=mirror, ident=ident)  # all ranks
