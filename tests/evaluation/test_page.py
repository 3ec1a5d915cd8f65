"""The page of a score card: its first lines, plots and images."""

import json
import re
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from test_verdicts import CLEAR, METRICS, scores_of

from archsr.evaluation.compared_models import ComparedModel, paths_of
from archsr.evaluation.metrics import Metric
from archsr.evaluation.pairs import TestPair
from archsr.evaluation.report.figures import FigureCrop, choose_images, representative_image
from archsr.evaluation.report.headline import headline
from archsr.evaluation.report.html import page
from archsr.evaluation.report.markdown import as_json, markdown
from archsr.evaluation.report.parquet import write_images, write_verdicts
from archsr.evaluation.report.plots import forest, plane
from archsr.evaluation.statistics import bootstrap
from archsr.evaluation.summary import by_tag, main_model, main_models

DISTANCE = Metric("features", "feature distance", False, lambda *_: 0.0)


def with_distance(scores, **distances):
    """Add a perceptual distance, one value per model."""
    rows = [
        replace(r, values={m: {**v, "features": distances.get(m, 1.0)} for m, v in r.values.items()})
        for r in scores.rows
    ]
    return replace(scores, rows=rows, metrics=[*scores.metrics, DISTANCE])


# ---------------------------------------------------------------- the first line


@pytest.mark.parametrize(
    ("changes", "primary", "line"),
    [
        ({"psnr": CLEAR / 2}, "psnr", "truer by 0.50 dB; no other metric has a verdict; 12 scenes"),
        ({"psnr": CLEAR, "ssim": CLEAR}, "psnr", "truer by 1.00 dB; 1 other metric agrees, none objects; 12"),
        (
            {"psnr": CLEAR / 2, "niqe": CLEAR, "niqe_distance": CLEAR},
            "psnr",
            "truer by 0.50 dB, but less natural: NIQE 1.00 → 2.00 (photographs 1.00); 12 scenes",
        ),
        (
            {"colour": CLEAR, "ssim": CLEAR, "lines_bend": -CLEAR, "lines_kept": CLEAR},
            "colour",
            "less true in colour: colour drift 1.00 → 2.00, but truer in structure: SSIM 1.000 → 2.000, keeps more "
            "lines: lines kept 1.000 → 2.000 and 1 more; 12 scenes",
        ),
        ({"psnr": CLEAR - 1}, "psnr", "inconclusive: PSNR 1.00 → 1.00 (a difference of 0.058 would have shown); 12"),
        ({"psnr": CLEAR[:3]}, "psnr", "inconclusive: PSNR 1.00 → 1.92 (fewer than 6 scenes prove nothing); 3 scenes"),
        ({"psnr": CLEAR}, "lpips", "no verdict: the primary metric could not be computed; 12 scenes"),
    ],
)
def test_the_first_line_is_the_primary_metrics_verdict_then_what_pulls_the_other_way(changes, primary, line):
    assert headline(scores_of(changes, primary=primary), "new", "old").startswith(line)


def test_the_page_is_about_the_last_network_that_has_verdicts():
    scores = scores_of({"psnr": CLEAR}, models=("bicubic", "a", "b", "a × 0.5"), unjudged={"a × 0.5": "why"})
    assert (main_models(scores), main_model(scores)) == (["a", "b"], "b")
    html = html_of(scores)
    assert re.search(r"<p class=who>b against old</p>\s*<h1>truer by 1.00 dB", html)
    assert "<p class=first>a against old: truer by 1.00 dB" in html


# ---------------------------------------------------------------- plots


def parsed(svg):
    """Parse as XML, after quoting attributes."""
    return ElementTree.fromstring(re.sub(r"=([^\s'\"/>]+)", r"='\1'", svg))


def dots(svg):
    return [float(c.get("cx").rstrip("%")) for c in parsed(svg).iter("circle")]


def test_better_lies_right_in_every_metric_and_the_primary_one_is_on_top():
    spread = np.linspace(0.5, 1.5, 12)
    changes = {m.name: (spread if m.higher_is_better else -spread) for m in METRICS}
    svg = forest(scores_of(changes, primary="colour"), "new", "old")
    assert next(parsed(svg).iter("rect")).get("class") == "shade"
    assert [t.text for t in parsed(svg).iter("text")][2:4] == ["colour drift", "-1.000, better"]
    assert len(dots(svg)) == len(METRICS)
    assert min(dots(svg)) == max(dots(svg)) > 50
    assert max(dots(forest(scores_of({n: -c for n, c in changes.items()}), "new", "old"))) < 50


