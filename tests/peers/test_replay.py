"""The operations of the faithful degradation beside the reference's, on equal parameters; then all of feed_data."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from fields import shot, standard_normal
from peer_tools import ask, table

from archsr.config import DegradeConfig
from archsr.degradation import apply as degradation
from archsr.degradation import kernels as K
from archsr.degradation.canvas import full
from archsr.degradation.jpeg import jpeg
from archsr.degradation.kernels import blur
from archsr.degradation.noise import add_noise
from archsr.degradation.recipe import draw
from archsr.degradation.resize import resize
from archsr.degradation.sharpen import sharpen
from archsr.images.pixels import pixels_to_tensor, read_photo

pytestmark = pytest.mark.peers

FACTORS = [0.15, 0.31234, 0.7, 1.0, 1.2345, 1.5]
SIZES = [(25, 30), (100, 100), (173, 211), (43, 52), (30, 120)]
JPEG_SIZES = [(160, 176), (173, 211), (17, 33), (5, 1), (100, 100)]
QUALITIES = [30.0, 49.5, 50.0, 60.5, 95.0]
STRENGTH = {"gaussian": 8 / 255, "poisson": 0.1}
COPIES = 256
CHAINS = 24  # the second half with noise
MODES = ("area", "bilinear", "bicubic")


def kernel_specs():
    """160 kernels: every kind and number of taps, round ones among them."""
    rng = np.random.default_rng(0)
    specs = []
    for i in range(160):
        kind, taps, round_one = i % 5, K.TAPS[i // 5 % 8], i % 2 == 0
        sx, sy = rng.uniform(0.2, 3, 2)
        sy, theta = (sx, 0.0) if round_one else (sy, rng.uniform(-np.pi, np.pi))
        specs.append((kind, taps, sx, sy, theta, rng.uniform(0.5, 4), rng.uniform(np.pi / 5, np.pi)))
    return np.array(specs)


def params(specs):
    columns = torch.tensor(np.asarray(specs)).T
    return K.KernelParams(columns[0].long(), columns[1].long(), *columns[2:])


def specs_of(kernel):
    return torch.stack([getattr(kernel, f.name).double() for f in dataclasses.fields(kernel)], 1).tolist()


def recipes():
    """Faithful recipes of the official sizes, the first half without noise."""
    config = DegradeConfig(fidelity="faithful", margin=144)
    made = [draw(config, torch.Generator().manual_seed(i), 2, scale=4, gt_size=256) for i in range(CHAINS)]
    for r in made[: CHAINS // 2]:
        r.first.strength.zero_()
        r.second.strength.zero_()
    return made


def script(recipe, noisy):
    """What feed_data has to be told to draw, in its order: (source, value, arguments it must ask with)."""
    lines = _resize_lines(recipe.first, [0.2, 0.7, 0.1], [0.15, 1.5])
    lines += _noise_lines(recipe.first, [1, 30] if noisy else [0, 0], [0.05, 3] if noisy else [0, 0])
    lines += [("uniform_", recipe.first.quality.tolist(), [30, 95])]
    lines += [("uniform", 1.0 if recipe.second.kernel.kind[0] == K.IDENTITY else 0.0, [])]
    lines += _resize_lines(recipe.second, [0.3, 0.4, 0.3], [0.3, 1.2])
    lines += _noise_lines(recipe.second, [1, 25] if noisy else [0, 0], [0.05, 2.5] if noisy else [0, 0])
    lines += [("uniform", 0.7 if recipe.sinc_last[0] else 0.3, [])]
    last = [
        ("choice", MODES[int(recipe.final_mode[0])], MODES),
        ("uniform_", recipe.second.quality.tolist(), [30, 95]),
    ]
    lines += last[::-1] if recipe.sinc_last[0] else last
    return lines + [("randint", int(v[0] * 37), [0, 36]) for v in (recipe.crop_y, recipe.crop_x)]


def _resize_lines(order, shares, span):
    factor = float(order.factor[0])
    kind = "keep" if factor == 1 else "up" if factor > 1 else "down"
    drawn = {"up": [("uniform", factor, [1, span[1]])], "down": [("uniform", factor, [span[0], 1])], "keep": []}
    return [("choices", kind, shares), *drawn[kind], ("choice", MODES[int(order.mode[0])], MODES)]


def _noise_lines(order, sigma, scale):
    poisson = bool(order.poisson[0])
    low, high = scale if poisson else sigma
    strength = order.strength.double() * (1 if poisson else 255)
    share = (strength - low) / ((high - low) or 1)
    grey = [0.39 if g else 0.41 for g in order.grey.tolist()]
    return [("uniform", 0.51 if poisson else 0.49, []), ("rand", share.tolist(), [2]), ("rand", grey, [2])]


def chain(recipe, noisy):
    second = specs_of(recipe.second.kernel)
    left_out = recipe.second.kernel.kind[0] == K.IDENTITY  # then any kernel will do: it must not be used
    options = {} if noisy else {k: [0, 0] for k in ("noise_range", "noise_range2", "poisson_scale_range",
                                                    "poisson_scale_range2")}  # fmt: skip
    return {
        "options": options,
        "lines": script(recipe, noisy),
        "kernel1": specs_of(recipe.first.kernel),
        "kernel2": [[0, *s[1:]] for s in second] if left_out else second,
        "sinc_kernel": specs_of(recipe.final_kernel),
    }


@pytest.fixture(scope="module")
def inputs(real_photos):
    files = sorted(real_photos.glob("project_0*/building-*view-1.jpg"))[:6]
    photos = [pixels_to_tensor(read_photo(f).pixels)[..., :400, :400].float() for f in files]
    assert len(photos) == 6
    flat = torch.tensor([0.5, 0.3, 0.6]).view(1, 3, 1, 1).expand(COPIES, 3, 48, 48)
    crop = (0.3 + 0.4 * photos[0][..., 150:198, 150:198]).expand(COPIES, 3, 48, 48)
    return {
        "kernels": kernel_specs(),
        "filters": kernel_specs()[[6, 3]],
        "image": torch.cat(photos[:2])[..., 100:273, 100:311].numpy(),
        "factors": FACTORS,
        "sizes": SIZES,
        "jpeg sizes": JPEG_SIZES,
        "qualities": QUALITIES,
        **{f"{name} images": torch.cat((flat, crop)).numpy() for name in STRENGTH},
        "gaussian strength": 8.0,
        "poisson strength": STRENGTH["poisson"],
        **{f"gt{i}": torch.cat(photos[2 * i : 2 * i + 2]).numpy() for i in range(3)},
        "chains": json.dumps([chain(r, i >= CHAINS // 2) for i, r in enumerate(recipes())]),
    }


@pytest.fixture(scope="module")
def theirs(inputs, tmp_path_factory):
    return ask("official_replay.py", tmp_path_factory.mktemp("replay"), **inputs)


def _row(name, mine, reference):
    difference = np.abs(np.asarray(mine) - reference)
    return name, f"{difference.max():.1e}", f"{(difference > 1e-4).mean():.1e}"


def _resized(image, mode, *, factor=None, size=None):
    h, w = size or tuple(int(np.floor(v * factor)) for v in image.shape[2:])
    n = len(image)
    many = lambda v: torch.full((n,), v)
    exact = None if factor is None else torch.full((n,), factor, dtype=torch.float64)
    return resize(full(image), many(h), many(w), many(MODES.index(mode)), total=(h, w), factor=exact).pixels.numpy()


def _compressed(image, quality):
    q = torch.full((len(image),), quality)
    return jpeg(full(image), q, transposed_luma=True, black_border=True).numpy()


def _joined(arrays):
    return np.concatenate([a.ravel() for a in arrays])


def test_each_operation(inputs, theirs):
    image = torch.from_numpy(inputs["image"])
    rows = []
    rendered, kinds = K.render(params(inputs["kernels"])).numpy(), inputs["kernels"][:, 0]
    for kind, name in enumerate(("Gaussian", "generalized", "plateau", "sinc", "identity")):
        rows.append(_row(f"kernel, {name}", rendered[kinds == kind], theirs["kernels"][kinds == kind]))
    filtered = blur(full(image), params(inputs["filters"])).pixels
    rows.append(_row("filter2D, one kernel per sample", filtered, theirs["filter2D"]))
    rows.append(_row("USMSharp", sharpen(image), theirs["usm"]))
    for mode in MODES:
        for what, cases in (("factor", FACTORS), ("size", SIZES)):
            mine = [_resized(image, mode, **{what: case}) for case in cases]
            names = [f"{mode} {what} " + " ".join(str(v) for v in np.atleast_1d(case)) for case in cases]
            assert all(m.shape == theirs[n].shape for m, n in zip(mine, names, strict=True))
            rows.append(_row(f"interpolate, {mode}, by {what}", _joined(mine), _joined(theirs[n] for n in names)))
    exact = len(rows)
    for quality in QUALITIES:
        pairs = [
            (_compressed(image[:1, :, :h, :w], quality), theirs[f"jpeg {quality:g} {h} {w}"]) for h, w in JPEG_SIZES
        ]
        rows.append(_row(f"DiffJPEG, quality {quality:g}", *(_joined(p[k] for p in pairs) for k in (0, 1))))
    table("Operations on equal parameters", ("operation", "max abs difference", "share above 1e-4"), rows)
    for name, most, share in rows[:exact]:
        # a residual at the sharpening's threshold may fall on either side: rare, and no larger than the mask's own step
        assert float(most) < (5e-3 if name == "USMSharp" else 1e-5), name
        assert float(share) < 1e-3, name
    for name, _, share in rows[exact:]:
        assert float(share) < 2e-3, name  # a coefficient at a rounding boundary moves one block


def _moments(noisy, images):
    """Mean, 3×3 channel covariance and third moment of what was added, for the flat and the real images."""
    added = (noisy - images).reshape(2, COPIES, 3, -1).transpose(0, 2, 1, 3).reshape(2, 3, -1).astype(np.float64)
    centred = added - added.mean(-1, keepdims=True)
    covariance = centred @ centred.transpose(0, 2, 1) / added.shape[-1]
    return added.mean(-1), covariance, (centred**3).mean(-1)


@pytest.mark.parametrize("name", STRENGTH)
@pytest.mark.parametrize("grey", [0, 1])
def test_noise_has_the_same_moments(inputs, theirs, name, grey):
    # 256 × 48 × 48 = 589,824 numbers: the standard error of a difference of two variances is 0.26 %
    images = torch.from_numpy(inputs[f"{name} images"])
    n = len(images)
    mine = add_noise(full(images), poisson=torch.full((n,), name == "poisson"),
                     strength=torch.full((n,), STRENGTH[name]), grey=torch.full((n,), bool(grey)),
                     rng=torch.Generator().manual_seed(1), shared_grey=False).numpy()  # fmt: skip
    a, b = (_moments(v, images.numpy()) for v in (mine, theirs[f"{name} {grey}"]))
    scale = np.sqrt(np.einsum("kc,kd->kcd", *[np.diagonal(b[1], axis1=1, axis2=2)] * 2))
    spread = np.sqrt(np.diagonal(b[1], axis1=1, axis2=2))
    found = [np.abs(a[0] - b[0]) / spread, np.abs(a[1] - b[1]) / scale, np.abs(a[2] - b[2]) / spread**3]
    table(f"Noise moments, {name}, grey {grey}, in units of its own spread", ("image", "mean", "covariance", "third"),
          [(p, *(f"{f[i].max():.4f}" for f in found)) for i, p in enumerate(("flat", "real"))])  # fmt: skip
    assert found[0].max() < 0.01
    assert found[1].max() < 0.012
    assert found[2].max() < 0.04  # standard error of a difference of third moments: sqrt(2·15 / 589,824) = 0.007


def test_chains_cover_every_choice():
    made = recipes()
    for half in (made[: CHAINS // 2], made[CHAINS // 2 :]):
        for order in ("first", "second"):
            parts = [getattr(r, order) for r in half]
            assert {int(p.mode[0]) for p in parts} == {0, 1, 2}
            assert {bool(p.poisson[0]) for p in parts} == {False, True}
            assert {np.sign(float(p.factor[0]) - 1) for p in parts} >= {-1, 1}
        assert {bool(r.sinc_last[0]) for r in half} == {False, True}
        assert {int(r.final_mode[0]) for r in half} == {0, 1, 2}
        kinds = {int(k) for r in half for k in (*r.first.kernel.kind, *r.second.kernel.kind)}
        assert kinds == {0, 1, 2, 3, 4}


def _whole_chain(inputs, theirs, monkeypatch, made):
    monkeypatch.setattr(torch, "randn", lambda size, **_: standard_normal(size))
    monkeypatch.setattr(torch, "poisson", lambda mean, **_: shot(mean))
    levels = []
    for i, recipe in enumerate(made):
        pair = degradation.apply(torch.from_numpy(inputs[f"gt{i % 3}"]), recipe)
        assert np.array_equal(pair.gt.numpy(), theirs[f"gt{i}"])
        levels.append(np.abs(pair.lq.numpy() - theirs[f"lq{i}"]) * 255)
    return np.round(np.stack(levels)).astype(int)


def _shares(levels):
    return f"{(levels == 1).mean():.1e}", f"{(levels > 1).mean():.1e}", levels.max()


def test_the_whole_of_feed_data(inputs, theirs, monkeypatch):
    levels = _whole_chain(inputs, theirs, monkeypatch, recipes())
    half = CHAINS // 2
    parts = [("feed_data, noise strength zero", levels[:half]), ("feed_data, equal noise fields", levels[half:])]
    table("lq of the whole chain, 400 → 256, in levels of 1/255", ("chain", "share off by 1", "by more", "most"),
          [(name, *_shares(part)) for name, part in parts])  # fmt: skip
    for _, part in parts:
        assert (part > 0).mean() < 2e-3
        assert (part > 1).mean() < 5e-4
        assert (part > 0).mean((1, 2, 3, 4)).max() < 2e-2


def _no_sharpening(recipe):
    return dataclasses.replace(recipe, sharpen_gt=False)


def _other(order, **fields):
    return lambda r: dataclasses.replace(r, **{order: dataclasses.replace(getattr(r, order), **fields)})


PLANTED = {
    "no sharpening": _no_sharpening,
    "libjpeg's luma table, edges repeated, fields of their own": lambda r: dataclasses.replace(r, quirks=()),
    "first sigma 3 % smaller": lambda r: _other(
        "first", kernel=dataclasses.replace(r.first.kernel, sigma_x=r.first.kernel.sigma_x * 0.97))(r),
    "quality 1 lower at the end": lambda r: _other("second", quality=r.second.quality - 1)(r),
    "the other final order": lambda r: dataclasses.replace(r, sinc_last=~r.sinc_last),
    "another final mode": lambda r: dataclasses.replace(r, final_mode=(r.final_mode + 1) % 3),
}  # fmt: skip


def test_the_replay_sees_planted_changes(inputs, theirs, monkeypatch):
    rows = []
    for name, change in PLANTED.items():
        levels = _whole_chain(inputs, theirs, monkeypatch, [change(r) for r in recipes()[:4]])
        rows.append((name, *_shares(levels)))
        assert (levels > 0).mean() > 2e-2, name
    table("The replay with a planted change", ("change", "share off by 1", "by more", "most"), rows)
