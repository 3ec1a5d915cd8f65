"""The preset `bsrgan` against the procedure of BSRGAN's authors, restated here in numpy.

Compared are the draws, halving, decimation and noise with correlated channels.
"""

import copy
import json

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import ks_2samp

from archsr.config import DegradeConfig, PrepareConfig
from archsr.config.config_file import check
from archsr.degradation.antialias import bicubic
from archsr.degradation.apply import apply
from archsr.degradation.bsrgan import drawn_mixing
from archsr.degradation.canvas import full
from archsr.degradation.halving import MATLAB, decimate, halve
from archsr.degradation.kernels import render
from archsr.degradation.noise import add_noise
from archsr.degradation.recipe import draw, from_json, to_json
from archsr.degradation.resize import AREA, BICUBIC, BILINEAR
from archsr.errors import UserError
from archsr.utils.seeds import generator

N = 6000


def bsrgan(**more):
    return check(PrepareConfig, {"degrade": {"preset": "bsrgan", **more}}, where="test").degrade


@pytest.fixture(scope="module")
def ours():
    return draw(bsrgan(), generator(0, "bsrgan"), N, scale=4, gt_size=256)


@pytest.fixture(scope="module")
def theirs():
    """The published choices drawn N times at scale 4; `left` is the scale that remains after halving."""
    rng = np.random.default_rng(0)
    left = np.where(rng.random(N) < 0.25, 2, 4)
    taken = rng.random(N) >= 0.75
    return {
        "left": left,
        "divisor": np.where(taken, left, 1 + rng.random(N) * (2 * left - 1)),
        "taken": taken,
        "sigma": 0.1 + rng.random(N) * (0.6 * left - 0.1),
        "kernels": [_published_kernel(rng, scale) for scale in left],
        "channels": rng.choice(["grey", "correlated", "colour"], N, p=[0.4, 0.2, 0.4]),
        "level": rng.integers(2, 26, N),
        "quality": rng.integers(30, 96, N),
    }


def _published_kernel(rng, scale):
    """Half have two variances below 4 + scale and an angle, half one width below 2 + scale / 5; 7, 9, ... 25 taps."""
    reach = int(rng.integers(3, 13))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    if rng.random() < 0.5:
        variances, angle = (4 + scale) * rng.random(2), np.pi * rng.random()
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        kernel = np.exp(-0.5 * (along**2 / variances[0] + across**2 / variances[1]))
    else:
        kernel = np.exp(-0.5 * (x**2 + y**2) / ((2 + 0.2 * scale) * rng.random()) ** 2)
    return kernel / kernel.sum()


def _widths(kernel):
    """Measure the two σ of a kernel from its taps, the smaller first."""
    reach = len(kernel) // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    xy = float((kernel * x * y).sum())
    covariance = [[float((kernel * x * x).sum()), xy], [xy, float((kernel * y * y).sum())]]
    return np.sqrt(np.linalg.eigvalsh(covariance).clip(0))


def near(a, b, *, apart=0.0):
    """Assert that two samples have one distribution, or two that differ by at most `apart`; 1 in 1000 fails falsely."""
    assert ks_2samp(np.asarray(a), np.asarray(b)).statistic < apart + 1.95 * (1 / len(a) + 1 / len(b)) ** 0.5


def share(flags):
    return pytest.approx(float(np.mean(flags)), abs=0.02)


# ---------------------------------------------------------------- what is drawn


def test_a_quarter_is_halved_first(ours, theirs):
    assert ours.steps[0] == "halve"
    assert ours.halved.float().mean().item() == share(theirs["left"] == 2) == pytest.approx(0.25, abs=0.02)
    modes = ours.half_mode.bincount(minlength=4) / N
    assert modes.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2], abs=0.02)
    for scale in (1, 2):
        assert not draw(bsrgan(), generator(0, "t"), 50, scale=scale, gt_size=64).halved.any()


def test_factors(ours, theirs):
    factor, halved = 1 / ours.first.factor.numpy(), ours.halved.numpy()
    for mine, published in ((halved, theirs["left"] == 2), (~halved, theirs["left"] == 4)):
        near(factor[mine], theirs["divisor"][published])
    near(factor, theirs["divisor"])
    assert np.median(ours.first.factor[(ours.first.decimate == 0) & ~ours.halved]) == pytest.approx(1 / 4.5, rel=0.05)
    assert (factor.min(), factor.max()) == (pytest.approx(1, abs=0.01), pytest.approx(8, abs=0.01))
    assert factor[halved].max() == pytest.approx(4, abs=0.01)


