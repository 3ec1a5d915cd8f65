"""Real-ESRGAN's U-Net discriminator with spectral normalisation, with the official tensor names."""

from collections.abc import Callable, Sequence
from typing import Self

from torch import Tensor, nn

from archsr.config import UNetConfig
from archsr.models.base import Discriminator
from archsr.models.memory_efficient import doubled
from archsr.models.recompute import run_again
from archsr.models.spectral import normalised, with_weights_now

_Layer = Callable[[Tensor], Tensor]


def _sn(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    return normalised(nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False))


class UNetDiscriminatorSN(Discriminator):
    """(b, 3, h, w) to one logit per pixel (b, 1, h, w). h and w must be multiples of 8.

    `recompute` recomputes the downsampling part, each upsampling step and the head in the backward pass.
    """

    def __init__(self, *, features: int = 64) -> None:
        super().__init__()
        f = features
        self.conv0 = nn.Conv2d(3, f, 3, 1, 1)
        self.conv1 = _sn(f, 2 * f, 4, 2)
        self.conv2 = _sn(2 * f, 4 * f, 4, 2)
        self.conv3 = _sn(4 * f, 8 * f, 4, 2)
        self.conv4 = _sn(8 * f, 4 * f, 3, 1)
        self.conv5 = _sn(4 * f, 2 * f, 3, 1)
        self.conv6 = _sn(2 * f, f, 3, 1)
        self.conv7 = _sn(f, f, 3, 1)
        self.conv8 = _sn(f, f, 3, 1)
        self.conv9 = nn.Conv2d(f, 1, 3, 1, 1)

    @classmethod
    def from_config(cls, config: UNetConfig) -> Self:
        """The network of its table."""
        return cls(features=config.features)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, 1, h, w) for (b, 3, h, w). In training mode each call makes one power iteration."""
        names = [f"conv{n}" for n in range(10)]
        convs = [with_weights_now(self.get_submodule(n), slope=None if n == "conv9" else 0.2) for n in names]
        run: Callable[..., tuple[Tensor, ...]] = run_again if self.recompute else _run
        x0, x1, x2, x3 = run(_each(convs[:4]), x)
        (x4,) = run(_each([lambda y: convs[4](doubled(y, mode="bilinear"))]), x3)
        x4 = x4 + x2
        (x5,) = run(_each([lambda y: convs[5](doubled(y, mode="bilinear"))]), x4)
        x5 = x5 + x1
        (x6,) = run(_each([lambda y: convs[6](doubled(y, mode="bilinear"))]), x5)
        x6 = x6 + x0
        return run(_each(convs[7:]), x6)[-1]


def _each(layers: Sequence[_Layer]) -> Callable[[Tensor], tuple[Tensor, ...]]:

    def results(x: Tensor) -> tuple[Tensor, ...]:
        found = [x]
        for layer in layers:
            found.append(layer(found[-1]))
        return tuple(found[1:])

    return results


def _run(function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
    return function(*inputs)
