"""All random choices of the degradation, drawn as plain CPU tensors by `draw`. `apply.py` applies them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archsr.config import QUIRKS, RESIZES, SECOND_ORDER, DegradeConfig, Quirk, Step
from archsr.degradation.bsrgan import as_if_halved, correlated, decimated
from archsr.degradation.camera import Camera, draw_camera, no_camera
from archsr.degradation.canvas import send
from archsr.degradation.further import colours_sampled, out_of_focus_or_moved, resized_otherwise
from archsr.degradation.halving import MATLAB
from archsr.degradation.kernels import IDENTITY, SINC, TAPS, KernelParams
from archsr.degradation.order_params import (
    MODES,
    Order,
    choose,
    draw_order,
    each,
    once,
    rand,
    unchanged,
    uniform,
    usual,
)
from archsr.degradation.saving import Saving, draw_saving, not_saved
from archsr.errors import UserError

# of stored recipes; version 4 had nothing of `saving.py`, version 3 nothing of `further.py`, version 2 nothing of
# BSRGAN, version 1 had `faithful` instead of quirks and neither steps nor antialiasing
VERSION = 5


@dataclass(frozen=True)
class Recipe:
    """The degradation of a batch. Tensors are (b,) or (b, ...); `first` and `second` are the two orders.

    `steps`: the operations in order, for all samples. `sinc_last`: whether, in the step `finish`, JPEG comes before the
    last resize and sinc filter. `antialias`: whether downscaling uses a widened filter. `camera`: sharpening,
    fringes and the sensor. `saving`: encoders, generations of JPEG, levels. `halved`: which samples the step `halve`
    reduces, with `half_mode` (a mode of resizing, or MATLAB). `crop_y`, `crop_x` in [0, 1) choose the position of the
    final crop. `noise_seed` seeds the noise fields, which depend on the images' sizes, and the draws of `saving`.
    """

    first: Order
    second: Order
    final_kernel: KernelParams
    final_mode: Tensor
    sinc_last: Tensor
    crop_y: Tensor
    crop_x: Tensor
    antialias: Tensor
    camera: Camera
    saving: Saving
    halved: Tensor
    half_mode: Tensor
    noise_seed: int
    scale: int
    gt_size: int
    sharpen_gt: bool
    steps: tuple[Step, ...]
    quirks: tuple[Quirk, ...]

    def __len__(self) -> int:
        """Return the batch size."""
        return len(self.sinc_last)

    def take(self, rows: slice) -> "Recipe":
        """Return the recipe of these samples."""
        return _mapped(self, lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> "Recipe":
        """Return the recipe with its tensors on `device`, sent in one copy without waiting for the device."""
        if device.type == "cpu":
            return self
        tensors: list[Tensor] = []
        _mapped(self, lambda tensor: tensors.append(tensor) or tensor)
        sent = send(torch.cat([tensor.double().flatten() for tensor in tensors]), device)  # all integers are small
        parts = iter(sent.split([tensor.numel() for tensor in tensors]))
        return _mapped(self, lambda tensor: next(parts).view(tensor.shape).to(tensor.dtype))


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - a dataclass, a tensor, or neither
    if isinstance(value, Tensor):
        return change(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _mapped(getattr(value, field.name), change) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value


def draw(config: DegradeConfig, rng: torch.Generator, batch: int, *, scale: int, gt_size: int) -> Recipe:
    """Draw a recipe for `batch` images; `rng` is a CPU generator.

    Everything is drawn per sample except the order of the steps. With the quirk `batch_choices`, resize factors and
    modes, the kinds of noise, the second blur, the final order and the crop are drawn once for the whole batch.
    """
    together = once if "batch_choices" in config.quirks else each
    first = draw_order(config.first, rng, batch, together)
    second = draw_order(config.second, rng, batch, together)
    recipe = Recipe(
        first=first,
        second=second,
        final_kernel=final_kernel(config, rng, batch),
        final_mode=together(lambda n: choose(rng, n, MODES), batch),
        sinc_last=together(lambda n: rand(rng, n) >= 0.5, batch),
        crop_y=together(lambda n: rand(rng, n), batch),
        crop_x=together(lambda n: rand(rng, n), batch),
        antialias=torch.zeros(batch, dtype=torch.bool),
        camera=no_camera(batch),
        saving=not_saved(batch),
        **_not_halved(batch),
        noise_seed=int(torch.randint(0, 2**62, (), generator=rng)),
        scale=scale,
        gt_size=gt_size,
        sharpen_gt=config.sharpen_gt,
        steps=config.steps,
        quirks=config.quirks,
    )
    return _options(recipe, config, rng)


def _not_halved(batch: int) -> dict[str, Tensor]:
    return {"halved": torch.zeros(batch, dtype=torch.bool), "half_mode": torch.zeros(batch, dtype=torch.int64)}


def final_kernel(config: DegradeConfig, rng: torch.Generator, batch: int) -> KernelParams:
    """Draw the last filter: a sinc, or the identity."""
    return KernelParams(
        kind=torch.where(rand(rng, batch) < config.final_sinc, SINC, IDENTITY),
        taps=choose(rng, batch, TAPS),
        sigma_x=torch.ones(batch),
        sigma_y=torch.ones(batch),
        theta=torch.zeros(batch),
        beta=torch.ones(batch),
        cutoff=uniform(rng, batch, torch.pi / 3, torch.pi),
    )


def _options(recipe: Recipe, config: DegradeConfig, rng: torch.Generator) -> Recipe:
    """Draw the options that Real-ESRGAN lacks. They come last, so that its own draws do not depend on them."""
    batch = len(recipe)
    orders: list[Order] = []
    antialias = rand(rng, batch) < config.antialias
    for order, table in ((recipe.first, config.first), (recipe.second, config.second)):
        noisy = rand(rng, batch) < table.noise.probability
        compressed = rand(rng, batch) < table.jpeg.probability
        strength = torch.where(noisy, order.strength, 0.0)
        orders.append(dataclasses.replace(order, strength=strength, compressed=compressed))
    steps = _shuffled(config.steps, rng) if config.shuffle else config.steps
    recipe = dataclasses.replace(recipe, first=orders[0], second=orders[1], antialias=antialias, steps=steps)
    recipe = _further(_as_bsrgan(recipe, config, rng), config, rng)
    first, second = (
        dataclasses.replace(order, strength=order.strength * config.noise_scale)
        for order in (recipe.first, recipe.second)
    )
    saving = draw_saving(config, recipe.noise_seed, batch)
    return dataclasses.replace(recipe, first=first, second=second, saving=saving)


def _as_bsrgan(recipe: Recipe, config: DegradeConfig, rng: torch.Generator) -> Recipe:
    """Draw what BSRGAN's degradation adds: halving, decimation and correlated channels."""
    batch = len(recipe)
    possible = recipe.scale == 4 and "halve" in recipe.steps
    halved = (rand(rng, batch) < config.halve.probability) & possible
    half_mode = choose(rng, batch, (*MODES, MATLAB, MATLAB, MATLAB))  # half of them are MATLAB's
    first = as_if_halved(recipe.first, config.first, config.halve, halved)
    second = as_if_halved(recipe.second, config.second, config.halve, halved)
    first = decimated(first, config.first.resize, rng, halved=halved, scale=recipe.scale)
    first, second = correlated(first, config.first.noise, rng), correlated(second, config.second.noise, rng)
    return dataclasses.replace(recipe, first=first, second=second, halved=halved, half_mode=half_mode)


