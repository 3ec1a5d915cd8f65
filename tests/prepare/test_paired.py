"""Pairs from disk: every `gt` consists of blocks of one colour, the pixels of its `lq`, so that any shift shows."""

import functools
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archsr.config import DegradeConfig, PrepareConfig, TrainConfig
from archsr.config.config_file import check, with_overrides
from archsr.data import manifest as mf
from archsr.data.drawn_photos import draw_photos
from archsr.data.prepare.pipeline import Task, prepare
from archsr.data.stream.loader import Stream, StreamOptions, eval_pairs
from archsr.data.stream.plan import Slice
from archsr.data.stream.reader import crop_pair
from archsr.data.versions import current
from archsr.errors import UserError
from archsr.images.pixels import read_photo
from archsr.training import launch, pairs, preview
from archsr.training.data import open_data
from archsr.utils.seeds import generator


def enlarged(lq, scale):
    return F.interpolate(lq[None].float(), scale_factor=scale, mode="nearest")[0].to(lq.dtype)


@functools.cache
def drawn():
    """Eight projects of one image each: names and pixels."""
    with tempfile.TemporaryDirectory() as folder:
        draw_photos(Path(folder), projects=8, views=1, plans=0)
        paths = sorted(Path(folder).rglob("*.*"))
        return [(p.relative_to(folder).with_suffix(".png"), read_photo(p).pixels[:300, :320]) for p in paths]


def write_pairs(folder, scale):
    """Write gt/ and lq/ of eight projects; the sides of lq are odd."""
    for name, pixels in drawn():
        height, width = (side // scale - 1 + (side // scale) % 2 for side in pixels.shape[:2])
        lq = pixels[: height * scale : scale, : width * scale : scale]
        for kind, image in (("lq", lq), ("gt", lq.repeat(scale, 0).repeat(scale, 1))):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / kind / name)
    return folder


def config(folder, scale=4, **changes):
    return PrepareConfig(
        scale=scale, lq_folder=str(folder / "lq"), test=0.08, tile=144, min_side=120, drawings="keep",
        pair_size=96, samples_per_shard=16, degrade=DegradeConfig(margin=36), **{"val": 0.15, **changes},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), 4)


@pytest.fixture(scope="module")
def paired_shards(folder):
    prepare(folder / "gt", folder / "shards", config(folder))
    return current(folder / "shards")


def stream(shards, size, scale, count=6):
    manifest = mf.load(shards)
    options = StreamOptions(
        shards, manifest.splits["train"].shards, seed=0, window=2, size=size, hflip=True, pair_scale=scale
    )
    reader = Stream(options, Slice(0, 4, 1, 0, 1), workers=0, pin_memory=False)
    found = [reader.next().clone() for _ in range(count)]
    reader.close()
    return found


# every scale and every encoding; all combinations take a minute longer
SOME = {("lossless", 1), ("webp", 2), ("png", 3), ("lossless", 4)}
KINDS = [
    pytest.param(*kind, marks=() if kind in SOME else pytest.mark.slow)
    for kind in itertools.product(["lossless", "webp", "png"], [1, 2, 3, 4])
]


@pytest.mark.parametrize(("encoding", "scale"), KINDS)
def test_both_are_cut_at_the_same_place(scale, encoding, tmp_path):
    write_pairs(tmp_path, scale)
    made = prepare(tmp_path / "gt", tmp_path / "shards", config(tmp_path, scale, encoding=encoding))
    assert made.paired
    assert not made.left_out
    for side in ("val", "test"):
        for pair in eval_pairs(current(tmp_path / "shards"), made.splits[side]):
            assert torch.equal(pair.gt, enlarged(pair.lq, scale))
            assert pair.gt.shape[1] % (3 if scale == 3 else 4) == 0
    for batch in stream(current(tmp_path / "shards"), 24 * scale, scale):
        assert batch.lq.shape == (4, 3, 24, 24)
        for gt, lq in zip(batch.gt, batch.lq, strict=True):
            assert torch.equal(gt, enlarged(lq, scale))


