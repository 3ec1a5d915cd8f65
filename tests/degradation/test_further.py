"""Damage beyond Real-ESRGAN's and BSRGAN's: each kind against another implementation, and off unless asked for."""

import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from damages import config, drawn, photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage.filters import unsharp_mask

from archsr.config import PRESETS
from archsr.degradation.apply import apply
from archsr.degradation.canvas import Canvas, full
from archsr.degradation.histograms import parameters
from archsr.degradation.jpeg import SAMPLINGS, jpeg
from archsr.degradation.kernels import DISC, GAUSSIAN, IDENTITY, LINE, KernelParams, blur, render
from archsr.degradation.lens import aberrate, unsharp
from archsr.degradation.recipe import from_json, to_json
from archsr.degradation.resize import AREA, BICUBIC, LANCZOS, NEAREST, resize
from archsr.degradation.sensor import add_sensor_noise, demosaic, developed, to_light
from archsr.degradation.words import describe
from archsr.errors import UserError

EVERYTHING = {
    "steps": [
        "aberration", "sensor", "blur1", "resize1", "noise1", "jpeg1", "blur2", "resize2", "noise2", "finish",
        "sharpen",
    ],
    "sensor": {"probability": 0.6},
    "sharpening": {"probability": 0.6},
    "aberration": {"probability": 0.7},
    "final_modes": {"lanczos": 0.5},
    "first": {
        "resize": {"modes": {"lanczos": 0.3, "nearest": 0.1}},
        "blur": {"defocus": 0.3, "motion": 0.2},
        "jpeg": {"sampling": {f"yuv{n}": 0.25 for n in (420, 422, 440, 444)}, "interpolated": 0.5},
    },
    "second": {
        "resize": {"modes": {"nearest": 0.2}},
        "blur": {"defocus": 0.1, "motion": 0.4},
        "jpeg": {"sampling": {"yuv420": 0.4, "yuv422": 0.2, "yuv440": 0.1, "yuv444": 0.3}},
    },
}  # fmt: skip


def pixels(image):
    """Return (h, w, 3) float64 in levels of 255."""
    return image[0].permute(1, 2, 0).double().numpy() * 255


def ragged(heights, widths, seed=0):
    """Return a canvas whose undefined pixels are NaN, so that reading them shows."""
    image = photo(seed, len(heights), max(heights), max(widths))
    canvas = Canvas(image, torch.tensor(heights), torch.tensor(widths))
    return canvas.with_pixels(image.masked_fill(~canvas.valid(), float("nan")))


# ---------------------------------------------------------------- nothing of it unless asked for


# of the numbers drawn for six images before any of this existed, to six digits
BEFORE = {
    "realesrgan": "c375ed1062f8", "realesrnet": "c375ed1062f8", "bsrgan": "2d564374eb29",
    "camera": "4814940349cf", "web": "44748863aad4", "bicubic": "79239be6c1f1",
}  # fmt: skip
LATER = ("sampling",)


def without_later(recipe):
    stored = to_json(recipe)
    stored["version"] = 3
    del stored["camera"], stored["saving"]
    for order in ("first", "second"):
        for name in LATER:
            del stored[order][name]
    return stored


@pytest.mark.parametrize("preset", PRESETS)
def test_what_was_drawn_before_is_still_drawn(preset):
    stored = without_later(drawn(11, 6, 64, preset=preset))
    del stored["version"]
    for order in ("first", "second"):
        del stored[order]["mixing"]  # its last digits depend on the library of linear algebra
    assert hashlib.sha256(rounded(stored).encode()).hexdigest()[:12] == BEFORE[preset]


def rounded(value):
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return "".join(f"{key}{rounded(inner)}" for key, inner in sorted(value.items()))
    return "".join(map(rounded, value)) if isinstance(value, list) else str(value)


