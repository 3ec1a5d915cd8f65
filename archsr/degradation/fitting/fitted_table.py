"""The numbers that a fit chooses, and the table of the degradation that has them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from archsr.config import DegradeConfig
from archsr.degradation.fitting.numbers import Spread

NUMBERS = ("blur", "sharpening", "noise", "kept")  # the spreads that are matched, as the columns of a regression
_NO_KINDS = {"iso": 1.0} | dict.fromkeys(
    ("aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"), 0.0
)
MIDDLE_GREY = 11.3  # levels of noise at middle grey of Poisson noise of strength 1, of an image with all 256 levels


@dataclass(frozen=True)
class Fitted:
    """What a fitted degradation draws, all in pixels and levels of `lq`.

    `blur` (σ), `sharpening` (amount), `noise` (σ in levels) and `kept` (the share of its size that an enlarged image
    had before) are spreads; `grey` and `poisson` shares of the noise; `jpeg` and `earlier` spreads of quality of the
    last and of an earlier JPEG, which was made "before" the image was enlarged or "after"; `sampling`: shares by key;
    `radius`: range of the width of halos; `disc`: share of blurs that are discs.
    """

    blur: Spread
    sharpening: Spread
    noise: Spread
    kept: Spread
    grey: float
    poisson: float
    jpeg: Spread
    earlier: Spread
    earlier_is: Literal["before", "after"]
    sampling: dict[str, float]
    disc: float = 0.0
    radius: tuple[float, float] = (0.5, 1.2)


def bounded(fit: Spread, name: str) -> Spread:
    """Return the spread within what a table accepts and what makes a difference."""
    least, most = {"blur": (0.2, 4.0), "sharpening": (0.05, 4.0), "noise": (0.3, 50.0), "kept": (0.1, 0.97)}[name]
    low, high = (float(np.clip(v, least, most)) for v in (fit.low, fit.high))
    share = float(np.clip(fit.share, 0, 1))
    return Spread(share if share >= 0.02 else 0.0, min(low, high), max(low, high, least * 1.05))


def table_of(fit: Fitted) -> DegradeConfig:
    """Return the complete table of a fit: only steps that it needs, everything else switched off."""
    return DegradeConfig.model_validate(plain_table(fit))


def plain_table(fit: Fitted) -> dict[str, Any]:
    """Return the keys of the table that a fit sets.

    The image is reduced by Lanczos to the size that it had before it was enlarged, then enlarged; all else happens to
    `lq` itself, so that its numbers are those that were measured.
    """
    blur, sharp, noise, kept = (bounded(getattr(fit, name), name) for name in NUMBERS)
    enlarged, twice = kept.share > 0, fit.earlier.share > 0
    early = twice and enlarged and fit.earlier_is == "before"
    steps = [
        *(["resize2"] if enlarged else []),
        *(["jpeg1"] if early else []),
        "reduce",
        *(["blur1"] if blur.share else []),
        *(["sharpen"] if sharp.share else []),
        *(["noise1"] if noise.share else []),
        *(["jpeg1"] if twice and not early else []),
        *(["jpeg2"] if fit.jpeg.share else []),
    ]
    lanczos = {"lanczos": 1.0, "nearest": 0.0}
    first = {
        "blur": {
            **_kernel(blur),
            "defocus": round(fit.disc, 3),
            "defocus_radius": _range(2 * blur.low, 2 * blur.high, 0.5),
        },
        "resize": {"up": 0.0, "down": 0.0, "keep": 1.0, "decimate": 0.0},
        "noise": _noise(noise, fit),
        "jpeg": _quality(fit.earlier, fit),
    }
    second = {
        "blur": {**_kernel(Spread(0.0, 0.2, 1.0))},
        "resize": {
            "up": 0.0, "down": round(kept.share, 3), "keep": round(1 - round(kept.share, 3), 3),
            "factor": {"low": round(kept.low, 3), "high": 1.0}, "reciprocal": False, "modes": lanczos,
        },
        "noise": {"probability": 0.0},
        "jpeg": _quality(fit.jpeg, fit),
    }  # fmt: skip
    return {
        "preset": "realesrgan", "steps": steps, "shuffle": False, "antialias": 1.0, "sharpen_gt": False,
        "halve": {"probability": 0.0}, "final_modes": lanczos, "final_sinc": 0.0, "first": first, "second": second,
        "sharpening": {
            "probability": round(sharp.share, 3), "radius": {"low": fit.radius[0], "high": fit.radius[1]},
            "amount": _range(sharp.low, sharp.high, 0.05),
        },
    }  # fmt: skip


def _kernel(blur: Spread) -> dict[str, Any]:
    taps = 7 + 2 * int(np.clip(np.ceil(3 * blur.high - 3), 0, 9))
    return {
        "probability": round(blur.share, 3), "sigma": _range(blur.low, blur.high, 0.05), "taps": taps, "sinc": 0.0,
        "families": _NO_KINDS, "variance": {"low": 0.0, "high": 0.0}, "defocus": 0.0, "motion": 0.0,
    }  # fmt: skip


def _noise(noise: Spread, fit: Fitted) -> dict[str, Any]:
    low, high = noise.low, noise.high
    return {
        "probability": round(noise.share, 3), "gaussian": round(1 - fit.poisson, 3), "sigma": _range(low, high, 0.1),
        "poisson_scale": _range(low / MIDDLE_GREY, high / MIDDLE_GREY, 0.01), "grey": round(fit.grey, 3),
        "correlated": 0.0,
    }  # fmt: skip


def _quality(jpeg: Spread, fit: Fitted) -> dict[str, Any]:
    low, high = (float(np.clip(v, 1, 100)) for v in (jpeg.low, jpeg.high))
    ends = {"low": round(low, 1), "high": round(max(low, high), 1)} if jpeg.share else {}
    return {"probability": round(jpeg.share, 3), **ends, "sampling": fit.sampling, "interpolated": 1.0}


def _range(low: float, high: float, least: float) -> dict[str, float]:
    first = max(least, round(low, 3))
    return {"low": first, "high": max(first, round(high, 3))}
