"""Verdicts: the primary metric at 5 %, the others by Holm's correction, none for models that the images chose."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.evaluation.architecture import architecture
from archsr.evaluation.metrics import standard
from archsr.evaluation.report.html import page
from archsr.evaluation.report.markdown import as_json, markdown
from archsr.evaluation.report.verdict_table import VERDICT_HEADS, verdict_rows
from archsr.evaluation.statistics.bootstrap import pooled
from archsr.evaluation.statistics.seeds_pooled import seed_sentences, with_pooled
from archsr.evaluation.statistics.verdicts import by_scene, findings, levels_and_verdicts
from archsr.evaluation.suite import ImageScores, Scores
from archsr.evaluation.summary import in_words, sentence

METRICS = [*standard(4), *architecture()]


def scores_of(changes, *, models=("new",), primary="psnr", **more):
    """Return one image per scene; `changes` holds by metric the differences from `old`, one per scene."""
    scenes = len(next(iter(changes.values())))
    rows = []
    for n in range(scenes):
        new = {m.name: 1.0 + float(changes.get(m.name, [0.0] * scenes)[n]) for m in METRICS}
        values = {"old": {m.name: 1.0 for m in METRICS}, "gt": {m.name: 1.0 for m in METRICS}}
        rows.append(ImageScores(n, f"image {n}", f"scene {n}", {**values, **dict.fromkeys(models, new)}))
    return Scores(rows, [(m, m) for m in ("old", *models)], METRICS, "old", primary=primary, **more)


def verdicts(scores, new="new"):
    return {name: found.verdict for name, found in findings(scores, new, "old").items()}


CLEAR = np.linspace(0.9, 1.1, 12)
FAINT = np.array([0.5, 0.4, 0.6, 0.3, 0.5, 0.4, -0.3, 0.2, 0.1, -0.2, 0.3, -0.1])  # p = 0.011: clear, if it stood alone


def test_the_primary_metric_is_tested_at_5_per_cent_and_the_others_by_holm():
    found = findings(scores_of({"psnr": FAINT, "ssim": FAINT, "colour": -CLEAR}), "new", "old")
    assert (found["psnr"].verdict, found["psnr"].level) == ("better", 0.05)
    assert 0.005 < found["ssim"].difference.permutation_p < 0.05
    assert found["ssim"].verdict == "inconclusive"
    others = len(found) - 1
    assert found["colour"].verdict == "better"
    assert found["colour"].level == pytest.approx(0.05 / others)
    assert found["ssim"].level == pytest.approx(0.05 / (others - 1))


def test_where_the_primary_metric_is_inconclusive_nothing_else_is_tested():
    scores = scores_of({"psnr": CLEAR - 1, "ssim": CLEAR})
    assert verdicts(scores)["psnr"] == "inconclusive"
    assert set(verdicts(scores).values()) == {"inconclusive", "not tested"}
    assert "Not tested, as the primary metric is inconclusive: SSIM" in sentence(scores, "new", "old")
    said = in_words(scores, "new", "old")
    assert "12 images of 12 scenes are inconclusive about new and old by the primary metric, PSNR; they would" in said
    assert "though, new is truer in structure in 12 of 12" in said


def test_the_primary_metric_stands_first_and_is_named():
    rows = verdict_rows(scores_of({"colour": -CLEAR}, primary="colour"), "new", "old")
    assert rows[0][:2] == ["colour drift, ΔE00 (primary)", "better"]
    assert all(len(row) == len(VERDICT_HEADS) for row in rows)


def test_a_primary_metric_that_was_not_taken_leaves_no_verdict():
    scores = scores_of({"psnr": CLEAR}, primary="lpips")
    assert set(verdicts(scores).values()) == {"no verdict"}
    assert "The primary metric, lpips, could not be computed" in sentence(scores, "new", "old")


def test_a_model_that_the_images_chose_has_figures_and_no_verdict():
    scores = scores_of({"psnr": CLEAR}, unjudged={"new": "new was chosen by these."})
    text = markdown(scores, title="T", protocol="P")
    assert "new was chosen by these." in text
    assert "**better**" not in text
    assert "+1.000" in text
    assert set(verdicts(replace(scores, unjudged={})).values()) != {"no verdict"}


def test_groups_are_descriptive():
    scores = scores_of({"psnr": CLEAR, "ssim": CLEAR})
    tagged = replace(scores, rows=[replace(r, tags=("hall",) if r.number < 8 else ()) for r in scores.rows])
    plain = json.loads(as_json(tagged, protocol="P", judged={}))
    assert plain["by_tag"]["hall"]["differences"]["new"]["psnr"]["verdict"] == "no verdict"
    assert plain["differences"]["new"]["psnr"]["verdict"] == "better"
    text = markdown(tagged, title="T", protocol="P")
    group = text.split("## By tag")[1].split("##")[0]
    assert "descriptive" in group
    assert "better" not in group


def test_what_rests_on_one_scene_stands_beside_the_verdict():
    jump = np.array([0.1] * 11 + [3.0])
    [row] = [r for r in verdict_rows(scores_of({"psnr": jump}), "new", "old") if r[0].startswith("PSNR")]
    assert row[1] == "better"
    assert row[4] == "+0.100 to +0.364; scene 11 alone contributes 73% of the mean"
    assert "Caution: by the primary metric, scene 11 alone contributes 73%" in in_words(
        scores_of({"psnr": jump}), "new", "old"
    )


def test_the_page_shows_no_asterisks():
    html = page(scores_of({"psnr": CLEAR}), title="T", protocol="P", crops=[], figures=[], extras={})
    assert "*" not in html.split("<body>")[1].split("<script>")[0]


def test_crops_are_called_crops():
    scores = scores_of({"psnr": CLEAR}, unit="crops")
    text = markdown(scores, title="T", protocol="P")
    assert "mean of 12 crops" in text
    assert "## Per crop" in text
    assert not re.search(r"\bimages\b|[Pp]er image", text)


def test_of_equal_models_at_most_five_reports_in_a_hundred_hold_a_verdict():
    """The full table is in tests/measure/verdict_simulations.py."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(4000, 1, 10)) * 0.7 + rng.normal(size=(4000, 16, 10))
    error = means.std(-1, ddof=1) / np.sqrt(10)
    p = 2 * stats.t.sf(np.abs(means.mean(-1) / error), 9)
    assert levels_and_verdicts(p, p < 0.05)[1].any(-1).mean() <= 0.058  # 0.05, and 2.3 standard errors of 4,000 reports
    assert (p < 0.05).any(-1).mean() > 0.2, "uncorrected"
    p[:, 0] = 0
    assert levels_and_verdicts(p, p < 0.05)[1][:, 1:].any(-1).mean() <= 0.058


