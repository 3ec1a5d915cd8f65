"""Histograms of all parameters that a degradation draws."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from archsr.config import MOST_SAVES, Step
from archsr.degradation.camera import Camera
from archsr.degradation.codecs import CODECS
from archsr.degradation.jpeg import SAMPLINGS, TABLES
from archsr.degradation.kernels import DISC, GENERALIZED, IDENTITY, LINE, PLATEAU, SINC, KernelParams
from archsr.degradation.order_params import Order
from archsr.degradation.recipe import Recipe
from archsr.degradation.saving import Saving
from archsr.degradation.words import family
from archsr.degradation.words_of_saving import CODEC_NAMES, MODE_NAMES
from archsr.utils.atomic import replacing

Values = list[float] | list[str]  # words become bars, numbers become histograms


def parameters(recipes: Sequence[Recipe]) -> dict[str, Values]:
    """Return the drawn values by name: only parameters of steps in the recipes, and only where they have an effect."""
    found: dict[str, Values] = {}
    for recipe in recipes:
        for name, values in _of(recipe).items():
            found.setdefault(name, []).extend(values)  # pyright: ignore[reportArgumentType]
    if len({recipe.steps for recipe in recipes}) > 1:
        found["order: the first step"] = [next(s for s in recipe.steps if s != "halve") for recipe in recipes]
    return {name: values for name, values in found.items() if values and set(values) != {SAMPLINGS[0]}}


def _of(recipe: Recipe) -> dict[str, Values]:
    steps = set(recipe.steps)
    found: dict[str, Values] = {}
    for number, order in enumerate((recipe.first, recipe.second), 1):
        if f"blur{number}" in steps:
            found |= _kernels(f"blur{number}", order.kernel)
        if f"resize{number}" in steps:
            found |= _resize(f"resize{number}", order)
        if f"noise{number}" in steps:
            found |= _noise(f"noise{number}", order)
        if f"jpeg{number}" in steps or (number == 2 and "finish" in steps):
            found[f"jpeg{number}: compressed"] = _words(order.compressed)
            found[f"jpeg{number}: quality"] = _numbers(order.quality[order.compressed])
            found[f"jpeg{number}: colours"] = [SAMPLINGS[n] for n in order.sampling[order.compressed].tolist()]
    if "halve" in steps:
        found |= {"halved": _words(recipe.halved), "halved: mode": _modes(recipe.half_mode[recipe.halved])}
    if steps & {"reduce", "finish"}:
        found["last resize: mode"] = _modes(recipe.final_mode)
    if steps & {"sinc", "finish"}:
        found |= _kernels("last filter", recipe.final_kernel)
    if "finish" in steps:
        found["last JPEG comes"] = ["before the resize" if last else "at the end" for last in recipe.sinc_last.tolist()]
    if "bicubic" not in steps:
        found["antialiased"] = _words(recipe.antialias)
    found |= _camera(recipe.camera, steps) | _saving(recipe.saving, steps)
    return {**found, "crop: x": _numbers(recipe.crop_x), "crop: y": _numbers(recipe.crop_y)}


def _camera(camera: Camera, steps: set[Step]) -> dict[str, Values]:
    found: dict[str, Values] = {}
    if "sharpen" in steps:
        sharpened = camera.sharpen_amount > 0
        found |= {
            "sharpened": _words(sharpened),
            "sharpened: amount": _numbers(camera.sharpen_amount[sharpened]),
            "sharpened: σ": _numbers(camera.sharpen_radius[sharpened]),
        }
    if "aberration" in steps:
        fringed = (camera.red != 0) | (camera.blue != 0)
        found |= {
            "fringes": _words(fringed),
            "fringes: red, %": _numbers(camera.red[fringed] * 100),
            "fringes: blue, %": _numbers(camera.blue[fringed] * 100),
            "fringes: centre y": _numbers(camera.centre[fringed, 0]),
            "fringes: centre x": _numbers(camera.centre[fringed, 1]),
        }
    if "sensor" in steps:
        noisy = camera.shot > 0
        found |= {
            "sensor noise": _words(noisy),
            "sensor: log10 of shot": _numbers(camera.shot[noisy].log10()),
            "sensor: log10 of read": _numbers(camera.read[noisy].log10()),
            "sensor: gain of red": _numbers(camera.gains[noisy, 0]),
            "sensor: gain of blue": _numbers(camera.gains[noisy, 2]),
        }
    return found


def _saving(saving: Saving, steps: set[Step]) -> dict[str, Values]:
    found: dict[str, Values] = {}
    if "saves" in steps:
        happens = torch.stack([saving.generation(number) for number in range(MOST_SAVES)], 1)
        resized = saving.save_factor != 1
        found |= {
            "saves": [str(count) for count in saving.saves.tolist()],
            "saves: factor": _numbers(saving.save_factor[resized]),
            "saves: mode": _modes(saving.save_mode[resized]),
            "saves: quality": _numbers(saving.save_quality[happens]),
            "saves: table": [TABLES[number] for number in saving.save_table[happens].tolist()],
            "saves: grid y": _numbers(saving.save_y[happens]),
            "saves: grid x": _numbers(saving.save_x[happens]),
        }
    if "codec" in steps:
        found["codec"] = [CODEC_NAMES[CODECS[number]] for number in saving.codec.tolist()]
        for number, name in enumerate(CODECS[1:], 1):
            found[f"codec: {CODEC_NAMES[name]}"] = _numbers(saving.codec_quality[saving.codec == number])
    if "levels" in steps:
        few = saving.levels > 0
        found |= {"levels": _numbers(saving.levels[few]), "levels: dithered": _words(saving.dithered[few])}
    return found


def _resize(name: str, order: Order) -> dict[str, Values]:
    taken = order.decimate > 0
    found: dict[str, Values] = {f"{name}: factor": _numbers(order.factor), f"{name}: mode": _modes(order.mode[~taken])}
    if taken.any():
        found |= {f"{name}: every n-th pixel": _words(taken), f"{name}: σ before it": _numbers(order.decimate[taken])}
    return found


def _kernels(name: str, kernel: KernelParams) -> dict[str, Values]:
    disc, line = kernel.kind == DISC, kernel.kind == LINE
    formed = (kernel.kind != IDENTITY) & (kernel.kind != SINC) & ~disc & ~line
    turned = formed & (kernel.sigma_x != kernel.sigma_y)
    shaped = (kernel.kind == GENERALIZED) | (kernel.kind == PLATEAU)
    return {
        f"{name}: kind": [family(kernel, i) for i in range(len(kernel.kind))],
        f"{name}: taps": _numbers(kernel.taps[kernel.kind != IDENTITY]),
        f"{name}: σ across": _numbers(kernel.sigma_x[formed]),
        f"{name}: σ along": _numbers(kernel.sigma_y[turned]),
        f"{name}: angle": _numbers(kernel.theta[turned]),
        f"{name}: β": _numbers(kernel.beta[shaped]),
        f"{name}: cutoff of sinc": _numbers(kernel.cutoff[kernel.kind == SINC]),
        f"{name}: radius out of focus": _numbers(kernel.sigma_x[disc]),
        f"{name}: length of motion": _numbers(kernel.sigma_x[line]),
        f"{name}: angle of motion": _numbers(kernel.theta[line]),
    }


def _noise(name: str, order: Order) -> dict[str, Values]:
    noisy = order.strength > 0
    kinds = ["none" if not n else "Poisson" if p else "Gaussian" for n, p in zip(noisy, order.poisson, strict=True)]
    return {
        f"{name}: kind": kinds,
        f"{name}: grey": _words(order.grey[noisy]),
        f"{name}: correlated": _words(order.correlated()[noisy]),
        f"{name}: σ of 255": _numbers(order.strength[noisy & ~order.poisson] * 255),
        f"{name}: Poisson scale": _numbers(order.strength[noisy & order.poisson]),
    }


def _numbers(values: Tensor) -> list[float]:
    return values.tolist()


def _words(flags: Tensor) -> list[str]:
    return ["yes" if flag else "no" for flag in flags.tolist()]


def _modes(mode: Tensor) -> list[str]:
    return [MODE_NAMES[number] for number in mode.tolist()]


def draw_histograms(path: Path, drawn: dict[str, Values], psnr: Sequence[float], *, title: str) -> None:
    """Write a PNG with a small plot for each parameter, and one for the PSNR of the upscaled images."""
    plots: dict[str, Values] = {"PSNR of enlarged lq, dB": list(psnr), **drawn}
    columns = 6
    rows = -(-len(plots) // columns)
    height = 2.1 * rows + 0.6
    figure = Figure(figsize=(3 * columns, height))
    # fixed margins in inches, with room for words beside bars: an automatic layout takes longer than the drawing
    edges = {"left": 0.05, "right": 0.99, "bottom": 0.3 / height, "top": 1 - 0.8 / height}
    figure.subplots_adjust(**edges, wspace=0.4, hspace=0.45)
    figure.suptitle(title, y=1 - 0.15 / height)
    axes: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for place, (name, values) in zip(axes, plots.items(), strict=False):
        _plot(place, values)
        place.set_title(f"{name}  ({len(values)})", fontsize="small")
        place.tick_params(labelsize="x-small")
    for place in axes[len(plots) :]:
        place.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")


def _plot(axes: Axes, values: Values) -> None:
    words = [v for v in values if isinstance(v, str)]
    if words:
        counted = sorted(Counter(words).items())
        axes.barh([w for w, _ in counted], [c / len(words) for _, c in counted])
        return
    numbers = [v for v in values if not isinstance(v, str)]
    axes.hist(numbers, bins=30)
    axes.set_yticks([])
