"""The whole score card: many models, several processes, and all files."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image
from ranks import MAIN, Ranks

import archsr
from archsr.checkpoint import about_snapshot, weights_of, write_snapshot
from archsr.data.stream.reader import ShardReader
from archsr.errors import UserError
from archsr.evaluation.blend import blend
from archsr.evaluation.card import EvaluationRequest, evaluate_models
from archsr.evaluation.compared_models import Options
from archsr.evaluation.pairs import ShardPairs
from archsr.evaluation.statistics.seeds_pooled import groups_of
from archsr.evaluation.statistics.verdicts import was_chosen_on
from archsr.models.blend import blended
from archsr.training import launch
from archsr.upscaling.upscaler import open_model


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory):
    """A tiny trained run."""
    from archsr.config import TrainConfig
    from archsr.config.config_file import check

    folder = tmp_path_factory.mktemp("card")
    tables = {
        "name": "tiny",
        "runs": str(folder / "runs"),
        "model": {"arch": "rrdbnet", "features": 8, "growth": 4, "blocks": 2, "weights": "scratch"},
        "data": {"shards": str(shards), "gt_size": 32, "workers": 0},
        "losses": {"perceptual": {"weight": 0.0}, "gan": {"weight": 0.0}},
        "training": {"layers": ["all"], "global_batch": 4, "micro_batch": 4, "precision": "fp32",
                     "stages": [{"iterations": 12, "lr": 3e-3}], "ema": {"decay": 0.5}},
        "validation": {"every": 6, "samples": 3, "images": 1},
        "log": {"every": 1, "trackers": []},
    }  # fmt: skip
    launch.run(check(TrainConfig, tables, where="card"), resume=False)
    return folder / "runs" / "tiny"


def test_every_file_is_there_and_says_the_same(run, tmp_path):
    folder = evaluate_models(EvaluationRequest((str(run), "lanczos"), split="val"), out=tmp_path / "card").folder
    plain = json.loads((folder / "scores.json").read_text())
    assert list(plain["models"]) == ["bicubic", "lanczos", "original", "fine-tuned"]
    assert plain["baseline"] == "original"
    table = pq.read_table(folder / "scores.parquet").to_pylist()
    assert len(table) == 5 * len(plain["images"])  # with the originals
    first = plain["images"][0]
    [row] = [r for r in table if r["image"] == first["key"] and r["model"] == "fine-tuned"]
    assert row["psnr"] == first["values"]["fine-tuned"]["psnr"]
    assert (row["strength"], row["difficulty"]) == (first["strength"], first["difficulty"])
    for name in ("comparison", "differences"):
        Image.open(folder / f"{name}.png").verify()
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (folder / f"{name}.svg").read_text()
    page = (folder / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert page.count("class=slider") >= 1
    for heading in ("bicubic against original", "What the metrics mean", "By strength of the degradation"):
        assert heading in page
    for image in plain["images"]:
        assert image["key"] in page
    assert 'name = "tiny"' in page.replace("&quot;", '"')


def test_a_run_on_photographs_without_ground_truth_is_compared_with_its_original(run, photos):
    card = archsr.evaluate(run, photos=photos, crop=60, limit=6)
    assert card.folder == run / "evaluation" / f"photos-{photos.name}-crop-60-first-6"
    plain = json.loads((card.folder / "scores.json").read_text())
    assert list(plain["models"]) == ["bicubic", "original", "fine-tuned"]
    assert plain["baseline"] == "original"
    assert all(max(image["window"][2:]) == 60 for image in plain["images"])
    assert f"archsr vote original {run} --photos {photos} --limit 6" in card.summary
    assert card.summary.splitlines()[3].startswith("fine-tuned against original: agreement with the input ")


def test_a_run_against_itself_cannot_be_told(run, tmp_path):
    same = tmp_path / "same.safetensors"
    same.write_bytes(Path(weights_of(str(run))).read_bytes())
    asked = EvaluationRequest((str(run), str(same)), split="val", baseline="fine-tuned", limit=2)
    folder = evaluate_models(asked, out=tmp_path / "card").folder
    found = json.loads((folder / "scores.json").read_text())["differences"]["same"]
    assert found["psnr"]["mean"] == 0
    assert {m["verdict"] for m in found.values()} == {"no verdict"}


def test_pairs_without_a_stored_recipe_say_so(run, tmp_path, monkeypatch):
    """Pairs from disk and from older datasets have no recipe."""
    monkeypatch.setattr(ShardReader, "metadata", lambda *_: {})
    for name in ("architecture", "perceptual"):
        monkeypatch.setattr(f"archsr.evaluation.card.{name}", list)
    folder = evaluate_models(EvaluationRequest((str(run),), split="val", limit=1), out=tmp_path / "card").folder
    said = "strength of the degradation could not be computed: no recipe is stored with these pairs"
    assert said in (folder / "report.md").read_text()
    [image] = json.loads((folder / "scores.json").read_text())["images"]
    assert image["strength"] is None
    assert image["difficulty"] > 0


def test_the_line_between_original_and_run(run, tmp_path):
    folder = evaluate_models(
        EvaluationRequest((str(run),), split="val", limit=2, options=Options(blends=(0.0, 0.5, 1.0))),
        out=tmp_path / "card",
    ).folder
    means = json.loads((folder / "scores.json").read_text())["means"]
    assert list(means) == [
        "bicubic",
        "original",
        "fine-tuned × 0",
        "fine-tuned × 0.5",
        "fine-tuned × 1",
        "fine-tuned",
        "gt",
    ]
    found = json.loads((folder / "scores.json").read_text())["unjudged"]
    assert {n for n, why in found.items() if "exploratory" in why} == {n for n in means if "×" in n}
    assert means["fine-tuned × 0"] == means["original"]
    assert means["fine-tuned × 1"] == means["fine-tuned"]


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ({"models": ("lanczos",)}, "give --on SHARDS or --on FOLDER"),
        ({"models": ("RUN",), "baseline": "nobody"}, "no such model; choose one of bicubic, original, fine-tuned"),
        ({"models": ("RUN",), "metrics": ("lpip",)}, "no such metric.*lpips"),
        ({"models": ("RUN", "RUN")}, "two models are named fine-tuned|two models are named tiny"),
    ],
)
def test_questions_that_cannot_be_answered(run, tmp_path, question, word):
    models = tuple(str(run) if m == "RUN" else m for m in question["models"])
    with pytest.raises(UserError, match=word):
        evaluate_models(EvaluationRequest(**{**question, "models": models}), out=tmp_path)


@pytest.mark.slow  # the same of `evaluate` itself: training/test_validation.py
@pytest.mark.parametrize("processes", [2, 3])
def test_the_same_digits_on_any_number_of_processes(run, tmp_path, processes):
    alone = evaluate_models(EvaluationRequest((str(run),), split="val", limit=4), out=tmp_path / "one").folder
    words = ("evaluate", run, "--split", "val", "--offline", "--limit", "4", "--out", tmp_path / "many")
    done = Ranks(processes, MAIN, *words, folder=tmp_path).wait()
    assert done.returncode == 0, done.stderr[-2000:]
    one, many = (json.loads((f / "scores.json").read_text()) for f in (alone, tmp_path / "many"))
    for a, b in zip(one["images"], many["images"], strict=True):
        for model, values in a["values"].items():
            assert {m: b["values"][model][m] for m in values} == values
    assert one["differences"]["fine-tuned"]["psnr"] == many["differences"]["fine-tuned"]["psnr"]


def test_weights_have_no_verdicts_on_the_images_that_chose_them(run, shards, tmp_path):
    val, test = (ShardPairs(shards, split) for split in ("val", "test"))
    chosen, last, initial = (weights_of(str(run), which=w) for w in ("chosen", "last", "initial"))
    copied = tmp_path / "copied.safetensors"
    shutil.copy(chosen, copied)
    blend(initial, str(run), alpha=None, out=tmp_path / "blend.safetensors", limit=2)
    asked = [chosen, str(copied), str(tmp_path / "blend.safetensors"), last, initial, "bicubic"]
    assert [was_chosen_on(weights, val) for weights in asked] == [True, True, True, False, False, False]
    assert not any(was_chosen_on(weights, test) for weights in asked)


def test_what_is_cropped_and_what_is_not_is_said(run, tmp_path):
    folder = evaluate_models(
        EvaluationRequest((str(run),), limit=1, metrics=("ms_ssim",)), out=tmp_path / "card"
    ).folder
    said = json.loads((folder / "scores.json").read_text())["protocol"]
    assert "PSNR and SSIM (Gaussian window 11, σ 1.5) on RGB of the crops without 4 pixels of border" in said
    assert "MS-SSIM on Y of the whole crops; all other metrics (LPIPS and DISTS, too) on the whole crops." in said
    assert said.endswith("Primary metric: PSNR.")


def test_seeds_of_one_config_are_found(run, tmp_path):
    copies = []
    for name, seed, rate in (("b", 1, "0.003"), ("c", 2, "0.003"), ("d", 3, "0.001")):
        folder = tmp_path / name
        shutil.copytree(run, folder)
        text = (folder / "config.toml").read_text()
        text = text.replace('name = "tiny"', f'name = "{name}"').replace("\nseed = 0", f"\nseed = {seed}")
        (folder / "config.toml").write_text(text.replace("lr = 0.003", f"lr = {rate}"))
        copies.append(str(folder))
    assert groups_of([str(run), *copies]) == {"3 seeds": ["tiny", "b", "c"]}
    folder = evaluate_models(EvaluationRequest((str(run), *copies[:2]), limit=1), out=tmp_path / "card").folder
    plain = json.loads((folder / "scores.json").read_text())
    assert list(plain["models"]) == ["bicubic", "original", "3 seeds", "tiny", "b", "c"]
    assert plain["means"]["3 seeds"]["psnr"] == pytest.approx(plain["means"]["tiny"]["psnr"])
    assert set(plain["unjudged"]) == {"tiny", "b", "c"}
    assert "3 seeds, PSNR, dB against original: tiny " in (folder / "report.md").read_text()


# ---------------------------------------------------------------- blends


def test_a_blend_is_the_line_between_two_models(run, tmp_path):
    first, second = (weights_of(str(run), which=w) for w in ("initial", "best"))
    assert blend(first, str(run), alpha=0.25, out=tmp_path / "b.safetensors") == 0.25
    a, b, found = (open_model(str(m))[0].state_dict() for m in (first, second, tmp_path / "b.safetensors"))
    for name, tensor in found.items():
        assert torch.allclose(tensor, 0.75 * a[name] + 0.25 * b[name], atol=1e-6)
    assert all(torch.equal(blended(a, b, 0)[n], a[n]) and torch.equal(blended(a, b, 1)[n], b[n]) for n in a)


def test_the_best_blend_is_chosen_on_validation(run, tmp_path, capsys):
    alpha = blend(weights_of(str(run), which="initial"), str(run), alpha=None, out=tmp_path / "b.safetensors", limit=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alpha")]
    found = {float(line.split()[1].rstrip(":")): float(line.split()[4]) for line in lines if "(" not in line}
    assert len(lines) == 11
    assert found[alpha] == min(found.values()), "the smallest feature distance of those that may be chosen"


def test_a_blend_is_chosen_without_a_look_at_the_test_pairs(run, shards, tmp_path):
    copy = tmp_path / "no test pairs"
    shutil.copytree(shards, copy)
    for path in copy.glob("test-*"):
        path.unlink()
    first = weights_of(str(run), which="initial")
    on_copy, on_all = (
        blend(first, str(run), alpha=None, out=tmp_path / "b.safetensors", on=str(on), limit=2) for on in (copy, shards)
    )
    assert on_copy == on_all


def test_unlike_models_are_not_blended(run, tmp_path, real_weights):
    with pytest.raises(UserError, match="different tensors|shapes"):
        blend(
            str(real_weights / "RealESRGAN_x4plus.fp16.safetensors"),
            str(run),
            alpha=0.5,
            out=tmp_path / "b.safetensors",
        )


def test_a_run_that_was_trained_on_an_earlier_state_of_its_dataset_is_named(run, tmp_path, capsys):
    """After a new preparation its training images may be test images."""
    stored = run / "snapshots" / "best.safetensors"
    moved = tmp_path / "runs" / "old"
    shutil.copytree(run, moved)
    about = {**about_snapshot(stored), "fingerprint": "0123456789abcdef0123"}
    for name in ("best", "chosen"):
        write_snapshot(moved / "snapshots" / f"{name}.safetensors", safetensors.torch.load_file(stored), about=about)
    folder = evaluate_models(EvaluationRequest((str(moved),), split="val", limit=2), out=tmp_path / "card").folder
    said = "was trained on an earlier"
    assert said in capsys.readouterr().err
    assert said in (folder / "report.md").read_text()
    evaluate_models(EvaluationRequest((str(run),), split="val", limit=2), out=tmp_path / "card")
    assert said not in capsys.readouterr().err


def test_drawing_the_report_is_counted_without_a_terminal(run, tmp_path, monkeypatch, capsys):
    """It restores images again, which takes minutes with a large network on a busy machine."""
    monkeypatch.setattr("archsr.utils.progress._QUIET_SECONDS", (0.0, 0.0))
    evaluate_models(EvaluationRequest((str(run),), limit=2), out=tmp_path / "card")
    said = capsys.readouterr().err.split("computing intervals and drawing the report")[1]
    for line in ("computing intervals: 2 of 2", "choosing the image to show: 4 of 4", "restoring images to show: 3 of",
                 "drawing the figures"):  # fmt: skip
        assert line in said


def test_the_terminal_and_the_page_end_with_what_to_do(run, tmp_path):
    answer = evaluate_models(EvaluationRequest((str(run),), limit=2), out=tmp_path / "card")
    last = answer.summary.split("What to do:\n")[1]
    assert last.startswith("Decide nothing yet: ")
    assert last.splitlines()[0].split(":")[0] in (tmp_path / "card" / "report.html").read_text().split("id=advice")[1]
    assert last.splitlines()[0] in (tmp_path / "card" / "report.md").read_text().split("## What to do")[1]
