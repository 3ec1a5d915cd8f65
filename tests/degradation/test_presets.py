"""Named quirks, antialiasing, the order of the steps, presets, and stored recipes."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from archsr.config import PRESETS, QUIRKS, RESIZES, DegradeConfig, PrepareConfig
from archsr.config.config_file import check
from archsr.degradation.antialias import bicubic, reduce_smoothly
from archsr.degradation.apply import apply
from archsr.degradation.canvas import full
from archsr.degradation.recipe import draw, from_json, to_json
from archsr.degradation.resize import BICUBIC, BILINEAR
from archsr.errors import UserError
from archsr.metrics.niqe import imresize
from archsr.utils.seeds import generator


def config(**tables):
    return check(PrepareConfig, {"degrade": tables}, where="test").degrade


def gts(seed, b=3, side=80):
    return torch.rand(b, 3, side, side, generator=torch.Generator().manual_seed(seed))


def drawn(seed=0, batch=3, gt_size=48, **tables):
    return draw(config(**tables), generator(seed, "t"), batch, scale=4, gt_size=gt_size)


# ---------------------------------------------------------------- all noise


@pytest.mark.parametrize("preset", ["realesrgan", "bsrgan", "camera"])
def test_one_key_scales_all_noise_and_nothing_else(preset):
    plain, half, none = (drawn(4, 200, preset=preset, noise_scale=s) for s in (1.0, 0.5, 0.0))
    assert to_json(plain) == to_json(drawn(4, 200, preset=preset))
    for order in ("first", "second"):
        before, after = getattr(plain, order), getattr(half, order)
        assert torch.equal(after.strength, before.strength / 2)
        assert not getattr(none, order).strength.any()
    assert torch.allclose(half.camera.shot, plain.camera.shot / 4), "a variance"
    assert torch.allclose(half.camera.read, plain.camera.read / 4)
    assert not none.camera.shot.any()
    assert plain.first.strength.any()
    assert preset != "bsrgan" or plain.first.correlated().any()
    assert without_strengths(plain) == without_strengths(half) == without_strengths(none)


def without_strengths(recipe):
    orders = {name: dataclasses.replace(getattr(recipe, name), strength=torch.zeros(1)) for name in ("first", "second")}
    camera = dataclasses.replace(recipe.camera, shot=torch.zeros(1), read=torch.zeros(1))
    return to_json(dataclasses.replace(recipe, **orders, camera=camera))


def test_the_scaled_noise_is_that_of_scaled_ranges():
    ranges = {
        name: {"noise": {"sigma": {"low": 2.0, "high": high}, "poisson_scale": {"low": 0.1, "high": high / 10}}}
        for name, high in (("first", 60.0), ("second", 50.0))
    }
    twice, wide = drawn(6, 200, noise_scale=2.0), drawn(6, 200, **ranges)
    assert torch.allclose(twice.first.strength, wide.first.strength)
    assert torch.allclose(twice.second.strength, wide.second.strength)
    a, b = apply(gts(6, 8), drawn(6, 8)), apply(gts(6, 8), drawn(6, 8, noise_scale=0.0))
    assert not torch.equal(a.lq, b.lq)
    with pytest.raises(UserError, match="degrade.noise_scale"):
        config(noise_scale=-1.0)


# ---------------------------------------------------------------- quirks


@pytest.mark.parametrize("quirk", [q for q in QUIRKS if q != "batch_choices"])
def test_each_quirk_of_applying_changes_the_image_and_nothing_that_is_drawn(quirk):
    plain, odd = drawn(7, 8), drawn(7, 8, quirks=[quirk])
    assert {k: v for k, v in to_json(plain).items() if k != "quirks"} == {
        k: v for k, v in to_json(odd).items() if k != "quirks"
    }
    a, b = apply(gts(7, 8), plain), apply(gts(7, 8), odd)
    assert torch.equal(a.gt, b.gt)
    assert not torch.equal(a.lq, b.lq)


def test_all_quirks_together_are_faithful():
    a, b = drawn(3, fidelity="faithful"), drawn(3, quirks=list(QUIRKS))
    assert to_json(a) == to_json(b)


def test_choices_of_the_batch_are_a_quirk_of_their_own():
    alone = drawn(0, 50, quirks=["batch_choices"])
    others = drawn(0, 50, quirks=[q for q in QUIRKS if q != "batch_choices"])
    assert len(alone.first.factor.unique()) == len(alone.crop_x.unique()) == 1
    assert len(others.first.factor.unique()) > 1


def test_recipes_of_version_1_still_load_and_give_the_same_pair():
    for fidelity in ("fixed", "faithful"):
        recipe = drawn(5, fidelity=fidelity)
        old = json.loads(json.dumps(to_json(recipe)))
        for name in ("version", "antialias", "steps", "quirks", "halved", "half_mode"):
            del old[name]
        for name in ("first", "second"):
            for later in ("compressed", "decimate", "mixing", "sampling"):
                del old[name][later]
        old["faithful"] = fidelity == "faithful"
        assert torch.equal(apply(gts(5), from_json(old)).lq, apply(gts(5), recipe).lq)


@pytest.mark.parametrize(("change", "words"), [({"version": 9}, "version 9"), ({"first": {}}, "incomplete")])
def test_recipes_that_cannot_be_read_say_so(change, words):
    with pytest.raises(UserError, match=words):
        from_json({**to_json(drawn()), **change})


def test_what_was_drawn_before_presets_existed_is_still_drawn():
    """Older runs resume, and evaluation pairs are made again, with the same numbers."""
    recipe = drawn(3, 2)
    assert recipe.noise_seed == 2589084758306807335
    assert recipe.first.factor.tolist() == [0.32816769570596005, 1.1418631482466188]


# ---------------------------------------------------------------- antialiasing


@pytest.mark.parametrize(("mode", "name"), [(BILINEAR, "bilinear"), (BICUBIC, "bicubic")])
@given(seed=st.integers(0, 10**6), h=st.integers(20, 60), w=st.integers(20, 60), share=st.floats(0.1, 1))
@settings(max_examples=30, deadline=None)
def test_reductions_are_those_of_interpolate(mode, name, seed, h, w, share):
    """Not down to a width of 1, where torch 2.15 gives all rows the values of the first."""
    image = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(seed))
    size = int(h * share), int(w * share)
    mine = reduce_smoothly(
        full(image), torch.full((2,), size[0]), torch.full((2,), size[1]), torch.full((2,), mode), total=size
    )
    theirs = F.interpolate(image, size=size, mode=name, antialias=True, align_corners=False)
    assert (mine.pixels - theirs).abs().max() < 2e-5


def test_samples_of_a_canvas_are_reduced_as_if_alone():
    image = gts(1, 2, 40)
    height, width, mode = torch.tensor([20, 9]), torch.tensor([13, 33]), torch.tensor([BILINEAR, BICUBIC])
    both = reduce_smoothly(full(image), height, width, mode, total=(20, 33))
    for i, name in enumerate(("bilinear", "bicubic")):
        alone = F.interpolate(image[i : i + 1], (int(height[i]), int(width[i])), mode=name, antialias=True)
        assert (both.pixels[i, :, : height[i], : width[i]] - alone[0]).abs().max() < 2e-5


def test_fine_lines_fade_instead_of_turning_into_coarse_ones():
    """Lines with a period of 2.2 pixels, downscaled to a third or less: whatever remains of them is moiré."""
    x = torch.arange(160.0)
    lines = (0.5 + 0.4 * torch.sin(2 * torch.pi * x / 2.2)).expand(1, 3, 160, 160).contiguous()
    quiet = {"probability": 0.0}
    tables = {
        "steps": ["resize1", "reduce"], "sharpen_gt": False,
        "first": {"noise": quiet, "blur": quiet, "resize": {"up": 0.0, "down": 1.0, "keep": 0.0,
                                                            "factor": {"low": 0.2, "high": 1.0}}},
    }  # fmt: skip
    left = {}
    for share in (0.0, 1.0):
        recipes = [drawn(seed, 1, 96, antialias=share, **tables) for seed in range(12)]
        recipes = [dataclasses.replace(r, final_mode=torch.tensor([BILINEAR])) for r in recipes]
        recipes = [
            dataclasses.replace(r, first=dataclasses.replace(r.first, mode=torch.tensor([BILINEAR]))) for r in recipes
        ]
        left[share] = sum(float(apply(lines, r).lq.std()) for r in recipes) / 12
    assert left[1.0] < 0.25 * left[0.0]


def test_antialiasing_is_drawn_per_sample():
    assert not drawn(0, 100).antialias.any()
    assert 0.2 < drawn(0, 400, antialias=0.3).antialias.float().mean() < 0.4
    assert drawn(0, 100, antialias=1.0).antialias.all()


# ---------------------------------------------------------------- presets and the order of the steps


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_every_preset_gives_pairs_that_belong_together(preset, scale):
    tables = config(preset=preset)
    ramp = torch.linspace(0.2, 0.8, 48 + tables.margin).expand(1, 3, 48 + tables.margin, -1).contiguous()
    for seed in range(4):
        recipe = draw(tables, generator(seed, "t"), 1, scale=scale, gt_size=48)
        pair = apply(ramp, from_json(json.loads(json.dumps(to_json(recipe)))))
        assert pair.lq.shape == (1, 3, 48 // scale, 48 // scale)
        assert pair.lq.min() >= 0
        assert pair.lq.max() <= 1
        assert pair.lq.mean().item() == pytest.approx(pair.gt.mean().item(), abs=0.06)
        assert torch.equal(apply(ramp, recipe).lq, pair.lq)


def test_shuffled_orders_keep_the_resizes_and_the_last_step():
    seen = set()
    for seed in range(60):
        steps = drawn(seed, 2, preset="bsrgan").steps
        assert sorted(steps) == sorted(config(preset="bsrgan").steps)
        assert steps[-1] == "jpeg2"
        assert steps[0] == "halve"
        assert [s for s in steps if s in RESIZES] == ["halve", "resize1", "reduce"]
        seen.add(steps)
    assert len(seen) > 30


def test_shares_of_noise_and_jpeg():
    recipe = drawn(0, 4000, preset="camera")
    assert (recipe.first.strength > 0).float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert recipe.second.compressed.all()
    assert recipe.first.compressed.float().mean().item() == pytest.approx(0.7, abs=0.03)


def test_a_sample_that_is_not_compressed_is_left_alone():
    tables = {"steps": ["jpeg1", "bicubic"], "sharpen_gt": False, "margin": 0, "first": {"jpeg": {"probability": 0.5}}}
    recipe = drawn(1, 8, 80, **tables)
    assert 0 < recipe.first.compressed.sum() < 8
    same = (apply(gts(1, 8), recipe).lq - bicubic(gts(1, 8), scale=4).clamp(0, 1)).abs().amax((1, 2, 3)) < 0.51 / 255
    assert torch.equal(same, ~recipe.first.compressed)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_preset_bicubic_is_matlabs_imresize_and_within_the_borders_pils(scale):
    image = gts(2, 1, 96)
    eight = (image * 255).round() / 255
    lq = apply(eight, draw(DegradeConfig(preset="bicubic"), generator(0, "t"), 1, scale=scale, gt_size=96)).lq
    array = eight[0].permute(1, 2, 0).double().numpy()
    matlab = imresize(array, scale=1 / scale).clip(0, 1)
    mine = lq[0].permute(1, 2, 0).numpy()
    assert np.abs(mine - matlab).max() * 255 < 0.501, "nothing but the rounding to 8 bits"
    pil = np.asarray(Image.fromarray((array * 255).round().astype(np.uint8)).resize((96 // scale,) * 2, 3))
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(mine[inner] * 255 - pil[inner]).max() < 1.01
