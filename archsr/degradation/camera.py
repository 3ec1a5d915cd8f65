"""What lenses and cameras do, as drawn numbers: halos of sharpening, coloured fringes, and the sensor's noise.

The sensor's numbers: Brooks et al., "Unprocessing Images for Learned Raw Denoising" (CVPR 2019, arXiv 1811.11127).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from archsr.config import DegradeConfig, Sensor
from archsr.degradation.order_params import rand, uniform


@dataclass(frozen=True)
class Camera:
    """Each field is (b,) or (b, ...), float32.

    `sharpen_radius`: σ in pixels; `sharpen_amount`: 0 means no sharpening. `red` and `blue`: by which share of its size
    the channel is larger than green. `centre` (b, 2): the optical centre, in heights and widths from the top left.
    `shot`, `read`: variances of the sensor's noise per unit of light and at no light, 0 for none. `gains` (b, 3): of
    white balance and exposure. `to_camera` (b, 3, 3): from linear RGB to the camera's colours, rows summing to 1.
    """

    sharpen_radius: Tensor
    sharpen_amount: Tensor
    red: Tensor
    blue: Tensor
    centre: Tensor
    shot: Tensor
    read: Tensor
    gains: Tensor
    to_camera: Tensor


def no_camera(batch: int) -> Camera:
    """Return the values that change no image."""
    zero, one = torch.zeros(batch), torch.ones(batch)
    return Camera(
        sharpen_radius=one,
        sharpen_amount=zero,
        red=zero,
        blue=zero,
        centre=torch.full((batch, 2), 0.5),
        shot=zero,
        read=zero,
        gains=torch.ones(batch, 3),
        to_camera=torch.eye(3).repeat(batch, 1, 1),
    )


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
        **_sensor(config.sensor, rng, batch, strength=config.noise_scale),
    )


# from XYZ to the colours of four cameras, and from linear RGB to XYZ
_CAMERAS = (
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.613, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.838, -0.263, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.097, 0.1581, 0.5181)),
)
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.072175), (0.0193339, 0.119192, 0.9503041))


def _sensor(config: Sensor, rng: torch.Generator, batch: int, *, strength: float) -> dict[str, Tensor]:
    """Draw the noise, its standard deviation times `strength`, and the development."""
    noisy = rand(rng, batch) < config.probability
    log_shot = uniform(rng, batch, math.log(config.shot.low), math.log(config.shot.high))
    log_read = 2.18 * log_shot + 1.2 + 0.26 * torch.randn(batch, generator=rng)
    shot, read = (torch.where(noisy, strength**2 * torch.exp(log), 0.0) for log in (log_shot, log_read))
    # a normal number can be far off: the exposure stays between half and twice
    exposure = 1 / (0.8 + 0.1 * torch.randn(batch, generator=rng)).clamp(0.5, 2)
    red, blue = uniform(rng, batch, 1.9, 2.4), uniform(rng, batch, 1.5, 1.9)
    gains = exposure[:, None] * torch.stack([red, torch.ones(batch), blue], 1)
    weights = torch.rand(batch, len(_CAMERAS), generator=rng).clamp(min=1e-6)
    cameras = torch.einsum("bn,nij->bij", weights / weights.sum(1, keepdim=True), torch.tensor(_CAMERAS))
    to_camera = cameras @ torch.tensor(_TO_XYZ)
    return {"shot": shot, "read": read, "gains": gains, "to_camera": to_camera / to_camera.sum(2, keepdim=True)}


def _signed(rng: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    """Draw (b,) from [low, high), half of them negative."""
    value = uniform(rng, batch, low, high)
    return torch.where(rand(rng, batch) < 0.5, -value, value)
