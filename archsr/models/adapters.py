"""Low-rank adapters (LoRA, arXiv 2106.09685): W + alpha / rank · B A in the place of a frozen weight W."""

import contextlib
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """Adds a product of two thin matrices to a weight of shape (out, ...). `up` begins at zero: nothing is added."""

    def __init__(self, weight: Tensor, *, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, inputs, dtype=weight.dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(outputs, rank, dtype=weight.dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with what was learned added, in its own precision."""
        kind = weight.device.type
        with torch.autocast(kind, enabled=False) if kind != "meta" else contextlib.nullcontext():
            return weight + (self.scale * (self.up @ self.down)).view_as(weight)


def adaptable(module: nn.Module) -> bool:
    """Whether the module has a weight that an adapter can be put on."""
    return isinstance(module, nn.Conv2d | nn.Linear) and "weight" in dict(module.named_parameters(recurse=False))


def adapt(module: nn.Module, *, rank: int, alpha: float) -> LowRank:
    """Put an adapter on a convolution or linear layer; from now on its `weight` is the sum."""
    weight = cast(Tensor, module.weight)
    added = LowRank(weight.detach(), rank=rank, alpha=alpha)
    # torch would compare a call's shapes and types first, which a forecast's shapes without values cannot do
    parametrize.register_parametrization(module, "weight", added, unsafe=True)
    return added


def merged_state(net: nn.Module) -> dict[str, Tensor]:
    """The network's tensors under their official names, adapters added to the weights they are on."""
    state: dict[str, Tensor] = {}
    mark = ".parametrizations.weight."
    for name, tensor in net.state_dict().items():
        if mark not in name:
            state[name] = tensor
        elif name.endswith(".original"):
            module = name.split(mark)[0]
            state[f"{module}.weight"] = cast(Tensor, net.get_submodule(module).weight).detach()
    return state
