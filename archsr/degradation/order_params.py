"""One order of the degradation: the values of its blur, resize, noise and JPEG, and how they are drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from archsr.config import Blur, Degradation, Families, Noise, Resize, SecondDegradation, Span
from archsr.degradation.kernels import GAUSSIAN, GENERALIZED, IDENTITY, PLATEAU, SINC, KernelParams
from archsr.degradation.resize import AREA, BICUBIC, BILINEAR

MODES = (AREA, BILINEAR, BICUBIC)
DrawMany = Callable[[int], Tensor]
Together = Callable[[DrawMany, int], Tensor]  # a draw for each sample, or one for all of them


@dataclass(frozen=True)
class Order:
    """One order of the degradation, each field (b,): resize `factor` float64 and `mode`, noise, JPEG quality.

    `strength` is σ in [0, 1] units where `poisson` is false, the scale of the shot noise where it is true; 0 for no
    noise. `compressed`: whether there is a JPEG at all. `decimate`: σ in pixels of the Gaussian after which every n-th
    pixel is taken (`factor` is 1 / n then), 0 where the mode decides. `mixing` (b, 3, 3): what makes a pixel's three
    independent normal numbers those of Gaussian noise in colour; the identity but where channels are correlated.
    """

    kernel: KernelParams
    factor: Tensor
    mode: Tensor
    poisson: Tensor
    strength: Tensor
    grey: Tensor
    quality: Tensor
    compressed: Tensor
    decimate: Tensor
    mixing: Tensor

    def correlated(self) -> Tensor:
        """bool (b,): whose Gaussian noise has correlated channels."""
        return (self.mixing != torch.eye(3, device=self.mixing.device)).flatten(1).any(1)


def draw_order(config: Degradation | SecondDegradation, rng: torch.Generator, batch: int, together: Together) -> Order:
    """All of an order that Real-ESRGAN draws; the rest is as it has it, and `draw` decides on it later."""
    blurred = together(lambda n: rand(rng, n) < config.blur.probability, batch)
    poisson = together(lambda n: rand(rng, n) >= config.noise.gaussian, batch)
    return Order(
        kernel=draw_kernels(config.blur, rng, batch, blurred),
        factor=together(lambda n: _factors(config.resize, rng, n), batch),
        mode=together(lambda n: choose(rng, n, MODES), batch),
        poisson=poisson,
        strength=_strengths(config.noise, rng, batch, poisson),
        grey=rand(rng, batch) < config.noise.grey,
        quality=uniform(rng, batch, config.jpeg.low, config.jpeg.high),
        compressed=torch.ones(batch, dtype=torch.bool),
        **unchanged(batch),
    )


def unchanged(batch: int) -> dict[str, Tensor]:
    """The fields of an order that only BSRGAN's degradation changes, as they are without it."""
    return {"decimate": torch.zeros(batch), "mixing": torch.eye(3).repeat(batch, 1, 1)}


def each(draw_n: DrawMany, batch: int) -> Tensor:
    """A draw for every sample."""
    return draw_n(batch)


def once(draw_n: DrawMany, batch: int) -> Tensor:
    """One draw for the whole batch."""
    return draw_n(1).expand(batch).clone()


def draw_kernels(config: Blur, rng: torch.Generator, batch: int, blurred: Tensor) -> KernelParams:
    """The kernels of one blur, the identity where not `blurred`, bool (b,)."""
    family = torch.multinomial(_probabilities(config.families), batch, replacement=True, generator=rng)
    isotropic = family % 2 == 0  # the families alternate iso, aniso
    kind = torch.tensor([GAUSSIAN, GAUSSIAN, GENERALIZED, GENERALIZED, PLATEAU, PLATEAU])[family]
    kind = torch.where(rand(rng, batch) < config.sinc, SINC, kind)
    taps = choose(rng, batch, tuple(range(7, config.taps + 1, 2)))
    sigma_x = _widths(config, rng, isotropic)
    sigma_y = torch.where(isotropic, sigma_x, _widths(config, rng, isotropic))
    # small kernels need a wider pass band, or they would be little but ringing
    lowest = torch.where(taps < 13, torch.pi / 3, torch.pi / 5)
    return KernelParams(
        kind=torch.where(blurred, kind, IDENTITY),
        taps=taps,
        sigma_x=sigma_x,
        sigma_y=sigma_y,
        theta=torch.where(isotropic, 0.0, uniform(rng, batch, -torch.pi, torch.pi)),
        beta=torch.where(
            kind == PLATEAU, _betas(rng, batch, config.plateau_beta), _betas(rng, batch, config.generalized_beta)
        ),
        cutoff=lowest + rand(rng, batch) * (torch.pi - lowest),
    )


def _probabilities(families: Families) -> Tensor:
    return torch.tensor(list(families.model_dump().values()))


def _widths(config: Blur, rng: torch.Generator, isotropic: Tensor) -> Tensor:
    """σ of the samples; of kernels that are not isotropic, bool (b,), where variances are drawn, their roots."""
    at = rand(rng, len(isotropic))
    sigma, variance = (span.low + at * (span.high - span.low) for span in (config.sigma, config.variance))
    if config.variance.high == 0:
        return sigma
    return torch.where(isotropic, sigma, variance.sqrt().clamp(min=1e-3))  # 0 has no kernel


def _betas(rng: torch.Generator, batch: int, span: Span) -> Tensor:
    """Half of them uniform below 1, half above, however unequal the two parts of the range are."""
    below = uniform(rng, batch, span.low, 1.0)
    return torch.where(rand(rng, batch) < 0.5, below, uniform(rng, batch, 1.0, span.high))


def _factors(config: Resize, rng: torch.Generator, count: int) -> Tensor:
    which = torch.multinomial(torch.tensor([config.up, config.down, config.keep]), count, True, generator=rng)
    up = uniform(rng, count, 1.0, config.factor.high, dtype=torch.float64)
    down = uniform(rng, count, config.factor.low, 1.0, dtype=torch.float64)
    if config.reciprocal:
        down = 1 / (1 + (1 - down) / config.factor.low)  # 1 - down reaches to 1 - low: the divisor to 1 / low
    return torch.where(which == 0, up, torch.where(which == 1, down, 1.0))


def _strengths(config: Noise, rng: torch.Generator, batch: int, poisson: Tensor) -> Tensor:
    gaussian = _from(rng, batch, config.sigma) / 255
    return torch.where(poisson, _from(rng, batch, config.poisson_scale), gaussian)


def rand(rng: torch.Generator, count: int) -> Tensor:
    """(count,) in [0, 1)."""
    return torch.rand(count, generator=rng)


def uniform(rng: torch.Generator, count: int, low: float, high: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """(count,) in [low, high)."""
    return low + torch.rand(count, generator=rng, dtype=dtype) * (high - low)


def _from(rng: torch.Generator, count: int, span: Span) -> Tensor:
    return uniform(rng, count, span.low, span.high)


def choose(rng: torch.Generator, count: int, values: tuple[int, ...]) -> Tensor:
    """(count,) of `values`, all equally likely."""
    return torch.tensor(values)[torch.randint(len(values), (count,), generator=rng)]
