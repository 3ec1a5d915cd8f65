"""Low-rank adapters (LoRA, arXiv 2106.09685): W + alpha / rank · B A replaces a frozen weight W."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from archsr.models.memory_efficient import without_autocast


class LowRank(nn.Module):
    """Adds a product of two thin matrices to a weight of shape (out, ...). `up` is zero at first."""

    def __init__(self, weight: Tensor, *, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, inputs, dtype=weight.dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(outputs, rank, dtype=weight.dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight plus the learned product, in the weight's dtype."""
        kind = weight.device.type
        with without_autocast(kind):
            return weight + (self.scale * (self.up @ self.down)).view_as(weight)


def adaptable(module: nn.Module) -> bool:
    """Return whether the module's weight can have an adapter."""
    return isinstance(module, nn.Conv2d | nn.Linear) and "weight" in dict(module.named_parameters(recurse=False))


def adapt(module: nn.Module, *, rank: int, alpha: float) -> LowRank:
    """Add an adapter to a convolution or linear layer. Its `weight` is the sum from then on."""
    weight = cast(Tensor, module.weight)
    added = LowRank(weight.detach(), rank=rank, alpha=alpha)
    # torch would first compare a call's shapes and dtypes, which fails on a forecast's meta tensors
    parametrize.register_parametrization(module, "weight", added, unsafe=True)
    return added


def merged_state(net: nn.Module) -> dict[str, Tensor]:
    """Return the network's tensors under their official names, with adapters merged into their weights."""
    state: dict[str, Tensor] = {}
    mark = ".parametrizations.weight."
    for name, tensor in net.state_dict().items():
        if mark not in name:
            state[name] = tensor
        elif name.endswith(".original"):
            module = name.split(mark)[0]
            state[f"{module}.weight"] = cast(Tensor, net.get_submodule(module).weight).detach()
    return state