def _further(recipe: Recipe, config: DegradeConfig, rng: torch.Generator) -> Recipe:
    """Draw what neither of the two has."""
    orders: list[Order] = []
    for order, table in ((recipe.first, config.first), (recipe.second, config.second)):
        orders.append(out_of_focus_or_moved(colours_sampled(order, table.jpeg, rng), table.blur, rng))
    camera = draw_camera(config, rng, len(recipe))
    first, second = (
        dataclasses.replace(order, mode=resized_otherwise(order.mode, table.resize.modes, rng))
        for order, table in zip(orders, (config.first, config.second), strict=True)
    )
    final_mode = resized_otherwise(recipe.final_mode, config.final_modes, rng)
    return dataclasses.replace(recipe, first=first, second=second, camera=camera, final_mode=final_mode)


def _shuffled(steps: tuple[Step, ...], rng: torch.Generator) -> tuple[Step, ...]:
    """Shuffle the steps: the last stays last, `halve` stays first, and resizes keep their order."""
    drawn = [steps[i] for i in torch.randperm(len(steps) - 1, generator=rng).tolist()]
    if steps[0] == "halve":
        drawn.remove("halve")
        drawn.insert(0, "halve")
    places = [i for i, step in enumerate(drawn) if step in RESIZES]
    for place, resize in zip(places, sorted((drawn[i] for i in places), key=RESIZES.index), strict=True):
        drawn[place] = resize
    return (*drawn, steps[-1])


