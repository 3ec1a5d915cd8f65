"""Whether a difference between two models is more than luck: paired, over scenes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archsr.seeds import seed_of

_RESAMPLES = 10_000
# with five scenes, even five differences of one sign happen by chance once in 2⁴ times: more than 5 %
FEWEST_SCENES = 6


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over images with a 95 % interval from resampled scenes; `wins` is a share of images.

    `low` and `high` are NaN below six scenes, which cannot show a difference at the 5 % level whatever they say.
    """

    mean: float
    low: float
    high: float
    wins: float
    images: int
    scenes: int

    def verdict(self, *, higher_is_better: bool) -> str:
        """`better`, `worse` or `cannot tell`."""
        low, high = (self.low, self.high) if higher_is_better else (-self.high, -self.low)
        if low > 0:
            return "better"
        return "worse" if high < 0 else "cannot tell"


def paired(differences: Mapping[str, Sequence[float]], *, higher_is_better: bool, seed: int = 0) -> Difference:
    """Summarise per-image differences (new minus old) given by scene.

    Images of one scene are not independent, so scenes are resampled whole (cluster bootstrap, percentile interval).
    """
    groups = [np.asarray(d, dtype=np.float64) for d in differences.values() if len(d)]
    flat = np.concatenate(groups)
    sums, counts = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    low = high = float("nan")
    if len(groups) >= FEWEST_SCENES:
        rng = np.random.default_rng(seed_of(seed, "bootstrap"))
        picks = rng.integers(0, len(groups), (_RESAMPLES, len(groups)))
        means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
        low, high = (float(v) for v in np.percentile(means, [2.5, 97.5]))
    won = flat > 0 if higher_is_better else flat < 0
    return Difference(float(flat.mean()), low, high, float(won.mean()), len(flat), len(groups))
