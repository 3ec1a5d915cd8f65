"""The same photograph is found in disguise, different ones are not, and nothing depends on order."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from archsr.demo_photos import draw_photos
from archsr.prepare import near_search
from archsr.prepare.near import near_pairs, resampling, thumbnail


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("near")
    draw_photos(folder, projects=16, views=1, plans=0, seed=5)
    return [Image.open(p).convert("RGB") for p in sorted(folder.rglob("*.jpg"))]


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def crop(image, left, top, right, bottom):
    w, h = image.size
    return image.crop((int(left * w), int(top * h), int(right * w), int(bottom * h)))


DISGUISES = {
    "smaller": lambda im: im.resize((im.width * 3 // 10, im.height * 3 // 10)),
    "recompressed": lambda im: jpeg(im, 30),
    "brighter": lambda im: ImageEnhance.Brightness(im).enhance(1.25),
    "darker": lambda im: ImageEnhance.Brightness(im).enhance(0.75),
    "flatter": lambda im: ImageEnhance.Contrast(im).enhance(0.7),
    "gamma": lambda im: im.point(lambda v: int(255 * (v / 255) ** 0.7)),
    "grey": lambda im: im.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cropped a little": lambda im: crop(im, 0.03, 0.02, 0.98, 0.97),
    "cropped in the middle": lambda im: crop(im, 0.1, 0.1, 0.9, 0.9),
    "cropped in a corner": lambda im: crop(im, 0.2, 0.0, 1.0, 0.8),
    "a column": lambda im: crop(im, 0.12, 0.0, 0.9, 1.0),
    "all of it": lambda im: jpeg(ImageEnhance.Brightness(crop(im, 0.06, 0.1, 0.94, 0.96).reduce(2)).enhance(1.15), 50),
}


def connected(count, pairs):
    boss = list(range(count))

    def find(i):
        while boss[i] != i:
            i = boss[i]
        return i

    for pair in pairs:
        boss[find(pair.a)] = find(pair.b)
    return [find(i) for i in range(count)]


@pytest.mark.parametrize("name", DISGUISES)
def test_drawn_photographs_are_found_in_disguise(drawn, name):
    disguised = [DISGUISES[name](image) for image in drawn[::2]]
    thumbs = np.stack([thumbnail(image) for image in [*drawn, *disguised]])
    pairs = near_pairs(thumbs)
    groups = connected(len(thumbs), pairs)
    found = [groups[2 * i] == groups[len(drawn) + i] for i in range(len(disguised))]
    assert sum(found) >= len(found) - (1 if "cropped" in name or name in ("a column", "all of it") else 0)
    originals = groups[: len(drawn)]
    assert len(set(originals)) == len(drawn), "different photographs are different"
    assert any(p.mirrored for p in pairs) == (name == "mirrored")


def test_real_photographs(real_photos):
    paths = sorted(p for p in real_photos.rglob("*.jpg") if "plan" not in p.name)
    pairs = near_pairs(np.stack([thumbnail(Image.open(p).convert("RGB")) for p in paths]))
    names = {tuple(sorted((paths[p.a].name, paths[p.b].name))) for p in pairs}
    assert {
        ("building-003_view-1.jpg", "lobby-final.jpg"),
        ("building-009_view-1.jpg", "copy of building.jpg"),
        ("IMG_2231.jpg", "building-018_view-1.jpg"),
    } <= names
    for a, b in names:
        planted = {"lobby-final.jpg", "copy of building.jpg", "IMG_2231.jpg"} & {a, b}
        assert planted or a.split("_")[0] == b.split("_")[0], f"{a} is not {b}"


def test_the_window_is_where_the_crop_was(drawn):
    box = (0.1, 0.05, 0.9, 0.95)
    pair = near_pairs(np.stack([thumbnail(drawn[0]), thumbnail(crop(drawn[0], *box))]))[0]
    assert (pair.a, pair.b) == (0, 1)
    assert np.abs(np.array(pair.box) - np.array(box)).max() < 0.025


def test_order_and_chunks_do_not_matter(drawn, monkeypatch):
    images = [*drawn, *[DISGUISES["cropped in the middle"](i) for i in drawn[:8]], drawn[3]]
    thumbs = np.stack([thumbnail(i) for i in images])
    first = connected(len(images), near_pairs(thumbs))
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = connected(len(images), near_pairs(thumbs[order]))
    back = np.empty(len(images), dtype=int)
    back[order] = range(len(images))
    for i in range(len(images)):
        for j in range(i):
            assert (first[i] == first[j]) == (shuffled[back[i]] == shuffled[back[j]])
    monkeypatch.setattr(near_search, "_CHUNK", 5)
    assert near_pairs(thumbs) == near_pairs(thumbs)
    assert connected(len(images), near_pairs(thumbs)) == first


def test_pictures_without_structure_match_nothing():
    ramp = np.linspace(40, 220, 64)
    blank = [np.full((64, 64), v) for v in (0, 128, 255)] * 3
    ramps = [np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.tile(ramp, (64, 1)) + 1]
    assert near_pairs(np.stack([*blank, *ramps]).astype(np.uint8)) == []
    assert near_pairs(np.zeros((0, 64, 64), np.uint8)) == []


def test_a_thousand_copies_are_one_group(drawn):
    thumbs = np.stack([thumbnail(drawn[0])] * 1000 + [thumbnail(i) for i in drawn[1:]])
    groups = connected(len(thumbs), near_pairs(thumbs))
    assert len(set(groups[:1000])) == 1
    assert len(set(groups)) == len(drawn)


def test_windows_are_averages_over_areas():
    thumb = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.float32)
    edges = np.array([0.0, 0.13], np.float32), np.array([1.0, 0.71], np.float32)
    whole, part = resampling(*edges, 32)
    assert np.allclose(whole @ thumb @ whole.T, thumb.reshape(32, 2, 32, 2).mean(axis=(1, 3)), atol=1e-3)
    assert np.allclose(part.sum(axis=1), 1, atol=1e-5)
