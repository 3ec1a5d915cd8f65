"""Test whether a difference between two models is significant: paired, with scenes as units."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from archsr.config.prepare import FEWEST_SCENES as FEWEST_SCENES
from archsr.utils.seeds import seed_of

_RESAMPLES = 10_000
_EXACT = 12  # scenes up to which the permutation test uses all 2ⁿ sign changes
POWER = 0.8
LEVEL = 0.05
INCONCLUSIVE = "inconclusive"
_FINE = 10  # scenes above which p-values are fine enough for Student's t
_TRIALS = 1000  # simulated sets for the smallest detectable difference of few scenes


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over images with a 95 % interval from resampled scenes.

    `wins` is the share of images in which the new model is better; each of the `ties` counts half. `low` and `high` are
    NaN below `FEWEST_SCENES`, which can show nothing at the 5 % level. `error` is the standard error of the mean over
    scenes, NaN for one scene. `sign_p` and `permutation_p` are two-sided p-values of the sign test and of the
    permutation test by sign changes, over the means of scenes.
    """

    mean: float
    low: float
    high: float
    wins: float
    ties: int
    images: int
    scenes: int
    error: float
    sign_p: float
    permutation_p: float

    def verdict(self, *, higher_is_better: bool, level: float = LEVEL) -> str:
        """Return `better`, `worse` or `inconclusive`: interval and permutation test must agree.

        With six scenes and no true difference, the interval alone excludes zero 5.6 times in 100, both together 2.5
        times.
        """
        if self.permutation_p > level:
            return INCONCLUSIVE
        return _verdict(self.low, self.high, higher_is_better=higher_is_better)

    @property
    def standardised(self) -> tuple[float, float, float]:
        """Mean and ends of the interval in standard deviations over scenes; NaN if scenes do not differ."""
        deviation = self.error * math.sqrt(self.scenes)
        if not deviation > 0:
            return math.nan, math.nan, math.nan
        return self.mean / deviation, self.low / deviation, self.high / deviation

    def smallest(self, level: float = LEVEL) -> float:
        """Return the true difference that these scenes would show four times in five at `level`.

        It depends on their number and variation, not on the observed difference. NaN if they cannot show any.
        """
        return self.error * _errors_needed(self.scenes, level)


def paired(differences: Mapping[str, Sequence[float]], *, higher_is_better: bool, seed: int = 0) -> Difference:
    """Summarise per-image differences (new minus old) given by scene.

    Images of one scene are not independent, so whole scenes are resampled (cluster bootstrap). The percentile interval
    is too narrow for few scenes; it is widened as in Hesterberg (2015, "What teachers should know about the bootstrap",
    section 5.3).
    """
    groups = [np.asarray(d, dtype=np.float64) for d in differences.values() if len(d)]
    flat = np.concatenate(groups)
    sums, counts = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    low, high = (float(v) for v in intervals(sums, counts, seed=seed))
    won, ties = flat > 0 if higher_is_better else flat < 0, flat == 0
    of_scenes, average = sums / counts, float(flat.mean())
    return Difference(
        mean=average,
        low=low,
        high=high,
        wins=float((won + ties / 2).mean()),
        ties=int(ties.sum()),
        images=len(flat),
        scenes=len(groups),
        error=_error(average, sums, counts),
        sign_p=_sign_p(of_scenes),
        permutation_p=float(permutation_p(of_scenes, seed=seed)),
    )


