"""Benchmarks in the field's usual folders, and photographs downsampled as the field does."""

import numpy as np
import pytest
from PIL import Image

from archsr.config import DataConfig
from archsr.data import manifest as mf
from archsr.errors import UserError
from archsr.evaluation.pairs import ShardPairs, of_each, open_pairs, reduced
from archsr.metrics.niqe import imresize


def image(path, side, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, (side[0], side[1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


LAYOUTS = {
    "Urban100 of SelfExSR": (
        "image_SRF_4/img_{:03d}_SRF_4_HR.png",
        "image_SRF_4/img_{:03d}_SRF_4_LR.png",
        "image_SRF_4",
    ),
    "Set5 of BasicSR": ("GTmod12/{}.png", "LRbicx4/{}.png", ""),
    "HR and LR": ("HR/{}.png", "LR/{}x4.png", ""),
    "DIV2K": ("HR/{:04d}.png", "LR_bicubic/X4/{:04d}x4.png", ""),
    "LR with its scale": ("gt/a{}.png", "lr_x4/a{}.png", ""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_fields_folders(tmp_path, layout):
    high, low, inside = LAYOUTS[layout]
    for n in range(3):
        image(tmp_path / high.format(n), (24, 32), n)
        image(tmp_path / low.format(n), (6, 8), 10 + n)
    pairs = open_pairs(str(tmp_path / inside), DataConfig(), split="test", scale=4)
    found = list(pairs.read(pairs.numbers()))
    assert len(found) == 3
    assert len({p.scene for p in found}) == 3
    for n, pair in enumerate(found):
        assert np.array_equal(pair.gt.permute(1, 2, 0).numpy(), np.asarray(Image.open(tmp_path / high.format(n))))
        assert np.array_equal(pair.lq.permute(1, 2, 0).numpy(), np.asarray(Image.open(tmp_path / low.format(n))))


def test_photographs_are_reduced_after_their_sides_are_multiples(tmp_path):
    pixels = image(tmp_path / "villa" / "one.png", (41, 53))
    image(tmp_path / "villa" / "two.png", (40, 40))
    pairs = open_pairs(str(tmp_path), DataConfig(), split="test", scale=4)
    one, two = pairs.read(pairs.numbers())
    assert one.gt.shape == (3, 40, 52)
    assert one.lq.shape == (3, 10, 13)
    assert one.scene == two.scene == "villa"
    expected = np.round(np.clip(imresize(pixels[:40, :52] / 255, scale=0.25), 0, 1) * 255)
    assert np.array_equal(one.lq.permute(1, 2, 0).numpy(), expected)
    assert np.array_equal(reduced(pixels[:40, :52], 4), expected)


def test_a_gt_without_its_low_resolution_image_is_named(tmp_path):
    image(tmp_path / "HR" / "a.png", (24, 32))
    image(tmp_path / "LR" / "b.png", (6, 8))
    with pytest.raises(UserError, match=r"a\.png: .*LR has no image of that name"):
        open_pairs(str(tmp_path), DataConfig(), split="test", scale=4)


def test_sizes_that_do_not_fit_are_named(tmp_path):
    image(tmp_path / "HR" / "a.png", (24, 32))
    image(tmp_path / "LR" / "a.png", (12, 16))
    pairs = open_pairs(str(tmp_path), DataConfig(), split="test", scale=4)
    with pytest.raises(UserError, match=r"LR/a\.png: 16 × 12 pixels, expected 8 × 6, 1/4 of a\.png"):
        list(pairs.read(pairs.numbers()))


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_pairs(str(tmp_path / "x"), DataConfig(), split="test", scale=4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no images"):
        open_pairs(str(tmp_path / "empty"), DataConfig(), split="test", scale=4)


def test_shards_are_known_by_their_manifest(shards):
    pairs = open_pairs(str(shards), DataConfig(), split="val", scale=4, limit=3)
    assert isinstance(pairs, ShardPairs)
    some = list(pairs.read(pairs.numbers()))
    assert len(some) == 3
    assert len({pair.scene for pair in some}) == min(3, mf.load(shards).splits["val"].scenes)
    with pytest.raises(UserError, match="the pairs have scale 4, but the model has scale 2"):
        open_pairs(str(shards), DataConfig(), split="val", scale=2)


def test_a_limit_takes_of_every_scene():
    scenes = [*"aaaaaaaa", *"bb", *"c", *"dddd"]
    assert of_each(scenes, 4) == [0, 8, 10, 11]
    assert of_each(scenes, 9) == [0, 2, 5, 8, 9, 10, 11, 12, 13]
    assert of_each(scenes, 99) == list(range(15))
    assert of_each(scenes, 2) == [0, 8]


@pytest.mark.parametrize("name", ["a.avif", "a.gif", "a.JP2", "a.ppm"])
def test_whatever_is_read_elsewhere_is_evaluated_on(tmp_path, name):
    image(tmp_path / name, (40, 40))
    image(tmp_path / "._b.png", (40, 40))
    pairs = open_pairs(str(tmp_path), DataConfig(), split="test", scale=4)
    assert [p.key for p in pairs.read(pairs.numbers())] == [name]


def test_a_damaged_image_is_named(tmp_path):
    image(tmp_path / "a.png", (40, 40))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    pairs = open_pairs(str(tmp_path), DataConfig(), split="test", scale=4)
    with pytest.raises(UserError, match=r"b\.png: "):
        list(pairs.read(pairs.numbers()))
