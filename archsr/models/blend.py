"""Interpolate between the weights of two models, for the strength of a fine-tuning."""

from collections.abc import Mapping

import torch
from torch import Tensor

from archsr.errors import WeightsError


def blended(first: Mapping[str, Tensor], second: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) · first + alpha · second, tensor by tensor, in float64 and converted to the first's dtype.

    At 0 and 1 it is exactly one of them. Outside it extrapolates. Raises `UserError` for models of different shapes.
    """
    if unlike := sorted(first.keys() ^ second.keys()):
        raise WeightsError(f"the two models have different tensors, for example {unlike[0]}; blend models of one kind")
    for name, tensor in first.items():
        if tensor.shape != second[name].shape:
            raise WeightsError(
                f"{name}: shapes {tuple(tensor.shape)} and {tuple(second[name].shape)}; blend models of one kind"
            )
    return {name: _between(tensor, second[name], alpha) for name, tensor in first.items()}


def _between(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not a.is_floating_point() or alpha in (0, 1):
        return (b if alpha == 1 else a).clone()
    return torch.lerp(a.double(), b.double(), alpha).to(a.dtype)