def test_a_difference_is_drawn_in_standard_deviations_of_scenes():
    changes = np.array([1.0, 2, 3, 4, 5, 6])
    svg = forest(scores_of({"psnr": changes}), "new", "old")
    ticks = [t.text for t in parsed(svg).iter("text")][-5:]
    limit = float(ticks[-1])
    first = next(parsed(svg).iter("circle"))
    expected = changes.mean() / changes.std(ddof=1)
    assert (float(first.get("cx").rstrip("%")) - 50) / 47 * limit == pytest.approx(expected, abs=0.01)


def test_what_lies_beyond_the_axis_is_an_arrow_and_no_point():
    drawn = parsed(forest(scores_of({"psnr": CLEAR, "niqe": CLEAR, "ssim": np.linspace(-1, 1, 12)}), "new", "old"))
    arrows = [(t.text, t.get("class")) for t in drawn.iter("text") if t.text in "◀▶"]
    assert sorted(arrows) == [("▶", "better"), ("◀", "worse")]
    assert len(list(drawn.iter("circle"))) == 1


def test_the_plane_has_a_point_a_model_and_joins_blends():
    scores = scores_of({"psnr": CLEAR}, models=("half", "new"), paths=(("old", "half", "new"),))
    drawn = parsed(plane(with_distance(scores, old=0.5, half=0.4, new=0.3)))
    titles = [t.text for t in drawn.iter("title")]
    assert sorted(titles) == ["half", "new", "old"]
    places = dict(zip(titles, [(c.get("cx"), c.get("cy")) for c in drawn.iter("circle")], strict=True))
    joined = [((p.get("x1"), p.get("y1")), (p.get("x2"), p.get("y2"))) for p in drawn.iter("line")
              if p.get("class") == "path"]  # fmt: skip
    assert joined == [(places["old"], places["half"]), (places["half"], places["new"])]
    assert float(places["new"][1]) < float(places["old"][1]), "a smaller distance is higher up"
    assert float(places["new"][0].rstrip("%")) > float(places["old"][0].rstrip("%"))
    assert plane(scores) == "", "no perceptual distance was taken"


def compared_model(name, weights="", between=None, share=1.0):
    return ComparedModel(name, name, lambda lq: lq, weights, between, share)


def test_blends_lie_on_a_line_by_their_share():
    line = ("original", "fine-tuned")
    run = [
        compared_model("original", "runs/x/snapshots/initial.safetensors"),
        compared_model("× 0.5", between=line, share=0.5),
        compared_model("fine-tuned", "runs/x/snapshots/chosen.safetensors", line, 0.3),
    ]
    assert paths_of(run) == (("original", "fine-tuned", "× 0.5"),)
    assert paths_of(run[::2]) == (), "two points are no line"
    mixed = compared_model("mixed", "mixed.safetensors", ("a.pth", "x"), 0.4)
    files = [compared_model("a", "there/a.pth"), mixed, compared_model("ours", "runs/x/snapshots/best.safetensors")]
    assert paths_of(files) == (("a", "mixed", "ours"),)


# ---------------------------------------------------------------- images


class Few:
    """Pairs in memory; the image is its number."""

    scale = 1

    def read(self, numbers):
        for n in numbers:
            image = torch.full((3, 200, 160), 10 * n, dtype=torch.uint8)
            yield TestPair(n, f"image {n}", f"scene {n}", (), image, image)


def test_the_most_telling_image_is_one_near_the_median_in_which_the_models_differ_most():
    def new(lq):
        made = lq.clone()
        number = round(float(lq.mean()) * 25.5)
        made[..., :40, :40] += 0.3 if number == 5 else 0.9 if number == 0 else 0.05
        return made

    scores = scores_of({"psnr": np.arange(12) / 10})
    models = [ComparedModel("old", "old", lambda lq: lq), ComparedModel("new", "new", new)]
    [found] = representative_image(scores, METRICS[0], Few(), models, new="new", shown_model="new")
    assert found.number == 5, "number 0 differs more, but is not near the median"
    assert "of the 5 nearest the median by PSNR" in found.why
    assert representative_image(replace(scores, rows=[]), METRICS[0], Few(), models, new="new", shown_model="new") == []
    assert len(choose_images(scores, METRICS[0], "new")) == 3


@pytest.mark.parametrize(("size", "at"), [((500, 700), (0, 572)), ((300, 400), (100, 200)), ((90, 60), (0, 0))])
def test_the_crop_at_100_per_cent_holds_what_differs_and_is_not_scaled(size, at):
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    one = FigureCrop("", "", pixels, *at, {"new": pixels}, {})
    crop = one.around(340)["new"]
    assert crop.shape[:2] == (min(340, size[0]), min(340, size[1]))
    places = [(y, x) for y in range(size[0] - crop.shape[0] + 1) for x in range(size[1] - crop.shape[1] + 1)
              if (pixels[y, x] == crop[0, 0]).all()]  # fmt: skip
    top, left = next(p for p in places if (pixels[p[0] :, p[1] :][: crop.shape[0], : crop.shape[1]] == crop).all())
    side = min(128, *size)
    assert top <= at[0]
    assert at[0] + side <= top + crop.shape[0]
    assert left <= at[1]
    assert at[1] + side <= left + crop.shape[1]