def test_every_nth_pixel(ours, theirs):
    taken = ours.first.decimate > 0
    assert taken.float().mean().item() == share(theirs["taken"]) == pytest.approx(0.25, abs=0.02)
    assert set((1 / ours.first.factor[taken & ours.halved]).tolist()) == {2.0}
    assert set((1 / ours.first.factor[taken & ~ours.halved]).tolist()) == {4.0}
    for mine, left in ((ours.halved, 2), (~ours.halved, 4)):
        near(ours.first.decimate[taken & mine], theirs["sigma"][theirs["left"] == left])


@pytest.mark.parametrize("order", ["first", "second"])
def test_widths_of_the_kernels(ours, theirs, order):
    kernels = render(getattr(ours, order).kernel, size=25).double().numpy()
    mine = np.array([_widths(kernel) for kernel in kernels])
    published = np.array([_widths(kernel) for kernel in theirs["kernels"]])
    assert (mine[:, 1] - mine[:, 0] < 1e-4).mean() == share(published[:, 1] - published[:, 0] < 1e-4)
    for left, chosen in ((2, ours.halved.numpy()), (4, ~ours.halved.numpy())):
        for axis in (0, 1):
            near(mine[chosen, axis], published[theirs["left"] == left, axis])
            quantiles = (0.25, 0.5, 0.75, 0.9)
            wanted = np.quantile(published[theirs["left"] == left, axis], quantiles)
            assert np.quantile(mine[chosen, axis], quantiles) == pytest.approx(wanted, abs=0.1)
    assert set(getattr(ours, order).kernel.taps.tolist()) == set(range(7, 26, 2))


def test_kinds_of_noise(ours, theirs):
    order = ours.first
    correlated = order.correlated()
    assert not order.poisson.any()
    assert (order.strength > 0).all()
    assert not (correlated & order.grey).any()
    for name, flags in (("grey", order.grey), ("correlated", correlated), ("colour", ~order.grey & ~correlated)):
        assert flags.float().mean().item() == share(theirs["channels"] == name)
    assert (order.strength[correlated] * 255).unique().tolist() == pytest.approx([25])
    level = order.strength[~correlated] * 255
    assert (level.min(), level.max()) == (pytest.approx(2, abs=0.05), pytest.approx(25, abs=0.05))
    near(level, theirs["level"], apart=1 / 24)  # levels are real numbers, not integers


def test_covariances_of_the_channels():
    """The covariances are those of random rotated variances without signs, restated with numpy's decomposition."""
    rng = np.random.default_rng(1)
    mine = drawn_mixing(generator(1, "t"), N).double()
    mine = (mine @ mine.mT).numpy()
    turned = np.linalg.svd(rng.random((N, 3, 3)))[0]
    published = np.abs(np.einsum("nki,nk,nkj->nij", turned, rng.random((N, 3)), turned))
    for i in range(3):
        for j in range(i + 1):
            near(mine[:, i, j], published[:, i, j])


def test_jpegs(ours, theirs):
    assert ours.first.compressed.float().mean().item() == pytest.approx(0.9, abs=0.02)
    assert ours.second.compressed.all()
    assert ours.steps[-1] == "jpeg2"
    for order in (ours.first, ours.second):
        near(order.quality, theirs["quality"], apart=1 / 66)


# ---------------------------------------------------------------- what is done with it


@pytest.mark.parametrize(("n", "sigma"), [(4, 0.1), (4, 2.4), (4, 1.1), (2, 0.7), (3, 1.0), (1, 0.5)])
def test_every_nth_pixel_is_a_shifted_gaussian_and_a_slice(n, sigma):
    image = torch.rand(1, 3, 24 * n, 36 * n, generator=torch.Generator().manual_seed(n))
    axis = np.arange(-12, 13.0)
    line = np.exp(-0.5 * (axis / sigma) ** 2)
    line = np.interp(np.minimum(axis + (n - 1) / 2, 12), axis, line)
    kernel = np.outer(line, line) / line.sum() ** 2
    expected = np.stack([ndimage.convolve(c, kernel, mode="mirror")[::n, ::n] for c in image[0].double().numpy()])
    size = torch.tensor([24]), torch.tensor([36])
    mine = decimate(full(image), *size, torch.tensor([sigma]), total=(24, 36))
    assert np.abs(mine.pixels[0].numpy() - expected).max() < 1e-5


