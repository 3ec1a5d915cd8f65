"""Base classes: what every network provides, so that callers need not know which one it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from archsr.config import ModelConfig, Recompute
from archsr.errors import UserError

# Input pixels beyond which neighbours hardly matter, however many blocks there are. On a photograph the difference is
# at most 0.005 of a level of 255 in x4plus, whose receptive field is 349; with 60 pixels it is 0.4:
# tests/measure/measure_halo.py
ENOUGH = 80


class Generator(nn.Module, ABC):
    """An upscaling network: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped.

    The defaults suit plain convolutions; other networks override them. `title`: name for users; `tags`: for model hubs.
    h and w are multiples of `unshuffle`. `together`: number of blocks recomputed as one piece; `idle`: parameters
    without a gradient. `converts`: whether it may be converted to 16 bits and another memory layout, or only autocast.
    `tested`: whether the tests run it through forecasts on shapes and torch's exporters; others may fail.
    """

    title: str
    scale: int
    tags: tuple[str, ...] = ("real-esrgan",)
    unshuffle: int = 1
    together: int = 0
    idle: frozenset[str] = frozenset()
    supported_precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")
    converts: bool = True
    tested: bool = True

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any) -> Self:  # noqa: ANN401 - each network's own table
        """Build the network of a config table, with random weights."""

    @classmethod
    def infer(cls, state: Mapping[str, Tensor], *, where: str) -> ModelConfig | None:  # noqa: ARG003
        """Return the config of the network with these tensors, read from `where`, or None for another network."""
        return None

    @abstractmethod
    def halo(self) -> int:
        """Return the overlap of tiles in input pixels that avoids seams: the receptive field, or `ENOUGH`."""

    def blocks(self) -> list[nn.Module]:
        """Return the repeated blocks, in order. A pass may be cut between them."""
        return []

    def sums(self) -> list[nn.Module]:
        """Return the modules that add their input to their output."""
        return self.blocks()

    def recompute(self, pieces: Recompute) -> None:
        """Recompute each block ("rrdb") or groups of `pieces` blocks in the backward pass; "none" keeps all.

        Raises `ValueError` for pieces that the network does not have.
        """
        if (isinstance(pieces, str) and pieces not in ("none", "rrdb")) or (pieces != "none" and not self.blocks()):
            raise ValueError(f"{self.title} has no pieces {pieces!r}")
        self.together = {"none": 0, "rrdb": 1}[pieces] if isinstance(pieces, str) else pieces

    def frugal(self, x: Tensor) -> Tensor:
        """Run the network with as little memory as it can, for inference only."""
        return self(x)

    def in_file(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the network's tensors under the names in its files."""
        return dict(state)

    def padding_of(self, side: int) -> str:  # noqa: ARG002
        """Return a message if inputs of `side` pixels are padded, or ""."""
        return ""

    def check_precision(self, precision: str) -> None:
        """Raise `UserError` if the network is known to fail in a precision."""
        if precision not in ("auto", *self.supported_precisions):
            able = " or ".join(self.supported_precisions)
            raise UserError(f"{self.title} does not work in {precision}; use {able}")


class Discriminator(nn.Module, ABC):
    """(b, 3, h, w) to logits. `recompute`: recompute its pieces in the backward pass, if it has any."""

    recompute: bool = False

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any) -> Self:  # noqa: ANN401 - each network's own table
        """Build the network of a config table, with random weights."""
