import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from archsr.config import DataConfig
from archsr.data import manifest as mf
from archsr.data.prepare.pipeline import prepare
from archsr.errors import UserError
from archsr.evaluation.architecture import architecture
from archsr.evaluation.card import EvaluationRequest, evaluate_models
from archsr.evaluation.compared_models import ComparedModel, bicubic
from archsr.evaluation.metrics import Metric, extra, standard
from archsr.evaluation.pairs import ShardPairs, open_pairs
from archsr.evaluation.report.markdown import as_json, markdown
from archsr.evaluation.statistics.bootstrap import paired
from archsr.evaluation.suite import ImageScores, Scores, evaluate, measure_all
from archsr.evaluation.summary import by_tag, difference, in_words, meanings
from archsr.images.pixels import pixels_to_tensor, read_photo
from archsr.metrics.psnr_ssim import ssim
from archsr.utils.world import World

# ---------------------------------------------------------------- arithmetic


def test_models_are_measured_without_tf32_and_with_the_same_algorithms_each_time(monkeypatch):
    """Training leaves cuDNN's benchmark on, and torch allows TF32 in convolutions."""
    for name in ("benchmark", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, True)

    def now():
        cudnn = torch.backends.cudnn
        return cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()

    images = SimpleNamespace(numbers=lambda: [0, 1], read=lambda numbers: numbers)
    seen = []
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        measure_all(images, lambda n: seen.append(now()) or ImageScores(n, "", "", {}), world=World(), brief=True)
        assert seen == [(False, False, "highest")] * 2
        assert now() == (True, True, "high")
    finally:
        torch.set_float32_matmul_precision(before)


# ---------------------------------------------------------------- statistics


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        scenes = rng.normal(0.3, 0.5, 30)
        data = {str(i): (s + rng.normal(0, 0.3, rng.integers(1, 6))).tolist() for i, s in enumerate(scenes)}
        found = paired(data, higher_is_better=True)
        hits += found.low <= 0.3 <= found.high
    assert 0.87 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("shift", "verdict"), [(1.0, "better"), (-1.0, "worse"), (0.0, "inconclusive")])
def test_verdicts(shift, verdict):
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.5, (12, 3))
    data = {str(i): (shift + n - noise.mean()).tolist() for i, n in enumerate(noise)}
    opposite = {k: [-x for x in v] for k, v in data.items()}
    assert paired(data, higher_is_better=True).verdict(higher_is_better=True) == verdict
    assert paired(opposite, higher_is_better=False).verdict(higher_is_better=False) == verdict


def test_images_of_one_scene_are_no_evidence_of_their_own():
    """Sixty images of six scenes must not count as sixty scenes."""
    rng = np.random.default_rng(2)
    means = [1.0, 0.1, -0.4, 0.6, -0.1, 0.3]
    scenes = {str(s): (m + rng.normal(0, 0.01, 10)).tolist() for s, m in enumerate(means)}
    few = paired(scenes, higher_is_better=True)
    alone = paired({str(i): [v] for i, v in enumerate(x for s in scenes.values() for x in s)}, higher_is_better=True)
    assert few.high - few.low > 2 * (alone.high - alone.low)


def test_too_few_scenes_give_no_interval():
    found = paired({"a": [1.0, 2.0], "b": [1.5]}, higher_is_better=True)
    assert math.isnan(found.low)
    assert found.verdict(higher_is_better=True) == "inconclusive"
    assert (found.mean, found.images, found.scenes, found.wins) == (1.5, 3, 2, 1.0)


# ---------------------------------------------------------------- suite and report


def nearest(name="original"):
    return ComparedModel(name, name, lambda lq: F.interpolate(lq, scale_factor=4, mode="nearest"))


def damaged(name="fine-tuned"):
    def restore(lq):
        noise = torch.randn(1, 1, 4 * lq.shape[2], 4 * lq.shape[3], generator=torch.Generator().manual_seed(0))
        return F.interpolate(lq, scale_factor=4, mode="nearest") + 0.2 * noise

    return ComparedModel(name, name, restore)


def test_a_model_against_itself_cannot_be_told(shards):
    scores = evaluate(ShardPairs(shards, "test"), [nearest(), nearest("fine-tuned")], standard(4))
    for metric in scores.metrics:
        found = difference(scores, metric, "fine-tuned", "original")
        if found is not None:
            assert found.mean == 0
            assert found.verdict(higher_is_better=metric.higher_is_better) == "inconclusive"


