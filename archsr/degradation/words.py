"""Describes a recipe in words for people who look at its image."""

import math

from torch import Tensor

from archsr.degradation.jpeg import SAMPLINGS
from archsr.degradation.kernels import DISC, GENERALIZED, IDENTITY, LINE, PLATEAU, SINC, KernelParams
from archsr.degradation.order_params import Order
from archsr.degradation.recipe import Recipe
from archsr.degradation.resize import BICUBIC, BILINEAR
from archsr.degradation.words_of_saving import MODE_NAMES, saving_words

_NAMES = {IDENTITY: "none", SINC: "sinc", DISC: "out of focus", LINE: "moved"}
_FAMILIES = {GENERALIZED: "generalized Gaussian", PLATEAU: "plateau"}


def describe(recipe: Recipe, sample: int) -> list[str]:
    """Describe each step of a sample in a line: σ in pixels or of 255, angles in degrees, factors as ×."""
    lines: list[str] = []
    for step in recipe.steps:
        order = recipe.first if step.endswith("1") else recipe.second
        if step in ("blur1", "blur2"):
            lines.append(kernel_words(order.kernel, sample))
        elif step == "resize1":
            lines.append(_resize(order, sample, recipe, base=""))
        elif step == "resize2":
            lines.append(_resize(order, sample, recipe, base=f"1/{recipe.scale} "))
        elif step in ("noise1", "noise2"):
            lines.append(_noise(order, sample))
        elif step in ("jpeg1", "jpeg2"):
            lines.append(_jpeg(order, sample))
        elif step == "sharpen":
            lines.append(_sharpening(recipe, sample))
        elif step == "aberration":
            lines.append(_fringes(recipe, sample))
        elif step == "sensor":
            lines.append(_sensor(recipe, sample))
        elif step in ("saves", "codec", "levels"):
            lines.append(saving_words(step, recipe.saving, sample))
        else:
            lines += _ending(step, recipe, sample)
    return lines


def _ending(step: str, recipe: Recipe, sample: int) -> list[str]:
    reduced = f"to 1/{recipe.scale}, {_mode(recipe.final_mode, sample, recipe)}"
    sinc = kernel_words(recipe.final_kernel, sample)
    if step == "finish":
        jpeg = _jpeg(recipe.second, sample)
        first = bool(recipe.sinc_last[sample])
        return [jpeg, reduced, sinc] if first else [reduced, sinc, jpeg]
    halved = f"halved, {MODE_NAMES[int(recipe.half_mode[sample])]}" if recipe.halved[sample] else "not halved"
    matlab = f"to 1/{recipe.scale}, MATLAB's bicubic"
    return [{"halve": halved, "reduce": reduced, "sinc": sinc, "bicubic": matlab}[step]]


def _sharpening(recipe: Recipe, sample: int) -> str:
    amount, radius = (float(v[sample]) for v in (recipe.camera.sharpen_amount, recipe.camera.sharpen_radius))
    return f"sharpened × {amount:.2f}, σ {radius:.2f}" if amount else "not sharpened"


def _fringes(recipe: Recipe, sample: int) -> str:
    red, blue = (float(v[sample]) for v in (recipe.camera.red, recipe.camera.blue))
    y, x = recipe.camera.centre[sample].tolist()
    fringes = f"red {red:+.2%}, blue {blue:+.2%} about ({x:.1f}, {y:.1f})"
    return fringes if red or blue else "no fringes"


def _sensor(recipe: Recipe, sample: int) -> str:
    shot, read = (float(v[sample]) for v in (recipe.camera.shot, recipe.camera.read))
    return f"sensor noise, shot {shot:.2g}, read {read:.2g}" if shot else "no sensor noise"


def family(kernel: KernelParams, sample: int) -> str:
    """Return the kind of a kernel: `none`, `sinc`, `out of focus`, `moved`, `iso Gaussian`, `aniso plateau`, ..."""
    kind = int(kernel.kind[sample])
    if kind in _NAMES:
        return _NAMES[kind]
    shape = "iso" if kernel.sigma_x[sample] == kernel.sigma_y[sample] else "aniso"
    return f"{shape} {_FAMILIES.get(kind, 'Gaussian')}"


def kernel_words(kernel: KernelParams, sample: int) -> str:
    """Describe a blur."""
    name = family(kernel, sample)
    taps = f"{int(kernel.taps[sample])} taps"
    if name == "none":
        return "no filter"
    if name == "sinc":
        return f"sinc, cutoff {float(kernel.cutoff[sample]):.2f}, {taps}"
    across, along = float(kernel.sigma_x[sample]), float(kernel.sigma_y[sample])
    if name == "out of focus":
        return f"{name}, radius {across:.1f}"
    if name == "moved":
        return f"{name} by {across:.1f} pixels, {math.degrees(float(kernel.theta[sample])):.0f}°"
    width = f"σ {across:.2f}"
    if name.startswith("aniso"):
        width += f" × {along:.2f}, {math.degrees(float(kernel.theta[sample])):.0f}°"
    beta = "" if name.endswith(" Gaussian") and "gen" not in name else f", β {float(kernel.beta[sample]):.2f}"
    return f"{name}, {width}{beta}, {taps}"


def _resize(order: Order, sample: int, recipe: Recipe, *, base: str) -> str:
    factor = float(order.factor[sample])
    if sigma := float(order.decimate[sample]):
        return f"Gaussian σ {sigma:.2f}, then one pixel in {round(1 / factor)}"
    return f"to {base}× {factor:.2f}, {_mode(order.mode, sample, recipe)}" if factor != 1 or base else "no resize"


def _mode(mode: Tensor, sample: int, recipe: Recipe) -> str:
    number = int(mode[sample])
    smooth = bool(recipe.antialias[sample]) and number in (BILINEAR, BICUBIC)
    return MODE_NAMES[number] + (" (antialiased if reducing)" if smooth else "")


def _noise(order: Order, sample: int) -> str:
    strength = float(order.strength[sample])
    if strength == 0:
        return "no noise"
    grey = "grey" if order.grey[sample] else "correlated" if order.correlated()[sample] else "colour"
    if order.poisson[sample]:
        return f"Poisson noise × {strength:.2f}, {grey}"
    return f"Gaussian noise σ {strength * 255:.1f}, {grey}"


def _jpeg(order: Order, sample: int) -> str:
    if not order.compressed[sample]:
        return "no JPEG"
    sampling = int(order.sampling[sample])
    return f"JPEG {float(order.quality[sample]):.0f}" + (f", {SAMPLINGS[sampling]}" if sampling else "")
