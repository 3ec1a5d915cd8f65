"""SRVGGNetCompact, the small generator of the realesr-* models, with the official tensor names."""

import torch.nn.functional as F
from torch import Tensor, nn


class SRVGGNetCompact(nn.Module):
    """Plain convolutions with PReLU and one pixel shuffle, added to the nearest-neighbour enlargement.

    (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped. `body.0`, `body.2`, ... are the convolutions.
    """

    def __init__(self, *, scale: int = 4, features: int = 64, convs: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.unshuffle = 1
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, 1, 1), nn.PReLU(features)]
        for _ in range(convs):
            layers += [nn.Conv2d(features, features, 3, 1, 1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, 3 * scale**2, 3, 1, 1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        enlarged = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        return F.pixel_shuffle(self.body(x), self.scale) + enlarged
