"""Intervals contain the truth as often as they say, tests have the level they say, and needs are what is needed."""

import math

import numpy as np
import pytest
from scipy import stats

from archsr.evaluate.statistics import FEWEST_SCENES, paired, pooled


def drawn(rng, scenes, shift, *, between=0.5, within=0.3, most=6):
    """Differences of pictures: scenes of 1 to `most` pictures that have an effect of their own."""
    effects = rng.normal(shift, between, scenes)
    return {str(i): rng.normal(e, within, rng.integers(1, most)).tolist() for i, e in enumerate(effects)}


@pytest.mark.parametrize("scenes", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 12)), 30])
def test_intervals_cover_as_often_as_they_say(scenes):
    """95 % stated; 93 to 97.5 % of 1,000 simulated sets, with which 1.4 % of chance is to be expected."""
    rng = np.random.default_rng(scenes)
    found = [paired(drawn(rng, scenes, 0.3), higher_is_better=True) for _ in range(1000)]
    share = np.mean([f.low <= 0.3 <= f.high for f in found])
    print(scenes, share)
    assert 0.93 <= share <= 0.98


def test_no_difference_is_called_one_in_twenty_times_at_most():
    rng = np.random.default_rng(7)
    found = [paired(drawn(rng, 10, 0.0), higher_is_better=True) for _ in range(600)]
    called = np.mean([f.verdict(higher_is_better=True) != "cannot tell" for f in found])
    assert called < 0.075
    assert np.mean([f.permutation_p <= 0.05 for f in found]) < 0.075
    assert np.mean([f.sign_p <= 0.05 for f in found]) < 0.075


@pytest.mark.parametrize("scenes", [6, 8])
def test_few_scenes_without_a_difference_are_seldom_called_one(scenes):
    """The interval alone called 6.9 of 100 at six scenes, and a verdict could contradict the p-value of its own row."""
    rng = np.random.default_rng(11)
    found = [paired(drawn(rng, scenes, 0.0), higher_is_better=True) for _ in range(1500)]
    called = [f for f in found if f.verdict(higher_is_better=True) != "cannot tell"]
    assert len(called) / 1500 <= 0.05
    assert all(f.permutation_p <= 0.05 for f in called)
    assert np.mean([f.low > 0 or f.high < 0 for f in found]) > len(called) / 1500


def test_p_values_are_scipys():
    rng = np.random.default_rng(3)
    means = rng.normal(0.2, 0.5, 9)
    found = paired({str(i): [m] for i, m in enumerate(means)}, higher_is_better=True)
    theirs = stats.permutation_test((means,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.permutation_p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert found.sign_p == pytest.approx(stats.binomtest(int((means > 0).sum()), 9).pvalue)


def test_many_scenes_are_drawn_and_agree_with_all_of_them():
    rng = np.random.default_rng(4)
    means = rng.normal(0.25, 0.5, 14)
    exact = stats.permutation_test((means,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    found = paired({str(i): [m] for i, m in enumerate(means)}, higher_is_better=True)
    assert found.permutation_p == pytest.approx(exact, abs=0.015)


def test_with_the_needed_scenes_a_difference_is_seen_four_times_in_five():
    rng = np.random.default_rng(5)
    need = paired(drawn(rng, 2000, 0.25), higher_is_better=True).needed
    seen = np.mean([paired(drawn(rng, need, 0.25), higher_is_better=True).low > 0 for _ in range(400)])
    assert 0.74 <= seen <= 0.86


def theirs_of(by_scene):
    """scipy's percentile bootstrap of a ratio of two sums, at the widened percentiles of Hesterberg's section 5.3."""
    count = len(by_scene)
    sums, counts = (np.array([f(d) for d in by_scene.values()], dtype=float) for f in (np.sum, len))
    tail = stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1))
    return stats.bootstrap(
        (sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True, n_resamples=20_000,
        confidence_level=1 - 2 * tail, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip


@pytest.mark.parametrize("summary", [paired, lambda data, **_: pooled([data])], ids=["paired", "pooled"])
def test_intervals_are_of_the_mean_over_images_as_scipys(summary):
    """Large scenes weigh more than small ones: a mean of the scenes' means would be another figure."""
    rng = np.random.default_rng(6)
    data = {
        str(n): rng.normal(0.1 * size, 0.2, size).tolist() for n, size in enumerate([1, 1, 1, 2, 2, 3, 4, 6, 8, 10, 12])
    }
    found, (low, high) = summary(data, higher_is_better=True), theirs_of(data)
    images = np.concatenate(list(data.values()))
    assert found.mean == pytest.approx(images.mean())
    assert abs(found.mean - np.mean([np.mean(d) for d in data.values()])) > 0.3 * (high - low), (
        "the means of scenes would do"
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_equal_images_are_no_wins():
    found = paired({"a": [0.0, 0.4], "b": [0.0, -0.2], "c": [0.0], "d": [0.3, 0.1]}, higher_is_better=True)
    assert found.wins == 3 / 7
    assert paired({"a": [0.0, 0.4], "b": [-0.2]}, higher_is_better=False).wins == 1 / 3


def test_equal_models_need_no_number():
    found = paired({str(i): [0.0, 0.0] for i in range(8)}, higher_is_better=True)
    assert (found.needed, found.sign_p, found.permutation_p) == (None, 1.0, 1.0)
    assert found.verdict(higher_is_better=True) == "cannot tell"


# ---------------------------------------------------------------- several seeds


def with_seeds(rng, seeds, *, of_seeds, scenes=12):
    effects = rng.normal(0.3, 0.4, scenes)
    shifts = rng.normal(0, of_seeds, seeds)
    return [{str(i): rng.normal(e + s, 0.2, 3).tolist() for i, e in enumerate(effects)} for s in shifts]


@pytest.mark.parametrize(("seeds", "of_seeds"), [(2, 0.1), (3, 0.15), (5, 0.3)])
def test_intervals_hold_for_other_scenes_and_other_seeds(seeds, of_seeds):
    rng = np.random.default_rng(seeds)
    found = [pooled(with_seeds(rng, seeds, of_seeds=of_seeds)) for _ in range(500)]
    share = np.mean([f.low <= 0.3 <= f.high for f in found])
    assert 0.91 <= share <= 0.99


def test_one_seed_is_the_plain_interval():
    rng = np.random.default_rng(1)
    [one] = with_seeds(rng, 1, of_seeds=0.1)
    alone, plain = pooled([one]), paired(one, higher_is_better=True)
    assert (alone.mean, alone.low, alone.high) == pytest.approx((plain.mean, plain.low, plain.high), abs=1e-12)


def test_few_scenes_give_no_interval_of_seeds_either():
    few = [{str(i): [1.0] for i in range(FEWEST_SCENES - 1)}] * 3
    assert math.isnan(pooled(few).low)
    assert pooled(few).verdict(higher_is_better=True) == "cannot tell"