# ---------------------------------------------------------------- seeds of one config


def with_seeds():
    rng = np.random.default_rng(2)
    shifts, scenes = {"a": 0.9, "b": 1.0, "c": 1.4}, rng.normal(0, 0.2, 12)
    one = scores_of({"psnr": scenes}, models=("a", "b", "c"))
    rows = []
    for row in one.rows:
        moved = {
            name: {**row.values[name], "psnr": row.values[name]["psnr"] + shift + rng.normal(0, 0.05)}
            for name, shift in shifts.items()
        }
        rows.append(replace(row, values={**row.values, **moved}))
    return replace(one, rows=rows)


def test_seeds_are_one_model_and_scenes_are_not_counted_thrice():
    scores = with_seeds()
    together = with_pooled(scores, {"3 seeds": ["a", "b", "c"]})
    assert [name for name, _ in together.compared_models] == ["old", "3 seeds", "a", "b", "c"]
    found = findings(together, "3 seeds", "old")["psnr"]
    changes = [by_scene(scores, METRICS[0], name, "old") for name in ("a", "b", "c")]
    assert found.difference.mean == pytest.approx(np.mean([v for one in changes for [v] in one.values()]))
    assert (found.difference.scenes, found.difference.images, found.verdict) == (12, 12, "better")
    assert set(verdicts(together, "a").values()) == {"no verdict"}
    [said] = seed_sentences(together, {"3 seeds": ["a", "b", "c"]})
    wider = pooled(changes)
    assert f"{wider.low:+.3f} to {wider.high:+.3f}" in said
    assert wider.high - wider.low > found.difference.high - found.difference.low


def test_seeds_that_the_images_chose_have_no_verdict_together_either():
    scores = replace(with_seeds(), unjudged={"b": "b was chosen by these."})
    assert set(verdicts(with_pooled(scores, {"s": ["a", "b", "c"]}), "s").values()) == {"no verdict"}


# ---------------------------------------------------------------- the config


@pytest.mark.parametrize(
    ("tables", "primary"),
    [
        ({}, "features"),
        ({"validation": {"perceptual": "lpips"}}, "lpips"),
        ({"validation": {"best": "ssim"}}, "ssim"),
        ({"losses": {"perceptual": {"weight": 0.0}, "gan": {"weight": 0.0}}}, "psnr"),
        ({"evaluation": {"primary": "dists"}, "validation": {"best": "psnr"}}, "dists"),
    ],
)
def test_the_primary_metric_is_fixed_by_the_config(tables, primary):
    stages = {"training": {"stages": [{"iterations": 1, "lr": 1e-3}]}}
    assert check(TrainConfig, {"name": "x", **stages, **tables}, where="test").primary == primary
