"""One order of the degradation: the parameters of its blur, resize, noise and JPEG, and how they are drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from archsr.config import Blur, Degradation, Families, Noise, Resize, SecondDegradation, Span
from archsr.degradation.kernels import GAUSSIAN, GENERALIZED, IDENTITY, PLATEAU, SINC, KernelParams
from archsr.degradation.resize import AREA, BICUBIC, BILINEAR

MODES = (AREA, BILINEAR, BICUBIC)
DrawMany = Callable[[int], Tensor]
Together = Callable[[DrawMany, int], Tensor]  # draws for each sample, or once for all of them


@dataclass(frozen=True)
class Order:
    """One order of the degradation. Each field is (b,): resize `factor` float64 and `mode`, noise, JPEG quality.

    `strength` is σ in [0, 1] units for Gaussian noise, and the scale of the noise where `poisson` is true; 0 means no
    noise. `compressed`: whether there is a JPEG. `decimate`: σ in pixels of the Gaussian before every n-th pixel is
    taken (`factor` is then 1 / n), or 0 to resize by `mode`. `mixing` (b, 3, 3): the matrix that correlates the
    channels of Gaussian colour noise, otherwise the identity. `sampling`: that of JPEG's colours, a place in SAMPLINGS.
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
    sampling: Tensor

    def correlated(self) -> Tensor:
        """Return bool (b,): whose Gaussian noise has correlated channels."""
        return (self.mixing != torch.eye(3, device=self.mixing.device)).flatten(1).any(1)


def draw_order(config: Degradation | SecondDegradation, rng: torch.Generator, batch: int, together: Together) -> Order:
    """Draw the part of an order that Real-ESRGAN draws; `draw` sets the rest later."""
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
        **usual(batch),
    )


def unchanged(batch: int) -> dict[str, Tensor]:
    """Return the neutral values of the fields that only BSRGAN's degradation changes."""
    return {"decimate": torch.zeros(batch), "mixing": torch.eye(3).repeat(batch, 1, 1)}


def usual(batch: int) -> dict[str, Tensor]:
    """Return the values of the fields that only later versions draw."""
    return {"sampling": torch.zeros(batch, dtype=torch.int64)}


def each(draw_n: DrawMany, batch: int) -> Tensor:
    """Draw once for every sample."""
    return draw_n(batch)


def once(draw_n: DrawMany, batch: int) -> Tensor:
    """Draw once for the whole batch."""
    return draw_n(1).expand(batch).clone()


def draw_kernels(config: Blur, rng: torch.Generator, batch: int, blurred: Tensor) -> KernelParams:
    """Draw the kernels of one blur: the identity where not `blurred`, bool (b,)."""
    family = torch.multinomial(_probabilities(config.families), batch, replacement=True, generator=rng)
    isotropic = family % 2 == 0  # isotropic and anisotropic families alternate
    kind = torch.tensor([GAUSSIAN, GAUSSIAN, GENERALIZED, GENERALIZED, PLATEAU, PLATEAU])[family]
    kind = torch.where(rand(rng, batch) < config.sinc, SINC, kind)
    taps = choose(rng, batch, tuple(range(7, config.taps + 1, 2)))
    sigma_x = _widths(config, rng, isotropic)
    sigma_y = torch.where(isotropic, sigma_x, _widths(config, rng, isotropic))
    # small kernels need a wider pass band, otherwise they are mostly ringing
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
    """Draw σ of the samples: for anisotropic kernels with a variance range, the roots of drawn variances."""
    at = rand(rng, len(isotropic))
    sigma, variance = (span.low + at * (span.high - span.low) for span in (config.sigma, config.variance))
    if config.variance.high == 0:
        return sigma
    return torch.where(isotropic, sigma, variance.sqrt().clamp(min=1e-3))  # 0 would give no kernel


def _betas(rng: torch.Generator, batch: int, span: Span) -> Tensor:
    """Draw half of the values uniformly below 1 and half above, even if the two parts of the range are unequal."""
    below = uniform(rng, batch, span.low, 1.0)
    return torch.where(rand(rng, batch) < 0.5, below, uniform(rng, batch, 1.0, span.high))


def _factors(config: Resize, rng: torch.Generator, count: int) -> Tensor:
    which = torch.multinomial(torch.tensor([config.up, config.down, config.keep]), count, True, generator=rng)
    up = uniform(rng, count, 1.0, config.factor.high, dtype=torch.float64)
    down = uniform(rng, count, config.factor.low, 1.0, dtype=torch.float64)
    if config.reciprocal:
        down = 1 / (1 + (1 - down) / config.factor.low)  # a divisor in [1, 1 / low]
    return torch.where(which == 0, up, torch.where(which == 1, down, 1.0))


def _strengths(config: Noise, rng: torch.Generator, batch: int, poisson: Tensor) -> Tensor:
    gaussian = _from(rng, batch, config.sigma) / 255
    return torch.where(poisson, _from(rng, batch, config.poisson_scale), gaussian)


def rand(rng: torch.Generator, count: int) -> Tensor:
    """Draw (count,) uniformly from [0, 1)."""
    return torch.rand(count, generator=rng)


def uniform(rng: torch.Generator, count: int, low: float, high: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw (count,) uniformly from [low, high)."""
    return low + torch.rand(count, generator=rng, dtype=dtype) * (high - low)


def _from(rng: torch.Generator, count: int, span: Span) -> Tensor:
    return uniform(rng, count, span.low, span.high)


def choose(rng: torch.Generator, count: int, values: tuple[int, ...]) -> Tensor:
    """Draw (count,) of `values` with equal probability."""
    return torch.tensor(values)[torch.randint(len(values), (count,), generator=rng)]