def test_damage_is_worse_and_the_report_says_so(shards):
    scores = evaluate(ShardPairs(shards, "val"), [bicubic(4), nearest(), damaged()], standard(4))
    psnr = scores.metrics[0]
    assert difference(scores, psnr, "fine-tuned", "original").mean < -1
    text = markdown(replace(scores, missing={"lpips": "no network"}), title="T", protocol="P")
    for word in (
        "| bicubic |",
        "| original |",
        "| fine-tuned |",
        "photographs (ground truth)",
        "no network",
        "## Per image",
    ):
        assert word in text
    assert all(row.key in text for row in scores.rows)
    plain = json.loads(as_json(scores, protocol="P", judged={}))
    assert plain["means"]["original"]["psnr"] == pytest.approx(
        np.mean([r["values"]["original"]["psnr"] for r in plain["images"]])
    )


def test_the_report_breaks_down_by_tag(shards):
    scores = evaluate(ShardPairs(shards, "val"), [nearest(), damaged()], standard(4)[:1])
    rows = [
        replace(row, tags=tags)
        for row, tags in zip(scores.rows, [("hall",), ("hall", "night"), *[()] * len(scores.rows)], strict=False)
    ]
    parts = by_tag(replace(scores, rows=rows))
    assert {tag: len(part.rows) for tag, part in parts.items()} == {"hall": 2, "night": 1, "(no tag)": len(rows) - 2}
    text = markdown(replace(scores, rows=rows), title="T", protocol="P")
    plain = json.loads(as_json(replace(scores, rows=rows), protocol="P", judged={}))["by_tag"]
    for tag, part in parts.items():
        expected = np.mean([row.values["fine-tuned"]["psnr"] for row in part.rows])
        assert plain[tag]["means"]["fine-tuned"]["psnr"] == pytest.approx(expected)
        assert f"| {tag} | {len(part.rows)} |" in text
        assert f"→ {expected:.2f}" in text
    assert "## By tag" not in markdown(replace(scores, rows=rows[:1]), title="T", protocol="P")


def planted_scores(*, scenes=8, **changes):
    """Return scenes of one image, in which `new` differs from `old` by the given amount in each metric."""
    metrics = [*standard(4), *architecture()]
    still = {m.name: 1.0 for m in metrics}
    rows = [
        ImageScores(
            n,
            str(n),
            f"scene {n}",
            {"old": still, "new": {**still, **{k: 1 + v + n / 1000 for k, v in changes.items()}}},
        )
        for n in range(scenes)
    ]
    return Scores(rows, [("old", "old"), ("new", "new")], metrics, "old", primary="psnr")


def test_the_summary_in_words_says_what_the_verdicts_say():
    said = in_words(planted_scores(scenes=12, psnr=0.5, niqe_distance=0.4, lines_kept=-0.2), "new", "old")
    assert said == (
        "In words: compared with old, new is nearer to the photographs, pixel by pixel, but is less natural "
        "than before (NIQE) and loses straight lines. The rest is inconclusive."
    )


def test_few_scenes_prove_nothing_and_the_summary_says_what_they_show_all_the_same():
    few = planted_scores(psnr=0.5, niqe_distance=0.4)
    said = in_words(replace(few, rows=few.rows[:3]), "new", "old")
    assert "3 images of 3 scenes are inconclusive about new and old by the primary metric, PSNR: fewer than 6" in said
    assert said.endswith(
        "In these images, though, new is nearer to the photographs, pixel by pixel in 3 of 3 and is less natural "
        "than before (NIQE) in 3 of 3."
    )


def test_a_better_psnr_of_plain_interpolation_is_said():
    scores = planted_scores(psnr=0.5)
    rows = [replace(r, values={**r.values, "bicubic": {**r.values["old"], "psnr": 9.0}}) for r in scores.rows]
    with_bicubic = replace(scores, rows=rows, compared_models=[("bicubic", "bicubic"), *scores.compared_models])
    assert "PSNR alone would put bicubic interpolation (9.00 dB) before new (1.50 dB)" in in_words(
        with_bicubic, "new", "old"
    )
    assert "bicubic" not in in_words(scores, "new", "old")


def test_equal_images_are_no_tendency():
    """Eight of ten images are equal, so no tendency is reported."""
    scores = planted_scores(psnr=0.5)
    rows = [r if n < 2 else replace(r, values={**r.values, "new": r.values["old"]}) for n, r in enumerate(scores.rows)]
    assert "In these images" not in in_words(replace(scores, rows=rows[:5]), "new", "old")


def test_niqe_leaves_the_border_out():
    inner = torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(3))
    around = F.pad(inner, (4,) * 4, value=1.0)
    niqes = {border: next(m for m in standard(border) if m.name == "niqe") for border in (0, 4)}
    assert niqes[4].of(around, around, around) == niqes[0].of(inner, inner, inner)
    assert niqes[0].of(around, around, around) != niqes[0].of(inner, inner, inner)


