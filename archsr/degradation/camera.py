"""What lenses and cameras do, as drawn numbers: halos of sharpening and coloured fringes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from archsr.config import DegradeConfig
from archsr.degradation.order_params import rand, uniform


@dataclass(frozen=True)
class Camera:
    """Each field is (b,) or (b, ...), float32.

    `sharpen_radius`: σ in pixels; `sharpen_amount`: 0 means no sharpening. `red` and `blue`: by which share of its size
    the channel is larger than green. `centre` (b, 2): the optical centre, in heights and widths from the top left.
    """

    sharpen_radius: Tensor
    sharpen_amount: Tensor
    red: Tensor
    blue: Tensor
    centre: Tensor


def no_camera(batch: int) -> Camera:
    """Return the values that change no image."""
    zero = torch.zeros(batch)
    return Camera(torch.ones(batch), zero, zero, zero, torch.full((batch, 2), 0.5))


def draw_camera(config: DegradeConfig, rng: torch.Generator, batch: int) -> Camera:
    """Draw all of it, whether or not the steps use it."""
    sharpened = rand(rng, batch) < config.sharpening.probability
    radius, amount = (
        uniform(rng, batch, span.low, span.high) for span in (config.sharpening.radius, config.sharpening.amount)
    )
    table = config.aberration
    aberrated = rand(rng, batch) < table.probability
    red, blue = (_signed(rng, batch, table.percent.low / 100, table.percent.high / 100) for _ in range(2))
    away = torch.stack([uniform(rng, batch, -table.away, table.away) for _ in range(2)], 1)
    return Camera(
        sharpen_radius=radius,
        sharpen_amount=torch.where(sharpened, amount, 0.0),
        red=torch.where(aberrated, red, 0.0),
        blue=torch.where(aberrated, blue, 0.0),
        centre=0.5 + away,
    )


def _signed(rng: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    """Draw (b,) from [low, high), half of them negative."""
    value = uniform(rng, batch, low, high)
    return torch.where(rand(rng, batch) < 0.5, -value, value)
