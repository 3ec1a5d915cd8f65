"""Near-duplicates: every disguise is recognised, and no other photograph is taken for a copy."""

from dataclasses import replace

import numpy as np
import pytest
from disguises import cropped, drawn, grey, jpeg, resized, toned
from PIL import Image, ImageOps

from archsr.data.drawn_photos import draw_photos
from archsr.data.prepare.duplicates.near import near_pairs, thumbnail
from archsr.data.prepare.duplicates.near_verify import structured

WHOLE = (0.0, 0.0, 1.0, 1.0)
DISGUISES = {
    "resize 0.3": (lambda i: resized(i, 0.3), WHOLE),
    "jpeg 30": (lambda i: jpeg(i, 30), WHOLE),
    "brighter": (lambda i: toned(i, brightness=0.25), WHOLE),
    "darker": (lambda i: toned(i, brightness=-0.25), WHOLE),
    "more contrast": (lambda i: toned(i, contrast=1.4), WHOLE),
    "less contrast": (lambda i: toned(i, contrast=0.6), WHOLE),
    "gamma 0.6": (lambda i: toned(i, gamma=0.6), WHOLE),
    "gamma 1.6": (lambda i: toned(i, gamma=1.6), WHOLE),
    "grey": (grey, WHOLE),
    "other shape": (lambda i: i.resize((300, 300)), WHOLE),
    **{
        f"crop {box}": (lambda i, box=box: cropped(i, *box), box)
        for box in (
            (0.0, 0.0, 0.95, 0.95),
            (0.03, 0.05, 0.98, 1.0),
            (0.0, 0.1, 0.9, 1.0),
            (0.13, 0.07, 0.93, 0.93),
            (0.2, 0.0, 1.0, 0.8),
            (0.25, 0.25, 1.0, 1.0),
            (0.0, 0.11, 1.0, 0.86),
            (0.12, 0.14, 0.87, 0.89),
        )
    },
    "crop, resize, jpeg": (lambda i: jpeg(resized(cropped(i, 0.1, 0.03, 0.88, 0.9), 0.4), 30), (0.1, 0.03, 0.88, 0.9)),
}


def _open(folder):
    return [Image.open(p).convert("RGB") for p in sorted(folder.rglob("*.jpg"))]


def _thumbs(images):
    return np.stack([thumbnail(image) for image in images])


def _numbers(pairs):
    return {(min(p.a, p.b), max(p.a, p.b)) for p in pairs}


