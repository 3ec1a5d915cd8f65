"""Memory and FLOPs of a config and its alternatives, from shapes alone: no data, weights or GPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from archsr.config import Recompute, TrainConfig
from archsr.models.build import build, build_discriminator
from archsr.training.losses.feature_losses import FEATURE_LOSSES
from archsr.training.losses.gan import compares
from archsr.training.memory.forecast import (
    POOL,
    Forecast,
    assemble,
    forecast,
    micro_batch_of,
    trained_parameters,
    trains_blocks,
)
from archsr.training.memory.ledger import Pass, forward_flops
from archsr.training.memory.passes import Passes, generator_pass, passes_of
from archsr.utils.progress import progress

# not in the forecast: CUDA's own memory, the allocator's slack, and the work space of convolutions
FRAMEWORK = 2**30
SLACK = 1.1
# FLOPs that a GPU could do while a pass launches its few thousand small operations: about 30 ms at 30 TFLOP/s. This is
# an assumption. It only affects the choice between smaller micro-batches and recomputation
_OVERHEAD = 10**12
_PIECES: tuple[Recompute, ...] = ("none", "rrdb", 2, 4, 8, "rdb")


@dataclass(frozen=True)
class Option:
    """One way to train. `memory`: bytes of one process with slack; `flops`: of one iteration of one process.

    `when`: the moment of peak memory; `passes`: micro-batches per iteration.
    """

    config: TrainConfig
    trained: int
    memory: int
    when: str
    flops: int
    passes: int

    @property
    def cost(self) -> int:
        """FLOPs, including the overhead of each pass."""
        return self.flops + self.passes * _OVERHEAD

    @property
    def title(self) -> str:
        """The layers as written in the config."""
        return ", ".join(n if isinstance(n, str) else ", ".join(n.names) for n in self.config.training.layers)

    @property
    def recomputed(self) -> str:
        """A short name for what is recomputed."""
        training = self.config.training
        found = [] if training.gradient_checkpointing == "none" else [str(training.gradient_checkpointing)]
        found += ["losses"] * training.recompute_losses + ["discr."] * training.recompute_discriminator
        return "+".join(found) or "no"


def option(config: TrainConfig, *, processes: int = 1) -> Option:
    """Return memory and FLOPs of `config`, with its global batch divided among `processes`."""
    return _option(config, passes_of(config, micro_batch_of(config)), processes)


def _option(config: TrainConfig, found: Passes, processes: int) -> Option:
    needed = assemble(config, found)
    passes = config.training.global_batch // (processes * micro_batch_of(config))
    return Option(
        config=config,
        trained=trained_parameters(config),
        memory=_needed(needed, processes),
        when=needed.when,
        flops=passes * int(found.generator.flops + _loss_flops(config, found, micro_batch_of(config))),
        passes=passes,
    )


def _needed(found: Forecast, processes: int) -> int:
    pool = found.parts[POOL]
    return int((found.total - pool + pool // processes) * SLACK + FRAMEWORK)


def alternatives(config: TrainConfig) -> list[TrainConfig]:
    """Return the config's layers with every kind of recomputation, and other layers with and without it."""
    own = config.training.layers
    ways = [changed(config, gradient_checkpointing=pieces) for pieces in _possible(config)]
    if others := [a for a in config.model.alternatives() if a != own]:
        ways += [changed(config, layers=a, gradient_checkpointing=p) for a in others for p in ("none", "rrdb")]
        ways = [w for w in ways if w.training.gradient_checkpointing == "none" or trains_blocks(w)]
    return ways


def _possible(config: TrainConfig) -> list[Recompute]:
    return [p for p in _PIECES if config.model.problem_with(p) is None]


def fitting(
    config: TrainConfig, memory: int, *, processes: int = 1, advance: Callable[[int], None] | None = None
) -> Option | None:
    """Return the fastest way to train the config's layers within `memory` bytes: micro-batch and recomputation.

    Return None if not even one sample fits. `advance` is called with the number of `ways` that were just forecast.
    """
    if memory <= FRAMEWORK:
        return None
    share = config.training.global_batch // processes
    whole = option(_way(config, "none", losses=False, discriminator=False, size=share), processes=processes)
    if whole.memory <= memory:  # nothing is faster, and the others take time to forecast
        return whole
    found: list[Option] = []
    for way in ways(config):
        found += [w for w in _sizes(way, share, processes) if w.memory <= memory]
        if advance:
            advance(1)
    # among equal FLOPs, min() takes the first: the smallest pieces
    return min(found, key=lambda w: w.cost, default=None)


def ways(config: TrainConfig) -> Iterator[TrainConfig]:
    """Yield the config with every choice of recomputation, at micro-batch 1."""
    learned = any(name in FEATURE_LOSSES for name in config.losses.terms())
    judged = config.losses.gan.weight > 0 and config.discriminator.recomputes
    for pieces, losses, judge in product(_possible(config), (False, True), (False, True)):
        if learned >= losses and judged >= judge:
            yield _way(config, pieces, losses=losses, discriminator=judge, size=1)


def _way(config: TrainConfig, pieces: Recompute, *, losses: bool, discriminator: bool, size: int) -> TrainConfig:
    return changed(
        config,
        gradient_checkpointing=pieces,
        recompute_losses=losses,
        recompute_discriminator=discriminator,
        micro_batch=size,
    )


def _sizes(config: TrainConfig, share: int, processes: int) -> Iterator[Option]:
    """Yield the config with every micro-batch that divides `share`, the largest first.

    The memory of each moment is linear in the batch, and the largest moment grows at least as fast. So interpolating
    between one sample and all samples does not underestimate.
    """
    one, whole = (passes_of(config, n) for n in (1, share))
    for size in (n for n in range(share, 0, -1) if share % n == 0):
        at = (size - 1) / (share - 1) if share > 1 else 0.0
        way = changed(config, micro_batch=size)
        yield _option(way, _between(one, whole, at), processes)


