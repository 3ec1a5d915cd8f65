"""SRVGGNetCompact, the small generator of the realesr-* models, with the official tensor names."""

import math
import re
from collections.abc import Mapping
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import SRVGGConfig
from archsr.models.base import ENOUGH, Generator


class SRVGGNetCompact(Generator):
    """Plain convolutions with PReLU and one pixel shuffle, added to nearest-neighbour upscaling.

    (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped. `body.0`, `body.2`, ... are the convolutions.
    """

    title = "SRVGGNetCompact (Real-ESRGAN)"

    def __init__(self, *, scale: int = 4, features: int = 64, convs: int = 16) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, 1, 1), nn.PReLU(features)]
        for _ in range(convs):
            layers += [nn.Conv2d(features, features, 3, 1, 1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, 3 * scale**2, 3, 1, 1))
        self.body = nn.Sequential(*layers)

    @classmethod
    def from_config(cls, config: SRVGGConfig) -> Self:
        """The network of its table."""
        return cls(scale=config.scale, features=config.features, convs=config.convs)

    @classmethod
    def infer(cls, state: Mapping[str, Tensor], *, where: str) -> SRVGGConfig | None:
        """Recognise the network by convolutions directly in `body` and the PReLU between them."""
        convs = sorted(
            int(m[1]) for k, v in state.items() if (m := re.fullmatch(r"body\.(\d+)\.weight", k)) and v.dim() == 4
        )
        if not convs or "body.1.weight" not in state or state["body.1.weight"].dim() != 1:
            return None
        scale = math.isqrt(state[f"body.{convs[-1]}.weight"].shape[0] // 3)
        if scale == 1 or scale == 2 or scale == 3 or scale == 4:
            features = state["body.0.weight"].shape[0]
            return SRVGGConfig(arch="srvgg", scale=scale, features=features, convs=len(convs) - 2, weights=where)
        return None

    def halo(self) -> int:
        """Return one per convolution, which are every second module, including the first and the last."""
        return min(ENOUGH, (len(self.body) + 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to (b, 3, scale·h, scale·w)."""
        enlarged = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        return F.pixel_shuffle(self.body(x), self.scale) + enlarged