def intervals(
    sums: NDArray[np.float64], counts: NDArray[np.int64], *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of 95 % intervals of means over images, (...), NaN below `FEWEST_SCENES`.

    `sums` and `counts` are the sums and numbers of images by scene, (..., scenes).
    """
    scenes = sums.shape[-1]
    if scenes < FEWEST_SCENES:
        nothing = np.full(sums.shape[:-1], np.nan)
        return nothing, nothing
    low, high = np.percentile(_resampled(sums, counts, seed), _percentiles(scenes), axis=-1)
    return low, high


def permutation_p(means: NDArray[np.float64], *, seed: int = 0) -> NDArray[np.float64]:
    """Return the share of sign flips whose mean is at least as far from zero as that of `means`.

    `means` is (..., scenes), the result (...).
    """
    scenes = means.shape[-1]
    signs = _signs(scenes, seed)
    others = int(scenes > _EXACT)  # the observed signs are one of the draws
    far = np.abs(means @ signs.T) >= np.abs(means.sum(-1, keepdims=True)) * (1 - 1e-12)
    return (far.sum(-1) + others) / (len(signs) + others)


def holm_levels(p: NDArray[np.float64], *, level: float = LEVEL) -> NDArray[np.float64]:
    """Return the level for each of several p-values, (..., tests), by Holm's correction (1979).

    The smallest p-value is compared with `level` divided by the number of tests, the next with `level` divided by one
    fewer, and so on until one fails; the others are compared with that level. So at most `level` of all families
    contain a false verdict, however the tests are correlated.
    """
    number = p.shape[-1]
    order = np.argsort(p, axis=-1)
    steps = level / (number - np.arange(number))
    passed = np.logical_and.accumulate(np.take_along_axis(p, order, axis=-1) <= steps, axis=-1)
    left = np.maximum(1, number - passed.sum(-1, keepdims=True))
    found = np.empty(p.shape)
    np.put_along_axis(found, order, np.where(passed, steps, level / left), axis=-1)
    return found


@dataclass(frozen=True)
class Pooled:
    """Mean paired difference over seeds and images, with a 95 % interval for other scenes and seeds.

    `of_seeds` is the mean difference of each seed (or person). `low` and `high` are NaN below `FEWEST_SCENES`.
    """

    mean: float
    low: float
    high: float
    of_seeds: tuple[float, ...]
    scenes: int

    def verdict(self, *, higher_is_better: bool) -> str:
        """Return `better`, `worse` or `inconclusive`."""
        return _verdict(self.low, self.high, higher_is_better=higher_is_better)


def _verdict(low: float, high: float, *, higher_is_better: bool) -> str:
    """Return the verdict of an interval of differences; NaN is inconclusive."""
    if low > 0:
        return "better" if higher_is_better else "worse"
    if high < 0:
        return "worse" if higher_is_better else "better"
    return INCONCLUSIVE


def pooled(by_seed: Sequence[Mapping[str, Sequence[float]]], *, seed: int = 0) -> Pooled:
    """Pool per-image differences by scene of several seeds, or votes of several people, who may share only some images.

    Scenes and seeds are resampled independently. The seeds' deviations from their mean are first scaled by √(n / (n −
    1)), because a resample of few varies too little. A seed is weighted by its number of images, which must not be
    zero. One seed gives no variation between seeds.
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
    """Return the mean over images of each resample of the scenes, (..., resamples)."""
    often = _resample_counts(sums.shape[-1], seed).T
    return (sums @ often) / (counts @ often)


@lru_cache(maxsize=2)
def _resample_counts(scenes: int, seed: int) -> NDArray[np.float64]:
    """Return how often each resample contains each scene, (resamples, scenes)."""
    rng = np.random.default_rng(seed_of(seed, "bootstrap"))
    return rng.multinomial(scenes, np.full(scenes, 1 / scenes), _RESAMPLES).astype(np.float64)


@lru_cache(maxsize=2)
def _signs(scenes: int, seed: int) -> NDArray[np.float64]:
    """Return sign changes, (changes, scenes) of 1 and −1: all possible ones, or a random sample."""
    if scenes <= _EXACT:
        return np.array(list(product((-1.0, 1.0), repeat=scenes)))
    return np.random.default_rng(seed_of(seed, "signs")).choice((-1.0, 1.0), (_RESAMPLES, scenes))


@lru_cache(maxsize=64)
def _percentiles(scenes: int) -> tuple[float, float]:
    tail = _number(stats.norm.cdf(-math.sqrt(scenes / (scenes - 1)) * _number(stats.t.ppf(0.975, scenes - 1))))
    return 100 * tail, 100 * (1 - tail)


def _sign_p(means: NDArray[np.float64]) -> float:
    """Return the p-value of the sign test; ties are left out."""
    moved = means[means != 0]
    return 1.0 if len(moved) == 0 else float(stats.binomtest(int((moved > 0).sum()), len(moved)).pvalue)


def _error(mean: float, sums: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the standard error of a mean over images, as a ratio of two sums over scenes."""
    if len(counts) < 2:
        return math.nan
    return float(np.std((sums - mean * counts) / counts.mean(), ddof=1)) / math.sqrt(len(counts))


@lru_cache(maxsize=256)
def _errors_needed(scenes: int, level: float) -> float:
    """Return how many standard errors a true difference needs to be seen four times in five; NaN if none is.

    With few scenes p-values are coarse and need more than Student's t says, so normal data is simulated.
    """
    if scenes < FEWEST_SCENES or 2.0 ** (1 - scenes) > level:
        return math.nan
    usual = _number(stats.t.ppf(1 - level / 2, scenes - 1)) + _number(stats.t.ppf(POWER, scenes - 1))
    if scenes > _FINE:
        return usual
    drawn = np.random.default_rng(seed_of(scenes, "what few scenes show")).normal(size=(_TRIALS, scenes))
    low, high = 0.5 * usual, 4 * usual
    for _ in range(12):
        middle = (low + high) / 2
        seen = np.mean(permutation_p(drawn + middle / math.sqrt(scenes)) <= level)
        low, high = (low, middle) if seen >= POWER else (middle, high)
    return high


def _number(value: Any) -> float:  # noqa: ANN401 - scipy returns its own scalars
    return float(value)
