"""How well a simple classifier tells two sets of images apart, by statistics of their patches.

It is a linear discriminant (Fisher) on standardised statistics with a shrunken covariance, trained on four fifths of
the images and tested on the others. Its AUC is the probability that it ranks a patch of the second set above one of the
first: 0.5 if it cannot tell them apart, 1 if it always can (a classifier two-sample test: Lopez-Paz and Oquab 2017).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsr.degradation.fitting.numbers import Interval

Values = NDArray[np.float64]

_FOLDS = 5
_SHRINK = 0.1  # of the covariance towards the identity
_DRAWS = 400


@dataclass(frozen=True)
class Distance:
    """The classifier's AUC and its balanced accuracy, with intervals over images."""

    auc: Interval
    accuracy: Interval


def distance(a: Values, b: Values, *, groups_a: NDArray[np.int64], groups_b: NDArray[np.int64]) -> Distance:
    """Compare statistics (n, f) and (m, f) of patches; groups are the images that they come from.

    All patches of an image are in one fold. The bootstrap draws images of both sets.
    """
    scores_a, scores_b = _left_out(a, b, groups_a, groups_b)
    rng = np.random.default_rng(0)
    drawn: list[tuple[float, float]] = []
    of_a, of_b = ([np.flatnonzero(g == one) for one in np.unique(g)] for g in (groups_a, groups_b))
    for _ in range(_DRAWS):
        rows_a, rows_b = (np.concatenate([of[i] for i in rng.integers(0, len(of), len(of))]) for of in (of_a, of_b))
        drawn.append(_judged(scores_a[rows_a], scores_b[rows_b]))
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    auc, accuracy = _judged(scores_a, scores_b)
    return Distance(
        Interval(auc, float(ends[0, 0]), float(ends[1, 0])), Interval(accuracy, float(ends[0, 1]), float(ends[1, 1]))
    )


def _judged(a: Values, b: Values) -> tuple[float, float]:
    both = np.concatenate([a, b])
    ordered = np.sort(both)
    ranks = (np.searchsorted(ordered, b, "left") + np.searchsorted(ordered, b, "right") + 1) / 2
    auc = float((ranks.sum() - len(b) * (len(b) + 1) / 2) / (len(a) * len(b)))
    return auc, float(((a < 0).mean() + (b >= 0).mean()) / 2)


def _left_out(a: Values, b: Values, groups_a: NDArray[np.int64], groups_b: NDArray[np.int64]) -> tuple[Values, Values]:
    """Return the scores of each patch by a discriminant that has not seen its image; 0 is its threshold."""
    folds = [_fold(groups) for groups in (groups_a, groups_b)]
    scores = np.zeros(len(a)), np.zeros(len(b))
    for k in range(_FOLDS):
        train = a[folds[0] != k], b[folds[1] != k]
        if min(map(len, train)) < 2:
            continue
        weights, bias = _discriminant(*train)
        for score, rows, fold in zip(scores, (a, b), folds, strict=True):
            score[fold == k] = rows[fold == k] @ weights + bias
    return scores


def _fold(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    names = np.unique(groups)
    order = np.random.default_rng(0).permutation(len(names)) % _FOLDS
    return order[np.searchsorted(names, groups)]


def _discriminant(a: Values, b: Values) -> tuple[Values, float]:
    both = np.concatenate([a, b])
    scale = both.std(0) + 1e-6
    x, y = a / scale, b / scale
    centred = np.concatenate([x - x.mean(0), y - y.mean(0)])
    covariance = centred.T @ centred / len(centred)
    covariance = (1 - _SHRINK) * covariance + _SHRINK * np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    direction = np.linalg.solve(covariance, y.mean(0) - x.mean(0))
    spread = float((centred @ direction).std()) or 1.0
    weights = direction / spread  # so that scores of different folds are comparable
    return weights / scale, -float(weights @ (x.mean(0) + y.mean(0)) / 2)
