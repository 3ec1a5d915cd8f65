"""Laws of the whole degradation: range, shape, purity, batch = singles, per-sample draws, and the pool."""

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archsr.config import DegradeConfig, PrepareConfig
from archsr.config.config_file import check
from archsr.degradation.apply import Pair, apply
from archsr.degradation.pool import PairPool, redistribute
from archsr.degradation.recipe import Recipe, draw, from_json, to_json
from archsr.utils.seeds import generator

QUIET = {"first": {"noise": {"sigma": {"low": 0.0, "high": 0.0}, "gaussian": 1.0}},
         "second": {"noise": {"sigma": {"low": 0.0, "high": 0.0}, "gaussian": 1.0}}}  # fmt: skip


def config(**tables):
    return check(PrepareConfig, {"degrade": tables}, where="test").degrade


def gts(seed, b=3, side=80):
    return torch.rand(b, 3, side, side, generator=torch.Generator().manual_seed(seed))


def one(recipe: Recipe, i: int) -> Recipe:
    """Return the recipe of sample i alone."""

    def pick(value):
        if isinstance(value, torch.Tensor):
            return value[i : i + 1]
        if dataclasses.is_dataclass(value):
            return type(value)(**{f.name: pick(getattr(value, f.name)) for f in dataclasses.fields(value)})
        return value

    return pick(recipe)


