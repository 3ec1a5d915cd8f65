"""Limits of quality: what is left out and why, what is downsampled, and what the dataset says about it."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from archsr.config import PrepareConfig, QualityConfig
from archsr.data.manifest import load
from archsr.data.prepare.inspect_shards import inspect_dataset
from archsr.data.prepare.pipeline import prepare
from archsr.data.prepare.survey.limits import LIMITS, judged, verdict
from archsr.data.versions import current
from archsr.metrics.quality import Quality, measure, quality_from

GOOD = Quality(resolution=1.0, jpeg=95, chroma="4:4:4", blur=1.3)
BROKEN = [
    ("min_resolution", 0.8, {"resolution": 0.62}, "enlarged", "resolves 0.62 of its size (min_resolution 0.8)"),
    ("min_jpeg", 80, {"jpeg": 45}, "compressed", "a JPEG of quality 45 (min_jpeg 80)"),
    ("max_blocks", 1.0, {"blocks": 2.34}, "blocky", "jumps of 2.3 levels at JPEG's blocks (max_blocks 1)"),
    ("max_noise", 4.0, {"noise": 6.0}, "noisy", "noise of 6.0 levels (max_noise 4)"),
    ("max_blur", 3.5, {"blur": 5.26}, "blurred", "edges 5.3 pixels wide (max_blur 3.5)"),
    ("max_halo", 0.2, {"halo": 0.31}, "sharpened", "halos of 0.31 of the edges' height (max_halo 0.2)"),
    ("max_clipped", 0.3, {"clipped": 0.5}, "clipped", "50% is pure black or white (max_clipped 0.3)"),
    ("max_banding", 0.1, {"banding": 0.2}, "banded", "20% is slopes in visible steps (max_banding 0.1)"),
]


@pytest.mark.parametrize(("key", "limit", "value", "kind", "reason"), BROKEN, ids=[b[0] for b in BROKEN])
def test_each_limit_leaves_out_what_is_beyond_it_and_says_why(key, limit, value, kind, reason):
    config = QualityConfig.model_validate({key: limit})
    assert verdict(dataclasses.replace(GOOD, **value), config) == (kind, reason)
    assert verdict(GOOD, config) == ("", "")
    assert verdict(dataclasses.replace(GOOD, **value), QualityConfig()) == ("", "")
    assert verdict(dataclasses.replace(GOOD, **{next(iter(value)): limit}), config) == ("", "")  # a limit is allowed


def test_every_limit_is_a_key_and_every_key_a_limit():
    assert {limit.key for limit in LIMITS} == QualityConfig.model_fields.keys() - {"downscale_enlarged"}


def test_a_file_that_is_no_jpeg_has_no_lowest_quality():
    assert verdict(dataclasses.replace(GOOD, jpeg=0, chroma=""), QualityConfig(min_jpeg=90)) == ("", "")


def test_downscaling_needs_a_limit_and_no_stored_pairs():
    with pytest.raises(ValueError, match="downscale_enlarged needs min_resolution"):
        QualityConfig(downscale_enlarged=True)
    with pytest.raises(ValueError, match="has no pair"):
        PrepareConfig(lq_folder="lq", quality=QualityConfig(min_resolution=0.8, downscale_enlarged=True))


def drawn(width, height, *, seed):
    """A sharp drawn façade, antialiased."""
    rng = np.random.default_rng(seed)
    large = np.full((height * 4, width * 4, 3), rng.uniform(120, 180))
    for _ in range(700):
        h, w = rng.integers(8, 200, 2)
        top, left = rng.integers(0, height * 4 - 8), rng.integers(0, width * 4 - 8)
        large[top : top + h, left : left + w] = rng.uniform(20, 235, 3)
    fine = Image.fromarray(large.astype(np.uint8)).resize((width, height), Image.Resampling.BOX)
    return Image.fromarray((np.asarray(fine) + rng.normal(0, 1, (height, width, 3))).clip(0, 255).astype(np.uint8))


def doubled(image):
    return image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)


def test_an_enlarged_photograph_is_downsampled_to_what_it_resolves():
    pixels = np.asarray(doubled(drawn(480, 360, seed=1)))
    quality = measure(pixels)
    config = PrepareConfig(quality=QualityConfig(min_resolution=0.8, downscale_enlarged=True))
    small, kind, _ = judged(pixels, quality, config)
    assert kind == ""
    assert small.shape[1] == round(960 * quality.resolution) == pytest.approx(480, rel=0.15)
    assert measure(small).resolution > quality.resolution + 0.3
    assert judged(pixels, quality, config.model_copy(update={"min_side": 500}))[1:] == (
        "enlarged",
        f"resolves {small.shape[1]}×{small.shape[0]}, smaller than min_side (500)",
    )
    assert judged(pixels, quality, PrepareConfig())[0] is pixels


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        place = folder / f"house-{number}"
        place.mkdir()
        drawn(480, 360, seed=number).save(place / "a.png")
    doubled(drawn(480, 360, seed=77)).save(folder / "house-0" / "large.jpg", quality=90)
    return folder


def config_of(**limits):
    return PrepareConfig(
        tile=128, pair_size=96, min_side=160, val=0.2, drawings="keep",
        val_folders=("house-1",), test_folders=("house-2",), quality=QualityConfig(**limits),
    )  # fmt: skip


def lines_of(out):
    return {plain["path"]: plain for plain in map(json.loads, (out / "sources.jsonl").read_text().splitlines())}


def test_a_dataset_stores_shows_and_applies_the_limits(photos, tmp_path):
    out = tmp_path / "set"
    prepare(photos, out, config_of(min_resolution=0.8))
    made, listed = load(current(out)), lines_of(current(out))
    assert [(item.path, item.kind) for item in made.left_out] == [("house-0/large.jpg", "enlarged")]
    large = quality_from(listed["house-0/large.jpg"]["quality"])
    assert large is not None
    assert (large.jpeg, large.chroma) == (90, "4:2:0")
    assert made.left_out[0].reason == f"resolves {large.resolution:.2f} of its size (min_resolution 0.8)"
    page = (current(out) / "report.html").read_text()
    assert page.count('class="limit"') == 1
    assert "min_resolution = 0.8" in page
    assert f"resolves {large.resolution:.2f} of its size: beyond it" in page
    told = inspect_dataset(out)
    assert "quality of 6 photographs" in told
    assert "enlarged: 1" in told


def test_a_downsampled_photograph_is_cut_as_it_is_then(photos, tmp_path):
    out = tmp_path / "set"
    prepare(photos, out, config_of(min_resolution=0.8, downscale_enlarged=True))
    made, listed = load(current(out)), lines_of(current(out))
    assert made.left_out == []
    width, height = listed["house-0/large.jpg"]["reduced"]
    assert listed["house-0/a.png"]["reduced"] is None
    assert (listed["house-0/large.jpg"]["width"], width) == (960, pytest.approx(480, rel=0.15))
    found = 0
    for shard in made.splits["train"].shards:
        content = (current(out) / shard.file).read_bytes()
        for line in (current(out) / shard.index).read_text().splitlines():
            sample = json.loads(line)
            if sample["photo"] == "house-0/large.jpg":
                about = sample["members"]["json"]
                plain = json.loads(content[about[0] : about[0] + about[1]])
                assert plain["copy"] == [width, height]
                left, top, w, h = sample["box"]
                assert left + w <= width
                assert top + h <= height
                gt = sample["members"]["gt"]
                assert Image.open(io.BytesIO(content[gt[0] : gt[0] + gt[1]])).size == (w, h)
                found += 1
    assert found > 0
    before = current(out)
    assert prepare(photos, out, config_of(min_resolution=0.8, downscale_enlarged=True)) is not None
    assert current(out) == before  # unchanged: read back as it was stored


def test_a_dataset_from_before_quality_was_measured_is_still_inspected(photos, tmp_path):
    out = tmp_path / "set"
    prepare(photos, out, config_of())
    folder = current(out)
    made = json.loads((folder / "manifest.json").read_text())
    del made["prepare"]["quality"]
    old = [{k: v for k, v in line.items() if k not in ("quality", "reduced")} for line in lines_of(folder).values()]
    (folder / "sources.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    (folder / "manifest.json").write_text(json.dumps(made))
    stamps = json.loads((folder / "stamps.json").read_text())
    (folder / "stamps.json").write_text(json.dumps({**stamps, "survey": 2}))
    assert "quality of" not in inspect_dataset(out, check=False)
    prepare(photos, out, config_of())
    assert "quality of 7 photographs" in inspect_dataset(out)
