"""What a run watches besides its losses, and says in plain words when it looks wrong.

The limits were set after runs on photographs of architecture from RealESRGAN_x4plus and with the small SRVGG network,
with and without a discriminator: see the table in configs/README.md for what was seen and where the limits lie.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

from archsr.config import Objective

ACCURACY = 0.97  # of a discriminator that is never wrong the generator learns nothing
DRIFT = 0.05  # mean difference of mean colours in a training batch, of the range [0, 1]
SEEN = 1.0  # CIEDE2000 beyond the original's: about what can just be seen
CONSISTENCY = 1.0  # levels of 255 beyond the original's
VALIDATING = 0.25  # of a run's time: that much for validation leaves too little for training
VALIDATED = 0.1  # the share that is advised
JUMP = 10.0  # times a group's usual gradient norm
_HISTORY = 20  # log lines that "usual" is the median of, and at least
_AT_LEAST = 5


@torch.no_grad()
def accuracy(objective: Objective, logits: Tensor, *, real: bool, other: Tensor | None) -> Tensor:
    """The share of logits on the right side, a scalar on their device.

    The side is of 0, of 0.5 for `least_squares`, and of the mean of the `other` kind for `relativistic`.
    """
    middle = other.mean() if other is not None else 0.5 if objective == "least_squares" else 0.0
    return ((logits > middle) if real else (logits < middle)).float().mean()


@torch.no_grad()
def colour_drift(sr: Tensor, gt: Tensor) -> Tensor:
    """Mean difference of the mean colours of images (b, 3, h, w), a scalar on their device."""
    return (sr.float().mean((2, 3)) - gt.mean((2, 3))).abs().mean()


@dataclass
class RunWarnings:
    """Remembers what was said, so that each warning comes once until it ends, and the usual gradient norms."""

    said: set[str] = field(default_factory=set[str])
    norms: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def of_training(self, values: Mapping[str, float]) -> list[str]:
        """New warnings after a log line's means."""
        found = {
            **discriminator_complaint(values), **drift_complaint(values), **share_complaint(values),
            **self._jumps(values),
        }  # fmt: skip
        return self._new(found, {"discriminator", "drift", "share"} | {f"norm {n}" for n in self.norms})

    def of_validation(self, values: Mapping[str, float], original: Mapping[str, float]) -> list[str]:
        """New warnings after a validation, held against that of the original."""
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
                    f"the gradient of {group} is {value / median(known):.0f} times its usual norm; if it stays so, "
                    f"lower lr or set training.clip={median(known) * 2:.2g}"
                )
            self.norms[group] = [*known, value][-_HISTORY:]
        return found


def discriminator_complaint(values: Mapping[str, float]) -> dict[str, str]:
    """Where the discriminator is right nearly always on both kinds."""
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
    """Where the results' mean colours leave those of the ground truth."""
    drift = values.get("colour_drift", 0.0)
    if drift < DRIFT:
        return {}
    return {
        "drift": f"mean colours are {drift:.3f} of the range off the ground truth's; lower lr, or add "
        "losses.colour.weight=1"
    }


def share_complaint(values: Mapping[str, float]) -> dict[str, str]:
    """Where validation takes a large part of the time, `validation_share`, at one after `validate_every` iterations."""
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
    """Where the model is worse than the original in what PSNR does not tell."""
    found: dict[str, str] = {}
    if values["colour"] > original["colour"] + SEEN:
        found["colour"] = (
            f"mean colours are {values['colour']:.1f} (CIEDE2000) off, the original's {original['colour']:.1f}: a cast "
            "that can be seen; losses.colour.weight=1 holds against it"
        )
    if values["consistency"] > original["consistency"] + CONSISTENCY:
        found["consistency"] = (
            f"reduced again, the results agree with their inputs by {values['consistency']:.1f} levels less than the "
            f"photographs do, the original's by {original['consistency']:.1f}: the model paints over what is there; "
            "raise losses.pixel.weight"
        )
    return found
