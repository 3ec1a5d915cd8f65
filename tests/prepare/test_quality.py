"""What limits a photograph as a target, against damage of a known size."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from archsr.metrics.edges import edge_profiles, edge_width
from archsr.metrics.quality import (
    Quality,
    banding,
    blockiness,
    clipped,
    jpeg_facts,
    luma_of,
    measure,
    noise,
    windows,
)


def facade(width=640, height=480, seed=0):
    """A sharp drawn façade: windows of many sizes on plaster, antialiased by drawing it four times as large."""
    rng = np.random.default_rng(seed)
    large = np.full((height * 4, width * 4, 3), 150.0)
    for _ in range(900):
        h, w = rng.integers(8, 160, 2)
        top, left = rng.integers(0, height * 4 - 8), rng.integers(0, width * 4 - 8)
        large[top : top + h, left : left + w] = rng.uniform(20, 235, 3)
    return Image.fromarray(large.astype(np.uint8)).resize((width, height), Image.Resampling.BOX)


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue()))), buffer.getvalue()


@pytest.mark.parametrize("kernel", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("by", [1.6, 2, 3])
def test_an_enlarged_image_resolves_its_former_size(by, kernel):
    image = facade()
    large = image.resize((round(image.width * by), round(image.height * by)), kernel)
    assert measure(np.asarray(image)).resolution == 1
    assert measure(np.asarray(large)).resolution == pytest.approx(1 / by, abs=0.1)
    assert measure(jpeg(large, quality=75)[0]).resolution == pytest.approx(1 / by, abs=0.12)


def test_noise_and_compression_do_not_look_enlarged():
    image = facade()
    noisy = np.asarray(image) + np.random.default_rng(1).normal(0, 4, (480, 640, 3))
    assert measure(noisy.clip(0, 255).astype(np.uint8)).resolution > 0.9
    assert measure(jpeg(image, quality=50)[0]).resolution > 0.9


@pytest.mark.parametrize("offset", [(0, 0), (3, 5), (7, 1)])
def test_the_grid_of_a_cropped_jpeg_is_found_at_its_phase(offset):
    pixels, _ = jpeg(facade(), quality=60)
    strength, phase = blockiness(luma_of(windows(pixels[offset[1] :, offset[0] :])))
    assert phase == tuple(-o % 8 for o in offset)
    assert strength > 10 * blockiness(luma_of(windows(np.asarray(facade()))))[0]


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 95, 100])
@pytest.mark.parametrize(("sampling", "chroma"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_quality_and_chroma_come_from_the_tables_of_the_file(quality, sampling, chroma):
    content = jpeg(facade(64, 64), quality=quality, subsampling=sampling)[1]
    assert jpeg_facts(content) == (quality, chroma)


def test_other_files_have_no_quality():
    buffer = io.BytesIO()
    facade(64, 64).save(buffer, "PNG")
    assert jpeg_facts(buffer.getvalue()) == (0, "")
    assert jpeg_facts(jpeg(facade(64, 64).convert("L"), quality=80)[1]) == (80, "")


@pytest.mark.parametrize("sigma", [0, 1, 3, 6, 12])
def test_noise_is_measured_in_levels(sigma):
    pixels = np.asarray(facade()) + np.random.default_rng(2).normal(0, sigma, (480, 640, 3))
    found = noise(windows(pixels.round().clip(0, 255).astype(np.uint8))[..., 1])
    assert found == pytest.approx(sigma, rel=0.1, abs=0.15)


@pytest.mark.parametrize("sigma", [1.2, 2.0, 3.0])
def test_the_width_of_a_blurred_step_is_its_height_over_its_slope(sigma):
    step = np.full((64, 128, 3), 60, np.uint8)
    step[:, 64:] = 180
    blurred = np.asarray(Image.fromarray(step).filter(ImageFilter.GaussianBlur(sigma)))[None]
    assert edge_width(edge_profiles(luma_of(step[None]))) == 1
    assert edge_width(edge_profiles(luma_of(blurred))) == pytest.approx((2 * np.pi) ** 0.5 * sigma, rel=0.12)


def test_sharpening_leaves_halos_and_blur_does_not():
    image = facade(seed=3)
    halos = [
        measure(np.asarray(made)).halo
        for made in (image.filter(ImageFilter.GaussianBlur(1)), image, image.filter(ImageFilter.UnsharpMask(2, 150, 0)))
    ]
    assert halos[0] <= halos[1] < 0.02
    assert halos[2] > 0.1


def test_clipped_areas_are_counted_by_their_size():
    pixels = np.full((256, 256, 3), 128, np.uint8)
    pixels[:64] = 255
    pixels[-32:] = 0
    pixels[100:120:2, 100:120:2] = 255  # highlights of single pixels are no area
    assert clipped(pixels) == 0.375


def test_banding_is_a_slope_in_steps_of_several_levels():
    slope = np.tile(np.linspace(60, 120, 256), (256, 1))
    smooth, stepped = slope.astype(np.uint8), (slope // 4 * 4).astype(np.uint8)
    assert banding(smooth[None]) == 0
    assert banding(stepped[None]) == 1
    assert banding(np.full((1, 256, 256), 90, np.uint8)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (20, 20), (90, 500)])
def test_images_of_any_size_are_measured(shape):
    pixels = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = measure(pixels)
    assert 0 < found.resolution <= 1
    assert measure(pixels) == found
    assert measure(np.zeros((*shape, 3), np.uint8)).noise == 0
    assert isinstance(found, Quality)
