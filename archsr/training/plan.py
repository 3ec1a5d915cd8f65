"""What fits: memory and arithmetic of a config and its alternatives, from shapes alone: no data, weights or GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archsr.config import LayerGroup, TrainConfig, recomputes
from archsr.models.build import build, build_discriminator
from archsr.models.srvgg import SRVGGNetCompact
from archsr.training.adversarial import compares
from archsr.training.feature_losses import feature_losses
from archsr.training.layers import select
from archsr.training.memory import forecast

# what the forecast cannot know: CUDA's own memory, the allocator's slack, and the work space of convolutions
FRAMEWORK = 2**30
SLACK = 1.1
_TAIL: tuple[str | LayerGroup, ...] = ("conv_body", "conv_up*", "conv_hr", "conv_last")
_ALTERNATIVES: tuple[tuple[str | LayerGroup, ...], ...] = (
    ("conv_last",),
    _TAIL,
    ("body.20-22", *_TAIL),
    ("all",),
)


@dataclass(frozen=True)
class Option:
    """One way to train. `memory`: bytes of one process with slack; `flops` of one iteration of one process."""

    layers: tuple[str | LayerGroup, ...]
    checkpointing: bool
    micro_batch: int
    trained: int
    memory: int
    flops: int

    @property
    def title(self) -> str:
        """The layers as written."""
        return ", ".join(n if isinstance(n, str) else ", ".join(n.names) for n in self.layers)


def option(config: TrainConfig, *, processes: int = 1, losses: int | None = None) -> Option:
    """Memory and arithmetic of `config`, its global batch shared out to `processes`.

    `losses`: the `loss_flops` of the config, where they are known already.
    """
    training = config.training
    with torch.device("meta"):
        net = build(config.model)
        groups = select(net, training.layers)
    own = forecast(config)
    pool = own.parts["pair pool (divided among the processes)"]
    memory = (own.total - pool + pool // processes) * SLACK + FRAMEWORK
    samples = training.global_batch // processes
    return Option(
        layers=training.layers,
        checkpointing=training.gradient_checkpointing,
        micro_batch=training.micro_batch,
        trained=sum(p.numel() for g in groups for p in g.parameters.values()),
        memory=int(memory),
        flops=samples * (generator_flops(config) + (loss_flops(config) if losses is None else losses)),
    )


def alternatives(config: TrainConfig, *, processes: int = 1) -> list[Option]:
    """The config itself, then other layers, each with and without gradient checkpointing."""
    choices = [config.training.layers]
    if config.model.arch == "rrdbnet":
        enough = config.model.blocks > 22
        choices += [a for a in _ALTERNATIVES if a != choices[0] and (enough or "body.20-22" not in a)]
    losses = loss_flops(config)
    return [
        option(changed(config, layers=layers, gradient_checkpointing=checkpointing), processes=processes, losses=losses)
        for layers in choices
        for checkpointing in ((False, True) if recomputes(config.model) else (False,))
    ]


def fitting(config: TrainConfig, memory: int, *, processes: int = 1) -> Option | None:
    """The fastest way to train the config's layers within `memory` bytes: the largest micro-batch, without gradient
    checkpointing if it can be. None where not even one sample fits."""
    share = config.training.global_batch // processes
    sizes = [n for n in range(share, 0, -1) if share % n == 0]
    for checkpointing in (False, True) if recomputes(config.model) else (False,):
        for size in sizes:
            # half of the batch at a time costs little; more pieces cost more than recomputing
            if not checkpointing and size * 4 < share and recomputes(config.model):
                break
            found = option(changed(config, micro_batch=size, gradient_checkpointing=checkpointing), processes=processes)
            if found.memory <= memory:
                return found
    return None


def changed(config: TrainConfig, **training: Any) -> TrainConfig:  # noqa: ANN401 - fields of the training table
    """The config with other values in its `training` table."""
    return config.model_copy(update={"training": config.training.model_copy(update=training)})


def lines_to_change(config: TrainConfig, better: Option) -> list[str]:
    """The `--set` options that make `config` into `better`."""
    lines: list[str] = []
    if better.micro_batch != config.training.micro_batch:
        lines.append(f"--set training.micro_batch={better.micro_batch}")
    if better.checkpointing != config.training.gradient_checkpointing:
        lines.append(f"--set training.gradient_checkpointing={str(better.checkpointing).lower()}")
    return lines


# ---------------------------------------------------------------- arithmetic


def generator_flops(config: TrainConfig) -> int:
    """Floating-point operations of the generator for one sample, forward and backward; a multiplication and an
    addition are two."""
    side = config.data.gt_size // config.model.scale
    with torch.device("meta"):
        net = build(config.model)
        select(net, config.training.layers)
        if not isinstance(net, SRVGGNetCompact):
            net.checkpointing = config.training.gradient_checkpointing
        return _counted(lambda: net(torch.empty(1, 3, side, side)))


def loss_flops(config: TrainConfig) -> int:
    """What the losses' networks and the discriminator, with its own training, add for one sample.

    Degradation is not counted.
    """
    total, size = 0, config.data.gt_size
    with torch.device("meta"):
        sr = torch.empty(1, 3, size, size)
        for loss in feature_losses(config.losses, size=size, weights=False).values():
            total += _counted(lambda loss=loss: loss(sr.requires_grad_(), sr.detach()))
        if config.losses.ldl.weight:
            side = size // config.model.scale
            total += _counted_forward(build(config.model), torch.empty(1, 3, side, side))
        if config.losses.gan.weight:
            net_d = build_discriminator(config.discriminator)
            total += _counted(lambda: net_d.requires_grad_(False)(sr.requires_grad_()))
            if config.discriminator.train:
                total += 2 * _counted(lambda: net_d.requires_grad_(True)(sr.detach()))
            if compares(config.losses.gan.objective):  # real once more for the generator, fake for the discriminator
                total += (2 if config.discriminator.train else 1) * _counted_forward(net_d, sr.detach())
    return total


@torch.no_grad()
def _counted_forward(net: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        net(x)
    return counter.get_total_flops()


def _counted(forward: Callable[[], torch.Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        forward().sum().backward()
    return counter.get_total_flops()


# ---------------------------------------------------------------- for people


def report(config: TrainConfig, *, memory: int | None = None, tflops: float | None = None, processes: int = 1) -> str:
    """A table of the config and its alternatives; with `memory` (bytes) what fits; with `tflops` the time."""
    rows = alternatives(config, processes=processes)
    head = f"{'layers':46}{'recompute':>10}{'trained':>12}{'memory':>11}{'TFLOP/it':>10}"
    head += f"{'s/it':>8}" if tflops else ""
    lines = [
        f"one of {processes} process(es), micro-batch {config.training.micro_batch}, {config.training.precision}, "
        f"gt {config.data.gt_size}; memory with {FRAMEWORK / 2**30:.0f} GiB for CUDA and {SLACK - 1:.0%} slack",
        "",
        head + ("  fits" if memory else ""),
        *(_row(row, memory, tflops) for row in rows),
    ]
    if memory:
        lines += ["", _advice(config, memory, processes)]
    return "\n".join(lines)


def _row(row: Option, memory: int | None, tflops: float | None) -> str:
    title = row.title if len(row.title) <= 44 else row.title[:41] + "..."
    line = f"{title:46}{'yes' if row.checkpointing else 'no':>10}{row.trained:>12,}"
    line += f"{row.memory / 2**30:>7.2f} GiB{row.flops / 1e12:>10.2f}"
    line += f"{row.flops / 1e12 / tflops:>8.3f}" if tflops else ""
    return line + (f"  {'yes' if row.memory <= memory else 'no'}" if memory else "")


def _advice(config: TrainConfig, memory: int, processes: int) -> str:
    found = fitting(config, memory, processes=processes)
    if found is None:
        return f"{config.name}: not even one picture fits {memory / 2**30:.1f} GiB; lower data.gt_size"
    lines = lines_to_change(config, found)
    needs = f"needs about {found.memory / 2**30:.1f} of {memory / 2**30:.1f} GiB"
    return f"{config.name}: {'change ' + ' '.join(lines) if lines else 'fits as it is'}; it then {needs}"


def after_out_of_memory(config: TrainConfig, memory: int, *, processes: int) -> str:
    """What to change after memory ran out: below what was forecast, for the forecast was wrong or others use memory."""
    target = min(memory, int(option(config, processes=processes).memory * 0.8))
    return report(config, memory=target, processes=processes)
