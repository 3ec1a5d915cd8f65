"""Resizing, sharpening, JPEG and noise: goldens, other implementations, and laws."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from archsr.degradation.canvas import Canvas, extend, full
from archsr.degradation.jpeg import jpeg
from archsr.degradation.noise import add_noise
from archsr.degradation.resize import AREA, BICUBIC, BILINEAR, resize
from archsr.degradation.sharpen import sharpen

MODES = {AREA: "area", BILINEAR: "bilinear", BICUBIC: "bicubic"}
sizes = st.integers(1, 40)


def image(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def ragged(heights, widths, seed=0):
    """Return a canvas whose undefined pixels are NaN, so that reading them shows."""
    pixels = image(seed, len(heights), 3, max(heights), max(widths))
    canvas = Canvas(pixels, torch.tensor(heights), torch.tensor(widths))
    return canvas.with_pixels(pixels.masked_fill(~canvas.valid(), float("nan")))


# ---------------------------------------------------------------- borders


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge")])
@given(h=sizes, w=sizes, before=st.integers(0, 60), after=st.integers(0, 60))
@settings(max_examples=40)
def test_extension_is_numpys_padding(mode, numpy_mode, h, w, before, after):
    x = image(h * 41 + w, 1, 1, h, w)
    got = extend(full(x), before=before, total=(before + h + after, before + w + after), mode=mode)
    expected = np.pad(x[0, 0].numpy(), (before, after), mode=numpy_mode)
    assert np.array_equal(got[0, 0].numpy(), expected)


def test_extension_sees_only_the_living_part():
    canvas = ragged([5, 9, 1], [7, 2, 4])
    out = extend(canvas, before=3, total=(16, 14), mode="reflect")
    assert torch.isfinite(out).all()


# ---------------------------------------------------------------- resize


@pytest.mark.parametrize("mode", MODES)
@given(h=sizes, w=sizes, out_h=sizes, out_w=sizes)
@settings(max_examples=40)
def test_resizing_by_size_is_interpolate(mode, h, w, out_h, out_w):
    x = image(h + 41 * w, 2, 3, h, w)
    both = torch.tensor([mode, mode])
    got = resize(full(x), torch.tensor([out_h] * 2), torch.tensor([out_w] * 2), both, total=(out_h, out_w)).pixels
    options = {} if mode == AREA else {"align_corners": False}
    assert torch.allclose(got, F.interpolate(x, size=(out_h, out_w), mode=MODES[mode], **options), atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
@given(h=st.integers(7, 40), w=st.integers(7, 40), factor=st.floats(0.15, 1.5))
@settings(max_examples=40)
def test_resizing_by_factor_is_interpolate(mode, h, w, factor):
    x = image(h + 41 * w, 1, 3, h, w)
    f = torch.tensor([factor], dtype=torch.float64)
    out_h, out_w = (h * f).floor().long(), (w * f).floor().long()
    assume(factor == 1 or (out_h != h and out_w != w))  # otherwise interpolate's modes and devices disagree
    got = resize(full(x), out_h, out_w, torch.tensor([mode]), total=(int(out_h), int(out_w)), factor=f).pixels
    options = {} if mode == AREA else {"align_corners": False}
    expected = F.interpolate(x, scale_factor=factor, mode=MODES[mode], **options)
    assert got.shape == expected.shape
    assert torch.allclose(got, expected, atol=2e-5)


def test_each_sample_of_a_ragged_batch_is_resized_as_if_alone():
    canvas = ragged([20, 31, 8], [25, 12, 40])
    height, width, mode = torch.tensor([9, 40, 8]), torch.tensor([30, 5, 40]), torch.tensor([AREA, BICUBIC, BILINEAR])
    out = resize(canvas, height, width, mode, total=(40, 40))
    for i in range(3):
        alone = canvas.pixels[i : i + 1, :, : canvas.height[i], : canvas.width[i]]
        one = resize(full(alone), height[i : i + 1], width[i : i + 1], mode[i : i + 1], total=(40, 40)).pixels
        h, w = height[i], width[i]
        assert torch.allclose(out.pixels[i, :, :h, :w], one[0, :, :h, :w], atol=1e-6)
    assert torch.equal(out.pixels[2, :, :8, :40], canvas.pixels[2, :, :8, :40])  # its size did not change


# ---------------------------------------------------------------- sharpening


def test_sharpening_golden(card):
    out = sharpen(card)
    assert out.mean((0, 2, 3)).tolist() == pytest.approx([0.501721, 0.502353, 0.500224], abs=1e-6)
    assert out[0, :, 10, 10].tolist() == pytest.approx([0.571592, 0.568031, 0.428445], abs=1e-6)
    assert out[0, :, 48, 56].tolist() == pytest.approx([0.520150, 0.598032, 0.636084], abs=1e-6)
    assert (out - card).abs().max().item() == pytest.approx(0.216420, abs=1e-6)


def test_sharpening_against_scipys_gaussian(card):
    x = card[0, 0].double().numpy()
    blurred = lambda a: gaussian_filter1d(
        gaussian_filter1d(a, 8, axis=0, radius=25, mode="mirror"), 8, axis=1, radius=25, mode="mirror"
    )
    residual = x - blurred(x)
    soft = blurred((np.abs(residual) * 255 > 10).astype(float))
    expected = soft * np.clip(x + 0.5 * residual, 0, 1) + (1 - soft) * x
    assert np.abs(sharpen(card)[0, 0].numpy() - expected).max() < 1e-5


@given(h=st.integers(1, 60), w=st.integers(1, 60))
@settings(max_examples=20)
def test_sharpening_keeps_range_and_flat_images_at_any_size(h, w):
    out = sharpen(image(h, 1, 3, h, w))
    assert out.min() >= 0
    assert out.max() <= 1
    flat = torch.full((1, 3, h, w), 0.3)
    assert torch.allclose(sharpen(flat), flat, atol=1e-6)


# ---------------------------------------------------------------- JPEG


REFERENCE = {"transposed_luma": True, "black_border": True}


@pytest.mark.parametrize(
    ("quality", "error"), [(30.0, 89.37256), (60.5, 68.68868), (95.0, 46.62752)], ids=["q30", "q60.5", "q95"]
)
def test_jpeg_goldens_of_the_reference(card, quality, error):
    out = jpeg(full(card), torch.tensor([quality]), **REFERENCE)
    assert ((out - card) ** 2).mean().item() * 255**2 == pytest.approx(error, abs=2e-4)
    if quality == 30:
        assert out[0, :, 10, 10].tolist() == pytest.approx([0.613272, 0.528042, 0.455032], abs=1e-6)


def test_jpeg_golden_at_an_odd_size(card):
    x = card[:, :, :90, :100]
    out = jpeg(full(x), torch.tensor([40.0]), **REFERENCE)
    assert out[0, :, 89, 99].tolist() == pytest.approx([0.412062, 0.551966, 0.280332], abs=1e-6)
    assert ((out - x) ** 2).mean().item() * 255**2 == pytest.approx(92.66174, abs=2e-4)


def test_jpeg_golden_with_the_true_table(card):
    out = jpeg(full(card), torch.tensor([30.0]))
    assert out[0, :, 10, 10].tolist() == pytest.approx([0.611988, 0.526758, 0.453748], abs=1e-6)
    assert ((out - card) ** 2).mean().item() * 255**2 == pytest.approx(88.81106, abs=2e-4)


def test_fixed_jpeg_is_nearer_to_libjpeg_than_the_quirky_one():
    """Stripes show the orientation of the table. libjpeg rounds pixels and tables, so the result is not equal."""
    x = torch.arange(96.0)
    stripes = (0.5 + 0.35 * torch.sin(x * 1.9))[None, None, :, None].expand(1, 3, 96, 96).contiguous()
    buffer = io.BytesIO()
    Image.fromarray((stripes[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(buffer, "JPEG", quality=40)
    theirs = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)[None] / 255
    errors = [
        ((jpeg(full(stripes), torch.tensor([40.0]), transposed_luma=t) - theirs) ** 2).mean().item()
        for t in (False, True)
    ]
    assert errors[0] * 2 < errors[1]


def test_jpeg_treats_each_sample_as_if_alone():
    canvas = ragged([24, 33, 5], [40, 17, 9])
    quality = torch.tensor([35.0, 80.0, 50.0])
    out = jpeg(canvas, quality)
    for i in range(3):
        h, w = canvas.height[i], canvas.width[i]
        alone = jpeg(full(canvas.pixels[i : i + 1, :, :h, :w]), quality[i : i + 1])
        assert torch.allclose(out[i : i + 1, :, :h, :w], alone, atol=1e-6)


def test_flat_grey_has_no_dark_edge_unless_asked():
    flat = torch.full((1, 3, 100, 100), 0.9)
    quality = torch.tensor([30.0])
    assert (jpeg(full(flat), quality) - flat).abs().max() * 255 < 3
    assert (jpeg(full(flat), quality, black_border=True) - flat).abs().max() * 255 > 10


# ---------------------------------------------------------------- noise


def noisy(canvas, *, poisson, strength, grey, seed=0, shared_grey=False):
    b = len(canvas.pixels)
    return add_noise(
        canvas,
        poisson=torch.tensor([poisson] * b),
        strength=torch.full((b,), strength),
        grey=torch.tensor([grey] * b),
        rng=torch.Generator().manual_seed(seed),
        shared_grey=shared_grey,
    )


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_has_its_moments(grey):
    x = torch.full((2, 3, 200, 200), 0.5)
    noise = noisy(full(x), poisson=False, strength=0.05, grey=grey) - x
    assert noise.mean().item() == pytest.approx(0, abs=5e-4)
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)
    assert (noise[:, 0] == noise[:, 1]).all() == grey
    assert not torch.equal(noise[0], noise[1])


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_has_its_moments(grey):
    """A flat image has one level, so V = 1: noise = scale · (Poisson(x) − x), with variance scale² · x."""
    x = torch.full((2, 3, 200, 200), 128 / 255)
    scale = 0.2
    noise = noisy(full(x), poisson=True, strength=scale, grey=grey) - x
    assert noise.mean().item() == pytest.approx(0, abs=2e-3)
    assert noise.std().item() == pytest.approx(scale * (128 / 255) ** 0.5, rel=0.02)


def test_poisson_levels_are_the_power_of_two_above_the_distinct_values():
    """With 200 distinct values V = 256, and the variance falls to x / 256."""
    x = ((torch.arange(200.0) + 20) / 255).repeat(200, 1)[None, None].expand(1, 3, 200, 200).contiguous()
    noise = noisy(full(x), poisson=True, strength=1.0, grey=False) - x
    inner = noise[:, :, :, 60:140]
    assert inner.var().item() == pytest.approx(x[:, :, :, 60:140].mean().item() / 256, rel=0.05)


def test_noise_counts_levels_in_the_living_part_only():
    """The valid part is flat, so it has one level and noise in whole photons. The undefined part has all 256 levels."""
    pixels = image(1, 1, 3, 64, 64)
    pixels[:, :, :8, :8] = 100 / 255
    canvas = Canvas(pixels, torch.tensor([8]), torch.tensor([8]))
    living = noisy(canvas, poisson=True, strength=0.1, grey=False)[:, :, :8, :8]
    photons = (living - 100 / 255) / 0.1 + 100 / 255
    assert (photons - photons.round()).abs().max() < 1e-4
    assert len(photons.round().unique()) > 1


def test_the_references_grey_field_is_shared_and_ours_is_not():
    x = torch.full((2, 3, 32, 32), 0.5)
    shared = noisy(full(x), poisson=False, strength=0.05, grey=True, shared_grey=True)
    assert torch.equal(shared[0], shared[1])
    own = noisy(full(x), poisson=False, strength=0.05, grey=True)
    assert not torch.equal(own[0], own[1])
