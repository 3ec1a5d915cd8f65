"""Every random choice of the degradation, drawn as plain CPU tensors: `draw` here, `apply` in `apply.py`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archsr.config import Blur, Degradation, DegradeConfig, Families, Noise, Resize, SecondDegradation, Span
from archsr.degrade.kernels import GAUSSIAN, GENERALIZED, IDENTITY, PLATEAU, SINC, TAPS, KernelParams
from archsr.degrade.resize import AREA, BICUBIC, BILINEAR

_MODES = (AREA, BILINEAR, BICUBIC)


@dataclass(frozen=True)
class Order:
    """One order of the degradation, each field (b,): resize `factor` float64 and `mode`, noise, JPEG quality.

    `strength` is σ in [0, 1] units where `poisson` is false, the scale of the shot noise where it is true.
    """

    kernel: KernelParams
    factor: Tensor
    mode: Tensor
    poisson: Tensor
    strength: Tensor
    grey: Tensor
    quality: Tensor


@dataclass(frozen=True)
class Recipe:
    """A batch's degradation. Per-sample tensors are (b,); `first`, `second` are the two orders.

    `sinc_last`: whether the last JPEG comes before the last resize and sinc filter. `crop_y`, `crop_x` in [0, 1) choose
    the position of the final crop. `noise_seed` seeds the noise fields, which depend on the pictures' sizes.
    """

    first: Order
    second: Order
    final_kernel: KernelParams
    final_mode: Tensor
    sinc_last: Tensor
    crop_y: Tensor
    crop_x: Tensor
    noise_seed: int
    scale: int
    gt_size: int
    sharpen_gt: bool
    faithful: bool

    def __len__(self) -> int:
        """The batch size."""
        return len(self.sinc_last)


def draw(config: DegradeConfig, rng: torch.Generator, batch: int, *, scale: int, gt_size: int) -> Recipe:
    """Draw a recipe for `batch` pictures; `rng` is a CPU generator.

    `fixed` draws everything per sample. `faithful` draws, like the reference, resize factors and modes, the kinds of
    noise, the second blur, the final order and the crop once for the whole batch.
    """
    together = _repeat if config.fidelity == "faithful" else _each
    first = _order(config.first, rng, batch, together)
    second = _order(config.second, rng, batch, together)
    final = KernelParams(
        kind=torch.where(_rand(rng, batch) < config.final_sinc, SINC, IDENTITY),
        taps=_choose(rng, batch, TAPS),
        sigma_x=torch.ones(batch),
        sigma_y=torch.ones(batch),
        theta=torch.zeros(batch),
        beta=torch.ones(batch),
        cutoff=_uniform(rng, batch, torch.pi / 3, torch.pi),
    )
    return Recipe(
        first=first,
        second=second,
        final_kernel=final,
        final_mode=together(lambda n: _choose(rng, n, _MODES), batch),
        sinc_last=together(lambda n: _rand(rng, n) >= 0.5, batch),
        crop_y=together(lambda n: _rand(rng, n), batch),
        crop_x=together(lambda n: _rand(rng, n), batch),
        noise_seed=int(torch.randint(0, 2**62, (), generator=rng)),
        scale=scale,
        gt_size=gt_size,
        sharpen_gt=config.sharpen_gt,
        faithful=config.fidelity == "faithful",
    )


_Draw = Callable[[int], Tensor]


def _each(draw_n: _Draw, batch: int) -> Tensor:
    return draw_n(batch)


def _repeat(draw_n: _Draw, batch: int) -> Tensor:
    return draw_n(1).expand(batch).clone()


def _order(
    config: Degradation | SecondDegradation, rng: torch.Generator, batch: int, together: Callable[[_Draw, int], Tensor]
) -> Order:
    blurred = together(lambda n: _rand(rng, n) < config.blur.probability, batch)
    poisson = together(lambda n: _rand(rng, n) >= config.noise.gaussian, batch)
    return Order(
        kernel=_kernels(config.blur, rng, batch, blurred),
        factor=together(lambda n: _factors(config.resize, rng, n), batch),
        mode=together(lambda n: _choose(rng, n, _MODES), batch),
        poisson=poisson,
        strength=_strengths(config.noise, rng, batch, poisson),
        grey=_rand(rng, batch) < config.noise.grey,
        quality=_uniform(rng, batch, config.jpeg.low, config.jpeg.high),
    )


def _kernels(config: Blur, rng: torch.Generator, batch: int, blurred: Tensor) -> KernelParams:
    family = torch.multinomial(_probabilities(config.families), batch, replacement=True, generator=rng)
    isotropic = family % 2 == 0  # the families alternate iso, aniso
    kind = torch.tensor([GAUSSIAN, GAUSSIAN, GENERALIZED, GENERALIZED, PLATEAU, PLATEAU])[family]
    kind = torch.where(_rand(rng, batch) < config.sinc, SINC, kind)
    taps = _choose(rng, batch, TAPS)
    sigma_x = _from(rng, batch, config.sigma)
    sigma_y = torch.where(isotropic, sigma_x, _from(rng, batch, config.sigma))
    # small kernels need a wider pass band, or they would be little but ringing
    lowest = torch.where(taps < 13, torch.pi / 3, torch.pi / 5)
    return KernelParams(
        kind=torch.where(blurred, kind, IDENTITY),
        taps=taps,
        sigma_x=sigma_x,
        sigma_y=sigma_y,
        theta=torch.where(isotropic, 0.0, _uniform(rng, batch, -torch.pi, torch.pi)),
        beta=torch.where(
            kind == PLATEAU, _betas(rng, batch, config.plateau_beta), _betas(rng, batch, config.generalized_beta)
        ),
        cutoff=lowest + _rand(rng, batch) * (torch.pi - lowest),
    )


def _probabilities(families: Families) -> Tensor:
    return torch.tensor(list(families.model_dump().values()))


def _betas(rng: torch.Generator, batch: int, span: Span) -> Tensor:
    """Half of them uniform below 1, half above, however unequal the two parts of the range are."""
    below = _uniform(rng, batch, span.low, 1.0)
    return torch.where(_rand(rng, batch) < 0.5, below, _uniform(rng, batch, 1.0, span.high))


def _factors(config: Resize, rng: torch.Generator, count: int) -> Tensor:
    which = torch.multinomial(torch.tensor([config.up, config.down, config.keep]), count, True, generator=rng)
    up = _uniform(rng, count, 1.0, config.factor.high, dtype=torch.float64)
    down = _uniform(rng, count, config.factor.low, 1.0, dtype=torch.float64)
    return torch.where(which == 0, up, torch.where(which == 1, down, 1.0))


def _strengths(config: Noise, rng: torch.Generator, batch: int, poisson: Tensor) -> Tensor:
    gaussian = _from(rng, batch, config.sigma) / 255
    return torch.where(poisson, _from(rng, batch, config.poisson_scale), gaussian)


def _rand(rng: torch.Generator, count: int) -> Tensor:
    return torch.rand(count, generator=rng)


def _uniform(
    rng: torch.Generator, count: int, low: float, high: float, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    return low + torch.rand(count, generator=rng, dtype=dtype) * (high - low)


def _from(rng: torch.Generator, count: int, span: Span) -> Tensor:
    return _uniform(rng, count, span.low, span.high)


def _choose(rng: torch.Generator, count: int, values: tuple[int, ...]) -> Tensor:
    return torch.tensor(values)[torch.randint(len(values), (count,), generator=rng)]


# ---------------------------------------------------------------- storing


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Plain lists and numbers; `from_json` gives back an equal recipe (floats are written to the last bit)."""
    return {field.name: _plain(getattr(recipe, field.name)) for field in dataclasses.fields(recipe)}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a tensor, a dataclass of tensors, or a number
    if isinstance(value, Tensor):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def from_json(stored: dict[str, Any]) -> Recipe:
    """The recipe that `to_json` wrote. Raises KeyError or TypeError if it is another version's."""
    tensors = {name: torch.tensor(stored[name]) for name in ("final_mode", "sinc_last", "crop_y", "crop_x")}
    plain = {name: stored[name] for name in ("noise_seed", "scale", "gt_size", "sharpen_gt", "faithful")}
    return Recipe(
        first=_order_from(stored["first"]),
        second=_order_from(stored["second"]),
        final_kernel=_kernel_from(stored["final_kernel"]),
        **tensors,
        **plain,
    )


def _order_from(stored: dict[str, Any]) -> Order:
    rest = {k: torch.tensor(v) for k, v in stored.items() if k not in ("kernel", "factor")}
    factor = torch.tensor(stored["factor"], dtype=torch.float64)
    return Order(kernel=_kernel_from(stored["kernel"]), factor=factor, **rest)


def _kernel_from(stored: dict[str, Any]) -> KernelParams:
    return KernelParams(**{k: torch.tensor(v) for k, v in stored.items()})
