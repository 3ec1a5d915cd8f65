"""`archsr preview`: sheets, histograms and recipes for every kind of config, and rebuilt bad batches."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from archsr.cli import main
from archsr.config import PRESETS, DegradeConfig, TrainConfig
from archsr.config.config_file import check, dump
from archsr.degradation import sheet
from archsr.degradation.apply import apply
from archsr.degradation.histograms import parameters
from archsr.degradation.recipe import draw, from_json
from archsr.degradation.words import describe
from archsr.images.pixels import pixels_to_tensor, read_photo, to_float
from archsr.training import launch
from archsr.training import step as one_step
from archsr.training.data import open_data
from archsr.training.faults.nonfinite import rebuild
from archsr.training.logging import sheets
from archsr.training.pairs import options_of
from archsr.utils.seeds import generator


@pytest.fixture(autouse=True)
def few_draws_for_the_histograms(monkeypatch):
    monkeypatch.setattr("archsr.training.preview._DRAWN", 60)


@pytest.fixture
def config_path(tiny, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(dump(tiny))
    return path


def stored(out):
    return json.loads((out / "recipes.json").read_text())


def test_a_training_config_shows_what_its_run_will_train_on(config_path, tiny, tmp_path, capsys):
    out = tmp_path / "seen"
    assert main(["preview", str(config_path), "--out", str(out), "--samples", "5"]) == 0
    assert "the first training samples of" in capsys.readouterr().out
    about = stored(out)
    assert [b["position"] for b in about["batches"]] == [0, 2, 4]
    options = options_of(tiny, open_data(tiny), 1.0)
    for batch in about["batches"]:
        crops = loop_batch(options, batch["position"])
        assert list(crops.keys) == batch["keys"]
        pair = apply(to_float(crops.gt), from_json(batch["recipe"]))
        assert batch["psnr"] == sheet.psnrs(pair)
    for name in ("sheet.png", "parameters.png"):
        with Image.open(out / name) as image:
            assert min(image.size) > 300


def loop_batch(options, position):
    from archsr.data.stream.loader import batch_at

    return batch_at(options, range(position, position + 2))


def test_photographs_of_a_folder_and_overrides(config_path, photos, tmp_path, monkeypatch):
    out, heads = tmp_path / "seen", []
    drawn = sheet.draw_sheet
    monkeypatch.setattr(
        "archsr.training.preview.draw_sheet", lambda shown, header: heads.append(header) or drawn(shown, header)
    )
    command = ["preview", str(config_path), "--photos", str(photos), "--out", str(out), "--samples", "4"]
    assert main([*command, "--set", "degrade.preset=bicubic", "--set", "degrade.margin=8"]) == 0
    assert heads[0].startswith("tiny --set degrade.preset=bicubic --set degrade.margin=8: preset bicubic, scale")
    assert main(command) == 0
    assert heads[1].startswith("tiny: preset ")
    about = stored(out)
    assert about["degrade"]["first"]["jpeg"]["low"] == 30.0
    names = {p.stem for p in photos.rglob("*.*")}
    assert all(key in names for b in about["batches"] for key in b["keys"])


def test_a_preparation_config_and_no_images_anywhere(tmp_path, capsys, photos, monkeypatch):
    monkeypatch.setattr(
        "archsr.training.preview.draw_photos", lambda folder, **_: shutil.copytree(photos, folder / "drawn")
    )
    path = tmp_path / "prepare.toml"
    path.write_text('min_side = 128\npair_size = 64\n[degrade]\npreset = "web"\n')
    assert main(["preview", str(path), "--out", str(tmp_path / "seen"), "--samples", "3"]) == 0
    assert "synthetic, as a preparation config names no images" in capsys.readouterr().out
    assert len(stored(tmp_path / "seen")["batches"]) == 3
    assert main(["preview", str(path), "--photos", str(tmp_path / "seen" / "none")]) == 2
    assert "no photographs there" in capsys.readouterr().err


def test_preview_wants_one_thing(config_path, capsys):
    assert main(["preview"]) == 2
    assert main(["preview", str(config_path), "--replay", "x.json"]) == 2
    assert capsys.readouterr().err.count("needs a config, or --replay") == 2


@pytest.mark.parametrize("preset", PRESETS)
def test_words_and_parameters_of_every_preset(preset):
    config = DegradeConfig(preset=preset)
    recipes = [draw(config, generator(n, "w"), 20, scale=4, gt_size=64) for n in range(20)]
    for recipe in recipes:
        lines = describe(recipe, 3)
        assert len(lines) == len(recipe.steps) + 2 * ("finish" in recipe.steps)
        assert all(lines)
    drawn = parameters(recipes)
    assert len(drawn["crop: x"]) == 400
    if preset == "realesrgan":
        words = [line for r in recipes for i in range(20) for line in describe(r, i)]
        assert any(w.startswith("JPEG ") for w in words)
        share = sum(k == "sinc" for k in drawn["blur1: kind"]) / 400
        assert share == pytest.approx(0.1, abs=0.06)
        assert max(drawn["noise1: σ of 255"]) <= 30
        assert min(drawn["jpeg2: quality"]) >= 30
    if preset == "bsrgan":
        assert len(set(drawn["order: the first step"])) > 3


def test_words_say_what_is_in_the_recipe():
    recipe = draw(DegradeConfig(), generator(1, "w"), 30, scale=4, gt_size=64)
    for i in range(30):
        lines = describe(recipe, i)
        assert lines[3] == f"JPEG {float(recipe.first.quality[i]):.0f}"
        assert ("Poisson" in lines[2]) == bool(recipe.first.poisson[i])
        assert ("grey" in lines[2]) == bool(recipe.first.grey[i])
        assert lines[-1].startswith("JPEG") != bool(recipe.sinc_last[i])
        assert lines[1] == "no resize" or f"× {float(recipe.first.factor[i]):.2f}" in lines[1]


# ---------------------------------------------------------------- the start of a run, and bad batches


def test_a_run_begins_with_a_sheet_and_the_sheet_changes_nothing(unbroken, tiny, monkeypatch):
    folder = unbroken
    with Image.open(folder / "degradation.png") as image:
        assert image.width > 300
    monkeypatch.setattr(sheets, "draw_sheet", lambda *args: torch.zeros(8, 8, 3, dtype=torch.uint8).numpy())
    launch.run(tiny.model_copy(update={"name": "plain"}), resume=False)
    a, b = (f / "checkpoints" / "step-00000006" / "generator.safetensors" for f in (folder, folder.with_name("plain")))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("pool_batches", [0, 2])
def test_the_batch_behind_a_nan_is_made_again(tiny_tables, monkeypatch, tmp_path, capsys, pool_batches):
    """NaN is planted in the second micro-batch of step 5, when the pool gives back pairs of several batches."""
    real, pairs = one_step.micro_step, []

    def planted(parts, pair, *, share, last):
        pairs.append(pair)
        terms = real(parts, pair, share=share, last=last)
        return {**terms, "pixel": terms["pixel"] * float("nan")} if len(pairs) == 10 else terms

    monkeypatch.setattr(one_step, "micro_step", planted)
    tables = {**tiny_tables, "degrade": {"pool_batches": pool_batches, "fidelity": "faithful"}, "log": {"every": 6}}
    launch.run(check(TrainConfig, {**tables, "checkpoint": {"every": 100}}, where="x"), resume=False)
    assert "bad_batches/00000005.json" in capsys.readouterr().out
    path = Path(tiny_tables["runs"]) / "tiny" / "bad_batches" / "00000005.json"
    about = json.loads(path.read_text())
    assert about["terms"]["pixel"] == "nan"
    assert len(about["rows"]) == 2
    assert len({row["batch"] for row in about["rows"]}) == (1 if pool_batches == 0 else 2)
    again = rebuild(path, overrides=[])
    assert torch.equal(again.pair.lq, pairs[9].lq)
    assert torch.equal(again.pair.gt, pairs[9].gt)
    out = tmp_path / "again"
    assert main(["preview", "--replay", str(path), "--out", str(out)]) == 0
    assert "pixel nan" in capsys.readouterr().out
    shown = pixels_to_tensor(read_photo(out / "01-lq.png").pixels)
    assert torch.equal(shown[0], again.pair.lq[1])


def test_origins_survive_a_checkpoint(tiny_tables, monkeypatch):
    """The run stops before the NaN, resumes from its checkpoint, and still knows the origin of the pool's pairs."""
    launch.run(check(TrainConfig, {**tiny_tables, "training": {**tiny_tables["training"], "stages": [
        {"iterations": 4, "lr": 1e-3}]}}, where="x"), resume=False)  # fmt: skip
    real, pairs = one_step.micro_step, []

    def planted(parts, pair, *, share, last):
        pairs.append(pair)
        return {"pixel": real(parts, pair, share=share, last=last)["pixel"] * float("nan")}

    monkeypatch.setattr(one_step, "micro_step", planted)
    launch.run(check(TrainConfig, tiny_tables, where="x"), resume=True)
    again = rebuild(Path(tiny_tables["runs"]) / "tiny" / "bad_batches" / "00000005.json", overrides=[])
    assert torch.equal(again.pair.lq, pairs[0].lq)
    assert torch.equal(again.pair.gt, pairs[0].gt)


@pytest.mark.parametrize(
    ("content", "words"), [("{", "not a bad batch file"), ("[]", "not a bad batch file"), (None, "cannot be read")]
)
def test_files_that_are_no_bad_batches_are_refused(tmp_path, capsys, content, words):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert main(["preview", "--replay", str(path)]) == 2
    assert words in capsys.readouterr().err
