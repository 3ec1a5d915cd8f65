"""Fits a degradation: what files say directly, then ranges whose results give the same estimates as the images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from archsr.config import DegradeConfig
from archsr.degradation.fitting.fitted_table import NUMBERS, Fitted, bounded, table_of
from archsr.degradation.fitting.image_traces import ImageTraces
from archsr.degradation.fitting.numbers import Interval, Regression, Spread, interval, regression, spread
from archsr.degradation.fitting.population import Population, as_table, likelihoods, most_likely
from archsr.degradation.fitting.simulate import Advance, Simulated, from_log, inputs, simulate
from archsr.images.pixels import Pixels

Values = NDArray[np.float64]

SIMULATIONS, ROUNDS = 500, 2  # of each round; the first over wide ranges, the second around what it found
_DRAWS = 100  # of the bootstrap
# by how much at least the ranges of the second round are wider
_ROOM = {"blur": 0.2, "sharpening": 0.2, "noise": 0.5, "kept": 0.1}
_SLOPE = 0.15  # share of the noise at middle grey that depends on brightness, from which it is believed
# shares of images with an earlier JPEG on the same grid, or a displaced one, of which a tenth are found by chance
_SEEN_TWICE = 0.05, 0.25
_DISCS = 0.5  # share of wide blurs that look like discs; of Gaussian ones a fifth do


@dataclass(frozen=True)
class Matching:
    """A fit, its table, and how sure it is.

    `intervals` over images: of "blur share", "blur low", "blur high" and so on. `errors`: of one patch's numbers, on
    simulations. `neighbours`: how many simulations an image resembles, on average.
    """

    fit: Fitted
    config: DegradeConfig
    intervals: dict[str, Interval]
    errors: dict[str, float]
    neighbours: float


def direct(images: Sequence[ImageTraces]) -> Fitted:
    """Return a fit of what the files say without simulations, and wide ranges for the rest."""
    none = Spread(0.0, 0.0, 0.0)
    compressed = [t for t in images if t.jpeg]
    sampled = Counter(t.sampling.replace(":", "") for t in compressed if t.sampling and t.compressed == "header")
    total = sum(sampled.values())
    keys = ("420", "422", "440", "444")
    sampling = {f"yuv{key}": round(sampled[key] / total, 3) if total else float(key == "420") for key in keys}
    sampling["yuv420"] = round(1 - sum(sampling[f"yuv{key}"] for key in keys[1:]), 3)
    same = [t.earlier for t in compressed if t.earlier]
    moved = [t for t in compressed if t.moved]
    before = len(moved) > len(same)
    share = max(len(same), len(moved)) / len(images)
    twice = share >= _SEEN_TWICE[before]
    jpeg = quality_spread([t.jpeg for t in images])
    # the quality of a compression on a displaced grid is unknown: at most that of the last one, or it would not show
    earlier = quality_spread(same) if same else replace(jpeg, low=max(1.0, jpeg.low - 15))
    discs = [t.shape == "disc" for t in images if t.shape]
    many = len(discs) >= max(8, len(images) / 5) and float(np.mean(discs)) > _DISCS
    # noise up to twice the noisiest images'
    noisiest = float(np.quantile([max(t.quality.noise, t.noise.luma) for t in images], 0.95))
    return Fitted(
        blur=Spread(0.8, 0.2, 2.5), sharpening=Spread(0.5, 0.1, 2.0),
        noise=Spread(0.6, 0.3, float(np.clip(2 * noisiest, 3, 25))),
        kept=Spread(0.5, 0.35, 1.0), grey=0.5, poisson=poisson_share(images).value, jpeg=jpeg,
        earlier=replace(earlier, share=share) if twice else none, earlier_is="before" if before else "after",
        sampling=sampling, disc=float(np.mean(discs)) if many else 0.0,
    )  # fmt: skip


def quality_spread(qualities: Sequence[int]) -> Spread:
    """Return the share of qualities above 0, and their range, which no file exceeds."""
    found = spread(np.array(qualities, np.float64), above=0)
    present = [q for q in qualities if q] or [0]
    return Spread(found.share, max(found.low, min(present)), min(found.high, max(present)))


def poisson_share(images: Sequence[ImageTraces]) -> Interval:
    """Return the share of the noise at middle grey that grows with brightness; 0 if it may as well not.

    It is the median over the images with at least a level of noise. Negative: shadows are noisier.
    """
    told = [(t.noise.shot / 2, t.noise.read + t.noise.shot / 2) for t in images if t.noise.luma >= 1]
    shares = np.array([np.clip(slope / middle, -1, 1) for slope, middle in told if slope == slope and middle > 0])
    if len(shares) < 8:
        return Interval(0.0, float("nan"), float("nan"))
    found = interval(shares, lambda v: float(np.median(v)))
    if found.low < _SLOPE:
        return replace(found, value=min(0.0, found.value) if found.high < -_SLOPE else 0.0)
    return found


def _drawn(fit: Fitted) -> Population:
    """Return the ranges of a fit as a population: `kept` as what is lost."""
    spreads = {name: getattr(fit, name) for name in NUMBERS}
    kept = fit.kept
    return Population({**spreads, "kept": Spread(kept.share, 0.0, 1 - kept.low)}, fit.grey, 0.0)


def _plain(numbers: Values) -> Values:
    """Return drawn numbers (m, 5) with noise in levels and `kept` as what is lost, so that 0 means absent."""
    lost = np.maximum(0, 1 - numbers[:, 3])
    return np.column_stack([numbers[:, :2], np.round(from_log(numbers[:, 2]), 6), lost, numbers[:, 4]])


def match(
    images: Sequence[ImageTraces], crops: Sequence[tuple[int, Pixels]], *, seed: int, scale: int, advance: Advance
) -> Matching:
    """Fit a degradation to the images, with crops of clean photographs to degrade."""
    statistics = np.concatenate([t.statistics for t in images])
    sizes = np.array([len(t.statistics) for t in images])
    image = np.repeat(np.arange(len(images)), sizes)
    quality = np.repeat([float(t.jpeg) for t in images], sizes)
    fit = direct(images)
    fit = replace(fit, poisson=max(0.0, fit.poisson))
    for number in range(ROUNDS - 1):
        made = simulate(table_of(fit), crops, SIMULATIONS, seed=seed + number, scale=scale, advance=advance)
        found = _Likelihood.of(made, statistics, quality, _drawn(fit)).most_likely()
        fit = replace(fit, **_wider(found), grey=found.grey)
    made = simulate(table_of(fit), crops, SIMULATIONS, seed=seed + ROUNDS, scale=scale, advance=advance)
    likelihood = _Likelihood.of(made, statistics, quality, _drawn(fit))
    found = likelihood.most_likely()
    fit = replace(fit, **as_table(found), grey=found.grey)
    return Matching(
        fit=fit,
        config=table_of(fit),
        intervals=_intervals(likelihood, image),
        errors=dict(zip((*NUMBERS, "grey"), _errors(likelihood.model, made), strict=True)),
        neighbours=found.neighbours,
    )


@dataclass(frozen=True)
class _Likelihood:
    """How much patches resemble simulations (n, m), the simulations' numbers (m, 5), and what they were drawn from."""

    kernel: Values
    numbers: Values
    drawn: Population
    model: Regression

    @classmethod
    def of(cls, made: Simulated, statistics: Values, quality: Values, drawn: Population) -> "_Likelihood":
        model = regression(inputs(made.statistics, made.quality), made.numbers)
        real, simulated = model(inputs(statistics, quality)), model(inputs(made.statistics, made.quality))
        return cls(likelihoods(real, simulated), _plain(made.numbers), drawn, model)

    def most_likely(self, rows: NDArray[np.int64] | None = None) -> Population:
        kernel = self.kernel if rows is None else self.kernel[rows]
        return most_likely(kernel, self.numbers, self.drawn)


