"""Pairs that are off by fractions of pixels or in colour are aligned; what cannot be aligned is named."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from archsr.config import DegradeConfig, PrepareConfig
from archsr.config.prepare import RegistrationConfig
from archsr.data import manifest as mf
from archsr.data.prepare.pipeline import prepare
from archsr.data.prepare.sources.registration import aligned, refusal, register
from archsr.data.stream.loader import eval_pairs
from archsr.data.versions import current

SCALE, EDGE = 4, 24
LIMITS = RegistrationConfig(max_shift=3.0)


def facade(seed=0):
    """Return 900 × 700 pixels full of rectangles of all sizes, slightly blurred."""
    rng = np.random.default_rng(seed)
    pixels = np.full((700, 900, 3), 120, np.uint8)
    for _ in range(500):
        (left, top), (width, height) = rng.integers(0, (900, 700)), rng.integers(6, 90, 2)
        pixels[top : top + height, left : left + width] = rng.integers(20, 230, 3)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1)))


@pytest.fixture(scope="module")
def photo():
    return facade()


def pair(photo, right=0, down=0, change=lambda image: image):
    """Return the middle of a photograph, and a JPEG of it at a quarter of its size that lies `right`, `down` off."""
    height, width = (side - 2 * EDGE for side in photo.shape[:2])
    gt = photo[EDGE : EDGE + height, EDGE : EDGE + width]
    moved = photo[EDGE - down : EDGE - down + height, EDGE - right : EDGE - right + width]
    small = change(Image.fromarray(moved)).resize((width // SCALE, height // SCALE), Image.Resampling.BICUBIC)
    stored = io.BytesIO()
    small.save(stored, "JPEG", quality=70)
    return gt, np.asarray(Image.open(stored))


@settings(max_examples=12, deadline=None)
@given(st.integers(-10, 10), st.integers(-10, 10))
def test_a_displacement_is_found_within_a_tenth_of_a_pixel_and_taken_away(photo, right, down):
    gt, lq = pair(photo, right, down)
    found = register(gt, lq, scale=SCALE, reach=3)
    assert np.allclose(found.shift, (right / SCALE, down / SCALE), atol=0.1)
    assert refusal(found, LIMITS) == ""
    whole, small, shift = aligned(gt, lq, found, scale=SCALE)
    assert shift == (right, down)
    assert whole.shape[:2] == (small.shape[0] * SCALE, small.shape[1] * SCALE)
    again = register(whole, small, scale=SCALE, reach=3)
    assert np.allclose(again.shift, 0, atol=0.1)


def test_colours_of_the_low_quality_image_are_taken_over(photo):
    warmer = np.array([1.1, 1.0, 0.9]), np.array([3, 0, -2])
    gt, lq = pair(photo, change=lambda i: Image.fromarray(np.clip(i * warmer[0] + warmer[1], 0, 255).astype(np.uint8)))
    found = register(gt, lq, scale=SCALE, reach=3)
    before = np.abs(gt.mean((0, 1)) - lq.mean((0, 1))).max()
    whole, small, _ = aligned(gt, lq, found, scale=SCALE)
    after = np.abs(whole.mean((0, 1)) - small.mean((0, 1))).max()
    assert before > 5
    assert after < 0.7
    assert np.array_equal(aligned(*pair(photo), register(*pair(photo), scale=SCALE, reach=3), scale=SCALE)[0], gt)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image.rotate(1, Image.Resampling.BICUBIC), "rotated, zoomed"),
        (lambda image: image.crop((4, 3, image.width - 4, image.height - 3)).resize(image.size), "rotated, zoomed"),
        (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "shows something else"),
        (lambda image: image.point(lambda level: 0.6 * level), "has other colours by"),
    ],
)
def test_what_no_translation_aligns_is_refused(photo, change, words):
    found = register(*pair(photo, change=change), scale=SCALE, reach=3)
    assert refusal(found, LIMITS).startswith(words)


def test_a_larger_displacement_than_allowed_is_refused(photo):
    found = register(*pair(photo, right=10), scale=SCALE, reach=1)
    assert refusal(found, RegistrationConfig(max_shift=1.0)).startswith("lies +2.5")


def test_blur_and_noise_do_not_move_a_pair(photo):
    gt, lq = pair(photo, 3, -5, lambda image: image.filter(ImageFilter.GaussianBlur(6)))
    noisy = np.clip(lq + np.random.default_rng(0).normal(0, 12, lq.shape), 0, 255).astype(np.uint8)
    found = register(gt, noisy, scale=SCALE, reach=3)
    assert np.allclose(found.shift, (0.75, -1.25), atol=0.1)
    assert found.colour < 1.5


def test_a_preparation_aligns_pairs_and_lists_the_others(tmp_path):
    for number in range(8):
        gt, lq = pair(facade(number)[:400, :500], 20 if number == 3 else 6, -3)
        for kind, image in (("gt", gt), ("lq", lq)):
            path = tmp_path / kind / f"project {number}" / "view.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(image).save(path)
    made = prepare(tmp_path / "gt", tmp_path / "shards", PrepareConfig(
        lq_folder=str(tmp_path / "lq"), tile=144, min_side=120, pair_size=96, val=0.15, test=0.35, drawings="keep",
        degrade=DegradeConfig(margin=36), registration=LIMITS, scenes={"near_duplicates": False},
    ))  # fmt: skip
    assert [("unpaired", "max_shift 3" in left.reason) for left in made.left_out] == [("unpaired", True)]
    for found in eval_pairs(current(tmp_path / "shards"), made.splits["val"]):
        gt, lq = (image.permute(1, 2, 0).numpy() for image in (found.gt, found.lq))
        assert np.allclose(register(gt, lq, scale=SCALE, reach=3).shift, 0, atol=0.15)
    listed = (current(tmp_path / "shards") / "sources.jsonl").read_text()
    assert listed.count('"registered": [6, -3]') == 7
    assert mf.load(current(tmp_path / "shards")).splits["train"].samples
