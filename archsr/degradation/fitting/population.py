"""Finds the ranges of a degradation under which a set of images is most likely.

Simulations with known numbers stand for the likelihood. Images and simulations are compared by summaries: the numbers
that a regression estimates from their statistics (semi-automatic ABC: Fearnhead and Prangle 2012). Expectation and
maximisation then alternate: which simulations each image resembles, weighted by how often the present ranges draw them,
and which ranges the weighted simulations have. So what one image leaves open, the others decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsr.degradation.fitting.fitted_table import NUMBERS, bounded
from archsr.degradation.fitting.numbers import Spread, uniform

Values = NDArray[np.float64]

_ITERATIONS = 25
_SPARSE = 0.1  # share of the images that a damage must explain before it counts: the simpler table wins
_WIDTH = 0.3  # of the kernel, in standard deviations of the summaries
_BEYOND = 0.05  # density outside of a range, relative to that inside: so that it can grow
LEAST_SHARE = 0.04  # below which a damage is left out


@dataclass(frozen=True)
class Population:
    """Spreads by name and the share of grey noise. `neighbours`: to how many simulations an image is compared."""

    spreads: Mapping[str, Spread]
    grey: float
    neighbours: float


def likelihoods(images: Values, simulated: Values) -> Values:
    """Return how much each image (n, k) resembles each simulation (m, k), by their summaries, as (n, m)."""
    scale = _WIDTH * np.concatenate([images, simulated]).std(0) + 1e-9
    away = (((images[:, None] - simulated[None]) / scale) ** 2).sum(2)
    return np.exp(-0.5 * (away - away.min(1, keepdims=True)))


def most_likely(kernel: Values, numbers: Values, drawn: Population) -> Population:
    """Return the ranges under which images are likeliest.

    `kernel` (n, m) are the likelihoods, `numbers` (m, 5) those of the simulations (0: absent; of `kept`: 1 less the
    share), and `drawn` the ranges that they were drawn from.
    """
    now = drawn
    for _ in range(_ITERATIONS):
        prior = _density(numbers, now) / _density(numbers, drawn)
        weights = kernel * prior
        each = weights / weights.sum(1, keepdims=True)
        now = _maximised(numbers, each.mean(0), each)
    return now


def _density(numbers: Values, population: Population) -> Values:
    density = np.ones(len(numbers))
    for column, name in enumerate(NUMBERS):
        one, values = population.spreads[name], numbers[:, column]
        inside = (values >= one.low) & (values <= one.high)
        present = max(one.share, 0.01) / max(one.high - one.low, 1e-3) * np.where(inside, 1, _BEYOND)
        density *= np.where(values > 0, present, max(1 - one.share, 0.01))
    grey = numbers[:, 4]
    share = float(np.clip(population.grey, 0.02, 0.98))
    return density * np.where(grey == 1, share, np.where(grey == 0, 1 - share, 1))


def _maximised(numbers: Values, weights: Values, each: Values) -> Population:
    spreads = {name: _weighted(numbers[:, column], weights, name) for column, name in enumerate(NUMBERS)}
    noisy = np.where(numbers[:, 4] != 0.5, weights, 0)
    grey = float((noisy * numbers[:, 4]).sum() / noisy.sum()) if noisy.sum() > 1e-6 else 0.5
    return Population(spreads, grey, float(np.mean(1 / (each**2).sum(1))))


def _weighted(values: Values, weights: Values, name: str) -> Spread:
    """Return the share above 0, and the uniform range with the same lower and upper tenth.

    That of `kept` begins at 0.
    """
    present = values > 0
    share = max(0.0, (float(weights[present].sum() / weights.sum()) - _SPARSE) / (1 - _SPARSE))
    if share < 1e-3:
        return Spread(0.0, *_NONE[name])
    order = np.argsort(values[present])
    summed = np.cumsum(weights[present][order])
    first, last = np.interp([0.1, 0.9], summed / summed[-1], values[present][order])
    if name == "kept":
        return Spread(share, 0.0, float(last / 0.9))
    low, high = uniform(float(first), float(last))
    return Spread(share, max(0.05 if name == "sharpening" else 0.2, low), high)


_NONE = {"blur": (0.2, 0.3), "sharpening": (0.05, 0.1), "noise": (0.3, 0.5), "kept": (0.0, 0.03)}


def as_table(population: Population) -> dict[str, Spread]:
    """Return the spreads as a table takes them: that of `kept` as shares of the size, and rare damages left out."""
    found: dict[str, Spread] = {}
    for name, one in population.spreads.items():
        turned = Spread(one.share, 1 - one.high, 1.0) if name == "kept" else one
        rare = one.share < LEAST_SHARE or (name == "kept" and one.share * one.high < LEAST_SHARE)
        found[name] = bounded(Spread(0.0 if rare else turned.share, turned.low, turned.high), name)
    return found