@pytest.mark.parametrize("fidelity", ["fixed", "faithful"])
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1, 2, 4]))
@settings(max_examples=15, deadline=None)
def test_shape_range_and_grid(fidelity, seed, scale):
    recipe = draw(config(fidelity=fidelity), generator(seed, "t"), 2, scale=scale, gt_size=48)
    pair = apply(gts(seed, 2), recipe)
    assert pair.gt.shape == (2, 3, 48, 48)
    assert pair.lq.shape == (2, 3, 48 // scale, 48 // scale)
    assert torch.isfinite(pair.lq).all()
    assert (pair.lq * 255 - (pair.lq * 255).round()).abs().max() < 1e-4
    assert pair.lq.min() >= 0
    assert pair.lq.max() <= 1


@pytest.mark.parametrize("fidelity", ["fixed", "faithful"])
def test_the_same_recipe_gives_the_same_bits_also_after_storing(fidelity):
    recipe = draw(config(fidelity=fidelity), generator(5, "t"), 3, scale=4, gt_size=48)
    gt = gts(5)
    first = apply(gt, recipe)
    again = apply(gt, from_json(json.loads(json.dumps(to_json(recipe)))))
    assert torch.equal(first.lq, again.lq)
    assert torch.equal(first.gt, again.gt)


def test_global_randomness_is_neither_used_nor_changed():
    before = torch.get_rng_state()
    apply(gts(1), draw(config(), generator(1, "t"), 3, scale=4, gt_size=48))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fidelity", ["fixed", "faithful"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_without_noise_a_batch_is_its_single_images(fidelity, seed):
    recipe = draw(config(fidelity=fidelity, **QUIET), generator(seed, "t"), 4, scale=4, gt_size=48)
    gt = gts(seed, 4)
    together = apply(gt, recipe)
    for i in range(4):
        alone = apply(gt[i : i + 1], one(recipe, i))
        assert torch.equal(alone.gt[0], together.gt[i])
        # a rounding to 8 bits may differ, nothing more
        assert (alone.lq[0] - together.lq[i]).abs().max() * 255 < 1.01
        assert (alone.lq[0] != together.lq[i]).float().mean() < 0.01


def test_autocast_changes_nothing():
    recipe = draw(config(), generator(2, "t"), 3, scale=4, gt_size=48)
    plain = apply(gts(2), recipe)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(apply(gts(2), recipe).lq, plain.lq)


def test_lq_and_gt_show_the_same_place():
    """The image is a ramp: the mean of lq must be the mean of gt."""
    ramp = torch.linspace(0.1, 0.9, 160).expand(1, 3, 160, 160).contiguous()
    for seed in range(8):
        recipe = draw(config(sharpen_gt=False, **QUIET), generator(seed, "t"), 1, scale=4, gt_size=48)
        pair = apply(ramp, recipe)
        assert pair.lq.mean().item() == pytest.approx(pair.gt.mean().item(), abs=0.02)


@pytest.mark.parametrize(("fidelity", "low", "high"), [("fixed", -0.15, 0.15), ("faithful", 1, 2)])
def test_far_edges_stay_where_they_belong(fidelity, low, high):
    """A dark bar near the far edge, strongly downscaled: compare its centre in lq with that in gt, in pixels of lq."""
    gt = torch.full((1, 3, 160, 160), 0.9)
    gt[:, :, :, 120:136] = 0.1
    shifts = []
    for seed in range(30):
        recipe = draw(
            config(fidelity=fidelity, sharpen_gt=False, **QUIET), generator(seed, "t"), 1, scale=4, gt_size=160
        )
        # 160 × 0.1749 = 27.98 is rounded down to 27 pixels
        strong = dataclasses.replace(
            recipe.first, factor=torch.tensor([0.1749], dtype=torch.float64), mode=torch.tensor([1])
        )
        pair = apply(gt, dataclasses.replace(recipe, first=strong))
        dark = (0.9 - pair.lq.mean((0, 1, 2))).clamp(min=0.05) - 0.05
        centre = (dark * (torch.arange(40) + 0.5)).sum() / dark.sum()
        shifts.append(float(centre) - 32.0)
    assert low <= sum(shifts) / len(shifts) <= high


def test_who_draws_for_whom():
    """`faithful` draws some choices once per batch; `fixed` draws all of them per sample."""
    shared = [("first", "factor"), ("first", "mode"), ("first", "poisson"), ("second", "factor"), ("second", "poisson")]
    recipes = {f: draw(config(fidelity=f), generator(0, "t"), 200, scale=4, gt_size=48) for f in ("fixed", "faithful")}
    for order, name in shared:
        assert len(getattr(getattr(recipes["faithful"], order), name).unique()) == 1
        assert len(getattr(getattr(recipes["fixed"], order), name).unique()) > 1
    for name in ("sinc_last", "crop_x", "crop_y", "final_mode"):
        assert len(getattr(recipes["faithful"], name).unique()) == 1
        assert len(getattr(recipes["fixed"], name).unique()) > 1
    for recipe in recipes.values():
        assert len(recipe.first.quality.unique()) == 200
        assert len(recipe.first.kernel.taps.unique()) == 8


def test_drawn_shares_and_ranges_are_the_configs():
    n = 40_000
    recipe = draw(DegradeConfig(), generator(0, "t"), n, scale=4, gt_size=256)
    share = lambda mask: mask.float().mean().item()
    near = lambda value: pytest.approx(value, abs=0.012)
    first, second = recipe.first, recipe.second
    assert share(first.kernel.kind == 3) == near(0.1)
    assert share(first.kernel.kind == 0) == near(0.9 * 0.70)
    assert share(first.kernel.kind == 1) == near(0.9 * 0.15)
    assert share(first.kernel.sigma_x == first.kernel.sigma_y) == near(0.69)
    assert share(second.kernel.kind == 4) == near(0.2)
    assert (share(first.factor > 1), share(first.factor < 1)) == (near(0.2), near(0.7))
    assert (share(second.factor > 1), share(second.factor < 1)) == (near(0.3), near(0.4))
    assert (first.factor.min(), first.factor.max()) == (pytest.approx(0.15, abs=0.001), pytest.approx(1.5, abs=0.001))
    assert share(first.poisson) == near(0.5)
    assert share(first.grey) == near(0.4)
    assert first.strength[~first.poisson].max() * 255 == pytest.approx(30, abs=0.05)
    assert second.strength[second.poisson].max() == pytest.approx(2.5, abs=0.01)
    assert (first.quality.min(), first.quality.max()) == (pytest.approx(30, abs=0.05), pytest.approx(95, abs=0.05))
    assert share(recipe.final_kernel.kind == 4) == near(0.2)
    assert share(recipe.sinc_last) == near(0.5)
    small = (first.kernel.kind == 3) & (first.kernel.taps < 13)
    large = (first.kernel.kind == 3) & (first.kernel.taps >= 13)
    assert first.kernel.cutoff[small].min() >= torch.pi / 3
    assert first.kernel.cutoff[large].min() < 0.7
    generalized = first.kernel.beta[first.kernel.kind == 1]
    assert share(generalized < 1) == pytest.approx(0.5, abs=0.02)


# ---------------------------------------------------------------- pair pool


def pairs(start, b=2):
    gt = torch.arange(start, start + b).float().div(255)[:, None, None, None].expand(b, 3, 8, 8).contiguous()
    return Pair(gt[:, :, ::4, ::4].contiguous(), gt)


def labels(pair):
    assert torch.equal(pair.lq[:, 0, 0, 0], pair.gt[:, 0, 0, 0])
    return [round(v * 255) for v in pair.gt[:, 0, 0, 0].tolist()]


def test_the_pool_loses_and_invents_no_pair():
    pool, out = PairPool(6), []
    for step in range(20):
        out += labels(pool.swap(pairs(2 * step), generator(0, "pool", step)))
    inside = [round(v * 255) for v in pool.state()["gt"][:, 0, 0, 0].float().div(255).tolist()]
    filling = list(range(6))  # used while filling, and once more when drawn
    assert sorted(out + inside) == sorted([*range(40), *filling])
    assert out[6:12] != list(range(6, 12))


def test_a_pool_of_nothing_is_transparent():
    pool = PairPool(0)
    pair = pairs(3)
    assert pool.swap(pair, generator(0, "p")) is pair
    assert pool.state() == {}


def test_a_loaded_pool_goes_on_as_the_unbroken_one():
    a, b = PairPool(6), PairPool(6)
    for step in range(7):
        a.swap(pairs(2 * step), generator(0, "pool", step))
    b.load(a.state(), device=torch.device("cpu"))
    for step in range(7, 12):
        assert labels(a.swap(pairs(2 * step), generator(0, "pool", step))) == labels(
            b.swap(pairs(2 * step), generator(0, "pool", step))
        )


@pytest.mark.parametrize("filled", [0, 2, 4, 5])
def test_pools_of_another_world_are_dealt_out_whole(filled):
    old = [PairPool(12) for _ in range(2)]
    for step in range(filled):
        for rank, pool in enumerate(old):
            pool.swap(pairs(4 * step + 2 * rank), generator(0, "p", step))
    states = [p.state() for p in old]
    for world in (1, 2, 4):
        dealt = [redistribute(states, rank=r, world=world) for r in range(world)]
        seen = [v for d in dealt if d for v in d["gt"][:, 0, 0, 0].tolist()]
        assert sorted(seen) == list(range(4 * filled))
    with pytest.raises(ValueError, match="do not fit"):
        PairPool(1).load({"lq": torch.zeros(2, 3, 2, 2), "gt": torch.zeros(2, 3, 8, 8)}, device=torch.device("cpu"))
