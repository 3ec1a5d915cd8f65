"""`archsr init`: a config for these photographs and this machine."""

import contextlib
import os
import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from PIL import Image

from archsr.cli import main
from archsr.config import PrepareConfig, TrainConfig
from archsr.config.config_file import load
from archsr.data.prepare.scenes import assign, split_of, unite
from archsr.errors import UserError
from archsr.init import Machine, PhotoFolder, config_for, init, scan_folder, shares
from archsr.init.text import TEMPLATE
from archsr.training.memory.plan import option
from archsr.training.setup import with_micro_batch
from archsr.utils.world import World

SOME = PhotoFolder(count=1000, scenes=40, side=680, val=0.1, test=0.2)


@pytest.fixture(autouse=True)
def shallow(request, monkeypatch):
    """Use a network of three blocks instead of 23 except in slow tests: forecasts take a second, not half a minute."""
    assert "blocks = 23" in TEMPLATE
    if "slow" not in request.keywords:
        monkeypatch.setattr("archsr.init.TEMPLATE", TEMPLATE.replace("blocks = 23", "blocks = 3"))
        monkeypatch.setattr("archsr.init._LAST_BLOCK", "body.2")


def photographs(folder, projects=4, each=3, size=(400, 300)):
    for p in range(projects):
        (folder / f"project {p}").mkdir(parents=True)
        for n in range(each):
            Image.new("RGB", size, (20 * n, 40, 60)).save(folder / f"project {p}" / f"{n}.jpg")