def _wider(found: Population) -> dict[str, Spread]:
    """Return ranges around those that were found, for simulations of which more are like the images."""
    wide: dict[str, Spread] = {}
    for name, one in found.spreads.items():
        room = max(0.3 * (one.high - one.low), _ROOM[name])
        low, high = max(0.0, one.low - room), one.high + room
        share = float(np.clip(one.share, 0.2, 0.8))
        turned = Spread(share, 1 - high, 1.0) if name == "kept" else Spread(share, low, high)
        wide[name] = bounded(turned, name)
    return wide


def _errors(model: Regression, made: Simulated) -> list[float]:
    """Return the errors of one patch on left-out simulations, of noise in levels at the middle of the simulations."""
    errors = model.error.tolist()
    middle = float(np.median(made.numbers[:, 2]))
    errors[2] = float(from_log(np.array(middle + errors[2])) - from_log(np.array(middle)))
    return errors


def _intervals(likelihood: _Likelihood, image: NDArray[np.int64]) -> dict[str, Interval]:
    """Return share, low and high of each number with bootstrap intervals over images, by "blur share" and so on."""
    rows = [np.flatnonzero(image == i) for i in range(int(image.max()) + 1)]
    rng = np.random.default_rng(0)

    def values(chosen: NDArray[np.int64]) -> Values:
        found = likelihood.most_likely(chosen)
        spreads = [as_table(found)[name] for name in NUMBERS]
        return np.array([part for one in spreads for part in (one.share, one.low, one.high)])

    drawn_again = [
        values(np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])) for _ in range(_DRAWS)
    ]
    low, high = np.quantile(drawn_again, [0.025, 0.975], axis=0)
    names = [f"{name} {part}" for name in NUMBERS for part in ("share", "low", "high")]
    best = values(np.arange(len(image)))
    return {n: Interval(float(b), float(a), float(c)) for n, b, a, c in zip(names, best, low, high, strict=True)}
