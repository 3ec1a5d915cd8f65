"""The discriminator of SRGAN and ESRGAN in BasicSR's form, with its tensor names."""

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import VGGStyleConfig
from archsr.models.base import Discriminator
from archsr.models.memory_efficient import conv_act

_SLOPE = 0.2


class VGGStyleDiscriminator(Discriminator):
    """(b, 3, `size`, `size`) to one logit per image (b, 1). `size` is 128 or 256.

    Batch normalisation uses the statistics of one process's micro-batch, as in the reference, so another micro-batch
    size gives other gradients.
    """

    def __init__(self, *, features: int = 64, size: int = 128) -> None:
        super().__init__()
        self.size = size
        self.stages = {128: 5, 256: 6}[size]
        widths = [features * min(2**n, 8) for n in range(self.stages)]
        inputs = 3
        for n, width in enumerate(widths):
            # only the very first convolution has a bias, because no normalisation follows it
            self.add_module(f"conv{n}_0", nn.Conv2d(inputs, width, 3, 1, 1, bias=n == 0))
            if n > 0:
                self.add_module(f"bn{n}_0", nn.BatchNorm2d(width))
            self.add_module(f"conv{n}_1", nn.Conv2d(width, width, 4, 2, 1, bias=False))
            self.add_module(f"bn{n}_1", nn.BatchNorm2d(width))
            inputs = width
        self.linear1 = nn.Linear(inputs * 4 * 4, 100)
        self.linear2 = nn.Linear(100, 1)

    @classmethod
    def from_config(cls, config: VGGStyleConfig) -> Self:
        """The network of its table."""
        return cls(features=config.features, size=config.input_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, 1) for (b, 3, size, size). In training mode each call updates the running statistics."""
        for n in range(self.stages):
            for half in (0, 1):
                conv = self.get_submodule(f"conv{n}_{half}")
                assert isinstance(conv, nn.Conv2d)
                first = n == half == 0
                x = conv_act([x], conv, slope=_SLOPE if first else None)
                x = x if first else F.leaky_relu(self.get_submodule(f"bn{n}_{half}")(x), _SLOPE)
        return self.linear2(F.leaky_relu(self.linear1(x.flatten(1)), _SLOPE))
