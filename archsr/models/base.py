"""What every network answers for itself, so that nobody who uses one asks which one it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from archsr.config import ModelConfig, Recompute
from archsr.errors import UserError

# Input pixels from which on neighbours change next to nothing, however many blocks there are. On a photograph 0.005 of
# a level of 255 at most in x4plus, whose receptive field is 349; at 60 pixels 0.4: tests/measure/measure_halo.py
ENOUGH = 80


class Generator(nn.Module, ABC):
    """A network that enlarges: (b, 3, h, w) in [0, 1] to (b, 3, scale·h, scale·w), not clamped.

    What stands here is true of plain convolutions; a network of which it is not says so. `title`: its name for people;
    `tags`: what model hubs shall find it by. h and w are multiples of `unshuffle`; `together`: so many blocks are
    recomputed as one piece; `idle`: parameters that no gradient reaches. `converts`: whether it may be put into 16 bits
    and another memory layout, else only autocast narrows it. `tested`: whether the tests run this very network through
    forecasts on shapes and torch's exporters, else both may fail.
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
        """The network of its table, freshly initialised."""

    @classmethod
    def infer(cls, state: Mapping[str, Tensor], *, where: str) -> ModelConfig | None:  # noqa: ARG003
        """The table of the network whose tensors these are, read from `where`; None if they are another's."""
        return None

    @abstractmethod
    def halo(self) -> int:
        """How many input pixels around a tile it shall see so that no seam shows: its receptive field, or `ENOUGH`."""

    def blocks(self) -> list[nn.Module]:
        """The repeated blocks between which a pass may be cut, in their order."""
        return []

    def sums(self) -> list[nn.Module]:
        """The modules that add their input to what they make of it."""
        return self.blocks()

    def recompute(self, pieces: Recompute) -> None:
        """Make each block ("rrdb"), or so many together, again in the backward pass; "none" keeps all activations.

        Raises `ValueError` for pieces that the network does not have; configs with such are refused.
        """
        if (isinstance(pieces, str) and pieces not in ("none", "rrdb")) or (pieces != "none" and not self.blocks()):
            raise ValueError(f"{self.title} has no pieces {pieces!r}")
        self.together = {"none": 0, "rrdb": 1}[pieces] if isinstance(pieces, str) else pieces

    def frugal(self, x: Tensor) -> Tensor:
        """As the network itself, in as little memory as it knows; for use, not for training."""
        return self(x)

    def in_file(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's tensors as its files have them."""
        return dict(state)

    def padding_of(self, side: int) -> str:  # noqa: ARG002
        """What happens to squares of `side` pixels in front of the network, for people; "" where nothing."""
        return ""

    def check_precision(self, precision: str) -> None:
        """Raise `UserError` where the network is known not to work in a precision."""
        if precision not in ("auto", *self.supported_precisions):
            able = " or ".join(self.supported_precisions)
            raise UserError(f"{self.title} does not work in {precision}; take {able}")


class Discriminator(nn.Module, ABC):
    """(b, 3, h, w) to logits. `recompute`: make its pieces again in the backward pass, where it has any."""

    recompute: bool = False

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any) -> Self:  # noqa: ANN401 - each network's own table
        """The network of its table, freshly initialised."""
