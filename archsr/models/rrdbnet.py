"""RRDBNet, the generator of ESRGAN (arXiv 1809.00219) and Real-ESRGAN, with the official tensor names."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import Recompute, RRDBNetConfig
from archsr.models.base import ENOUGH, Generator
from archsr.models.memory_efficient import conv_act, doubled
from archsr.models.recompute import run_blocks

PIECE = (64, 256)  # rows and columns of features that the upscaling tail processes at a time
_TAIL_HALO = 2  # rows around them that affect the result: 1/2 + 1/4 + 1/4 + 1/4, rounded up


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of which sees all earlier outputs. Keeps the shape (b, features, h, w)."""

    def __init__(self, *, features: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, growth, 3, 1, 1)
        self.conv2 = nn.Conv2d(features + growth, growth, 3, 1, 1)
        self.conv3 = nn.Conv2d(features + 2 * growth, growth, 3, 1, 1)
        self.conv4 = nn.Conv2d(features + 3 * growth, growth, 3, 1, 1)
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, 1, 1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data *= 0.1  # ESRGAN: small initial residuals keep deep networks stable
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(b, features, h, w) to (b, features, h, w)."""
        parts = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            parts.append(conv_act(parts, conv, slope=0.2))
        return conv_act(parts, self.conv5) * 0.2 + x


class RRDB(nn.Module):
    """Residual in residual: three dense blocks and a scaled skip. `recompute`: recompute each dense block."""

    def __init__(self, *, features: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.recompute = False
        self.rdb1 = ResidualDenseBlock(features=features, growth=growth)
        self.rdb2 = ResidualDenseBlock(features=features, growth=growth)
        self.rdb3 = ResidualDenseBlock(features=features, growth=growth)

    def forward(self, x: Tensor) -> Tensor:
        """(b, features, h, w) to (b, features, h, w)."""
        return run_blocks([self.rdb1, self.rdb2, self.rdb3], x, together=int(self.recompute)) * 0.2 + x


class RRDBNet(Generator):
    """×4, ×2 or ×1 generator: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped.

    ×2 and ×1 fold 2×2 and 4×4 pixels into channels first, so h and w must be multiples of `unshuffle`.
    """

    title = "RRDBNet (ESRGAN, Real-ESRGAN)"

    def __init__(self, *, scale: int = 4, features: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.unshuffle = {4: 1, 2: 2, 1: 4}[scale]
        self.conv_first = nn.Conv2d(3 * self.unshuffle**2, features, 3, 1, 1)
        self.body = nn.Sequential(*[RRDB(features=features, growth=growth) for _ in range(blocks)])
        self.conv_body = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_up1 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_up2 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_hr = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    @classmethod
    def from_config(cls, config: RRDBNetConfig) -> Self:
        """The network of its table."""
        return cls(scale=config.scale, features=config.features, blocks=config.blocks, growth=config.growth)

    @classmethod
    def infer(cls, state: Mapping[str, Tensor], *, where: str) -> RRDBNetConfig | None:
        """Recognise the network by the first convolution and the first dense block."""
        if not {"conv_first.weight", "body.0.rdb1.conv1.weight"} <= state.keys():
            return None
        first = state["conv_first.weight"].shape
        blocks = 1 + max(int(m[1]) for k in state if (m := re.match(r"body\.(\d+)\.", k)))
        growth = state["body.0.rdb1.conv1.weight"].shape[0]
        scale = {3: 4, 12: 2, 48: 1}.get(first[1])
        if scale == 4 or scale == 2 or scale == 1:
            return RRDBNetConfig(scale=scale, features=first[0], blocks=blocks, growth=growth, weights=where)
        return None

    def halo(self) -> int:
        """Return the receptive field: 15 convolutions in a block, one before and one after the body, and the tail."""
        return self.unshuffle * min(ENOUGH, 15 * len(self.body) + 2 + _TAIL_HALO)

    def blocks(self) -> list[nn.Module]:
        """Return the residual-in-residual dense blocks."""
        return list(self.body)

    def sums(self) -> list[nn.Module]:
        """Return the blocks, and the dense blocks inside them."""
        return [m for m in self.body.modules() if isinstance(m, RRDB | ResidualDenseBlock)]

    def recompute(self, pieces: Recompute) -> None:
        """Recompute each RRDB, each dense block ("rdb"), or groups of RRDBs; "none" keeps all activations."""
        super().recompute("none" if pieces == "rdb" else pieces)
        for block in self.body:
            assert isinstance(block, RRDB)
            block.recompute = pieces == "rdb"

    def frugal(self, x: Tensor) -> Tensor:
        """Process the features in tiles, because the tail needs 16 times the memory of the rest."""
        features = self.trunk(x)
        height, width = features.shape[2:]
        sr = features.new_empty(len(x), 3, 4 * height, 4 * width)
        for top, bottom in _divided(height, PIECE[0]):
            above, below = max(0, top - _TAIL_HALO), min(height, bottom + _TAIL_HALO)
            for left, right in _divided(width, PIECE[1]):
                before, after = max(0, left - _TAIL_HALO), min(width, right + _TAIL_HALO)
                piece = self.tail(features[:, :, above:below, before:after])
                sr[:, :, 4 * top : 4 * bottom, 4 * left : 4 * right] = piece[
                    :, :, 4 * (top - above) : 4 * (bottom - above), 4 * (left - before) : 4 * (right - before)
                ]
        return sr

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        return self.tail(self.trunk(x))

    def trunk(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to features (b, features, h/unshuffle, w/unshuffle)."""
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.unshuffle)
        first = conv_act([x], self.conv_first)
        features = run_blocks(self.blocks(), first, together=self.together)
        return first + conv_act([features], self.conv_body)

    def tail(self, features: Tensor) -> Tensor:
        """Features (b, features, h, w) to an image (b, 3, 4·h, 4·w)."""
        for conv in (self.conv_up1, self.conv_up2):
            features = conv_act([doubled(features, mode="nearest")], conv, slope=0.2)
        return conv_act([conv_act([features], self.conv_hr, slope=0.2)], self.conv_last)


def _divided(side: int, most: int) -> list[tuple[int, int]]:
    """Return start and end (exclusive) of equal parts of at most `most`."""
    count = -(-side // most)
    return list(pairwise(side * i // count for i in range(count + 1)))