def test_its_draws_come_last():
    """Drawing all of it changes no number of Real-ESRGAN's and BSRGAN's."""
    plain, all_of_it = without_later(drawn(5, 40)), without_later(drawn(5, 40, **EVERYTHING))
    assert plain.pop("steps") == [s for s in all_of_it.pop("steps") if s in drawn(5).steps]
    for order in ("first", "second"):
        kernels = [stored[order].pop("kernel") for stored in (plain, all_of_it)]
        kept = [i for i, kind in enumerate(kernels[1]["kind"]) if kind not in (DISC, LINE)]
        assert 5 < len(kept) < 40
        assert all([kernels[0][name][i] for i in kept] == [kernels[1][name][i] for i in kept] for name in kernels[0])
        plain[order].pop("mode")
        assert set(all_of_it[order].pop("mode")) > {NEAREST}
    plain.pop("final_mode")
    assert LANCZOS in all_of_it.pop("final_mode")
    assert plain == all_of_it


@pytest.mark.parametrize("preset", PRESETS)
def test_recipes_of_version_3_still_load_and_give_the_same_pair(preset):
    recipe = drawn(5, preset=preset)
    old = json.loads(json.dumps(without_later(recipe)))
    assert without_later(from_json(old)) == without_later(recipe)
    gt = photo(5, 3, 80, 80)
    assert torch.equal(apply(gt, from_json(old)).lq, apply(gt, recipe).lq)


def test_everything_at_once_is_pure_and_described():
    recipe = drawn(6, 12, **EVERYTHING)
    gt = photo(6, 12, 80, 80)
    pair = apply(gt, recipe)
    assert torch.equal(apply(gt, from_json(json.loads(json.dumps(to_json(recipe))))).lq, pair.lq)
    assert torch.isfinite(pair.lq).all()
    for sample in range(12):
        assert all(describe(recipe, sample))
    assert all(parameters([recipe]).values())


# ---------------------------------------------------------------- JPEG's colours

FACTORS = dict(zip(SAMPLINGS[:4], (0x221111, 0x211111, 0x121111, 0x111111), strict=True))


