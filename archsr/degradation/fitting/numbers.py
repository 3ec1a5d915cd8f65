"""Ranges of numbers from values of images, regression from statistics to numbers, and intervals over images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_DRAWS = 400  # of the bootstrap
_SHRINKS = (1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class Spread:
    """The share of images that have a damage, and the range of its strength in these: uniform from low to high."""

    share: float
    low: float
    high: float


def spread(values: Values, *, above: float) -> Spread:
    """Return the spread of values (n,), of which those up to `above` count as absent.

    Low and high are those of the uniform distribution with the same lower and upper tenth.
    """
    present = values[values > above]
    if not len(present):
        return Spread(0.0, above, above)
    return Spread(len(present) / len(values), *uniform(*np.quantile(present, [0.1, 0.9]).tolist()))


def uniform(first: float, last: float) -> tuple[float, float]:
    """Return low and high of the uniform distribution whose lower and upper tenth end at `first` and `last`."""
    beyond = (last - first) / 8
    return first - beyond, last + beyond


@dataclass(frozen=True)
class Interval:
    """A value and the interval that holds it in 95 of 100 samples of images."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """Return it in words."""
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def interval(values: Values, statistic: Callable[[Values], float], *, seed: int = 0) -> Interval:
    """Return a statistic of values (n, ...), one row per image, with its bootstrap interval over images."""
    rng = np.random.default_rng(seed)
    drawn = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(_DRAWS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(statistic(values), float(low), float(high))


@dataclass(frozen=True)
class Regression:
    """A ridge regression on standardised statistics, their squares and products. `error` (k,): RMS on left-out rows."""

    mean: Values
    scale: Values
    weights: Values
    target_mean: Values
    error: Values

    def __call__(self, rows: Values) -> Values:
        """Return the numbers (n, k) for statistics (n, f)."""
        return _terms((rows - self.mean) / self.scale) @ self.weights + self.target_mean


def regression(rows: Values, targets: Values) -> Regression:
    """Fit targets (n, k) to statistics (n, f); the strength of the ridge is chosen on left-out fifths."""
    mean, scale = rows.mean(0), rows.std(0) + 1e-6
    terms, target_mean = _terms((rows - mean) / scale), targets.mean(0)
    fold = np.arange(len(rows)) % 5
    errors: list[Values] = []
    for shrink in _SHRINKS:
        left = np.zeros_like(targets)
        for k in range(5):
            weights = _ridge(terms[fold != k], targets[fold != k] - target_mean, shrink)
            left[fold == k] = terms[fold == k] @ weights + target_mean
        errors.append(np.sqrt(((left - targets) ** 2).mean(0)))
    best = np.argmin(np.stack(errors), axis=0)
    columns = [_ridge(terms, targets[:, [k]] - target_mean[k], _SHRINKS[b])[:, 0] for k, b in enumerate(best)]
    return Regression(mean, scale, np.stack(columns, 1), target_mean, np.stack(errors).min(0))


def _terms(rows: Values) -> Values:
    """Return the statistics, bounded, with their squares and products."""
    bounded = np.clip(rows, -4, 4)
    i, j = np.triu_indices(bounded.shape[1])
    return np.concatenate([bounded, bounded[:, i] * bounded[:, j] / 4 - np.eye(bounded.shape[1])[i, j] / 4], 1)


def _ridge(terms: Values, targets: Values, shrink: float) -> Values:
    """Solve in the dual: rows are fewer than terms."""
    gram = terms @ terms.T + shrink * np.eye(len(terms))
    return terms.T @ np.linalg.solve(gram, targets)
