"""RRDBNet, the generator of ESRGAN (arXiv 1809.00219) and Real-ESRGAN, with the official tensor names."""

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import Recompute
from archsr.models.lean import conv_act
from archsr.models.recompute import run_blocks


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each seeing all earlier outputs; x (b, features, h, w) to the same shape."""

    def __init__(self, *, features: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, growth, 3, 1, 1)
        self.conv2 = nn.Conv2d(features + growth, growth, 3, 1, 1)
        self.conv3 = nn.Conv2d(features + 2 * growth, growth, 3, 1, 1)
        self.conv4 = nn.Conv2d(features + 3 * growth, growth, 3, 1, 1)
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, 1, 1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data *= 0.1  # ESRGAN: small residuals at the start keep deep nets stable
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(b, features, h, w) to (b, features, h, w)."""
        parts = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            parts.append(conv_act(parts, conv, slope=0.2))
        return conv_act(parts, self.conv5) * 0.2 + x


class RRDB(nn.Module):
    """Residual in residual: three dense blocks and a scaled skip. `recompute`: each dense block by itself."""

    def __init__(self, *, features: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.recompute = False
        self.rdb1 = ResidualDenseBlock(features=features, growth=growth)
        self.rdb2 = ResidualDenseBlock(features=features, growth=growth)
        self.rdb3 = ResidualDenseBlock(features=features, growth=growth)

    def forward(self, x: Tensor) -> Tensor:
        """(b, features, h, w) to (b, features, h, w)."""
        return run_blocks([self.rdb1, self.rdb2, self.rdb3], x, together=int(self.recompute)) * 0.2 + x


class RRDBNet(nn.Module):
    """×4, ×2 or ×1 generator: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped.

    ×2 and ×1 fold 2×2 and 4×4 pixels into channels first, so h and w must be multiples of `unshuffle`.
    `recompute` says which pieces of the body are made again in the backward pass instead of kept.
    """

    def __init__(self, *, scale: int = 4, features: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.unshuffle = {4: 1, 2: 2, 1: 4}[scale]
        self.together = 0
        self.conv_first = nn.Conv2d(3 * self.unshuffle**2, features, 3, 1, 1)
        self.body = nn.Sequential(*[RRDB(features=features, growth=growth) for _ in range(blocks)])
        self.conv_body = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_up1 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_up2 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_hr = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)

    def recompute(self, pieces: Recompute) -> None:
        """Each RRDB, each dense block, or so many RRDBs together; "none" keeps all activations."""
        self.together = {"none": 0, "rrdb": 1, "rdb": 0}[pieces] if isinstance(pieces, str) else pieces
        for block in self.body:
            assert isinstance(block, RRDB)
            block.recompute = pieces == "rdb"

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        return self.tail(self.trunk(x))

    def trunk(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to features (b, features, h/unshuffle, w/unshuffle)."""
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.unshuffle)
        first = conv_act([x], self.conv_first)
        features = run_blocks(list(self.body), first, together=self.together)
        return first + conv_act([features], self.conv_body)

    def tail(self, features: Tensor) -> Tensor:
        """Features (b, features, h, w) to a picture (b, 3, 4·h, 4·w)."""
        for conv in (self.conv_up1, self.conv_up2):
            features = conv_act([F.interpolate(features, scale_factor=2, mode="nearest")], conv, slope=0.2)
        return conv_act([conv_act([features], self.conv_hr, slope=0.2)], self.conv_last)
