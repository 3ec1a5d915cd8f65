"""Intervals have their coverage, tests have their level, and the smallest detectable differences are right."""

import math

import numpy as np
import pytest
from scipy import stats

from archsr.evaluation.statistics.bootstrap import FEWEST_SCENES, holm_levels, paired, pooled
from archsr.evaluation.statistics.verdicts import leave_one_out


def drawn(rng, scenes, shift, *, between=0.5, within=0.3, most=6):
    """Return differences of images: scenes of 1 to `most` images with a scene effect."""
    effects = rng.normal(shift, between, scenes)
    return {str(i): rng.normal(e, within, rng.integers(1, most)).tolist() for i, e in enumerate(effects)}


@pytest.mark.parametrize("scenes", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 12)), 30])
def test_intervals_cover_as_often_as_they_say(scenes):
    """Stated are 95 %; 1,000 simulated sets give 93 to 97.5 %, with an expected chance of 1.4 %."""
    rng = np.random.default_rng(scenes)
    found = [paired(drawn(rng, scenes, 0.3), higher_is_better=True) for _ in range(1000)]
    share = np.mean([f.low <= 0.3 <= f.high for f in found])
    print(scenes, share)
    assert 0.93 <= share <= 0.98


def test_no_difference_is_called_one_in_twenty_times_at_most():
    rng = np.random.default_rng(7)
    found = [paired(drawn(rng, 10, 0.0), higher_is_better=True) for _ in range(600)]
    called = np.mean([f.verdict(higher_is_better=True) != "inconclusive" for f in found])
    assert called < 0.075
    assert np.mean([f.permutation_p <= 0.05 for f in found]) < 0.075
    assert np.mean([f.sign_p <= 0.05 for f in found]) < 0.075


@pytest.mark.parametrize("scenes", [6, 8])
def test_few_scenes_without_a_difference_are_seldom_called_one(scenes):
    """The interval alone called 6.9 of 100 at six scenes, and a verdict could contradict the p-value of its row."""
    rng = np.random.default_rng(11)
    found = [paired(drawn(rng, scenes, 0.0), higher_is_better=True) for _ in range(1500)]
    called = [f for f in found if f.verdict(higher_is_better=True) != "inconclusive"]
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


@pytest.mark.parametrize(("scenes", "level"), [(6, 0.05), (10, 0.05), (10, 0.01), (30, 0.05), (30, 0.004)])
def test_the_smallest_difference_is_shown_four_times_in_five(scenes, level):
    rng = np.random.default_rng(5)
    smallest = paired({str(i): [v] for i, v in enumerate(rng.normal(0, 1, scenes))}, higher_is_better=True)
    shift = smallest.smallest(level) / smallest.error / math.sqrt(scenes)  # in units of the scenes' spread
    found = [paired(alone(rng.normal(shift, 1, scenes)), higher_is_better=True) for _ in range(500)]
    seen = np.mean([f.verdict(higher_is_better=True, level=level) == "better" for f in found])
    assert 0.74 <= seen <= 0.86


def alone(means):
    return {str(i): [m] for i, m in enumerate(means)}


def test_what_could_have_been_shown_does_not_hang_on_what_was_found():
    """The number of scenes needed for the observed difference varied between 22 and 5,861, where 44 is the truth."""
    noise = np.random.default_rng(8).normal(0, 1, 12)
    near, far = (paired(alone(noise + shift), higher_is_better=True).smallest() for shift in (0.01, 5))
    assert near == pytest.approx(far)


def test_so_few_scenes_that_a_level_cannot_be_reached_show_nothing():
    found = paired(alone(range(1, 9)), higher_is_better=True)
    assert (found.permutation_p, found.verdict(higher_is_better=True)) == (2 / 2**8, "better")
    assert not math.isnan(found.smallest(2 / 2**8))
    assert math.isnan(found.smallest(1.9 / 2**8))
    assert found.verdict(higher_is_better=True, level=1.9 / 2**8) == "inconclusive"