def _components(n, pairs):
    of = list(range(n))
    for p in pairs:
        old, new = of[p.b], of[p.a]
        of = [new if o == old else o for o in of]
    return {frozenset(i for i in range(n) if of[i] == o) for o in set(of)}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Draw projects of one view each, because two views of a drawn wall may be almost equal."""
    folder = tmp_path_factory.mktemp("near") / "photos"
    draw_photos(folder, seed=3, projects=16, views=1, plans=0)
    return _open(folder)


@pytest.fixture(scope="module")
def crowd(images):
    """Return originals and two random disguises of each."""
    rng = np.random.default_rng(8)
    return _thumbs([*images, *(drawn(i, rng) for i in images), *(drawn(i, rng) for i in images)])


@pytest.mark.parametrize("mirror", [False, True], ids=["", "mirrored"])
@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguised_copy_is_found_and_no_other(images, name, mirror):
    disguise, box = DISGUISES[name]
    some = images[::3]
    copies = [disguise(ImageOps.mirror(image) if mirror else image) for image in some]
    pairs = near_pairs(_thumbs([*images, *copies]))
    assert _numbers(pairs) == {(3 * i, len(images) + i) for i in range(len(some))}
    if mirror:
        box = (1 - box[2], box[1], 1 - box[0], box[3])
    assert sum(pair.mirrored != mirror for pair in pairs) <= 1  # a tiled floor is nearly its own mirror image
    for pair in pairs:
        assert pair.score <= 1
        if box != WHOLE and pair.mirrored == mirror:
            assert pair.a < pair.b, "the original contains the crop"
            np.testing.assert_allclose(pair.box, box, atol=0.02)


def test_random_chains_of_disguises_are_found_and_scenes_stay_apart(images, crowd):
    n = len(images)
    pairs = near_pairs(crowd)
    assert all(p.a % n == p.b % n for p in pairs)
    assert len(_components(len(crowd), pairs)) <= n + 1  # one of 32 may be missed


def test_the_order_of_images_does_not_matter(crowd):
    order = np.random.default_rng(1).permutation(len(crowd))
    there = {(p.a, p.b): p for p in near_pairs(crowd)}
    back = {(int(order[p.a]), int(order[p.b])): p for p in near_pairs(crowd[order])}
    assert there.keys() == back.keys()
    for key, pair in there.items():
        assert (pair.score, pair.mirrored, pair.box) == (back[key].score, back[key].mirrored, back[key].box)


def test_neither_do_chunks_nor_memory_maps_nor_repetition(crowd, tmp_path):
    expected = near_pairs(crowd)
    assert expected == sorted(expected, key=lambda p: (p.a, p.b))
    assert len(_numbers(expected)) == len(expected)
    np.save(tmp_path / "thumbs.npy", crowd)
    seen = []
    mapped = near_pairs(np.load(tmp_path / "thumbs.npy", mmap_mode="r"), chunk=7, progress=seen.append)
    assert mapped == expected
    assert near_pairs(crowd, chunk=5, threads=3) == expected
    assert sum(seen) == len(crowd)


def test_only_the_images_asked_for_are_looked_at(crowd):
    which = list(range(0, len(crowd), 3))
    alone = near_pairs(crowd[which])
    assert near_pairs(crowd, which=which) == [replace(p, a=which[p.a], b=which[p.b]) for p in alone]
    assert near_pairs(crowd, which=[]) == []


def _featureless(rng):
    y, x = np.mgrid[0:384, 0:512]
    yield np.full((384, 512), 255.0)
    yield np.zeros((384, 512))
    for _ in range(4):
        yield 128 + rng.normal(0, 8, (384, 512))  # grain
        yield rng.uniform(0, 255) + x * rng.uniform(-0.2, 0.2) + y * rng.uniform(-0.3, 0.3)  # sky
        yield 200 - 0.0005 * ((x - rng.uniform(0, 512)) ** 2 + (y - 192) ** 2)  # a vignette
        yield np.where(y < rng.uniform(150, 250), 220.0, 40.0) + rng.normal(0, 2, x.shape)  # a horizon
        yield 128 + 100 * np.sin(x * rng.uniform(0.05, 0.2) + y * rng.uniform(0.0, 0.1))  # stripes


def test_blank_images_horizons_and_stripes_never_match():
    images = [Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)) for x in _featureless(np.random.default_rng(0))]
    thumbs = _thumbs(images)
    assert not structured(thumbs).any()
    assert near_pairs(np.concatenate([thumbs, thumbs])) == []


def test_no_images_one_image_tiny_images(images):
    assert near_pairs(np.zeros((0, 64, 64), np.uint8)) == []
    assert near_pairs(_thumbs(images[:1])) == []
    for size in ((1, 1), (3, 700), (64, 64)):
        for mode in ("RGB", "L", "RGBA", "P", "CMYK"):
            thumb = thumbnail(Image.new(mode, size))
            assert (thumb.shape, thumb.dtype) == ((64, 64), np.uint8)


def test_a_crowd_of_copies_is_connected_at_bounded_cost(images):
    """A burst of one image with little noise, darker copies and identical ones: one component, few pairs."""
    rng = np.random.default_rng(2)
    light, dark = thumbnail(images[0]).astype(float), thumbnail(toned(images[0], gamma=1.8)).astype(float)
    burst = np.stack([x + rng.normal(0, 1.5, x.shape) for x in [light, dark] * 100]).clip(0, 255).astype(np.uint8)
    thumbs = np.concatenate([_thumbs(images), burst, np.repeat(thumbnail(images[1])[None], 60, axis=0)])
    pairs = near_pairs(thumbs)
    n = len(images)
    wanted = [{0, *range(n, n + 200)}, {1, *range(n + 200, n + 260)}, *({i} for i in range(2, n))]
    assert _components(len(thumbs), pairs) == {frozenset(w) for w in wanted}
    assert len(pairs) < 14 * 200 + 60


def test_real_photographs_all_planted_copies_and_nothing_else(real_photos):
    paths = sorted(real_photos.rglob("*.jpg"))
    pairs = near_pairs(_thumbs([Image.open(p).convert("RGB") for p in paths]))
    named = {frozenset((paths[p.a].stem, paths[p.b].stem)) for p in pairs}
    planted = {
        frozenset(("lobby-final", "building-003_view-1")),
        frozenset(("copy of building", "building-009_view-1")),
        frozenset(("IMG_2231", "building-018_view-1")),
    }
    # these second views are the inner four fifths of the first
    crops = {frozenset((f"building-{i:03d}_view-1", f"building-{i:03d}_view-2")) for i in range(5, 61, 5)}
    assert planted <= named <= planted | crops
    assert len(named & crops) >= 11


def test_real_photographs_in_disguise(real_photos):
    images = _open(real_photos)[::2]
    rng = np.random.default_rng(4)
    thumbs = _thumbs([*images, *(drawn(i, rng) for i in images)])
    n = len(images)
    found = _numbers(near_pairs(thumbs))
    same = {(p, q) for p, q in _numbers(near_pairs(thumbs[:n]))}  # copies and views among the originals
    assert all(p % n == q % n or (min(p % n, q % n), max(p % n, q % n)) in same for p, q in found)
    assert len({i for i in range(n) if (i, n + i) in found}) >= 0.92 * n