def loaded(text, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    return load(TrainConfig, tmp_path / "c.toml")


def test_photographs_are_counted_by_project(tmp_path):
    photographs(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("x")
    (tmp_path / "in" / "bad.jpg").write_text("x")
    Image.new("RGB", (400, 300)).save(tmp_path / "in" / "scan.jp2")
    found = scan_folder(tmp_path / "in")
    assert (found.count, found.scenes, found.side) == (14, 6, 300)


def test_every_file_is_told_to_whoever_waits(tmp_path, monkeypatch):
    told = {}

    @contextlib.contextmanager
    def progress(title, total, **_):
        told[title] = [total, 0]

        def advance(count):
            told[title][1] += count

        yield advance

    for number in range(850):
        (tmp_path / f"IMG_{number}.jpg").touch()
    Image.new("RGB", (40, 30)).save(tmp_path / "IMG_0.jpg")
    (tmp_path / "notes.txt").touch()
    monkeypatch.setattr("archsr.init.progress", progress)
    assert scan_folder(tmp_path).count == 850
    assert told["looking for images"] == [None, 851]
    total, done = told["reading sizes"]
    assert total == done <= 400


@pytest.mark.slow
def test_every_way_that_is_forecast_is_told(monkeypatch):
    told = []

    @contextlib.contextmanager
    def progress(title, total, **_):
        told.append([title, total, 0])

        def advance(count):
            told[-1][2] += count

        yield advance

    monkeypatch.setattr("archsr.init.progress", progress)
    config_for(replace(SOME, count=30000), Machine(1, 2 * 2**30, True, 8), name="x", shards="shards/x")
    ((title, total, done),) = told
    assert title == "forecasting memory"
    assert total == done > 1


def test_a_word_comes_before_the_slow_imports(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "archsr.init", None)
    with pytest.raises(ImportError):
        main(["init", str(tmp_path)])
    assert f"looking at the photographs in {tmp_path}" in capsys.readouterr().err


def test_what_is_no_file_or_leads_back_is_not_looked_at(tmp_path):
    photographs(tmp_path / "in")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    (tmp_path / "in" / "folder.jpg").mkdir()
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "dead.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "in" / "round.jpg").symlink_to(tmp_path / "in" / "round.jpg")
    assert scan_folder(tmp_path / "in").count == 12


WHOLE = [pytest.param(*pair, marks=pytest.mark.slow, id=f"{pair}, 23 blocks") for pair in ((30000, 4), (1000, 16))]


@pytest.mark.parametrize(("count", "gib"), [*product([20, 1000, 30000], [0, 4, 16, 80]), *WHOLE])
def test_what_is_written_loads_and_fits(tmp_path, count, gib):
    on = Machine(gpus=int(gib > 0), memory=(gib or 8) * 2**30, bf16=gib > 0, cores=8)
    text = config_for(replace(SOME, count=count), on, name="x", shards="shards/x")
    config = loaded(text, tmp_path)
    assert "of" in text
    assert "forecast" in text
    layers = config.training.layers
    assert ("all" in layers) == (count == 30000)
    assert config.training.precision == ("bf16" if gib else "fp32")
    assert (config.losses.gan.weight > 0) == (gib > 0)
    assert config.training.global_batch % config.training.micro_batch == 0
    if gib == 4 and count == 30000 and config.model.blocks == 23:  # the whole network does not fit without changes
        assert config.training.micro_batch < 12 or config.training.gradient_checkpointing != "none"
    if gib == 80:
        assert config.training.micro_batch == 12


@pytest.mark.parametrize(("gpus", "bf16", "expected"), [(0, True, "bf16"), (0, False, "fp32"), (1, False, "fp16")])
def test_the_precision_is_what_the_machine_is_good_at(tmp_path, gpus, bf16, expected):
    text = config_for(SOME, Machine(gpus, 80 * 2**30, bf16, 4), name="x", shards="shards/x")
    assert loaded(text, tmp_path).training.precision == expected


@pytest.mark.parametrize("gpus", [2, 5, 8])
def test_several_gpus_share_the_batch_equally(tmp_path, gpus):
    text = config_for(SOME, Machine(gpus, 80 * 2**30, True, 64), name="x", shards="shards/x")
    training = loaded(text, tmp_path).training
    assert training.global_batch >= 12
    assert training.global_batch == gpus * training.micro_batch
    assert with_micro_batch(loaded(text, tmp_path), World(size=gpus)).training.micro_batch == training.micro_batch


@pytest.mark.slow
@pytest.mark.parametrize("gib", [2])
def test_a_small_gpu_gets_what_the_plan_forecasts_for_it(tmp_path, gib):
    """The forecast is that of the file as written, not only that of the search."""
    text = config_for(replace(SOME, count=30000), Machine(1, gib * 2**30, True, 8), name="x", shards="shards/x")
    config = loaded(text, tmp_path)
    assert option(config).memory <= gib * 2**30
    assert f"{option(config).memory / 2**30:.1f} of {gib}.0 GiB forecast" in text
    assert config.training.micro_batch < 12 or config.training.recompute_losses


def test_the_real_photographs(real_photos, tmp_path):
    found = scan_folder(real_photos)
    files = [p for p in real_photos.rglob("*") if p.is_file()]
    readable = 0
    for path in files:
        with contextlib.suppress(OSError), Image.open(path):
            readable += 1
    assert found.count == readable


@pytest.mark.parametrize("number", [3, 9, 30, 60, 200])
def test_what_is_set_aside_by_these_shares_allows_a_verdict(number):
    """The split is the one that `archsr prepare` will choose, which depends on names alone."""
    scenes = unite([f"house {n}/{k}.jpg" for n in range(number) for k in "ab"], (), PrepareConfig())
    val, test = shares(scenes)
    sides = Counter(assign(scenes, {}, PrepareConfig(val=val, test=test)).values())
    assert min(sides["train"], sides["val"]) > 0
    assert sides["test"] >= min(8, number // 3)
    if test > 0.1:  # no smaller share works
        fewer = Counter(split_of(scene, PrepareConfig(val=val, test=test - 0.01)) for scene in scenes.parts)
        assert fewer["test"] < min(8, number // 3)


def test_two_scenes_are_too_few(tmp_path):
    photographs(tmp_path / "in", projects=2)
    with pytest.raises(UserError, match="too few scenes for three splits: found 2"):
        scan_folder(tmp_path / "in")


def test_a_gpu_too_small_for_one_image():
    with pytest.raises(UserError, match=r"0\.5 GiB free: not even one image"):
        config_for(SOME, Machine(1, 2**29, True, 4), name="x", shards="s")


def test_a_config_is_not_overwritten_unasked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # free memory and speed may change between calls
    monkeypatch.setattr("archsr.init.machine", lambda _memory: Machine(gpus=0, memory=2**33, bf16=False, cores=2))
    photographs(tmp_path / "in")
    assert main(["init", "in", "--out", "mine.toml"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"archsr prepare in shards/photos --set (val|test)=0\.\d+", said)
    assert "archsr evaluate runs/mine" in said
    before = (tmp_path / "mine.toml").read_text()
    assert main(["init", "in", "--out", "mine.toml"]) == 2
    assert "--force overwrites it" in capsys.readouterr().err
    assert main(["init", "in", "--out", "mine.toml", "--dry-run"]) == 0
    assert capsys.readouterr().out.strip() == before.strip()
    assert load(TrainConfig, tmp_path / "mine.toml").name == "mine"


def test_folders_without_photographs(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        init(tmp_path / "none", tmp_path / "c.toml", shards="s")
    with pytest.raises(UserError, match="no images found"):
        init(tmp_path, tmp_path / "c.toml", shards="s")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_the_verbs(shell, capsys):
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "upscale" in said
    assert "prepare" in said
