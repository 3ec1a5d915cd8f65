"""A forecast of what a run holds in memory, from shapes alone: no weights, no device, no data."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.utils import remove_spectral_norm

from archsr.config import TrainConfig
from archsr.models.build import Generator, build, build_discriminator
from archsr.models.srvgg import SRVGGNetCompact
from archsr.training.feature_losses import TITLES, FeatureLoss, feature_losses
from archsr.training.layers import select

_WIDTH = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Forecast:
    """Bytes per process, by what they are for."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All parts together; allocator slack and the framework's own memory (0.5 to 1 GiB on a GPU) come on top."""
        return sum(self.parts.values())

    def table(self) -> str:
        """One line per part and the total."""
        lines = [f"  {name:44}{size / 2**20:>10,.0f} MiB" for name, size in self.parts.items() if size]
        return "\n".join([*lines, f"  {'together':44}{self.total / 2**20:>10,.0f} MiB"])


def forecast(config: TrainConfig) -> Forecast:
    """What one process of `config` holds at its peak, found by running the networks on shapes ("meta" tensors)."""
    training, size = config.training, config.data.gt_size
    batch, dtype = training.micro_batch, _WIDTH[training.precision]
    with torch.device("meta"):
        net = build(config.model)
        groups = select(net, training.layers)
        trained = sum(p.numel() for g in groups for p in g.parameters.values())
        parts = {
            "generator: weights": 4 * sum(p.numel() for p in net.parameters()),
            "generator: gradients, Adam, EMA": 16 * trained,
            "generator: activations": _generator_activations(config, net.to(dtype), batch, dtype),
        }
        for name, loss in feature_losses(config.losses, size=size, weights=False).items():
            width = dtype if loss.autocast else torch.float32
            parts[f"{TITLES[name]}: weights"] = 4 * sum(p.numel() for p in loss.parameters())
            parts[f"{TITLES[name]}: activations"] = _loss_activations(loss.to(width), size, batch, width)
        if config.losses.gan.weight:
            net_d = build_discriminator(config.discriminator)
            count = sum(p.numel() for p in net_d.parameters())
            parts["discriminator: weights, gradients, Adam"] = (16 if config.discriminator.train else 4) * count
            parts["discriminator: activations"] = _discriminator_activations(net_d, size, batch, dtype)
    pool = config.degrade.pool_batches * training.global_batch
    parts["pair pool (divided among the processes)"] = pool * 3 * (size**2 + (size // config.model.scale) ** 2)
    return Forecast(parts)


def _generator_activations(config: TrainConfig, net: Generator, batch: int, dtype: torch.dtype) -> int:
    side = config.data.gt_size // config.model.scale
    lq = torch.empty(batch, 3, side, side, dtype=dtype)
    if not (config.training.gradient_checkpointing and not isinstance(net, SRVGGNetCompact)):
        return saved_bytes(lambda: net(lq), net)
    blocks = list(net.body.children())
    # whether a gradient passes through each block's input: something before it is trained
    learns = list(accumulate((_trained(m) for m in [net.conv_first, *blocks]), operator.or_))
    # a checkpointed block keeps its input; one block at a time is recomputed in the backward pass
    features = torch.empty(batch, config.model.features, side, side, dtype=dtype)
    inside = [_block_bytes(b, features, learned) for b, learned in zip(blocks, learns, strict=False)]
    recomputed = [n for n in inside if n]
    everything = saved_bytes(lambda: net(lq), net)
    kept = len(recomputed) * features.numel() * features.element_size()
    return everything - sum(inside) + kept + max(recomputed, default=0)


def _block_bytes(block: nn.Module, features: Tensor, learned: bool) -> int:
    return saved_bytes(lambda: block(features.detach().requires_grad_(learned)), block)


def _loss_activations(loss: FeatureLoss, size: int, batch: int, dtype: torch.dtype) -> int:
    sr, target = (torch.empty(batch, 3, size, size, dtype=dtype) for _ in range(2))
    return saved_bytes(lambda: loss(sr.requires_grad_(), target), loss)


def _trained(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _discriminator_activations(net_d: nn.Module, size: int, batch: int, dtype: torch.dtype) -> int:
    """Of one pass; the real and the fake picture are passed one after the other."""
    for conv in net_d.modules():
        if hasattr(conv, "weight_orig"):
            remove_spectral_norm(conv)  # it keeps only a few vectors, and wants real numbers
    net_d.to(dtype)
    return saved_bytes(lambda: net_d(torch.empty(batch, 3, size, size, dtype=dtype)), net_d)


def saved_bytes(forward: Callable[[], object], net: nn.Module) -> int:
    """Bytes that autograd keeps for the backward pass of `forward`, each storage once, weights not counted."""
    weights = {_identity(p) for p in net.parameters()}
    seen: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _identity(tensor) not in weights:
            seen[_identity(tensor)] = tensor  # keeps it alive, so that its identity is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        held = forward()
    del held
    return sum(t.untyped_storage().nbytes() for t in seen.values())


def _identity(tensor: Tensor) -> int:
    """Which storage a tensor looks at; meta tensors have no addresses to compare."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
