"""Whether a difference between two models is more than luck: paired, over scenes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from archsr.seeds import seed_of

_RESAMPLES = 10_000
_EXACT = 12  # scenes up to which all 2ⁿ changes of sign are looked at
# with five scenes, even five differences of one sign happen by chance once in 2⁴ times: more than 5 %
FEWEST_SCENES = 6
_POWER = 0.8
_LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over images with a 95 % interval from resampled scenes; `wins` is a share of images.

    `low` and `high` are NaN below six scenes, which cannot show a difference at the 5 % level whatever they say.
    `sign_p` and `permutation_p`: two-sided p-values of the sign test and of the test by changes of sign, over the means
    of scenes. `needed`: scenes with which a true difference of this size would be seen four times in five; None where
    there is no difference.
    """

    mean: float
    low: float
    high: float
    wins: float
    images: int
    scenes: int
    sign_p: float
    permutation_p: float
    needed: int | None

    def verdict(self, *, higher_is_better: bool) -> str:
        """`better`, `worse` or `cannot tell`: the interval and the test by changes of sign have to agree.

        With six scenes and no difference the interval alone leaves out zero 5.6 times in 100, both together 2.5 times.
        """
        if self.permutation_p > _LEVEL:
            return "cannot tell"
        return _verdict(self.low, self.high, higher_is_better=higher_is_better)


def paired(differences: Mapping[str, Sequence[float]], *, higher_is_better: bool, seed: int = 0) -> Difference:
    """Summarise per-image differences (new minus old) given by scene.

    Images of one scene are not independent, so scenes are resampled whole: cluster bootstrap. Its percentile interval
    is too narrow for few scenes; the percentiles are moved outwards as Hesterberg (2015, "What teachers should know
    about the bootstrap", section 5.3) describes.
    """
    groups = [np.asarray(d, dtype=np.float64) for d in differences.values() if len(d)]
    flat = np.concatenate(groups)
    sums, counts = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    low = high = math.nan
    if len(groups) >= FEWEST_SCENES:
        means = _resampled(sums, counts, seed)
        low, high = (float(v) for v in np.percentile(means, _percentiles(len(groups))))
    won = flat > 0 if higher_is_better else flat < 0
    of_scenes = sums / counts
    return Difference(
        mean=float(flat.mean()),
        low=low,
        high=high,
        wins=float(won.mean()),
        images=len(flat),
        scenes=len(groups),
        sign_p=_sign_p(of_scenes),
        permutation_p=_permutation_p(of_scenes, seed),
        needed=_needed(float(flat.mean()), sums, counts),
    )


@dataclass(frozen=True)
class Pooled:
    """Mean paired difference over seeds and images, a 95 % interval for other scenes and seeds, and what makes it wide.

    `of_seeds`: the mean difference of each seed (or person). `low` and `high` are NaN below six scenes.
    """

    mean: float
    low: float
    high: float
    of_seeds: tuple[float, ...]
    scenes: int

    def verdict(self, *, higher_is_better: bool) -> str:
        """`better`, `worse` or `cannot tell`."""
        return _verdict(self.low, self.high, higher_is_better=higher_is_better)


def _verdict(low: float, high: float, *, higher_is_better: bool) -> str:
    """What an interval of differences says; NaN says nothing."""
    if low > 0:
        return "better" if higher_is_better else "worse"
    if high < 0:
        return "worse" if higher_is_better else "better"
    return "cannot tell"


