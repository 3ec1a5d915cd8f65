"""What the estimates of `archsr fit-degradation` find of damage that PIL and numpy did."""

import io

import numpy as np
import pytest
from PIL import Image

from archsr.config import DegradeConfig
from archsr.data.drawn_photos import draw_photos
from archsr.degradation.fitting.distance import distance
from archsr.degradation.fitting.fitted_table import Fitted, table_of
from archsr.degradation.fitting.grain import grain
from archsr.degradation.fitting.image_traces import traces_of
from archsr.degradation.fitting.numbers import Spread, regression, spread
from archsr.degradation.fitting.population import Population, likelihoods, most_likely
from archsr.degradation.fitting.quantisation import (
    coefficients,
    first_quality,
    luma_table,
    quality_of_pixels,
)
from archsr.degradation.fitting.shape import blur_shape
from archsr.metrics.quality import jpeg_header, luma_of

NONE = Spread(0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A sheet of four drawn photographs with a little texture, reduced: an image without a JPEG's grid."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_photos(folder, projects=4, views=1, plans=0)
    four = [np.asarray(Image.open(p)) for p in sorted(folder.rglob("*.jpg"))]
    sheet = np.concatenate([np.concatenate(four[:2], 1), np.concatenate(four[2:], 1)])
    grain_added = sheet + np.random.default_rng(0).normal(0, 6, sheet.shape)
    return Image.fromarray(grain_added.clip(0, 255).astype(np.uint8)).resize((720, 540), Image.Resampling.LANCZOS)


def jpeg(image, quality, **how):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **how)
    return buffer.getvalue()


def decoded(content):
    return Image.open(io.BytesIO(content)).convert("RGB")


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [10, 30, 49, 50, 75, 92, 100])
def test_tables_are_those_of_libjpeg(quality):
    assert np.array_equal(jpeg_header(jpeg(Image.new("RGB", (16, 16)), quality)).luma, luma_table(quality))


@pytest.mark.parametrize("quality", [40, 60, 75, 85])
def test_the_quality_of_a_png_that_was_a_jpeg_comes_from_its_pixels(drawn, quality):
    found = traces_of("a", png(decoded(jpeg(drawn, quality)).crop((3, 5, 700, 500))))
    assert (found.compressed, found.jpeg) == ("pixels", quality)


def test_an_image_that_was_never_compressed_has_no_quality(drawn):
    assert quality_of_pixels(coefficients(luma_of(np.asarray(drawn))))[0] == 0
    assert traces_of("a", png(drawn)).compressed == ""


@pytest.mark.parametrize(("first", "last"), [(50, 75), (60, 85), (75, 92)])
def test_an_earlier_jpeg_on_the_same_grid_is_found_with_its_quality(drawn, first, last):
    again = luma_of(np.asarray(decoded(jpeg(decoded(jpeg(drawn, first)), last))))
    found, gain = first_quality(again, luma_table(last))
    assert abs(found - first) <= 1
    assert gain > 0.05


@pytest.mark.parametrize("quality", [60, 75, 92])
def test_a_single_jpeg_has_no_earlier_one(drawn, quality):
    assert first_quality(luma_of(np.asarray(decoded(jpeg(drawn, quality)))), luma_table(quality))[0] == 0