# ---------------------------------------------------------------- storing

_TENSORS = ("final_mode", "sinc_last", "crop_y", "crop_x", "antialias", "halved", "half_mode")
_PLAIN = ("noise_seed", "scale", "gt_size", "sharpen_gt")


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return plain lists and numbers, from which `from_json` makes an equal recipe (floats keep every bit)."""
    fields = {field.name: _plain(getattr(recipe, field.name)) for field in dataclasses.fields(recipe)}
    return {"version": VERSION, **fields}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a tensor, a dataclass of tensors, names, or a number
    if isinstance(value, Tensor):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownArgumentType]


def from_json(stored: dict[str, Any]) -> Recipe:
    """Read a recipe written by `to_json`, also by earlier versions. Raises `UserError` for anything else."""
    version = stored.get("version", 1)
    if version not in range(1, VERSION + 1):
        raise UserError(f"a stored recipe has version {version!r}, this archsr reads 1 to {VERSION}; update archsr")
    try:
        current = stored
        for older in range(version, VERSION):
            current = _NEXT[older](current)
        return Recipe(
            first=_order_from(current["first"]),
            second=_order_from(current["second"]),
            final_kernel=_kernel_from(current["final_kernel"]),
            camera=Camera(**{name: torch.tensor(values) for name, values in current["camera"].items()}),
            saving=_saving_from(current["saving"]),
            **{name: torch.tensor(current[name]) for name in _TENSORS},
            **{name: current[name] for name in _PLAIN},
            steps=tuple(current["steps"]),
            quirks=tuple(current["quirks"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"a stored recipe of version {version} is incomplete: {error}; prepare the dataset again"
        ) from None


def _from_version_1(stored: dict[str, Any]) -> dict[str, Any]:
    batch = len(stored["sinc_last"])
    orders = {name: {**stored[name], "compressed": [True] * batch} for name in ("first", "second")}
    quirks = QUIRKS if stored["faithful"] else ()
    return {**stored, **orders, "antialias": [False] * batch, "steps": SECOND_ORDER, "quirks": quirks}


def _from_version_2(stored: dict[str, Any]) -> dict[str, Any]:
    batch = len(stored["sinc_last"])
    orders = {name: {**stored[name], **_lists(unchanged(batch))} for name in ("first", "second")}
    return {**stored, **orders, **_lists(_not_halved(batch))}


def _from_version_3(stored: dict[str, Any]) -> dict[str, Any]:
    batch = len(stored["sinc_last"])
    orders = {name: {**stored[name], **_lists(usual(batch))} for name in ("first", "second")}
    return {**stored, **orders, "camera": _plain(no_camera(batch))}


def _from_version_4(stored: dict[str, Any]) -> dict[str, Any]:
    return {**stored, "saving": _plain(not_saved(len(stored["sinc_last"])))}


_NEXT = {1: _from_version_1, 2: _from_version_2, 3: _from_version_3, 4: _from_version_4}


def _lists(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def _order_from(stored: dict[str, Any]) -> Order:
    rest = {k: torch.tensor(v) for k, v in stored.items() if k not in ("kernel", "factor")}
    factor = torch.tensor(stored["factor"], dtype=torch.float64)
    return Order(kernel=_kernel_from(stored["kernel"]), factor=factor, **rest)


def _saving_from(stored: dict[str, Any]) -> Saving:
    rest = {name: torch.tensor(values) for name, values in stored.items() if name != "save_factor"}
    return Saving(save_factor=torch.tensor(stored["save_factor"], dtype=torch.float64), **rest)


def _kernel_from(stored: dict[str, Any]) -> KernelParams:
    return KernelParams(**{k: torch.tensor(v) for k, v in stored.items()})