def libjpeg(image, quality, sampling):
    """Return what libjpeg makes of the image, in levels of 255."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FACTORS[sampling]]
    _, file = cv2.imencode(".jpg", pixels(image)[..., ::-1].round().astype(np.uint8), options)
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].astype(float)


def rms(difference):
    return float(np.sqrt((difference**2).mean()))


@pytest.mark.parametrize("quality", [25, 50, 75, 92])
@pytest.mark.parametrize("number", [3, 4, 5, 6], ids=SAMPLINGS[3:])
def test_each_sampling_is_libjpegs(quality, number):
    """Ours is within 2.5 levels (RMS) of libjpeg with this sampling, and less than half as near to any other."""
    image, name = photo(1), SAMPLINGS[number].removesuffix(" interpolated")
    mine = pixels(jpeg(full(image), torch.tensor([float(quality)]), present=[number]))
    theirs = {name: libjpeg(image, quality, name) for name in FACTORS}
    apart = {name: rms(mine - there) for name, there in theirs.items()}
    assert apart[name] < 2.5
    assert all(apart[name] < 0.5 * apart[other] for other in FACTORS if other != name)


@pytest.mark.parametrize("numbers", [[3, 0, 2, 1], [4, 6, 5, 4]])
def test_each_sample_has_its_own_sampling_and_sees_no_other(numbers):
    canvas = ragged([24, 33, 5, 32], [40, 17, 9, 32])
    quality, sampling = torch.tensor([35.0, 80.0, 50.0, 60.0]), torch.tensor(numbers)
    out = jpeg(canvas, quality, sampling=sampling, present=numbers)
    for i in range(4):
        h, w = canvas.height[i], canvas.width[i]
        alone = jpeg(full(canvas.pixels[i : i + 1, :, :h, :w]), quality[i : i + 1], present=[int(sampling[i])])
        assert torch.allclose(out[i : i + 1, :, :h, :w], alone, atol=1e-6)


def test_shares_of_the_samplings():
    recipe = drawn(0, 4000, **EVERYTHING)
    shares = (recipe.first.sampling.bincount(minlength=7) / 4000).tolist()
    assert shares == pytest.approx([0.125] * 3 + [0.25] + [0.125] * 3, abs=0.03)
    assert (recipe.second.sampling.bincount() / 4000).tolist() == pytest.approx([0.4, 0.2, 0.1, 0.3], abs=0.03)
    found = parameters([recipe])["jpeg2: colours"]
    assert [found.count(name) / 4000 for name in SAMPLINGS[:4]] == pytest.approx([0.4, 0.2, 0.1, 0.3], abs=0.03)
    assert "jpeg2: colours" not in parameters([drawn(0, 50)])
    with pytest.raises(UserError, match="add up to 1.5"):
        config(first={"jpeg": {"sampling": {"yuv444": 0.5}}})


# ---------------------------------------------------------------- sharpening


def sharpened(image, radius, amount):
    return unsharp(full(image), torch.tensor([radius]), on_device=(torch.tensor([radius]), torch.tensor([amount])))


@pytest.mark.parametrize(("radius", "amount"), [(0.5, 0.5), (1.0, 1.5), (2.0, 0.8), (4.0, 3.0)])
def test_sharpening_is_scikit_images_and_nearly_pils(radius, amount):
    """scikit-image cuts its Gaussian at 4 σ, ours ends at 3 σ; both clip. PIL approximates it by boxes and rounds."""
    image = photo(2)
    mine = sharpened(image, radius, amount).pixels
    theirs = unsharp_mask(pixels(image) / 255, radius=radius, amount=amount, channel_axis=2)
    inner = slice(12, -12), slice(12, -12)  # borders are extended in other ways
    assert np.abs(pixels(mine) - theirs * 255)[inner].max() < 0.8 * amount
    eight = Image.fromarray(pixels(image).round().astype(np.uint8))
    pils = eight.filter(ImageFilter.UnsharpMask(radius, round(100 * amount), 0))
    assert rms(pixels(mine)[inner] - np.asarray(pils, float)[inner]) < 0.2 * rms((pixels(mine) - pixels(image))[inner])


def test_halos_overshoot_and_are_clipped():
    step = torch.full((1, 3, 32, 64), 0.4)
    step[..., 32:] = 0.6
    mild, strong = sharpened(step, 1.5, 1.0).pixels, sharpened(step, 1.5, 8.0).pixels
    assert 0.3 < float(mild.min()) < 0.35
    assert 0.65 < float(mild.max()) < 0.7
    assert (float(strong.min()), float(strong.max())) == (0.0, 1.0)
    assert torch.equal(sharpened(step * 3 - 1, 1.5, 0.0).pixels, step * 3 - 1), "no amount, no change"


def test_sharpening_stands_anywhere():
    alone = {"sharpen_gt": False, "margin": 0}
    early, late = (drawn(3, 8, 80, **alone, steps=steps) for steps in (["sharpen", "bicubic"], ["bicubic", "sharpen"]))
    assert early.camera.sharpen_amount.all()
    gt = photo(3, 8, 80, 80)
    a, b = apply(gt, early).lq, apply(gt, late).lq
    none = apply(gt, drawn(3, 8, 80, **alone, steps=["bicubic"])).lq
    change = [(x - none).abs().mean().item() for x in (a, b)]
    assert change[0] < change[1], "halos of the large image fade when it is reduced"
    share = drawn(0, 4000, sharpening={"probability": 0.3}).camera.sharpen_amount > 0
    assert share.float().mean().item() == pytest.approx(0.3, abs=0.03)


# ---------------------------------------------------------------- out of focus, moved


def kernel(kind, taps, size, theta=0.0):
    one = torch.ones(1)
    kind, taps = torch.tensor([kind]), torch.tensor([taps])
    return KernelParams(kind, taps, one * size, one * size, theta=one * theta, beta=one, cutoff=one)


def covered(radius, taps, fine=41):
    """Return how much of each pixel a disc covers, by counting points."""
    side = np.arange(taps * fine)
    at = (side + 0.5) / fine - taps / 2
    inside = at[:, None] ** 2 + at[None, :] ** 2 <= radius**2
    share = inside.reshape(taps, fine, taps, fine).mean((1, 3))
    return share / share.sum()


@pytest.mark.parametrize(("radius", "levels"), [(0.7, 5), (1.0, 2), (2.5, 2), (4.0, 2), (11.6, 2)])
def test_out_of_focus_is_scipys_convolution_with_a_disc(radius, levels):
    image = photo(4)
    taps = 2 * int(np.ceil(radius)) + 1
    params = kernel(DISC, taps, radius)
    mine = blur(full(image), params, render(params, size=25)).pixels[0]
    theirs = [ndimage.convolve(c, covered(radius, taps), mode="mirror") for c in image[0].double().numpy()]
    assert np.abs(mine.numpy() - np.stack(theirs)).max() * 255 < levels


@pytest.mark.parametrize("length", [3, 7, 23])
def test_moved_along_an_axis_is_scipys_mean_of_pixels(length):
    image = photo(5)
    for theta, axis in ((0.0, 1), (np.pi / 2, 0)):
        params = kernel(LINE, 2 * int(np.ceil(length / 2)) + 1, float(length), theta)
        mine = blur(full(image), params, render(params, size=25)).pixels[0]
        theirs = [ndimage.uniform_filter1d(c, length, axis=axis, mode="mirror") for c in image[0].double().numpy()]
        inner = slice(14, -14), slice(14, -14)
        # the line ends within pixels where the mean ends between them
        assert np.abs(mine.numpy() - np.stack(theirs))[:, *inner].max() < 0.3 / length


@pytest.mark.parametrize(("length", "degrees"), [(2.0, 20), (9.5, 45), (16.0, -63), (24.0, 8)])
def test_moved_is_the_mean_of_images_shifted_by_scipy(length, degrees):
    """Points along the path, each by bilinear interpolation."""
    image = photo(6)[:, :1]
    theta = np.deg2rad(degrees)
    params = kernel(LINE, 2 * int(np.ceil(length / 2)) + 1, length, float(theta))
    mine = blur(full(image), params, render(params, size=25)).pixels[0, 0].numpy()
    path = (np.arange(501) + 0.5) / 501 * length - length / 2
    plane = image[0, 0].double().numpy()
    theirs = np.mean([ndimage.shift(plane, (t * np.sin(theta), t * np.cos(theta)), order=1) for t in path], 0)
    inner = slice(14, -14), slice(14, -14)
    assert np.abs(mine - theirs)[inner].max() * 255 < 0.5


def test_shares_of_lens_and_motion():
    recipe = drawn(0, 6000, **EVERYTHING)
    for order, disc, line in ((recipe.first.kernel, 0.3, 0.2), (recipe.second.kernel, 0.8 * 0.1, 0.8 * 0.4)):
        assert (order.kind == DISC).float().mean().item() == pytest.approx(disc, abs=0.03)
        assert (order.kind == LINE).float().mean().item() == pytest.approx(line, abs=0.03)
        rendered = render(order, size=25)
        assert torch.allclose(rendered.sum((1, 2)), torch.ones(6000), atol=1e-5)
        assert 1 <= order.sigma_x[order.kind == DISC].min() < order.sigma_x[order.kind == DISC].max() <= 4
        assert 2 <= order.sigma_x[order.kind == LINE].min() < order.sigma_x[order.kind == LINE].max() <= 12
    assert (recipe.second.kernel.kind == IDENTITY).float().mean().item() == pytest.approx(0.2, abs=0.03)
    with pytest.raises(UserError, match=r"defocus \+ motion is 1.2"):
        config(first={"blur": {"defocus": 0.7, "motion": 0.5}})


def test_kernels_that_do_not_occur_need_not_be_computed():
    order = drawn(0, 50, **EVERYTHING).first.kernel
    assert torch.equal(render(order, size=25), render(order, size=25, kinds=set(order.kind.tolist())))
    assert not torch.equal(render(order, size=25), render(order, size=25, kinds={GAUSSIAN}))


# ---------------------------------------------------------------- coloured fringes


@pytest.mark.parametrize(("share", "centre"), [(0.01, (0.5, 0.5)), (0.004, (0.2, 0.9)), (0.03, (0.0, 0.4))])
def test_a_larger_channel_is_pils_bicubic_of_a_smaller_box(share, centre):
    image = photo(7)
    h, w = image.shape[2:]
    mine = aberrate(full(image), torch.tensor([share]), torch.tensor([0.0]), centre=torch.tensor([centre])).pixels
    assert torch.equal(mine[:, 1:], image[:, 1:])
    (top, bottom), (left, right) = (
        (c - c / (1 + share), c + (side - c) / (1 + share)) for c, side in ((centre[0] * h, h), (centre[1] * w, w))
    )
    plane = Image.fromarray(image[0, 0].numpy())
    theirs = np.asarray(plane.resize((w, h), Image.Resampling.BICUBIC, box=(left, top, right, bottom)))
    inner = slice(3, -3), slice(3, -3)  # at the border PIL cuts its filter off
    assert np.abs(mine[0, 0].numpy() - theirs)[inner].max() < 1e-4


def test_smaller_undoes_larger_and_fringes_grow_away_from_the_centre():
    y, x = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    image = (0.5 + 0.3 * torch.sin(x / 7) * torch.cos(y / 9)).expand(1, 3, 160, 160).contiguous()
    share, middle = torch.tensor([0.01]), torch.tensor([[0.5, 0.5]])
    out = aberrate(full(image), share, -share, centre=middle).pixels
    apart = (out[:, 0] - out[:, 2]).abs()[0]
    assert apart[70:90, 70:90].max() < 0.3 * apart[10:30, 10:30].max()
    back = aberrate(full(out), 1 / (1 + share) - 1, 1 / (1 - share) - 1, centre=middle).pixels
    assert (back - image)[:, :, 8:-8, 8:-8].abs().max() < 2e-3


def test_fringes_of_a_ragged_batch_and_their_shares():
    canvas = ragged([24, 33, 40], [40, 32, 48])
    red, blue = torch.tensor([0.01, 0.0, -0.02]), torch.tensor([-0.01, 0.0, 0.005])
    centre = torch.tensor([[0.5, 0.5], [2.0, 1.0], [-1.0, 0.3]])
    out = aberrate(canvas, red, blue, centre=centre).pixels
    for i in range(3):
        h, w = canvas.height[i], canvas.width[i]
        single = full(canvas.pixels[i : i + 1, :, :h, :w])
        alone = aberrate(single, red[i : i + 1], blue[i : i + 1], centre=centre[i : i + 1]).pixels
        assert torch.allclose(out[i : i + 1, :, :h, :w], alone, atol=1e-6)
    assert torch.equal(out[1, :, :33, :32], canvas.pixels[1, :, :33, :32])
    camera = drawn(0, 4000, **EVERYTHING).camera
    assert (camera.red != 0).float().mean().item() == pytest.approx(0.7, abs=0.03)
    fringed = camera.red != 0
    assert (camera.red[fringed] > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert 0.0002 <= camera.blue[fringed].abs().min() < camera.blue.abs().max() <= 0.0015
    assert (camera.centre.min(), camera.centre.max()) == (pytest.approx(-2.5, abs=0.05), pytest.approx(3.5, abs=0.05))


# ---------------------------------------------------------------- other methods of resizing

PILS = {LANCZOS: Image.Resampling.LANCZOS, NEAREST: Image.Resampling.NEAREST}
sides = st.integers(3, 60)


@pytest.mark.parametrize("mode", PILS, ids=["Lanczos", "nearest"])
@given(h=sides, w=sides, out_h=sides, out_w=sides)
@settings(max_examples=60, deadline=None)
def test_other_methods_are_pils(mode, h, w, out_h, out_w):
    plane = torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(61 * h + w))
    size = torch.tensor([out_h]), torch.tensor([out_w])
    mine = resize(full(plane), *size, torch.tensor([mode]), total=(out_h, out_w)).pixels
    theirs = np.asarray(Image.fromarray(plane[0, 0].numpy()).resize((out_w, out_h), PILS[mode]))
    apart = np.abs(mine[0, 0].numpy() - theirs)
    if mode == NEAREST:  # PIL's sums of fractions decide when a place lies exactly between two pixels
        rows, columns = ((2 * np.arange(out) + 1) * side % (2 * out) != 0 for side, out in ((h, out_h), (w, out_w)))
        apart = apart[np.ix_(rows, columns)]
    assert apart.max(initial=0) < 1e-4


def test_other_methods_treat_each_sample_as_if_alone_and_need_no_antialiasing():
    canvas = ragged([24, 33, 40, 40], [40, 32, 48, 48])
    height, width = torch.tensor([9, 40, 40, 13]), torch.tensor([30, 5, 48, 50])
    mode = torch.tensor([LANCZOS, NEAREST, LANCZOS, AREA])
    out = resize(canvas, height, width, mode, total=(40, 50)).pixels
    for i in range(4):
        alone = full(canvas.pixels[i : i + 1, :, : canvas.height[i], : canvas.width[i]])
        size = height[i : i + 1], width[i : i + 1]
        one = resize(alone, *size, mode[i : i + 1], total=(int(height[i]), int(width[i]))).pixels
        assert torch.allclose(out[i : i + 1, :, : height[i], : width[i]], one, atol=1e-6)
    assert torch.allclose(out[2, :, :, :48], canvas.pixels[2], atol=1e-6), "its size did not change"
    tables = {"steps": ["reduce"], "sharpen_gt": False, "margin": 0, "final_modes": {"lanczos": 0.5, "nearest": 0.5}}
    plain, smooth = (apply(photo(8, 6, 80, 80), drawn(8, 6, 80, **tables, antialias=share)).lq for share in (0.0, 1.0))
    assert torch.equal(plain, smooth)


def test_shares_of_other_methods():
    recipe = drawn(0, 6000, **EVERYTHING)
    for mode, lanczos, nearest in ((recipe.first.mode, 0.3, 0.1), (recipe.second.mode, 0.0, 0.2),
                                   (recipe.final_mode, 0.5, 0.0)):  # fmt: skip
        assert (mode == LANCZOS).float().mean().item() == pytest.approx(lanczos, abs=0.03)
        assert (mode == NEAREST).float().mean().item() == pytest.approx(nearest, abs=0.03)
        assert (mode == BICUBIC).float().mean().item() == pytest.approx((1 - lanczos - nearest) / 3, abs=0.03)
    assert "Lanczos" in parameters([recipe])["last resize: mode"]
    with pytest.raises(UserError, match=r"lanczos \+ nearest is 1.1"):
        config(first={"resize": {"modes": {"lanczos": 0.6, "nearest": 0.5}}})


# ---------------------------------------------------------------- the sensor's noise


def as_published(image, gains, to_camera):
    """Unprocess (h, w, 3) in [0, 1] by the formulas of Brooks et al. (2019), restated in numpy, below highlights."""
    x = 0.5 - np.sin(np.arcsin(1 - 2 * image) / 3)
    return np.maximum(x, 1e-8) ** 2.2 @ to_camera.T / gains


def test_variance_against_brightness_follows_the_drawn_numbers():
    """Each colour's own sites keep the drawn variance; at the others interpolation halves or quarters it."""
    camera = drawn(
        1,
        9,
        **EVERYTHING,
    ).camera
    i = int(camera.shot.argmax())
    shot, read = 2e-3, 1e-4
    gains, to_camera = camera.gains[i : i + 1], camera.to_camera[i : i + 1]
    rng = torch.Generator().manual_seed(0)
    for grey in (0.15, 0.3, 0.5, 0.7):
        flat = torch.full((1, 3, 300, 300), grey)
        numbers = {"shot": torch.tensor([shot]), "read": torch.tensor([read])}
        out = add_sensor_noise(full(flat), **numbers, gains=gains, to_camera=to_camera, rng=rng)
        matrix, gain = to_camera[0].double().numpy(), gains[0].double().numpy()
        raw = as_published(out[0].permute(1, 2, 0).double().numpy(), gain, matrix)
        light = as_published(np.full((1, 1, 3), grey), gain, matrix)[0, 0]
        at = {"red": raw[::2, ::2, 0], "green": raw[::2, 1::2, 1], "blue": raw[1::2, 1::2, 2]}
        clear = 4 * np.sqrt(shot * light + read) < light  # otherwise black clips some of it
        for channel, (name, values) in enumerate(at.items()):
            if clear[channel]:
                expected = shot * light[channel] + read
                assert values.var() == pytest.approx(expected, rel=0.04), name
                assert values.mean() == pytest.approx(light[channel], rel=0.01)
        if clear.all():
            red = shot * light[0] + read
            assert raw[::2, 1::2, 0].var() == pytest.approx(red / 2, rel=0.04)
            assert raw[1::2, 1::2, 0].var() == pytest.approx(red / 4, rel=0.04)
    assert clear.all(), "the brightest checks all of them"