def _between(one: Passes, whole: Passes, at: float) -> Passes:
    judge = one.discriminator.between(whole.discriminator, at) if one.discriminator and whole.discriminator else None
    losses: dict[str, Pass] = {name: p.between(whole.losses[name], at) for name, p in one.losses.items()}
    return Passes(one.generator.between(whole.generator, at), losses, judge)


def largest_micro_batch(config: TrainConfig, memory: int, *, processes: int = 1) -> int:
    """Return the largest micro-batch of the unchanged `config` that fits `memory` bytes, or 1 if none does."""
    share = config.training.global_batch // processes
    options = list(_sizes(config, share, processes))
    return next((micro_batch_of(o.config) for o in options if o.memory <= memory), 1)


def changed(config: TrainConfig, **training: Any) -> TrainConfig:  # noqa: ANN401 - fields of the training table
    """Return the config with other values in its `training` table."""
    return config.model_copy(update={"training": config.training.model_copy(update=training)})


_CHOSEN = ("micro_batch", "gradient_checkpointing", "recompute_losses", "recompute_discriminator")


def lines_to_change(config: TrainConfig, better: Option) -> list[str]:
    """Return the `--set` options that turn `config` into `better`."""
    old, new = config.training.model_dump(), better.config.training.model_dump()
    return [f"--set training.{key}={str(new[key]).lower()}" for key in _CHOSEN if new[key] != old[key]]


def generator_flops(config: TrainConfig) -> int:
    """Return the generator's FLOPs for one sample, forward and backward (a multiply-add counts as two)."""
    return int(generator_pass(config, 1).flops)


def loss_flops(config: TrainConfig) -> int:
    """Return the FLOPs of the losses' networks and the discriminator, with its training, for one sample.

    Degradation is not counted.
    """
    return int(_loss_flops(config, passes_of(config, 1), 1))


def _loss_flops(config: TrainConfig, found: Passes, batch: int) -> float:
    size, side = config.data.gt_size, config.data.gt_size // config.model.scale
    total = sum(one.flops for one in found.losses.values())
    if config.losses.ldl.weight:
        total += forward_flops(lambda: build(config.model), (batch, 3, side, side))
    if found.discriminator:
        total += 2 * found.discriminator.flops
    if config.losses.gan.weight and compares(config.losses.gan.objective):
        # real images once more for the generator, fake ones for the discriminator
        times = 2 if config.discriminator.train else 1
        total += times * forward_flops(lambda: build_discriminator(config.discriminator), (batch, 3, size, size))
    return total


def report(config: TrainConfig, *, memory: int | None = None, tflops: float | None = None, processes: int = 1) -> str:
    """Return a table of the config and its alternatives; with `memory` (bytes) whether they fit; with `tflops` times.

    If the generator's memory is unknown, return only a line about that.
    """
    if unknown := forecast(config).unknown:
        return f"{config.name}: cannot be planned: {unknown}; begin with a small training.micro_batch"
    others = alternatives(config)
    tried = len(list(ways(config))) if memory else 0
    with progress("forecasting memory", len(others) + tried, unit="way") as advance:
        rows: list[Option] = []
        for other in others:
            rows.append(option(other, processes=processes))
            advance(1)
        advice = _advice(config, memory, processes, advance) if memory else ""
    head = f"{'layers':42}{'recompute':>14}{'trained':>12}{'memory':>11}{'TFLOP/it':>10}"
    head += f"{'s/it':>8}" if tflops else ""
    lines = [
        f"one of {processes} process(es), micro-batch {config.training.micro_batch}, {config.training.precision}, "
        f"gt {config.data.gt_size}; with {FRAMEWORK / 2**30:.0f} GiB for CUDA (or torch) and {SLACK - 1:.0%} slack",
        "recompute: parts of the body recomputed in the backward pass (training.gradient_checkpointing)",
        "",
        head + ("  fits" if memory else ""),
        *(_row(row, memory, tflops) for row in rows),
    ]
    if memory:
        lines += ["", advice]
    return "\n".join(lines)


def _row(row: Option, memory: int | None, tflops: float | None) -> str:
    title = row.title if len(row.title) <= 40 else row.title[:37] + "..."
    line = f"{title:42}{row.recomputed:>14}{row.trained:>12,}"
    line += f"{row.memory / 2**30:>7.2f} GiB{row.flops / 1e12:>10.2f}"
    line += f"{row.flops / 1e12 / tflops:>8.3f}" if tflops else ""
    return line + (f"  {'yes' if row.memory <= memory else 'no'}" if memory else "")


def _advice(config: TrainConfig, memory: int, processes: int, advance: Callable[[int], None]) -> str:
    found = fitting(config, memory, processes=processes, advance=advance)
    if found is None:
        return f"{config.name}: not even one image fits {memory / 2**30:.1f} GiB; lower data.gt_size"
    lines = lines_to_change(config, found)
    needs = f"needs about {found.memory / 2**30:.1f} of {memory / 2**30:.1f} GiB"
    return f"{config.name}: {'change ' + ' '.join(lines) if lines else 'fits as it is'}; it then {needs}"


def after_out_of_memory(config: TrainConfig, memory: int, *, processes: int) -> str:
    """Return what to change after running out of memory: the forecast was too low, or others use memory.

    The target is therefore below the forecast.
    """
    if forecast(config).unknown:
        return report(config)
    target = min(memory, int(option(config, processes=processes).memory * 0.8))
    return report(config, memory=target, processes=processes)
