"""VGG19 features before ReLU, for the perceptual loss of ESRGAN."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn

from archsr.models.memory_efficient import conv_act, halved, relu
from archsr.models.recompute import run_again

# index of each convolution in torchvision's vgg19().features: blocks of 2, 2, 4, 4, 4, each followed by pooling
CONVS = {
    f"conv{block}_{n}": start + 2 * (n - 1)
    for block, start, count in ((1, 0, 2), (2, 5, 2), (3, 10, 4), (4, 19, 4), (5, 28, 4))
    for n in range(1, count + 1)
}


def _is_relu(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ReLU)


def untrained(name: str) -> Any:  # noqa: ANN401 - torchvision's networks share no type
    """Build torchvision's `alexnet`, `vgg16` or `vgg19` with random convolutions, as torchvision draws them for VGG.

    The linear layers, nine tenths of the network, stay uninitialised: they are unused, and their random numbers would
    take seconds.
    """
    import torchvision.models  # imported late: it takes 1.5 seconds

    options = {} if name == "alexnet" else {"init_weights": False}
    with mock.patch.object(nn.Linear, "reset_parameters", return_value=None):
        net: Any = getattr(torchvision.models, name)(weights=None, **options)
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
    return net


class VGG19Features(nn.Module):
    """(b, 3, h, w) RGB in [0, 1] to {name: features before ReLU}. Frozen, always in evaluation mode.

    Only convolutions up to the deepest wanted one exist. Unknown names raise KeyError. `recompute` recomputes the
    layers between two poolings in the backward pass.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.recompute = False
        self.taps = {CONVS[name]: name for name in sorted(names, key=CONVS.__getitem__)}
        self.features = nn.Sequential(*list(untrained("vgg19").features.children())[: max(self.taps) + 1])
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "VGG19Features":  # noqa: ARG002 - frozen whatever the parent does
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the wanted feature maps of (b, 3, h, w)."""
        return dict(self.each(x))

    def each(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the wanted feature maps, each computed on demand."""
        x = (x - self.mean) / self.std
        for first, end in self._pieces():
            run = partial(self._run, first, end)
            *found, x = run_again(run, x) if self.recompute else run(x)
            names = [name for index, name in self.taps.items() if first <= index < end]
            yield from zip(names, found, strict=True)

    def _pieces(self) -> list[tuple[int, int]]:
        """Yield first layer and end of each part up to and including a pooling."""
        ends = [n + 1 for n, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        starts = [0, *ends]
        return [(a, b) for a, b in zip(starts, [*ends, len(self.features)], strict=True) if a < b]

    def _run(self, first: int, end: int, x: Tensor) -> tuple[Tensor, ...]:
        """Return the wanted feature maps among some layers, then the result of the last layer."""
        found: list[Tensor] = []
        for index in range(first, end):
            layer = self.features[index]
            # an in-place ReLU would overwrite the features just returned
            x = conv_act([x], layer) if isinstance(layer, nn.Conv2d) else relu(x) if _is_relu(layer) else halved(x)
            if index in self.taps:
                found.append(x)
        return (*found, x)
