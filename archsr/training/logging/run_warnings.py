"""Warnings about values that a run watches besides its losses.

The limits come from runs on photographs of architecture, from RealESRGAN_x4plus and with the small SRVGG network, with
and without a discriminator. The table in configs/README.md has the measured values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from archsr.config import Objective

ACCURACY = 0.97  # accuracy above which a discriminator gives the generator nothing to learn
DRIFT = 0.05  # mean absolute difference of mean colours in a training batch, range [0, 1]
SEEN = 1.0  # CIEDE2000 above the original's: just visible
CONSISTENCY = 1.0  # levels of 255 above the original's
VALIDATING = 0.25  # share of a run's time: with more for validation, too little is left for training
VALIDATED = 0.1  # recommended share
JUMP = 10.0  # times a group's usual gradient norm
_HISTORY = 20  # log lines of which the usual norm is the median
_AT_LEAST = 5


@torch.no_grad()
def accuracy(objective: Objective, logits: Tensor, *, real: bool, other: Tensor | None) -> Tensor:
    """Return the share of logits on the correct side, as a scalar on their device.

    The boundary is 0; it is 0.5 for `least_squares`, and the mean of the `other` kind for `relativistic`.
    """
    middle = other.mean() if other is not None else 0.5 if objective == "least_squares" else 0.0
    return ((logits > middle) if real else (logits < middle)).float().mean()


@torch.no_grad()
def colour_drift(sr: Tensor, gt: Tensor) -> Tensor:
    """Return the mean absolute difference of the mean colours of images (b, 3, h, w), as a scalar on their device."""
    return (sr.float().mean((2, 3)) - gt.mean((2, 3))).abs().mean()


@dataclass
class RunWarnings:
    """Return each warning once until its condition ends. Keeps recent gradient norms."""

    said: set[str] = field(default_factory=set[str])
    norms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def of_training(self, values: Mapping[str, float]) -> list[str]:
        """Return new warnings for the means of a log line."""
        found = {
            **discriminator_complaint(values), **drift_complaint(values), **share_complaint(values),
            **self._jumps(values),
        }  # fmt: skip
        return self._new(found, {"discriminator", "drift", "share"} | {f"norm {n}" for n in self.norms})

    def of_validation(self, values: Mapping[str, float], original: Mapping[str, float]) -> list[str]:
        """Return new warnings for a validation, compared with the original model's."""
        return self._new(validation_complaint(values, original), {"colour", "consistency"})

    def _new(self, found: Mapping[str, str], looked_at: set[str]) -> list[str]:
        fresh = [text for kind, text in found.items() if kind not in self.said]
        self.said = (self.said - looked_at) | set(found)
        return fresh

    def _jumps(self, values: Mapping[str, float]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in values.items():
            if not name.startswith("grad_norm/"):
                continue
            group = name.removeprefix("grad_norm/")
            known = self.norms.setdefault(group, [])
            if len(known) >= _AT_LEAST and value > JUMP * median(known):
                found[f"norm {group}"] = (
                    f"the gradient norm of {group} is {value / median(known):.0f} times its usual value; if this "
                    f"persists, lower lr or set training.clip={median(known) * 2:.2g}"
                )
            self.norms[group] = [*known, value][-_HISTORY:]
        return found


def discriminator_complaint(values: Mapping[str, float]) -> dict[str, str]:
    """Return a warning if the discriminator is almost always right on both kinds."""
    shares = [values.get(f"{kind}_accuracy") for kind in ("d_real", "d_fake")]
    right = [s for s in shares if s is not None]
    if len(right) < 2 or min(right) < ACCURACY:
        return {}
    gap = values.get("d_real_logit", 0.0) - values.get("d_fake_logit", 0.0)
    return {
        "discriminator": f"the discriminator is right about {min(right):.0%} of real and fake (logits {gap:.1f} "
        "apart): the generator learns little from it; lower discriminator.lr_scale, or train without it first"
    }


def drift_complaint(values: Mapping[str, float]) -> dict[str, str]:
    """Return a warning if the mean colours of the results drift from the ground truth."""
    drift = values.get("colour_drift", 0.0)
    if drift < DRIFT:
        return {}
    return {
        "drift": f"mean colours differ from the ground truth by {drift:.3f} of the range; lower lr, or set "
        "losses.colour.weight=1"
    }


def share_complaint(values: Mapping[str, float]) -> dict[str, str]:
    """Return a warning if validation takes too much time: `validation_share` at one every `validate_every` steps."""
    share = values.get("validation_share", 0.0)
    if share <= VALIDATING:
        return {}
    fewer = values["validate_every"] * share / (1 - share) * (1 - VALIDATED) / VALIDATED
    fewer = max(1, round(fewer, -1 if fewer < 100 else -2))
    return {
        "share": f"validation takes {share:.0%} of the time; with validation.every={fewer:.0f} it would take about "
        f"{VALIDATED:.0%}, or take fewer validation.samples"
    }


def validation_complaint(values: Mapping[str, float], original: Mapping[str, float]) -> dict[str, str]:
    """Return a warning if the model is worse than the original in ways that PSNR does not show."""
    found: dict[str, str] = {}
    if values["colour"] > original["colour"] + SEEN:
        found["colour"] = (
            f"mean colours are off by {values['colour']:.1f} CIEDE2000 (original: {original['colour']:.1f}), a visible "
            "colour cast; losses.colour.weight=1 counteracts it"
        )
    if values["consistency"] > original["consistency"] + CONSISTENCY:
        found["consistency"] = (
            f"downsampled again, the results differ from the inputs by {values['consistency']:.1f} levels more than "
            f"the photographs do (original: {original['consistency']:.1f}): the model replaces content; "
            "raise losses.pixel.weight"
        )
    return found