def pooled(by_seed: Sequence[Mapping[str, Sequence[float]]], *, seed: int = 0) -> Pooled:
    """Per-image differences by scene, of several seeds, or judgements of several people, who need not share all images.

    Scenes and seeds are resampled, each by itself; the seeds' deviations from their mean are first scaled by
    √(n / (n − 1)), as a resample of few spreads too little. A seed counts by its number of images, none may have none.
    One seed says nothing about others.
    """
    scenes = list(dict.fromkeys(s for one in by_seed for s in one))
    counts = np.array([[len(one.get(s, ())) for s in scenes] for one in by_seed])  # (seeds, scenes)
    sums = np.array([[float(np.sum(one.get(s, ()))) for s in scenes] for one in by_seed])
    weights = counts.sum(1)
    of_seeds = sums.sum(1) / weights
    mean, size = float(sums.sum() / weights.sum()), len(by_seed)
    low = high = math.nan
    if len(scenes) >= FEWEST_SCENES:
        means = _resampled(sums.sum(0), counts.sum(0), seed)
        if size > 1:
            drawn = np.random.default_rng(seed_of(seed, "bootstrap of seeds")).integers(0, size, (_RESAMPLES, size))
            deviations = (of_seeds - mean) * math.sqrt(size / (size - 1))
            means = means + (weights * deviations)[drawn].sum(1) / weights[drawn].sum(1)
        low, high = (float(v) for v in np.percentile(means, _percentiles(len(scenes))))
    return Pooled(mean, low, high, tuple(float(v) for v in of_seeds), len(scenes))


def _resampled(sums: NDArray[np.float64], counts: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """(resamples,): the mean over images of each resample of the scenes."""
    often = _how_often(len(counts), seed)
    return (often @ sums) / (often @ counts)


@lru_cache(maxsize=2)
def _how_often(scenes: int, seed: int) -> NDArray[np.float64]:
    """(resamples, scenes): how often each resample has each scene. The same for every measure of a report."""
    rng = np.random.default_rng(seed_of(seed, "bootstrap"))
    return rng.multinomial(scenes, np.full(scenes, 1 / scenes), _RESAMPLES).astype(np.float64)


@lru_cache(maxsize=2)
def _signs(scenes: int, seed: int) -> NDArray[np.float64]:
    """(changes, scenes) of 1 and −1: all there are, or so many at random."""
    if scenes <= _EXACT:
        return np.array(list(product((-1.0, 1.0), repeat=scenes)))
    return np.random.default_rng(seed_of(seed, "signs")).choice((-1.0, 1.0), (_RESAMPLES, scenes))


@lru_cache(maxsize=64)
def _percentiles(scenes: int) -> tuple[float, float]:
    tail = _number(stats.norm.cdf(-math.sqrt(scenes / (scenes - 1)) * _number(stats.t.ppf(0.975, scenes - 1))))
    return 100 * tail, 100 * (1 - tail)


def _sign_p(means: NDArray[np.float64]) -> float:
    """Of the sign test; ties are left out."""
    moved = means[means != 0]
    return 1.0 if len(moved) == 0 else float(stats.binomtest(int((moved > 0).sum()), len(moved)).pvalue)


def _permutation_p(means: NDArray[np.float64], seed: int) -> float:
    """How often changing signs at random moves the mean of the scenes as far from zero."""
    signs = _signs(len(means), seed)
    others = int(len(means) > _EXACT)  # the observed signs are one of the draws
    far = np.abs(signs @ means) >= abs(means.sum()) * (1 - 1e-12)
    return float((far.sum() + others) / (len(signs) + others))


def _needed(mean: float, sums: NDArray[np.float64], counts: NDArray[np.int64]) -> int | None:
    """Scenes with which the interval leaves out zero four times in five, by the spread of a ratio of two sums."""
    if len(counts) < 2 or mean == 0:
        return None
    spread = float(np.std((sums - mean * counts) / counts.mean(), ddof=1))
    need = float(FEWEST_SCENES)
    for _ in range(20):  # the interval's width in standard errors depends on the number itself
        width = math.sqrt(need / (need - 1)) * _number(stats.t.ppf(0.975, need - 1)) + _number(stats.norm.ppf(_POWER))
        before, need = need, max(FEWEST_SCENES, (width * spread / abs(mean)) ** 2)
        if abs(need - before) < 1e-3:
            break
    return math.ceil(need)


def _number(value: Any) -> float:  # noqa: ANN401 - scipy returns its own scalars
    return float(value)
