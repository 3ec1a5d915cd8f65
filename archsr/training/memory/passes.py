"""The memory of each network's pass, from running it on shapes ("meta" tensors)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from archsr.config import DiscriminatorConfig, LayerGroup, Loss, LossConfig, ModelConfig, Recompute, TrainConfig
from archsr.errors import first_line
from archsr.models.base import Generator
from archsr.models.build import GENERATORS, build, build_discriminator
from archsr.models.recompute import recompute_modules
from archsr.training.layers import select
from archsr.training.losses.feature_losses import feature_losses
from archsr.training.losses.image_losses import IMAGE_LOSSES, ldl
from archsr.training.memory.ledger import Pass, one_pass
from archsr.training.memory.stored import stored

_NARROW = {"auto": torch.bfloat16, "fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Passes:
    """The memory of each network's pass. `losses` maps names; "gan" is the discriminator as a loss.

    `unknown` is the reason if the generator's pass is not known; it then counts as zero.
    """

    generator: Pass
    losses: dict[str, Pass]
    discriminator: Pass | None
    unknown: str = ""


def passes_of(config: TrainConfig, batch: int) -> Passes:
    """Return the passes of all networks with `batch` images."""
    rest = loss_passes(config, batch), discriminator_pass(config, batch)
    try:
        return Passes(generator_pass(config, batch), *rest)
    except _UnknownError as error:
        return Passes(Pass(0, 0, 0, 0, 0), *rest, unknown=str(error))


@dataclass(frozen=True)
class _Generator:
    """Cache key: what the generator's size and pass depend on."""

    model: ModelConfig
    layers: tuple[str | LayerGroup, ...]
    pieces: Recompute = "none"
    narrow: torch.dtype | None = None
    shape: tuple[int, ...] = ()
    patterns: tuple[str, ...] = ()


class _UnknownError(Exception):
    """Raised if a network cannot run on shapes alone."""


def generator_pass(config: TrainConfig, batch: int) -> Pass:
    """Return the pass of `batch` images through the generator to a float32 image."""
    training, side = config.training, config.data.gt_size // config.model.scale
    narrow, shape = _NARROW[training.precision], (batch, 3, side, side)
    pieces, patterns = training.gradient_checkpointing, training.recompute
    which = _Generator(config.model, training.layers, pieces, narrow, shape, patterns)
    if GENERATORS[config.model.arch].tested:
        return _generator_pass(which)["generator"]
    return _tried_pass(which)


@stored  # each takes a second, and a plan repeats the same ones
def _generator_pass(which: _Generator) -> dict[str, Pass]:
    net, lq = _network_and_input(which)
    net.recompute(which.pieces)
    return {"generator": one_pass(lambda: net(lq).float(), [net], narrow=which.narrow)}


def _network_and_input(which: _Generator) -> tuple[Generator, Tensor]:
    net = _network(which.model, which.layers, which.patterns)  # pyright: ignore[reportArgumentType] - it has a hash
    return net, torch.empty(which.shape, device="meta")


@lru_cache(maxsize=16)  # building one takes half as long as its pass
def _network(model: ModelConfig, layers: tuple[str | LayerGroup, ...], patterns: tuple[str, ...]) -> Generator:
    """Build a generator on shapes. Its passes only change what is recomputed, which each sets first."""
    with torch.device("meta"):
        net = build(model)
        select(net, layers)
        recompute_modules(net, patterns)
    return net


@lru_cache(maxsize=64)  # not stored: the network is that of a file, which may change
def _tried_pass(which: _Generator) -> Pass:
    """Run the pass in float32, because autocast also runs parts of these networks in float32."""
    net, lq = _network_and_input(which)
    try:
        with torch.device("meta"):
            return one_pass(lambda: net(lq).float(), [net])
    except Exception as error:  # the architecture may need values, which meta tensors do not have
        reason = f"{net.title} cannot be run on shapes alone ({first_line(error, kind=True)})"
        raise _UnknownError(reason) from None


@dataclass(frozen=True)
class _LossesAndDiscriminator:
    """Cache key: what the passes of losses and discriminator depend on. `losses` is JSON, so that it is hashable."""

    losses: str
    discriminator: DiscriminatorConfig
    shape: tuple[int, int, int, int]
    narrow: torch.dtype | None
    recompute_losses: bool
    recompute_discriminator: bool


def _judges(config: TrainConfig, batch: int) -> _LossesAndDiscriminator:
    size, training = config.data.gt_size, config.training
    return _LossesAndDiscriminator(
        losses=config.losses.model_dump_json(),
        discriminator=config.discriminator,
        shape=(batch, 3, size, size),
        narrow=_NARROW[training.precision],
        recompute_losses=training.recompute_losses,
        recompute_discriminator=training.recompute_discriminator,
    )


def loss_passes(config: TrainConfig, batch: int) -> dict[str, Pass]:
    """Return the pass of each active loss, from the image to a scalar and back to the image."""
    return _loss_passes(_judges(config, batch))


@stored
def _loss_passes(which: _LossesAndDiscriminator) -> dict[str, Pass]:
    losses, size = LossConfig.model_validate_json(which.losses), which.shape[-1]
    found: dict[str, Pass] = {}
    with torch.device("meta"):
        sr, target = (torch.empty(which.shape) for _ in range(2))
        networks = feature_losses(losses, size=size, weights=False, recompute=which.recompute_losses)
        for name, term in losses.terms().items():
            net: nn.Module | None = None
            narrow = which.narrow
            if name in networks:
                net = networks[name]
                narrow = narrow if networks[name].autocast else None
                loss = partial(networks[name], target=target)
            elif name == "gan":
                net = _discriminator(which).requires_grad_(False)
                loss = partial(_mean_logit, net)
            elif name == "ldl":
                narrow, loss = None, partial(ldl, target=target, averaged=target, config=losses.ldl)
            else:
                narrow, loss = None, partial(_of_images, IMAGE_LOSSES[name], target, term)
            seen = sr.detach().requires_grad_()
            found[name] = one_pass(partial(loss, seen), [net] if net else [], narrow=narrow)
    return found


def _of_images(loss: Callable[[Tensor, Tensor, Loss], Tensor], target: Tensor, term: Loss, sr: Tensor) -> Tensor:
    return loss(sr, target, term)


def _mean_logit(net_d: nn.Module, image: Tensor) -> Tensor:
    return net_d(image).float().mean()


def discriminator_pass(config: TrainConfig, batch: int) -> Pass | None:
    """Return the pass of real or fake images (one after the other), or None if it is not trained."""
    if not (config.losses.gan.weight and config.discriminator.train):
        return None
    return _discriminator_pass(_judges(config, batch))["discriminator"]


@stored
def _discriminator_pass(which: _LossesAndDiscriminator) -> dict[str, Pass]:
    with torch.device("meta"):
        net_d = _discriminator(which)
        found = one_pass(partial(_mean_logit, net_d, torch.empty(which.shape)), [net_d], narrow=which.narrow)
    return {"discriminator": found}


def _discriminator(which: _LossesAndDiscriminator) -> nn.Module:
    net_d = build_discriminator(which.discriminator)
    net_d.recompute = which.recompute_discriminator
    return net_d