def test_every_metric_that_we_take_has_words():
    scores = planted_scores()
    told = dict(meanings(scores))
    assert set(told) == {*(m.title for m in scores.metrics), "− photographs'"}


def test_tags_come_with_the_pairs(shards):
    tags = {row.tags for row in evaluate(ShardPairs(shards, "val"), [nearest(), damaged()], standard(4)[:1]).rows}
    listed = {s.tags for shard in mf.load(shards).splits["val"].shards for s in mf.read_index(shards, shard)}
    assert tags == listed
    assert listed != {()}


def test_bicubic_is_matlabs(shards):
    """PIL's bicubic has the same kernel and only rounds differently."""
    from PIL import Image

    coarse = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    lq = (F.interpolate(coarse, size=(20, 24), mode="bilinear") * 255).round() / 255
    ours = bicubic(4).restore(lq)
    image = Image.fromarray((lq[0].permute(1, 2, 0) * 255).byte().numpy()).resize((96, 80), Image.Resampling.BICUBIC)
    theirs = pixels_to_tensor(np.array(image))
    assert ((ours - theirs).abs()[:, :, 8:-8, 8:-8] * 255).max() < 1.6


def test_every_model_sees_the_same_stored_pixels(shards):
    seen = []

    def spy(lq):
        seen.append(lq.clone())
        return F.interpolate(lq, scale_factor=4)

    evaluate(ShardPairs(shards, "test"), [ComparedModel("a", "a", spy), ComparedModel("b", "b", spy)], standard(4))
    for a, b in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(a, b)


def test_what_is_measured_is_what_a_file_would_hold(shards):
    """Results are rounded to 8 bits, whatever a model returns."""
    seen = []
    spy = Metric("spy", "spy", True, lambda sr, *_: seen.append(sr) or 0.0)
    fine = ComparedModel("fine", "fine", lambda lq: F.interpolate(lq, scale_factor=4, mode="bilinear") * 0.97 + 0.001)
    evaluate(ShardPairs(shards, "test"), [fine], [spy])
    assert seen
    assert all(torch.equal((sr * 255).round() / 255, sr) for sr in seen)


def test_training_tiles_are_no_evaluation_pairs(shards):
    with pytest.raises(UserError, match="choose val or test"):
        open_pairs(str(shards), DataConfig(), split="train", scale=4)


def test_what_cannot_be_had_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    found, missing = extra(["lpips", "no-such-metric"])
    assert found == []
    assert "no network" in missing["lpips"]
    assert "no-such-metric" in missing["no-such-metric"]


def test_pyiqas_offline_metrics_agree_with_ours(real_photos):
    """pyiqa needs no files for PSNR; borders and rounding are like ours."""
    found, missing = extra(["psnr", "ssim"])
    assert missing == {}
    pixels = read_photo(real_photos / "project_00" / "building-001_view-1.jpg").pixels[:256, :256]
    gt = pixels_to_tensor(pixels)
    sr = (
        (gt + 0.05 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1) * 255
    ).round() / 255
    ours = {m.name: m.of(sr, gt, sr) for m in standard(0)}
    assert found[0].of(sr, gt, sr) == pytest.approx(ours["psnr"], abs=1e-3)
    grey = [(p * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True) for p in (sr, gt)]
    assert found[1].of(sr, gt, sr) == pytest.approx(float(ssim(*grey)), abs=2e-3)  # theirs is on full-range luma


# ---------------------------------------------------------------- a run's card


def test_a_runs_card(unbroken):
    run = unbroken
    answer = evaluate_models(EvaluationRequest((str(run),)))
    folder = answer.folder
    plain = json.loads((folder / "scores.json").read_text())
    assert list(plain["models"]) == ["bicubic", "original", "fine-tuned"]
    assert "step 6" in plain["models"]["fine-tuned"] or "step 3" in plain["models"]["fine-tuned"]
    assert "against original" in (folder / "report.md").read_text()
    assert "PSNR, dB" in answer.summary
    again = evaluate_models(EvaluationRequest((str(run),)), out=run / "again").folder
    assert (again / "scores.json").read_bytes() == (folder / "scores.json").read_bytes()


def test_pairs_of_another_scale_are_refused(unbroken, photos, prepare_config, tmp_path):
    two = tmp_path / "two"
    prepare(photos, two, prepare_config.model_copy(update={"scale": 2}))
    with pytest.raises(UserError, match="the pairs have scale 2"):
        evaluate_models(EvaluationRequest((str(unbroken),), on=str(two)))


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        evaluate_models(EvaluationRequest((str(tmp_path),)))
