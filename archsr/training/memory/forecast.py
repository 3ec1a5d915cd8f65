"""Forecast a run's memory and the time of its peak from shapes alone: no weights, device or data.

One iteration, `train_step` of `step.py`, is a sequence of moments: the generator's forward pass; each loss, forward and
directly back to the image, while the generator's activations are kept; the generator's backward pass; the
discriminator's passes, each with its own backward pass; the update. The activations of two losses never exist at the
same time, so the peak is the largest moment and not the sum.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from archsr.config import DiscriminatorConfig, LayerGroup, LossConfig, ModelConfig, TrainConfig
from archsr.models.build import build, build_discriminator
from archsr.training.layers import select
from archsr.training.losses.feature_losses import TITLES, feature_losses
from archsr.training.memory.passes import Passes, passes_of

POOL = "pair pool (divided among the processes)"


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
    return _sizes(config)[0]


def trained_parameters(config: TrainConfig) -> int:
    """Return the number of the generator's trained parameters."""
    return _sizes(config)[1]


def trains_blocks(config: TrainConfig) -> bool:
    """Return whether any parameter in the generator's blocks is trained. Otherwise nothing is recomputed."""
    return _sizes(config)[2]


def _sizes(config: TrainConfig) -> tuple[int, int, bool]:
    return _generator_sizes(config.model, config.training.layers)  # pyright: ignore[reportArgumentType] - it has a hash


@lru_cache(maxsize=64)
def _generator_sizes(model: ModelConfig, layers: tuple[str | LayerGroup, ...]) -> tuple[int, int, bool]:
    """Return the numbers of all and of trained parameters, and whether any trained one is in a block."""
    with torch.device("meta"):
        net = build(model)
        groups = select(net, layers)
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