def test_halving_is_a_resize_or_matlabs():
    images = torch.rand(5, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    halved = torch.tensor([True, True, False, True, True])
    mode = torch.tensor([AREA, MATLAB, MATLAB, BILINEAR, BICUBIC])
    out = halve(full(images), halved, mode, on_device=(halved, mode))
    assert out.height.tolist() == [12, 12, 24, 12, 12]
    small = out.pixels[:, :, :12, :20]
    by = lambda i, **options: torch.nn.functional.interpolate(images[i : i + 1], size=(12, 20), **options)[0]
    assert torch.allclose(small[0], by(0, mode="area"), atol=1e-6)
    assert torch.allclose(small[1], bicubic(images[1:2], scale=2)[0].clamp(0, 1), atol=1e-6)
    assert torch.equal(out.pixels[2], images[2])
    assert torch.allclose(small[3], by(3, mode="bilinear"), atol=1e-6)
    assert torch.allclose(small[4], by(4, mode="bicubic").clamp(0, 1), atol=1e-5)


def test_correlated_noise_has_its_covariance():
    x = torch.full((2, 3, 300, 300), 0.5)
    mixing = torch.stack([torch.eye(3), torch.tensor([[0.5, 0, 0], [0.4, 0.3, 0], [0.2, 0.1, 0.6]])])
    none = torch.zeros(2, dtype=torch.bool)
    rng = torch.Generator().manual_seed(0)
    out = add_noise(full(x), poisson=none, strength=torch.full((2,), 0.1), grey=none, rng=rng, mixing=mixing)
    for sample in range(2):
        found = torch.cov((out - x)[sample].flatten(1))
        assert torch.allclose(found, 0.01 * mixing[sample] @ mixing[sample].T, atol=1e-4)


def test_a_batch_is_its_single_images():
    quiet = {"first": {"noise": {"probability": 0.0}}}
    recipe = draw(bsrgan(**quiet), generator(2, "t"), 12, scale=4, gt_size=64)
    assert 0 < recipe.halved.sum() < 12
    assert 0 < (recipe.first.decimate > 0).sum() < 12
    gt = torch.rand(12, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    together = apply(gt, recipe)
    for i in range(12):
        alone = apply(gt[i : i + 1], recipe.take(slice(i, i + 1)))
        assert torch.equal(alone.gt[0], together.gt[i])
        assert (alone.lq[0] - together.lq[i]).abs().max() * 255 < 1.01


# ---------------------------------------------------------------- what was stored before


def test_recipes_of_version_2_still_load_and_give_the_same_pair():
    recipe = draw(DegradeConfig(), generator(5, "t"), 3, scale=4, gt_size=48)
    old = json.loads(json.dumps(to_json(recipe)))
    old["version"] = 2
    for table, keys in ((old, ("halved", "half_mode")), (old["first"], ("decimate", "mixing", "sampling")),
                        (old["second"], ("decimate", "mixing", "sampling"))):  # fmt: skip
        for key in keys:
            del table[key]
    gt = torch.rand(3, 3, 80, 80, generator=torch.Generator().manual_seed(5))
    assert torch.equal(apply(gt, from_json(old)).lq, apply(gt, recipe).lq)


def test_a_run_that_was_stored_before_keeps_the_degradation_that_it_had():
    """The stored table lacks only keys that did not exist yet; newer keys of the preset must not be added below it."""
    before = bsrgan().model_dump(mode="json")
    del before["halve"]
    before["steps"] = before["steps"][1:]
    for order in ("first", "second"):
        for key in ("variance", "taps"):
            del before[order]["blur"][key]
        del before[order]["noise"]["correlated"]
    for order, keys in (("first", ("reciprocal", "decimate", "decimate_sigma")), ("second", ("reciprocal",))):
        for key in keys:
            del before[order]["resize"][key]
    before["first"]["resize"] |= {"down": 0.75, "keep": 0.25}
    kept = check(PrepareConfig, {"degrade": copy.deepcopy(before)}, where="test").degrade
    assert kept.preset == "bsrgan"
    assert kept.first.resize.decimate == kept.first.noise.correlated == kept.halve.probability == 0
    assert not kept.first.resize.reciprocal
    assert kept.first.blur.variance.high == 0
    assert "halve" not in kept.steps
    del before["margin"]
    before["first"]["resize"]["keep"] = 0.0
    again = check(PrepareConfig, {"degrade": before}, where="test").degrade
    assert again.halve.probability == 0.25, "a table that is not whole stands upon the preset"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"steps": ["blur1", "halve", "reduce"], "shuffle": False}, "'halve' must come first"),
        ({"first": {"resize": {"decimate": 0.5}}}, r"up \+ down \+ keep \+ decimate is 1.25"),
        ({"first": {"noise": {"correlated": 0.7}}}, r"grey \+ correlated is 1.1"),
    ],
)
def test_what_cannot_be_is_refused(tables, words):
    with pytest.raises(UserError, match=words):
        bsrgan(**tables)