def test_holm_goes_on_as_long_as_each_is_small_enough():
    """By hand: 0.01 ≤ 0.05 / 4, 0.015 ≤ 0.05 / 3, 0.03 > 0.05 / 2, so the last fails, too, though 0.04 < 0.05."""
    p = np.array([[0.03, 0.01, 0.04, 0.015], [0.2, 0.3, 0.4, 0.5], [0.01, 0.001, 0.002, 0.04]])
    levels = holm_levels(p)
    assert levels[0] == pytest.approx([0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3])
    assert levels[1] == pytest.approx([0.05 / 4] * 4)
    assert (p <= levels).tolist() == [[False, True, False, True], [False] * 4, [True] * 4]


def test_one_scene_that_carries_a_verdict_is_named():
    calm = {"a": [0.1], "b": [0.12], "c": [0.08], "d": [0.11], "e": [0.09, 0.1], "f": [0.1], "g": [0.1]}
    found = leave_one_out({**calm, "tower": [2.0]}, higher_is_better=True)
    assert (found.scene, found.changed) == ("tower", None)
    assert found.share == pytest.approx(2.0 / 2.8)
    assert (found.least, found.most) == (pytest.approx(0.1), pytest.approx(2.61 / 7))
    assert leave_one_out(calm, higher_is_better=True).share < 0.5


def test_a_verdict_that_hangs_on_one_scene_says_on_which():
    blocked = {**alone([0.5, 0.4, 0.6, 0.3, 0.5, 0.4, 0.45]), "odd": [-2.0]}
    assert paired(blocked, higher_is_better=True).verdict(higher_is_better=True) == "inconclusive"
    assert leave_one_out(blocked, higher_is_better=True).changed == ("odd", "better")
    scarce = alone([0.5, 0.4, 0.6, 0.3, 0.5, 0.4, -0.25])
    assert paired(scarce, higher_is_better=True).verdict(higher_is_better=True) == "better"
    assert leave_one_out(scarce, higher_is_better=True).changed == ("2", "inconclusive")


def test_where_one_scene_fewer_could_show_nothing_it_is_not_asked():
    assert leave_one_out(alone([1.0, 1.1, 0.9, 1.2, 1.0, 1.1]), higher_is_better=True).changed is None


def theirs_of(by_scene):
    """Compute scipy's percentile bootstrap of a ratio of two sums, at the percentiles of Hesterberg's section 5.3."""
    count = len(by_scene)
    sums, counts = (np.array([f(d) for d in by_scene.values()], dtype=float) for f in (np.sum, len))
    tail = stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1))
    return stats.bootstrap(
        (sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True, n_resamples=20_000,
        confidence_level=1 - 2 * tail, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip


@pytest.mark.parametrize("summary", [paired, lambda data, **_: pooled([data])], ids=["paired", "pooled"])
def test_intervals_are_of_the_mean_over_images_as_scipys(summary):
    """Large scenes weigh more than small ones: a mean of the scenes' means would differ."""
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


def test_equal_images_are_half_a_win():
    found = paired({"a": [0.0, 0.4], "b": [0.0, -0.2], "c": [0.0], "d": [0.3, 0.1]}, higher_is_better=True)
    assert (found.wins, found.ties) == (4.5 / 7, 3)
    assert paired({"a": [0.0, 0.4], "b": [-0.2]}, higher_is_better=False).wins == 1.5 / 3


def test_equal_models_are_told_to_be_equal():
    found = paired({str(i): [0.0, 0.0] for i in range(8)}, higher_is_better=True)
    assert (found.wins, found.sign_p, found.permutation_p) == (0.5, 1.0, 1.0)
    assert found.verdict(higher_is_better=True) == "inconclusive"


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
    assert pooled(few).verdict(higher_is_better=True) == "inconclusive"
