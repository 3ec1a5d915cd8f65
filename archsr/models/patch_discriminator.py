"""PatchGAN (arXiv 1611.07004): classifies overlapping patches as real or fake, with batch or spectral normalisation."""

from itertools import pairwise
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import PatchConfig
from archsr.models.base import Discriminator
from archsr.models.spectral import hooked_conv, normalised

_SLOPE = 0.2


class PatchDiscriminator(Discriminator):
    """(b, 3, h, w) to a map of logits (b, 1, h', w'), h' = h / 2^layers - 2.

    `conv0` ... `conv{layers}` widen from `features` to at most 8 times as many. `conv{layers + 1}` gives the logits.
    The first and the last are not normalised. With three layers the receptive field is 70 × 70 pixels.
    """

    def __init__(self, *, features: int = 64, layers: int = 3, norm: str = "spectral") -> None:
        super().__init__()
        self.layers = layers
        widths = [3, *(features * min(2**n, 8) for n in range(layers + 1))]
        for n, (inputs, width) in enumerate(pairwise(widths)):
            batch = norm == "batch" and n > 0
            conv = nn.Conv2d(inputs, width, 4, 2 if n < layers else 1, 1, bias=not batch)
            self.add_module(f"conv{n}", normalised(conv) if norm == "spectral" and n > 0 else conv)
            self.add_module(f"bn{n}", nn.BatchNorm2d(width) if batch else nn.Identity())
        self.add_module(f"conv{layers + 1}", nn.Conv2d(widths[-1], 1, 4, 1, 1))

    @classmethod
    def from_config(cls, config: PatchConfig) -> Self:
        """The network of its table."""
        return cls(features=config.features, layers=config.layers, norm=config.norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, 1, h', w') for (b, 3, h, w)."""
        for n in range(self.layers + 1):
            norm, conv = self.get_submodule(f"bn{n}"), self.get_submodule(f"conv{n}")
            plain = isinstance(norm, nn.Identity)
            x = hooked_conv(conv, x, slope=_SLOPE if plain else None)
            x = x if plain else F.leaky_relu(norm(x), _SLOPE)
        return hooked_conv(self.get_submodule(f"conv{self.layers + 1}"), x, slope=None)
