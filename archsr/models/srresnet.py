"""SRResNet, the generator of SRGAN (arXiv 1609.04802), in BasicSR's form without normalisation and with its names."""

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import Recompute
from archsr.models.lean import conv_act
from archsr.models.recompute import run_blocks

_SLOPE = 0.1


def _small(*convs: nn.Conv2d) -> None:
    """Kaiming-normal weights times 0.1 and no bias: the network begins near the bilinear enlargement."""
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


class SRResNet(nn.Module):
    """×4, ×3 or ×2 generator: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped.

    `recompute` says which pieces of the body are made again in the backward pass instead of kept.
    """

    def __init__(self, *, scale: int = 4, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.unshuffle = 1
        self.together = 0
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

    def recompute(self, pieces: Recompute) -> None:
        """Each residual block ("rrdb"), or so many together; "none" keeps all activations. KeyError for "rdb"."""
        self.together = {"none": 0, "rrdb": 1}[pieces] if isinstance(pieces, str) else pieces

    def upconvs(self) -> list[nn.Conv2d]:
        """The convolutions in front of each pixel shuffle: two for ×4, else one."""
        return [self.upconv1, self.upconv2] if self.scale == 4 else [self.upconv1]

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        features = conv_act([x], self.conv_first, slope=_SLOPE)
        features = run_blocks(list(self.body), features, together=self.together)
        for conv in self.upconvs():  # the activation is per value, so it may come before the shuffle
            features = F.pixel_shuffle(conv_act([features], conv, slope=_SLOPE), self.shuffle)
        enlarged = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return conv_act([conv_act([features], self.conv_hr, slope=_SLOPE)], self.conv_last) + enlarged
