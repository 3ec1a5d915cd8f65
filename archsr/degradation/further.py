"""The draws of damage that neither Real-ESRGAN nor BSRGAN has. They come last, so that theirs do not depend on them."""

import dataclasses

import torch
from torch import Tensor

from archsr.config import Blur, OtherModes, Quality
from archsr.degradation.jpeg import INTERPOLATED, SAMPLINGS
from archsr.degradation.kernels import DISC, IDENTITY, LINE
from archsr.degradation.order_params import Order, rand, uniform
from archsr.degradation.resize import LANCZOS, NEAREST


def colours_sampled(order: Order, config: Quality, rng: torch.Generator) -> Order:
    """Draw the sampling of the colours of each sample's JPEG."""
    batch = len(order.grey)
    shares = torch.tensor(list(config.sampling.model_dump().values()))
    sampling = torch.multinomial(shares, batch, True, generator=rng)
    interpolated = (rand(rng, batch) < config.interpolated) & (sampling != SAMPLINGS.index("4:4:4"))
    return dataclasses.replace(order, sampling=torch.where(interpolated, sampling + INTERPOLATED, sampling))


def out_of_focus_or_moved(order: Order, config: Blur, rng: torch.Generator) -> Order:
    """Replace some kernels by a disc or a line; samples without a blur stay without."""
    kernel, batch = order.kernel, len(order.grey)
    at = rand(rng, batch)
    blurred = kernel.kind != IDENTITY
    disc, line = (
        blurred & (at < config.defocus),
        blurred & (at >= config.defocus) & (at < config.defocus + config.motion),
    )
    radius = uniform(rng, batch, config.defocus_radius.low, config.defocus_radius.high)
    length = uniform(rng, batch, config.motion_length.low, config.motion_length.high)
    direction = uniform(rng, batch, -torch.pi / 2, torch.pi / 2)

    def either(of_disc: Tensor | int, of_line: Tensor | int, otherwise: Tensor) -> Tensor:
        return torch.where(disc, of_disc, torch.where(line, of_line, otherwise))

    kernel = dataclasses.replace(
        kernel,
        kind=either(DISC, LINE, kernel.kind),
        taps=either(2 * radius.ceil().long() + 1, 2 * (length / 2).ceil().long() + 1, kernel.taps),
        sigma_x=either(radius, length, kernel.sigma_x),
        sigma_y=either(radius, length, kernel.sigma_y),
        theta=either(torch.zeros(batch), direction, kernel.theta),
    )
    return dataclasses.replace(order, kernel=kernel)


def resized_otherwise(mode: Tensor, config: OtherModes, rng: torch.Generator) -> Tensor:
    """Replace some modes (b,) of resizing by Lanczos and nearest."""
    at = rand(rng, len(mode))
    nearest = (at >= config.lanczos) & (at < config.lanczos + config.nearest)
    return torch.where(at < config.lanczos, LANCZOS, torch.where(nearest, NEAREST, mode))
