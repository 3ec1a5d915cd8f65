"""The draws of damage that neither Real-ESRGAN nor BSRGAN has. They come last, so that theirs do not depend on them."""

import dataclasses

import torch

from archsr.config import Quality
from archsr.degradation.jpeg import INTERPOLATED, SAMPLINGS
from archsr.degradation.order_params import Order, rand


def colours_sampled(order: Order, config: Quality, rng: torch.Generator) -> Order:
    """Draw the sampling of the colours of each sample's JPEG."""
    batch = len(order.grey)
    shares = torch.tensor(list(config.sampling.model_dump().values()))
    sampling = torch.multinomial(shares, batch, True, generator=rng)
    interpolated = (rand(rng, batch) < config.interpolated) & (sampling != SAMPLINGS.index("4:4:4"))
    return dataclasses.replace(order, sampling=torch.where(interpolated, sampling + INTERPOLATED, sampling))