@given(st.sampled_from([1, 2, 3, 4]), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
def test_pairs_of_any_size_are_cropped_mirrored_and_turned_alike(scale, height, width, part, seed):
    lq = torch.randint(256, (3, height, width), generator=generator(seed, "lq"), dtype=torch.uint8)
    gt, rng = enlarged(lq, scale), generator(seed, "crop")
    large, small = crop_pair(gt, lq, part * scale, rng, scale=scale, hflip=True, rot90=True)
    assert small.shape == (3, part, part)
    assert torch.equal(large, enlarged(small, scale))


@given(st.sampled_from([2, 3, 4]), st.integers(3, 9), st.integers(0, 9))
def test_mirrored_detail_inside_a_pixel_runs_back(scale, side, seed):
    """A ramp over the larger image is reversed about the middle of the last pixel."""
    gt = torch.arange(side * scale).expand(3, 1 * scale, -1).contiguous()
    lq = torch.zeros(3, 1, side, dtype=torch.int64)
    large, _ = crop_pair(gt, lq, scale * (2 * side - 2), generator(seed, "x"), scale=scale, hflip=False)
    row = large[0, 0]
    steps = row.diff()
    assert steps[: side * scale - 1].eq(1).all()
    assert steps[side * scale :].eq(-1).all()


def test_a_jpegs_own_blocks_are_kept(tmp_path):
    write_pairs(tmp_path, 4)
    for path in (tmp_path / "gt").rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"), quality=95, subsampling=0)
        (tmp_path / "lq" / path.relative_to(tmp_path / "gt")).rename(
            (tmp_path / "lq" / path.relative_to(tmp_path / "gt")).with_suffix(".jpg")
        )
        path.unlink()
    made = prepare(tmp_path / "gt", tmp_path / "shards", config(tmp_path))
    samples = [s for shard in made.splits["train"].shards for s in mf.read_index(current(tmp_path / "shards"), shard)]
    assert all(s.box[0] % 16 == s.box[1] % 16 == 0 for s in samples)
    for batch in stream(current(tmp_path / "shards"), 96, 4):
        for gt, lq in zip(batch.gt, batch.lq, strict=True):
            assert (gt.int() - enlarged(lq, 4).int()).abs().float().mean() < 6


def test_what_is_no_pair_is_named(tmp_path, folder):
    write_pairs(tmp_path, 4)
    names = sorted(p.relative_to(tmp_path / "lq") for p in (tmp_path / "lq").rglob("*.png"))
    wrong = dict(zip(("missing", "small", "damaged", "transparent"), names, strict=False))
    (tmp_path / "lq" / wrong["missing"]).unlink()
    image = Image.open(tmp_path / "lq" / wrong["small"])
    width, height = image.size
    image.crop((0, 0, width - 1, height)).save(tmp_path / "lq" / wrong["small"])
    (tmp_path / "lq" / wrong["damaged"]).write_bytes(b"GIF89a")
    clear = Image.open(tmp_path / "lq" / wrong["transparent"]).convert("RGBA")
    clear.putalpha(100)
    clear.save(tmp_path / "lq" / wrong["transparent"])
    made = prepare(tmp_path / "gt", tmp_path / "shards", config(tmp_path, max_bad_share=0.6, val=0.2))
    reasons = {left.path: left.reason for left in made.left_out}
    assert set(reasons) == {str(n) for n in wrong.values()}
    assert {left.kind for left in made.left_out} == {"unpaired"}
    assert "No such file" in reasons[str(wrong["missing"])]
    told = reasons[str(wrong["small"])]
    assert f"{width - 1}×{height} times 4 is {4 * width - 4}×{4 * height}" in told
    assert f"the photograph is {4 * width}×{4 * height}" in told
    assert "transparent" in reasons[str(wrong["transparent"])]
    with pytest.raises(UserError, match=r"its lq .*bad_files = 'raise'"):
        prepare(tmp_path / "gt", tmp_path / "again", config(tmp_path, bad_files="raise"))
    with pytest.raises(UserError, match=r"4 of 8 files cannot be used.*its lq"):
        prepare(tmp_path / "gt", tmp_path / "third", config(tmp_path, max_bad_share=0.3))


def test_settings_that_have_no_pair_are_refused(tmp_path):
    for changes in ({"crops": "reference"}, {"encoding": "jpeg"}):
        with pytest.raises(UserError, match="lq_folder needs crops"):
            check(PrepareConfig, {"lq_folder": "lq", **changes}, where="x")
    (tmp_path / "gt").mkdir()
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(tmp_path / "gt" / "a.png")
    with pytest.raises(UserError, match="lq_folder: .*no such folder"):
        prepare(tmp_path / "gt", tmp_path / "out", PrepareConfig(lq_folder=str(tmp_path / "lq")))


def test_other_low_quality_images_are_another_preparation(tmp_path):
    write_pairs(tmp_path, 4)
    prepare(tmp_path / "gt", tmp_path / "shards", config(tmp_path), task=Task(1, 2))
    some = next((tmp_path / "lq").rglob("*.png"))
    some.write_bytes(some.read_bytes() + b"more")
    with pytest.raises(UserError, match="unfinished preparation with other files"):
        prepare(tmp_path / "gt", tmp_path / "shards", config(tmp_path))


def test_training_degrades_nothing_and_resumes(paired_shards, tiny_tables, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("degraded")

    monkeypatch.setattr(pairs, "apply", never)
    tables = with_overrides(tiny_tables, [f"data.shards={paired_shards}", "losses.gan.weight=0"])
    runs = Path(tables["runs"])
    states = {}
    for name, steps in (("unbroken", [6]), ("stopped", [2, 6])):
        for last in steps:
            plain = with_overrides(tables, [f"name={name}", f"training.stages=[{{iterations={last}, lr=1e-3}}]"])
            launch.run(check(TrainConfig, plain, where="x"), resume=last != steps[0])
        path = runs / name / "checkpoints" / "step-00000006" / "generator.safetensors"
        states[name] = path.read_bytes()
    assert states["unbroken"] == states["stopped"]


def test_summary_preview_and_pairs_say_so(paired_shards, tiny_tables, tmp_path):
    tables = with_overrides(tiny_tables, [f"data.shards={paired_shards}"])
    train = check(TrainConfig, tables, where="x")
    data = open_data(train)
    assert "stored pairs: nothing is degraded" in data.summary()
    assert pairs.options_of(train, data, 1.0).size == train.data.gt_size
    (tmp_path / "c.toml").write_text(tomli_w.dumps(tables))
    with pytest.raises(UserError, match="pairs from disk, which are not degraded"):
        preview.preview(tmp_path / "c.toml", tmp_path / "out", overrides=[])
