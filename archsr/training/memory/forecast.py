"""Forecast a run's memory and the time of its peak from shapes alone: no weights, device or data.

One iteration, `train_step` of `step.py`, is a sequence of moments: the generator's forward pass; each loss, forward and
directly back to the image, while the generator's activations are kept; the generator's backward pass; the
discriminator's passes, each with its own backward pass; the update. The activations of two losses never exist at the
same time, so the peak is the largest moment and not the sum.
"""

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
from archsr.training.losses.feature_losses import TITLES, feature_losses
from archsr.training.losses.image_losses import IMAGE_LOSSES, ldl
from archsr.training.memory.ledger import Pass, one_pass
from archsr.training.memory.stored import stored

_NARROW = {"auto": torch.bfloat16, "fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
POOL = "pair pool (divided among the processes)"


@dataclass(frozen=True)
class Passes:
    """The memory of each network's pass. `losses` maps names; "gan" is the discriminator as a loss.

    `unknown` is the reason if the generator's pass is not known; it then counts as zero.
    """

    generator: Pass
    losses: dict[str, Pass]
    discriminator: Pass | None
    unknown: str = ""


@dataclass(frozen=True)
class Forecast:
    """Bytes per process: `parts` by purpose, `moments` by moment of an iteration.

    The parts contain the activations kept for the backward pass, which do not all exist at the same time. `unknown` is
    the reason if the generator's activations are missing.
    """

    parts: dict[str, int]
    moments: dict[str, int]
    unknown: str = ""

    @property
    def when(self) -> str:
        """The moment of peak memory."""
        return max(self.moments, key=lambda name: self.moments[name])

    @property
    def total(self) -> int:
        """The peak in bytes, without slack and the framework's own memory (0.5 to 1 GiB on a GPU)."""
        return self.moments[self.when]

    def table(self) -> str:
        """Return a table with one line per part, and the peak."""
        lines = [f"  {name:44}{size / 2**20:>10,.0f} MiB" for name, size in self.parts.items() if size]
        if self.unknown:
            lines.append(f"  generator: activations: UNKNOWN and not counted: {self.unknown}")
        return "\n".join([*lines, f"  {'peak: ' + self.when:44}{self.total / 2**20:>10,.0f} MiB"])


def forecast(config: TrainConfig) -> Forecast:
    """Forecast the peak memory of one process by running the networks on shapes ("meta" tensors)."""
    return assemble(config, passes_of(config, micro_batch_of(config)))


def passes_of(config: TrainConfig, batch: int) -> Passes:
    """Return the passes of all networks with `batch` images."""
    rest = loss_passes(config, batch), discriminator_pass(config, batch)
    try:
        return Passes(generator_pass(config, batch), *rest)
    except _UnknownError as error:
        return Passes(Pass(0, 0, 0, 0, 0), *rest, unknown=str(error))


def micro_batch_of(config: TrainConfig) -> int:
    """Return the micro-batch as a number. "auto" must have been replaced before."""
    size = config.training.micro_batch
    assert isinstance(size, int)
    return size


def assemble(config: TrainConfig, passes: Passes) -> Forecast:
    """Return the forecast of `config` from its networks' passes."""
    size, scale = config.data.gt_size, config.model.scale
    lasting = _lasting(config)
    held = sum(lasting.values())
    lq = 4 * 3 * (size // scale) ** 2 * micro_batch_of(config)
    image = lq * scale**2
    there = held + lq + 3 * image  # ground truth, also sharpened, and the image's gradient
    moments = {"generator forward": there + passes.generator.forward}
    for name, one in passes.losses.items():
        moments[_title(name)] = there + passes.generator.held + one.peak
    moments["generator backward"] = there + passes.generator.backward
    if passes.discriminator:
        moments["discriminator"] = there + image + passes.discriminator.peak
    # Adam computes the roots of all second moments at once
    moments["update"] = held + max(v // 4 for k, v in lasting.items() if "gradients" in k)
    parts = {**lasting, "generator: activations": passes.generator.kept}
    parts |= {f"{_title(name)}: activations": one.kept for name, one in passes.losses.items()}
    if passes.discriminator:
        parts["discriminator: activations"] = passes.discriminator.kept
    whole = ({k: int(v) for k, v in each.items()} for each in (parts, moments))
    return Forecast(*whole, unknown=passes.unknown)


def _title(name: str) -> str:
    return {**TITLES, "gan": "discriminator as a loss"}.get(name, f"loss {name}")


def _lasting(config: TrainConfig) -> dict[str, int]:
    """Return the bytes that stay allocated from the first update on, by purpose."""
    size, training = config.data.gt_size, config.training
    parts = {
        "generator: weights": 4 * parameters(config),
        "generator: gradients, Adam, EMA": 16 * trained_parameters(config),
    }
    for name, count in _loss_sizes(config.losses.model_dump_json(), size).items():
        parts[f"{TITLES[name]}: weights"] = 4 * count
    if config.losses.gan.weight:
        each = 16 if config.discriminator.train else 4
        key = f"discriminator: weights{', gradients, Adam' if config.discriminator.train else ''}"
        parts[key] = each * _discriminator_size(config.discriminator)  # pyright: ignore[reportArgumentType] - it has a hash
    pool = config.degrade.pool_batches * training.global_batch
    parts[POOL] = pool * 3 * (size**2 + (size // config.model.scale) ** 2)
    return parts


def parameters(config: TrainConfig) -> int:
    """Return the number of the generator's parameters."""
    return _generator_sizes(_Generator(config.model, config.training.layers))[0]


def trained_parameters(config: TrainConfig) -> int:
    """Return the number of the generator's trained parameters."""
    return _generator_sizes(_Generator(config.model, config.training.layers))[1]


def trains_blocks(config: TrainConfig) -> bool:
    """Return whether any parameter in the generator's blocks is trained. Otherwise nothing is recomputed."""
    return _generator_sizes(_Generator(config.model, config.training.layers))[2]


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


@lru_cache(maxsize=64)
def _generator_sizes(which: _Generator) -> tuple[int, int, bool]:
    """Return the numbers of all and of trained parameters, and whether any trained one is in a block."""
    with torch.device("meta"):
        net = build(which.model)
        groups = select(net, which.layers)
    trained = [p for g in groups for p in g.parameters.values()]
    in_blocks = {id(p) for block in net.blocks() for p in block.parameters()}
    return _count(net), sum(p.numel() for p in trained), any(id(p) in in_blocks for p in trained)


@lru_cache(maxsize=64)
def _loss_sizes(losses: str, size: int) -> dict[str, int]:
    with torch.device("meta"):
        networks = feature_losses(LossConfig.model_validate_json(losses), size=size, weights=False)
    return {name: _count(loss) for name, loss in networks.items()}


@lru_cache(maxsize=64)
def _discriminator_size(config: DiscriminatorConfig) -> int:
    with torch.device("meta"):
        return _count(build_discriminator(config))


def _count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


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
