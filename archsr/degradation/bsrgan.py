"""The draws of BSRGAN's degradation beyond Real-ESRGAN's, added to an order that is already drawn.

Numbers and distributions: github.com/cszn/BSRGAN, utils/utils_blindsr.py. `halving.py` applies them.
"""

import dataclasses

import torch
from torch import Tensor

from archsr.config import Degradation, FirstResize, Halving, Noise, SecondDegradation
from archsr.degradation.order_params import Order, rand


def as_if_halved(order: Order, config: Degradation | SecondDegradation, halving: Halving, halved: Tensor) -> Order:
    """Change the order to what half the scale would have drawn, where `halved`, bool (b,), is true.

    `decimate` is not changed.
    """
    kernel = order.kernel
    times = torch.full_like(kernel.sigma_x, halving.sigma)
    if config.blur.variance.high > 0:
        times = torch.where(kernel.sigma_x == kernel.sigma_y, times, halving.variance**0.5)
    times = torch.where(halved, times, 1.0)
    kernel = dataclasses.replace(kernel, sigma_x=kernel.sigma_x * times, sigma_y=kernel.sigma_y * times)
    low = config.resize.factor.low
    if not config.resize.reciprocal or low >= 0.5:
        return dataclasses.replace(order, kernel=kernel)
    # a divisor in [1, 1 / low] becomes one in [1, 1 / (2 · low)]
    factor = 1 / (1 + (1 / order.factor - 1) * (0.5 / low - 1) / (1 / low - 1))
    reduced = halved & (order.factor < 1)
    return dataclasses.replace(order, kernel=kernel, factor=torch.where(reduced, factor, order.factor))


def decimated(order: Order, config: FirstResize, rng: torch.Generator, *, halved: Tensor, scale: int) -> Order:
    """Decimate some samples: keep every n-th pixel, where n is the scale or half of it."""
    chosen = rand(rng, len(halved)) < config.decimate
    span = config.decimate_sigma
    highest = torch.where(halved, span.high / 2, span.high)
    sigma = span.low + rand(rng, len(halved)) * (highest - span.low).clamp(min=0)
    factor = torch.where(halved, 2.0, 1.0).double() / scale
    return dataclasses.replace(
        order, decimate=torch.where(chosen, sigma, 0.0), factor=torch.where(chosen, factor, order.factor)
    )


def correlated(order: Order, config: Noise, rng: torch.Generator) -> Order:
    """Correlate the channels of some samples' Gaussian noise."""
    among = 1 - config.grey  # only samples with colour noise can be chosen, so their share is larger
    chosen = ~order.grey & ~order.poisson & (rand(rng, len(order.grey)) * among < config.correlated)
    mixing = torch.where(chosen[:, None, None], drawn_mixing(rng, len(order.grey)), order.mixing)
    strength = torch.where(chosen & (order.strength > 0), config.sigma.high / 255, order.strength)
    return dataclasses.replace(order, mixing=mixing, strength=strength)


def drawn_mixing(rng: torch.Generator, count: int) -> Tensor:
    """Draw (count, 3, 3) lower-triangular roots of random channel covariances, as in BSRGAN's published procedure.

    A covariance is the absolute value of Uᵀ D U: D holds three variances in [0, 1), U the left singular vectors of a
    matrix of numbers in [0, 1). For 3×3 the absolute values never give a negative eigenvalue.
    """
    turned = torch.linalg.svd(torch.rand(count, 3, 3, generator=rng, dtype=torch.float64)).U
    variances = torch.rand(count, 3, generator=rng, dtype=torch.float64)
    covariance = (turned.mT @ (variances[:, :, None] * turned)).abs()
    jitter = 1e-9 * torch.eye(3, dtype=torch.float64)  # for variances near 0
    return torch.linalg.cholesky(covariance + jitter).float()