def html_of(scores, **more):
    return page(scores, title="T", protocol="P", crops=[], figures=[], extras={}, **more)


def shown(number):
    pixels = np.random.default_rng(number).integers(0, 255, (400, 380, 3), dtype=np.uint8)
    return FigureCrop(f"why {number}", f"key {number}", pixels, 0, 0, {"old": pixels, "new": pixels // 2}, {})


def tagged(scores):
    return replace(scores, rows=[replace(r, tags=("hall",), strength=float(r.number), difficulty=-float(r.number))
                                 if r.number < 8 else r for r in scores.rows])  # fmt: skip


def test_the_page_goes_from_what_was_found_to_what_it_rests_on():
    scores = tagged(with_distance(scores_of({"psnr": CLEAR}), new=0.5))
    made = page(scores, title="T", protocol="P", crops=[shown(0), shown(1)], figures=[], extras={},
                notes=["Asked people: yes."])  # fmt: skip
    order = ["<h1>truer by 1.00 dB", "Asked people: yes.", "differences of new from old", "why 0", "<h2>Verdicts",
             "p-values", "PSNR, dB against feature distance", "By tag",
             "By strength of the degradation (from the recipe)",
             "By difficulty (from the photograph)", "why 1", "What the metrics mean</h2>", "Every image"]  # fmt: skip
    places = [made.index(part) for part in order]
    assert places == sorted(places)
    assert made.count("data:image/png") == 4, "the first slider is lossless, and in its menu and its two images"
    unfolded = re.sub(r"<details>.*?</details>", "", made, flags=re.DOTALL)
    assert "<td>p = " not in unfolded
    assert "By tag" not in unfolded
    assert "without one scene" in unfolded, "what a verdict rests on stands beside it"


def test_a_report_computes_each_difference_once(monkeypatch):
    scores = tagged(scores_of({"psnr": CLEAR, "ssim": CLEAR}))
    asked = []
    resampled = bootstrap.intervals
    monkeypatch.setattr(bootstrap, "intervals", lambda *a, **k: asked.append(1) or resampled(*a, **k))
    as_json(scores, protocol="P", judged={})
    once = len(asked)
    assert once > 0
    markdown(scores, title="T", protocol="P")
    html_of(scores)
    as_json(scores, protocol="P", judged={})
    assert len(asked) == once
    assert by_tag(scores) is by_tag(scores)
    assert by_tag(replace(scores)) is not by_tag(scores)


# ---------------------------------------------------------------- files for programs


def documented(heading):
    """Return the names in the first column of the table after `heading` in configs/README.md, in order."""
    text = (Path(__file__).parents[2] / "configs" / "README.md").read_text(encoding="utf-8")
    lines = iter(text[text.index(heading) :].partition("|")[2].splitlines()[2:])
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_what_is_written_is_what_is_documented(tmp_path):
    scores = tagged(scores_of({"psnr": CLEAR, "ssim": CLEAR}, unjudged={}))
    plain = json.loads(as_json(scores, protocol="P", judged={}))
    assert list(plain) == documented("`scores.json`; what")
    write_images(tmp_path / "i.parquet", scores)
    images = pq.read_table(tmp_path / "i.parquet")
    assert images.column_names == [*documented("`scores.parquet`, a row"), *(m.name for m in METRICS)]
    assert images.num_rows == 3 * len(scores.rows)
    write_verdicts(tmp_path / "v.parquet", scores)
    verdicts = pq.read_table(tmp_path / "v.parquet")
    names = documented("`verdicts.parquet`, a row")
    assert verdicts.column_names == names
    for row in verdicts.to_pylist():
        found = plain["differences"][row["model"]][row["metric"]]
        assert set(found) == set(names[names.index("verdict") :])
        assert (found["verdict"], found["mean"], found["warnings"]) == (row["verdict"], row["mean"], row["warnings"])
    assert len(verdicts) == len(plain["differences"]["new"])


def test_the_schema_is_the_same_where_nothing_is_told(tmp_path):
    scores = scores_of({"psnr": CLEAR})
    for name, one in (("a", scores), ("b", replace(scores, unjudged={"new": "why"}))):
        write_verdicts(tmp_path / name, one)
    assert pq.read_schema(tmp_path / "a") == pq.read_schema(tmp_path / "b")


def test_the_first_line_says_if_so_few_scenes_cannot_judge_other_metrics():
    scores = scores_of({"psnr": CLEAR[:7] / 2})
    assert "; too few scenes for a verdict on other metrics; 7 scenes" in headline(scores, "new", "old")
