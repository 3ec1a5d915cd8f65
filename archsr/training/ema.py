"""Exponential moving average of the trained weights."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from archsr.config import EmaConfig


class Ema:
    """Average the trained parameters of a network in float32.

    With warm-up the decay at step n is min(decay, (1 + n) / (10 + n)). Without it, a decay of 0.999 would still give
    the initial weights a share of 61 % after 500 steps, so short runs would be evaluated on weights that hardly
    changed.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: EmaConfig) -> None:
        self.config = config
        self.live = dict(parameters)
        self.average = {name: p.detach().clone() for name, p in self.live.items()}

    @torch.no_grad()
    def update(self, step: int, *, skip: Tensor | None = None) -> None:
        """Update the average after optimiser step `step` (1, 2, ...), unless `skip` is 1 on the device."""
        decay = min(self.config.decay, (1 + step) / (10 + step)) if self.config.warmup else self.config.decay
        average, live = list(self.average.values()), [p.detach() for p in self.live.values()]
        # one fused call: a Python loop over 702 tensors takes longer than the arithmetic
        if skip is None:
            torch._foreach_lerp_(average, live, 1 - decay)  # pyright: ignore
            return
        change = torch._foreach_sub(live, average)  # pyright: ignore
        torch._foreach_mul_(change, (1 - decay) * (1 - skip))  # pyright: ignore
        torch._foreach_add_(average, change)  # pyright: ignore

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Put the average into the network inside a `with` block, and restore the weights afterwards."""
        kept = {name: p.detach().clone() for name, p in self.live.items()}
        self._copy(self.average)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.live.items():
            parameter.copy_(values[name])

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Load a saved average. Raises KeyError if a parameter is missing."""
        for name, tensor in self.average.items():
            tensor.copy_(average[name])
