"""Degrade sharp images as training does."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
import torch

from archsr.api.kinds import ImageT, Pixels, map_image
from archsr.config import DegradeConfig, PrepareConfig, TrainConfig, config_file
from archsr.config.presets import PRESETS
from archsr.degradation.apply import apply_whole
from archsr.degradation.recipe import Recipe, draw
from archsr.errors import ConfigError, did_you_mean
from archsr.utils.seeds import generator

Degradation = str | os.PathLike[str] | Mapping[str, Any] | DegradeConfig | TrainConfig | PrepareConfig


@overload
def degrade(
    image: ImageT, config: Degradation = ..., *, seed: int = ..., scale: int = ..., with_recipe: Literal[False] = ...
) -> ImageT: ...
@overload
def degrade(
    image: ImageT, config: Degradation = ..., *, seed: int = ..., scale: int = ..., with_recipe: Literal[True]
) -> tuple[ImageT, list[Recipe]]: ...
def degrade(
    image: ImageT,
    config: Degradation = "realesrgan",
    *,
    seed: int = 0,
    scale: int = 4,
    with_recipe: bool = False,
) -> ImageT | tuple[ImageT, list[Recipe]]:
    """Return a degraded copy of an image, of the same kind, with 1/`scale` of its height and width.

    `image` is a PIL image, an array (h, w) or (h, w, 3), or a tensor (b, 3, h, w), as for `Model`. `config` is a preset
    (realesrgan, realesrnet, bsrgan, camera, web, bicubic), a config file with a table `degrade`, such a table, or a
    config. The same seed gives the same degradation; each image of a batch gets its own recipe. Sides are cropped to
    multiples of the scale. `with_recipe` also returns the recipes, one per image, which
    `archsr.degradation.words.describe(recipe, 0)` explains. Values are rounded to 8 bits, whatever the type. Raises
    `ConfigError`.

    >>> import numpy as np
    >>> sharp = np.random.default_rng(0).integers(0, 256, (64, 98, 3), dtype=np.uint8)
    >>> degrade(sharp, "camera", seed=3).shape
    (16, 24, 3)
    >>> small, recipes = degrade(sharp, {"preset": "bicubic"}, with_recipe=True)
    >>> recipes[0].steps
    ('bicubic',)
    """
    settings = _settings(config)
    recipes: list[Recipe] = []

    def change(pixels: Pixels) -> Pixels:
        recipe = draw(settings, generator(seed, "degrade", len(recipes)), 1, scale=scale, gt_size=scale)
        recipes.append(recipe)
        return _degraded(pixels, recipe)

    made = map_image(image, change)
    return (made, recipes) if with_recipe else made


def _degraded(pixels: Pixels, recipe: Recipe) -> Pixels:
    scale = recipe.scale
    height, width = (side - side % scale for side in pixels.shape[:2])
    if not height or not width:
        raise ValueError(f"expected an image of at least {scale} × {scale} pixels, got {pixels.shape[:2]}")
    whole = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    sharp = torch.from_numpy(pixels[:height, :width].astype(np.float32) / whole).permute(2, 0, 1)[None]
    colours, alpha = (sharp[:, :-1], sharp[:, -1:]) if sharp.shape[1] in (2, 4) else (sharp, None)
    lq = apply_whole(colours.expand(1, 3, height, width), recipe)
    parts = [lq.mean(1, keepdim=True) if colours.shape[1] == 1 else lq]
    if alpha is not None:
        parts.append(torch.nn.functional.avg_pool2d(alpha, scale))
    small = torch.cat(parts, 1)[0].permute(1, 2, 0).numpy() * whole
    return (small if pixels.dtype.kind == "f" else np.rint(small)).astype(pixels.dtype)


def _settings(config: Degradation) -> DegradeConfig:
    if isinstance(config, DegradeConfig):
        return config
    if isinstance(config, TrainConfig | PrepareConfig):
        return config.degrade
    if isinstance(config, Mapping):
        return config_file.check(DegradeConfig, config, where="archsr.degrade")
    name = os.fspath(config)
    if name in PRESETS:
        return DegradeConfig(preset=name)
    if Path(name).suffix != ".toml":
        meant = did_you_mean(name, PRESETS) or f"; choose one of {', '.join(PRESETS)}"
        raise ConfigError(f"{name}: no such preset{meant}")
    table = cast(dict[str, Any], config_file.read(Path(name)).get("degrade", {}))
    return config_file.check(DegradeConfig, table, where=name)