def test_interpolation_of_the_mosaic_is_opencvs():
    plane = torch.randint(0, 60000, (1, 1, 40, 52), generator=torch.Generator().manual_seed(0)).float()
    theirs = cv2.cvtColor(plane[0, 0].numpy().astype(np.uint16), cv2.COLOR_BayerRGGB2RGB).astype(float)
    mine = demosaic(full(plane))[0].permute(1, 2, 0).numpy()
    inner = slice(1, -1), slice(1, -1)
    assert np.abs(mine - theirs)[inner].max() < 1.01, "rounded to whole numbers"


def test_development_undoes_itself_and_no_noise_changes_nothing():
    image, camera = photo(9, 4), drawn(2, 4, **EVERYTHING).camera
    light = to_light(image, gains=camera.gains, to_camera=camera.to_camera)
    back = developed(light, gains=camera.gains, from_camera=torch.linalg.inv(camera.to_camera))
    plain = image.amax(1) < 0.9
    assert (back - image).abs().amax(1)[plain].max() < 2e-3
    numbers = {"gains": camera.gains, "to_camera": camera.to_camera, "rng": torch.Generator().manual_seed(0)}
    none, little = torch.zeros(4), torch.full((4,), 1e-12)
    assert torch.equal(add_sensor_noise(full(image), shot=none, read=none, **numbers), image)
    assert (add_sensor_noise(full(image), shot=little, read=none, **numbers) - image).abs().max() < 1e-3