def test_the_header_names_quality_and_sampling(drawn):
    for number, name in ((0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")):
        found = traces_of("a", jpeg(drawn, 83, subsampling=number))
        assert (found.compressed, found.jpeg, found.sampling, found.standard) == ("header", 83, name, True)


@pytest.mark.parametrize("sigma", [1.0, 3.0, 8.0])
def test_grain_is_measured_in_level_and_correlation(sigma):
    rng = np.random.default_rng(1)
    slope = np.broadcast_to(np.linspace(60, 200, 256)[None, :, None], (256, 256, 3))
    colour = (slope + rng.normal(0, sigma, slope.shape)).round().clip(0, 255).astype(np.uint8)
    grey = (slope + rng.normal(0, sigma, (256, 256, 1))).round().clip(0, 255).astype(np.uint8)
    of_colour, of_grey = grain(colour[None]), grain(grey[None])
    assert of_colour.luma == pytest.approx(sigma * (0.299**2 + 0.587**2 + 0.114**2) ** 0.5, rel=0.15)
    assert of_grey.luma == pytest.approx(sigma, rel=0.15)
    assert of_colour.correlation < 0.15 < 0.85 < of_grey.correlation


def test_noise_that_grows_with_brightness_has_a_slope():
    rng = np.random.default_rng(2)
    slope = np.broadcast_to(np.linspace(20, 230, 512)[None, :, None], (256, 512, 3))
    shot = slope + rng.normal(0, 1, slope.shape) * np.sqrt(4 + 40 * slope / 255)
    found = grain(shot.round().clip(0, 255).astype(np.uint8)[None])
    whole = 0.299**2 + 0.587**2 + 0.114**2  # of the channels' variance, in luma
    assert found.shot == pytest.approx(40 * whole, rel=0.25)
    assert found.read == pytest.approx(4 * whole, abs=2)


def test_a_spread_is_the_uniform_range_of_what_is_present():
    values = np.concatenate([np.zeros(300), np.linspace(2, 6, 700)])
    assert (found := spread(values, above=0.5)).share == pytest.approx(0.7)
    assert (found.low, found.high) == (pytest.approx(2, abs=0.02), pytest.approx(6, abs=0.02))
    assert spread(np.zeros(9), above=0.5).share == 0


def test_the_likeliest_ranges_are_those_that_were_planted():
    """Images of a narrow range, simulations of a wide one, both seen through the same noise."""
    rng = np.random.default_rng(3)

    def numbers(count, share, low, high):
        blur = np.where(rng.random(count) < share, rng.uniform(low, high, count), 0)
        return np.column_stack([blur, *np.zeros((3, count)), np.full(count, 0.5)])

    planted, simulated = numbers(300, 0.6, 1.0, 1.6), numbers(1500, 0.7, 0.2, 2.5)
    seen = [n[:, :1] + rng.normal(0, 0.15, (len(n), 1)) for n in (planted, simulated)]
    absent = dict.fromkeys(("sharpening", "noise", "kept"), Spread(0.01, 0.05, 0.1))
    drawn = Population({"blur": Spread(0.7, 0.2, 2.5), **absent}, 0.5, 0.0)
    found = most_likely(likelihoods(*seen), simulated, drawn).spreads["blur"]
    assert found.share == pytest.approx(0.6, abs=0.12)
    assert (found.low, found.high) == (pytest.approx(1.0, abs=0.35), pytest.approx(1.6, abs=0.2))


def test_a_regression_finds_squares_and_products():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(400, 3))
    targets = np.column_stack([rows[:, 0] * rows[:, 1], rows[:, 2] ** 2 + rows[:, 0]])
    model = regression(rows, targets)
    assert np.all(model.error < 0.35 * targets.std(0))
    assert np.abs(model(rows) - targets).mean() < 0.2


def test_the_distance_is_half_for_one_set_and_one_for_two():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(120, 8)), rng.normal(size=(120, 8))
    groups = np.arange(120) // 3
    same = distance(a, b, groups_a=groups, groups_b=groups).auc
    other = distance(a, b + 1.5, groups_a=groups, groups_b=groups).auc
    assert same.low < 0.5 < same.high
    assert other.low > 0.95


def test_all_patches_of_an_image_are_left_out_together():
    """Patches that repeat in an image are no evidence: a classifier that had seen one would know the others."""
    rng = np.random.default_rng(6)
    a, b = (np.repeat(rng.normal(size=(20, 30)), 5, axis=0) for _ in range(2))
    found = distance(a, b, groups_a=np.arange(100) // 5, groups_b=np.arange(100) // 5)
    assert found.auc.value < 0.75


def fitted(**changed):
    plain = {"blur": NONE, "sharpening": NONE, "noise": NONE, "kept": NONE, "jpeg": NONE, "earlier": NONE}
    sampling = {"yuv420": 1.0, "yuv422": 0.0, "yuv440": 0.0, "yuv444": 0.0}
    return Fitted(**{**plain, "grey": 0.5, "poisson": 0.0, "earlier_is": "after", "sampling": sampling, **changed})


def test_a_table_has_only_the_steps_that_were_found():
    assert table_of(fitted()).steps == ("reduce",)
    some = Spread(0.5, 0.5, 0.9)
    jpegs = {"jpeg": Spread(1.0, 70, 90), "earlier": Spread(0.5, 50, 60)}
    assert table_of(fitted(blur=some, **jpegs)).steps == ("reduce", "blur1", "jpeg1", "jpeg2")
    before = fitted(kept=some, earlier_is="before", noise=some, **jpegs)
    assert table_of(before).steps == ("resize2", "jpeg1", "reduce", "noise1", "jpeg2")
    assert isinstance(table_of(before), DegradeConfig)


def test_wide_blurs_of_a_disc_and_a_gaussian_differ():
    rows, columns = np.mgrid[:256, :256]
    bars = 60 + 130 * (((columns + rows // 40) // 32) % 2).astype(np.float32)

    def blurred(kernel):
        around = np.fft.rfft2(np.fft.ifftshift(kernel / kernel.sum()))
        return np.fft.irfft2(np.fft.rfft2(bars) * around)[None].astype(np.float32)

    away = np.hypot(rows - 128, columns - 128)
    assert blur_shape(blurred(np.exp(-0.5 * (away / 2) ** 2))) == "gaussian"
    assert blur_shape(blurred((away <= 4).astype(float))) == "disc"
