"""The rule that chooses weights: what it allows and prefers, how much is noise, and its words."""

import math

import numpy as np
import pytest

from archsr.evaluation.metrics import Metric
from archsr.evaluation.selection import Rule, change, changes_in_words, mean

HIGHER = {"psnr": True, "ssim": True, "features": False, "niqe_distance": False, "lpips": False}
METRICS = [Metric(name, name.upper(), up, lambda *_: 0.0) for name, up in HIGHER.items() if name != "lpips"]
START = {"psnr": 24.0, "ssim": 0.7, "features": 4.0, "niqe_distance": 1.0}


def figures(spread=0.0, scenes=8, each=2, seed=0, **values):
    """Return the start's values, or changed ones, with the same scene and image effects for all, and some noise."""
    common, own = np.random.default_rng(9).normal(0, 1, (scenes, each)), np.random.default_rng(seed)
    found = {}
    for name, value in {**START, **values}.items():
        found[name] = {
            f"scene {s}": (value + common[s] + own.normal(0, spread) + own.normal(0, spread, each)).tolist()
            for s in range(scenes)
        }
    return found


BALANCE = Rule("balance", 0.3, HIGHER)


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"features": 3.0}, True),
        ({"features": 3.0, "psnr": 23.8}, True),
        ({"features": 3.0, "psnr": 23.6}, False),
        ({"features": 3.0, "niqe_distance": 0.5}, True),
        ({"features": 3.0, "niqe_distance": 1.5}, False),
        ({"psnr": 27.0, "features": 4.5}, True),
    ],
)
def test_balance_allows_what_keeps_fidelity_and_naturalness(values, allowed):
    new, start = figures(**values), figures()
    assert (BALANCE.objections(new, start) == []) == allowed
    assert (BALANCE.score(new, start) is not None) == allowed


def test_balance_prefers_the_smaller_distance_whatever_psnr_says():
    start = figures()
    soft, sharp = figures(psnr=26.0, features=4.4), figures(psnr=23.9, features=3.2)
    assert not BALANCE.wins(soft, start, start)
    assert BALANCE.wins(sharp, start, start)
    assert Rule("psnr", 0.3, HIGHER).wins(soft, start, start)
    assert not Rule("psnr", 0.3, HIGHER).wins(sharp, start, start)


def test_of_two_alike_in_distance_the_more_natural_one_is_chosen():
    """Softer weights by NIQE once stayed chosen, because later ones were within the noise in features."""
    start = figures()
    soft = figures(spread=0.3, seed=1, features=3.3, niqe_distance=0.9)
    natural = figures(spread=0.3, seed=2, features=3.35, niqe_distance=-0.5)
    assert BALANCE.wins(natural, soft, start)
    assert not BALANCE.wins(soft, natural, start)
    assert BALANCE.best({"soft": soft, "natural": natural}, start) == "natural"
    assert BALANCE.best({"natural": natural, "soft": soft}, start) == "natural"
    worse = figures(spread=0.05, seed=3, features=3.9, niqe_distance=-0.5)
    assert not BALANCE.wins(worse, soft, start), "naturalness makes up for no distance"
    assert BALANCE.best({"soft": soft, "worse": worse}, start) == "soft"
    assert not Rule("features", 0.3, HIGHER).wins(natural, soft, start)


def test_of_several_none_is_chosen_where_none_may_be():
    start = figures()
    assert BALANCE.best({"a": figures(psnr=20.0)}, start) is None
    assert BALANCE.best({"a": figures(psnr=20.0), "b": figures(features=5.0)}, start) == "b"


def test_what_may_not_be_chosen_wins_over_nothing():
    start = figures()
    assert not BALANCE.wins(figures(psnr=20.0, features=0.1), None, start)
    assert BALANCE.wins(start, None, start)


def test_a_gain_within_the_noise_of_scenes_does_not_win():
    """Of two truly equal candidates, the second must rarely replace the first by chance."""
    start, wins = figures(), 0
    for seed in range(200):
        old, new = (figures(spread=0.2, seed=2 * seed + n, features=3.5) for n in range(2))
        wins += BALANCE.wins(new, old, start)
    assert 0.10 <= wins / 200 <= 0.22  # one standard error: 16 of 100
    assert BALANCE.wins(figures(spread=0.2, seed=1, features=2.5), figures(spread=0.2, seed=2, features=3.5), start)


def test_the_noise_is_the_standard_error_over_scenes():
    """With one image per scene it is the textbook's; images of one scene add no evidence."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 0.5, 12)
    one = change({"x": {str(n): [v] for n, v in enumerate(values)}}, {"x": {str(n): [0.0] for n in range(12)}}, "x")
    assert one.mean == pytest.approx(values.mean())
    assert one.noise == pytest.approx(values.std(ddof=1) / math.sqrt(12))
    many = change(
        {"x": {str(n): [v] * 5 for n, v in enumerate(values)}}, {"x": {str(n): [0.0] * 5 for n in range(12)}}, "x"
    )
    assert many.noise == pytest.approx(one.noise)


def test_images_without_a_value_are_left_out():
    new, old = {"x": {"a": [1.0, math.nan], "b": [math.nan]}}, {"x": {"a": [0.5, 0.0], "b": [1.0]}}
    assert change(new, old, "x").mean == 0.5
    assert mean(new["x"]) == 1.0
    assert math.isnan(mean({"b": [math.nan]}))
    assert change({"x": {"a": [math.nan]}}, {"x": {"a": [0.0]}}, "x").mean == 0


def test_the_first_perceptual_distance_that_was_taken_leads():
    assert BALANCE.leading(figures()) == "features"
    assert BALANCE.leading(figures(lpips=0.3)) == "lpips"
    assert Rule("ssim", 0.0, HIGHER).leading(figures()) == "ssim"


def test_words_name_what_got_better_and_what_worse_and_never_one_alone():
    said = changes_in_words(figures(psnr=25.0, features=4.5), figures(), METRICS)
    assert said.startswith("better in PSNR 2")
    assert "worse in FEATURES" in said
    assert said.endswith("alike in SSIM, NIQE_DISTANCE")
    assert "alike" in changes_in_words(figures(), figures(), METRICS)


def test_the_values_in_words_are_of_the_images_that_both_have():
    """A metric may be NaN for one image: its mean must not move because another set of images is averaged."""
    start, new = ({"features": {"a": [4.0, 4.0], "b": [4.0, 4.0]}}, {"features": {"a": [3.0, 3.0], "b": [3.0, 3.0]}})
    start["features"]["a"][0] = float("nan")
    new["features"]["a"][0] = 100.0
    assert changes_in_words(new, start, METRICS) == "better in FEATURES 4 → 3"
