"""Damage beyond Real-ESRGAN's and BSRGAN's: each kind against another implementation, and off unless asked for."""

import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from archsr.config import PRESETS, PrepareConfig
from archsr.config.config_file import check
from archsr.degradation.apply import apply
from archsr.degradation.canvas import Canvas, full
from archsr.degradation.histograms import parameters
from archsr.degradation.jpeg import SAMPLINGS, jpeg
from archsr.degradation.recipe import draw, from_json, to_json
from archsr.degradation.words import describe
from archsr.errors import UserError
from archsr.utils.seeds import generator

EVERYTHING = {
    "first": {"jpeg": {"sampling": {"yuv420": 0.25, "yuv422": 0.25, "yuv440": 0.25, "yuv444": 0.25},
                       "interpolated": 0.5}},
    "second": {"jpeg": {"sampling": {"yuv420": 0.4, "yuv422": 0.2, "yuv440": 0.1, "yuv444": 0.3}}},
}  # fmt: skip


def config(**tables):
    return check(PrepareConfig, {"degrade": tables}, where="test").degrade


def drawn(seed=0, batch=3, gt_size=48, **tables):
    return draw(config(**tables), generator(seed, "t"), batch, scale=4, gt_size=gt_size)


def photo(seed=0, b=1, h=144, w=176):
    """Return smooth surfaces with sharp, coloured edges, on the 8-bit grid."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(b, 3, h // 16, w // 16, generator=rng)
    smooth = F.interpolate(coarse, size=(h, w), mode="bicubic").clamp(0, 1)
    flat = F.interpolate(torch.rand(b, 3, h // 24, w // 22, generator=rng), size=(h, w), mode="nearest")
    return ((0.6 * smooth + 0.4 * flat) * 255).round() / 255


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
    assert plain == all_of_it


@pytest.mark.parametrize("preset", PRESETS)
def test_recipes_of_version_3_still_load_and_give_the_same_pair(preset):
    recipe = drawn(5, preset=preset)
    old = json.loads(json.dumps(without_later(recipe)))
    assert to_json(from_json(old)) == to_json(recipe)
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
