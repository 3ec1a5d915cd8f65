"""SRResNet, the generator of SRGAN (arXiv 1609.04802), in BasicSR's form without normalisation and with its names."""

import math
import re
from collections.abc import Mapping
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import SRResNetConfig
from archsr.models.base import ENOUGH, Generator
from archsr.models.memory_efficient import conv_act
from archsr.models.recompute import run_blocks

_SLOPE = 0.1


def _small(*convs: nn.Conv2d) -> None:
    """Initialise with Kaiming-normal weights times 0.1 and no bias: the output starts close to bilinear upscaling."""
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight)
        conv.weight.data *= 0.1
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between them, added to their input."""

    def __init__(self, *, features: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1)
        _small(self.conv1, self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(b, features, h, w) to (b, features, h, w)."""
        return x + conv_act([conv_act([x], self.conv1, slope=0.0)], self.conv2)


class SRResNet(Generator):
    """×4, ×3 or ×2 generator: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped."""

    title = "SRResNet"

    def __init__(self, *, scale: int = 4, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        step = 2 if scale == 4 else scale
        self.shuffle = step
        self.conv_first = nn.Conv2d(3, features, 3, 1, 1)
        self.body = nn.Sequential(*[ResidualBlock(features=features) for _ in range(blocks)])
        self.upconv1 = nn.Conv2d(features, features * step**2, 3, 1, 1)
        if scale == 4:
            self.upconv2 = nn.Conv2d(features, features * step**2, 3, 1, 1)
        self.conv_hr = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)
        _small(self.conv_first, *self.upconvs(), self.conv_hr, self.conv_last)

    @classmethod
    def from_config(cls, config: SRResNetConfig) -> Self:
        """The network of its table."""
        return cls(scale=config.scale, features=config.features, blocks=config.blocks)

    @classmethod
    def infer(cls, state: Mapping[str, Tensor], *, where: str) -> SRResNetConfig | None:
        """Recognise the network by the first block and the convolutions before the pixel shuffles."""
        if not {"conv_first.weight", "body.0.conv1.weight", "upconv1.weight"} <= state.keys():
            return None
        features = state["conv_first.weight"].shape[0]
        blocks = 1 + max(int(m[1]) for k in state if (m := re.match(r"body\.(\d+)\.", k)))
        scale = 4 if "upconv2.weight" in state else math.isqrt(state["upconv1.weight"].shape[0] // features)
        if scale == 2 or scale == 3 or scale == 4:
            return SRResNetConfig(arch="srresnet", scale=scale, features=features, blocks=blocks, weights=where)
        return None

    def halo(self) -> int:
        """Return two per block, one before and one after the body, and less than two for the upscaled ones."""
        return min(ENOUGH, 2 * len(self.body) + 4)

    def blocks(self) -> list[nn.Module]:
        """Return the residual blocks."""
        return list(self.body)

    def upconvs(self) -> list[nn.Conv2d]:
        """Return the convolutions before each pixel shuffle: two for ×4, else one."""
        return [self.upconv1, self.upconv2] if self.scale == 4 else [self.upconv1]

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        features = conv_act([x], self.conv_first, slope=_SLOPE)
        features = run_blocks(self.blocks(), features, together=self.together)
        for conv in self.upconvs():  # the activation works on single values, so it may precede the shuffle
            features = F.pixel_shuffle(conv_act([features], conv, slope=_SLOPE), self.shuffle)
        enlarged = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return conv_act([conv_act([features], self.conv_hr, slope=_SLOPE)], self.conv_last) + enlarged
