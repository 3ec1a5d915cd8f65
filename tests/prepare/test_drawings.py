"""Detection of drawings: recall and false alarms on seeds that the weights were not fitted on, and on real files.

`tests/measure/fit_drawings.py` uses seeds from 10000, these tests use those from 0.
"""

import bleached
import drawn_kinds
import hard_photos
import numpy as np
import pytest
from drawn_kinds import compress
from PIL import Image

from archsr.data.prepare.survey.floorplans import SIDE, WEIGHTS, drawing_score, features, reduced
from archsr.images.pixels import read_photo

SEEDS = range(6)
MANY = pytest.param(range(20), marks=pytest.mark.slow, id="many")


def score(image):
    return drawing_score(reduced(image))


@pytest.mark.parametrize("seeds", [SEEDS, MANY])
def test_drawings_of_each_kind_are_recognised(seeds):
    found = {
        kind: np.mean([score(drawn_kinds.drawing(kind, seed)) >= 0.5 for seed in seeds]) for kind in drawn_kinds.KINDS
    }
    assert min(found.values()) >= 0.8, found
    assert np.mean(list(found.values())) >= 0.95


@pytest.mark.parametrize("seeds", [SEEDS[:3], MANY])
def test_images_like_photographs_stay_in(seeds):
    tried = [(kind, seed) for kind in hard_photos.KINDS for seed in (seeds if kind != "demo" else seeds[:2])]
    alarms = [each for each in tried if score(hard_photos.photo_like(*each)) >= 0.5]
    assert len(alarms) <= 0.01 * len(tried), alarms


CONDITIONS = {
    "as it is": lambda image: image,
    "smaller": lambda image: image.resize((int(image.width * 0.4), int(image.height * 0.4)), Image.Resampling.BICUBIC),
    "grey": lambda image: image.convert("L"),
    "brightened": lambda image: Image.fromarray(np.clip(np.asarray(image) * 1.3, 0, 255).astype(np.uint8)),
    "quality 40": lambda image: compress(image, 40),
}


@pytest.mark.parametrize("kind", ["high_key", "fog", "bricks", "glass", "overcast", "demo"])
def test_sun_and_haze_leave_drawn_photographs_in(kind):
    seen = [
        (seed, name, score(image))
        for seed in SEEDS[:3]
        for name, image in bleached.bleached(hard_photos.photo_like(kind, seed))
        if bleached.burnt(image) <= 0.4
    ]
    alarms = [each for each in seen if each[-1] >= 0.5]
    assert len(alarms) <= 0.05 * len(seen), alarms


@pytest.fixture(scope="module")
def real(real_photos):
    return {path: Image.fromarray(read_photo(path).pixels) for path in sorted(real_photos.rglob("*.jpg"))}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_real_plans_are_out_and_real_photographs_in(real, condition):
    out = [p.name for p, image in real.items() if score(CONDITIONS[condition](image)) >= 0.5]
    plans = [p.name for p in real if p.name.startswith("plan")]
    assert [name for name in plans if name not in out] == []
    assert [name for name in out if name not in plans] == []


@pytest.mark.gate
def test_sun_and_haze_leave_real_photographs_in(real):
    photographs = [(p.name, image) for p, image in real.items() if not p.name.startswith("plan")]
    seen = [(name, how, score(view)) for name, image in photographs for how, view in bleached.bleached(image)]
    alarms = [each for each in seen if each[-1] >= 0.5]
    assert len(alarms) <= 0.01 * len(seen), alarms


@pytest.mark.parametrize("kind", ["floor_plan", "text", "render"])
def test_the_size_of_a_drawing_does_not_matter(kind):
    image = drawn_kinds.drawing(kind, 3, size=(1600, 1200))
    for side in (300, 800, 3000, 8000):
        assert score(image.resize((side, side * 3 // 4), Image.Resampling.BICUBIC, reducing_gap=2.0)) >= 0.5, side


@pytest.mark.parametrize("kind", ["high_key", "night", "white_room"])
def test_the_size_of_a_photograph_does_not_matter(kind):
    image = hard_photos.photo_like(kind, 3, size=(1600, 1200))
    for side in (300, 800, 3000, 8000):
        assert score(image.resize((side, side * 3 // 4), Image.Resampling.BICUBIC, reducing_gap=2.0)) < 0.5, side


@pytest.mark.parametrize("size", [(8000, 20), (20, 8000), (1, 1), (200, 200), (257, 255), (5000, 300), (13, 256)])
def test_any_shape_has_a_score(size):
    small = reduced(Image.new("L", size, 255))
    assert max(small.shape[:2]) == min(SIDE, max(size))
    assert 0 <= drawing_score(small) <= 1
    noise = np.random.default_rng(0).integers(0, 255, small.shape, dtype=np.uint8)
    assert drawing_score(noise) < 0.1


def test_the_reduction_averages_areas():
    pixels = np.random.default_rng(0).integers(0, 255, (384, 512, 3), dtype=np.uint8)
    means = pixels.reshape(192, 2, 256, 2, 3).mean((1, 3))
    assert np.abs(reduced(Image.fromarray(pixels)) - means).max() <= 0.51


def test_scores_are_repeatable_and_leave_the_image_alone():
    small = reduced(drawn_kinds.drawing("map", 5))
    before = small.copy()
    assert drawing_score(small) == drawing_score(small)
    assert np.array_equal(small, before)
    assert features(small).shape == (len(WEIGHTS),)
