"""16-bit copies of convolution weights, renewed in one call.

Under autocast every convolution casts its weights in every pass, and again in the backward pass: 1,053 casts in an
iteration of RRDBNet. With copies there are none for frozen layers and a few kernels for all trained ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

_ATTRIBUTE = "_cast"  # of a convolution, a plain attribute: state dicts do not contain it


@dataclass
class _Cast:
    """The copies of one convolution's tensors, and the state of these tensors when they were made."""

    sources: tuple[Tensor, ...]
    copies: tuple[Tensor, ...]
    versions: tuple[int, ...] = ()

    def stands_for(self, *tensors: Tensor | None) -> bool:
        """Return whether the tensors are the sources, unchanged since the last renewal."""
        return self.versions == _versions(self.sources) and all(
            a is b for a, b in zip((t for t in tensors if t is not None), self.sources, strict=True)
        )


def _versions(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in tensors)  # torch counts each change in place


class CastWeights:
    """Copies of the weights and biases of a network's plain convolutions, in `dtype`.

    `conv_act` uses them under autocast to that type. A convolution whose weights were changed or replaced since the
    last `renew`, for example by a moving average, casts them itself until the next.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        self._casts: list[_Cast] = []
        for conv in net.modules():
            # not those whose weight is computed: adapters replace the class, spectral normalisation the parameter
            if type(conv) is nn.Conv2d and "weight" in dict(conv.named_parameters(recurse=False)):
                sources = tuple(t for t in (conv.weight, conv.bias) if t is not None)
                copies = tuple(torch.empty_like(t, dtype=dtype, requires_grad=False) for t in sources)
                setattr(conv, _ATTRIBUTE, _Cast(sources, copies))
                self._casts.append(cast(_Cast, getattr(conv, _ATTRIBUTE)))

    @torch.no_grad()
    def renew(self) -> None:
        """Copy the tensors that changed since the last call."""
        stale = [c for c in self._casts if c.versions != _versions(c.sources)]
        if stale:
            copies, sources = [t for c in stale for t in c.copies], [t for c in stale for t in c.sources]
            torch._foreach_copy_(copies, sources)  # pyright: ignore
        for one in stale:
            one.versions = _versions(one.sources)


def cast_of(conv: nn.Conv2d) -> tuple[Tensor, Tensor | None] | None:
    """Return the copies of weight and bias for the autocast that is on, or None if there are none or they are old."""
    found: _Cast | None = conv.__dict__.get(_ATTRIBUTE)
    kind = conv.weight.device.type
    if found is None or kind == "meta" or not torch.is_autocast_enabled(kind):
        return None
    if found.copies[0].dtype != torch.get_autocast_dtype(kind) or not found.stands_for(conv.weight, conv.bias):
        return None
    return found.copies[0], found.copies[1] if conv.bias is not None else None