def test_noise_of_a_ragged_batch_and_what_is_drawn():
    canvas = ragged([24, 33, 40], [40, 32, 48])
    camera = drawn(2, 3, **EVERYTHING).camera
    numbers = {"gains": camera.gains, "to_camera": camera.to_camera, "rng": torch.Generator().manual_seed(0)}
    some = torch.full((3,), 1e-2)
    out = add_sensor_noise(canvas, shot=some, read=some / 100, **numbers)
    assert torch.isfinite(out).all()
    camera = drawn(0, 6000, **EVERYTHING).camera
    noisy = camera.shot > 0
    assert noisy.float().mean().item() == pytest.approx(0.6, abs=0.03)
    log_shot, log_read = camera.shot[noisy].log(), camera.read[noisy].log()
    assert (log_shot.exp().min(), log_shot.exp().max()) == (
        pytest.approx(1e-4, rel=0.02),
        pytest.approx(0.012, rel=0.02),
    )
    assert log_shot.median().item() == pytest.approx(np.log(1e-4 * 0.012) / 2, abs=0.1)
    left = log_read - 2.18 * log_shot - 1.2
    assert (left.mean().item(), left.std().item()) == (pytest.approx(0, abs=0.02), pytest.approx(0.26, abs=0.02))
    assert torch.allclose(camera.to_camera.sum(2), torch.ones(6000, 3), atol=1e-5), "white stays white"
    ratio = camera.gains / camera.gains[:, 1:2]
    assert 1.89 < ratio[:, 0].min() < ratio[:, 0].max() < 2.41
    assert 1.49 < ratio[:, 2].min() < ratio[:, 2].max() < 1.91
