"""The score card of photographs without ground truth: metrics, no verdicts, and files."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image
from planted import blurred, facade, rough, tinted

import archsr
from archsr.cli import main
from archsr.config import RRDBNetConfig
from archsr.errors import UserError
from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.photos import measured
from archsr.evaluation.photos.agreement import downsampled, metrics_without_truth, worst_square
from archsr.evaluation.photos.card import PhotoRequest, evaluate_photos
from archsr.evaluation.photos.figures import photo_crops
from archsr.evaluation.photos.measured import NAME, measure_photo
from archsr.evaluation.photos.photos import ClientPhoto, open_photos
from archsr.evaluation.suite import Scores
from archsr.images.pixels import pixels_to_tensor, read_photo, tensor_to_pixels, to_uint8
from archsr.models.build import build
from archsr.vote.ballot import Ballot
from archsr.vote.main import VoteRequest, prepare_vote, report_result


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Write two files of random weights that run in milliseconds."""
    folder = tmp_path_factory.mktemp("networks")
    for seed, name in enumerate(("old", "new")):
        net = build(RRDBNetConfig(arch="rrdbnet", features=8, blocks=1, growth=4), seed=seed)
        safetensors.torch.save_file(net.state_dict(), folder / f"{name}.safetensors")
    return tuple(str(folder / f"{name}.safetensors") for name in ("old", "new"))


@pytest.fixture
def town(tmp_path):
    """Write a photograph in a folder for each of six houses, and one outside of folders."""
    rng = np.random.default_rng(0)
    root = tmp_path / "town"
    for name in [*(f"house{n}/one.png" for n in range(6)), "alone.jpg"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((72, 64), Image.Resampling.BICUBIC).save(root / name)
    return root


def facade_and(change, amount, true=None):
    """Return values of a drawn façade, and of a changed one, as results of the downsampled façade."""
    true = facade() if true is None else true
    lq = downsampled(true, torch.zeros(1, 3, true.shape[2] // 4, true.shape[3] // 4))
    photo = ClientPhoto(0, "a.png", "a.png", to_uint8(lq[0]), (0, 0, *lq.shape[2:]), (lq.shape[2], lq.shape[3]))
    models = [ComparedModel(n, n, lambda _, p=p: p) for n, p in (("true", true), ("changed", change(true, amount)))]
    return measure_photo(photo, models, metrics_without_truth(4)[0], baseline="true")


# ---------------------------------------------------------------- what the figures see


def test_what_was_not_changed_agrees_perfectly():
    values = facade_and(lambda gt, _: gt, 0).values
    assert values["true"] == values["changed"]
    assert values["true"]["agreement"] == values["true"]["agreement_worst"] == 100
    assert values["true"]["agreement_colour"] == 0


def blurs(true=None):
    return [facade_and(blurred, s, true).values["changed"] for s in (0.5, 1.5, 3)]


def test_a_blur_lowers_agreement_and_sharpness():
    values = blurs()
    assert values[0]["agreement"] > values[1]["agreement"] + 3 > values[2]["agreement"] + 6
    assert values[0]["sharpness"] > values[1]["sharpness"] > values[2]["sharpness"]
    assert values[2]["agreement_colour"] < 1


def test_a_blur_of_a_photograph_raises_niqe(real_photos):
    pixels = read_photo(sorted(real_photos.rglob("*.jpg"))[0]).pixels[:384, :480]
    values = blurs(pixels_to_tensor(np.ascontiguousarray(pixels)))
    assert values[0]["niqe"] < values[1]["niqe"] < values[2]["niqe"]
    assert values[0]["agreement"] > values[1]["agreement"] > values[2]["agreement"]


@pytest.mark.parametrize("levels", [4, 8, 16])
def test_a_colour_cast_shows_in_agreement(levels):
    values = facade_and(tinted, levels).values
    assert values["changed"]["agreement_colour"] > levels / 3
    assert values["changed"]["niqe"] == pytest.approx(values["true"]["niqe"], abs=0.3), "NIQE is blind to it"


def test_what_is_invented_in_one_place_shows_where_it_is():
    def invented(gt, _):
        out = gt.clone()
        out[:, :, 200:280, 320:400] = rough(out, 60)[:, :, 200:280, 320:400].roll(7, 3) * 0.5
        return out

    row = facade_and(invented, 0)
    square, change = row.worst["changed"], row.changed["changed"]
    assert square.value == row.values["changed"]["agreement_worst"] < row.values["changed"]["agreement"] - 3
    assert square.top <= 50 <= square.top + 32
    assert square.left <= 90 <= square.left + 32
    assert 200 - 64 <= change.top <= 280
    assert 320 - 64 <= change.left <= 400


def test_the_worst_square_of_a_small_image_is_all_of_it():
    lq = torch.full((1, 3, 9, 12), 0.5)
    value, top, left = worst_square(lq + 1 / 255, lq)
    assert value == pytest.approx(20 * np.log10(255 / (219 / 255)), abs=1e-3)
    assert (top, left) == (0, 0)


def test_further_metrics_are_named_where_their_weights_are_not_here(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metrics, missing = metrics_without_truth(4)
    assert [m.name for m in metrics] == ["agreement", "agreement_worst", "agreement_colour", "niqe", "sharpness"]
    assert set(missing) == {"brisque", "musiq", "maniqa", "clipiqa"}
    assert all("not on this machine" in why for why in missing.values())


def test_a_metric_that_compares_with_ground_truth_is_refused_by_name():
    metrics, missing = metrics_without_truth(4, ("ms_ssim",))
    assert "needs ground truth" in missing["ms_ssim"]
    assert "ms_ssim" not in [m.name for m in metrics]


# ---------------------------------------------------------------- which pixels


def test_scenes_are_sub_folders_or_single_photographs(town):
    photos = open_photos(str(town), scale=4)
    scenes = [photo.scene for photo in photos.read(photos.numbers())]
    assert sorted(scenes) == ["alone.jpg", *(f"house{n}" for n in range(6))]


def test_of_a_large_photograph_the_middle_is_measured_and_no_more_is_restored(town, networks):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)).save(town / "large.png")
    photos = open_photos(str(town), scale=4, crop=50)
    large = next(p for p in photos.read(photos.numbers()) if p.key == "large.png")
    assert (large.window, large.size) == ((5, 25, 50, 50), (60, 100))
    whole = np.asarray(Image.open(town / "large.png"))
    assert np.array_equal(large.lq.permute(1, 2, 0).numpy(), whole[5:55, 25:75])


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda town: (town / "house3" / "one.png").write_bytes(b"nothing"), r"one\.png.*not an image.*remove it"),
        (lambda town: [p.unlink() for p in town.rglob("*.*") if p.is_file()], "contains no photographs .it is empty"),
        (lambda town: [p.rename(p.with_suffix(".txt")) for p in town.rglob("*.*") if p.is_file()], r"7 × \.txt"),
        (lambda town: town.rename(town.with_name("gone")), "no such folder"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is(town, networks, tmp_path, spoil, word, monkeypatch):
    spoil(town)
    monkeypatch.setattr(measured, "quantised", None)  # nothing may be restored
    with pytest.raises(UserError, match=word):
        evaluate_photos(PhotoRequest(networks, str(town)), out=tmp_path / "card")


@pytest.mark.parametrize(
    ("more", "word"),
    [({"on": "x"}, "no ground truth"), ({"split": "val"}, "no ground truth"), ({"y_channel": True}, "no ground truth"),
     ({"photos": "", "crop": 9}, "needs photos")],
)  # fmt: skip
def test_settings_that_need_ground_truth_are_refused(town, networks, more, word):
    with pytest.raises(UserError, match=word):
        archsr.evaluate(networks, **{"photos": town, **more})


# ---------------------------------------------------------------- the whole


def test_the_whole_card(town, networks, tmp_path, capsys):
    (town / "notes.txt").write_text("not a photograph")
    assert main(["evaluate", *networks, "--photos", str(town), "--out", str(tmp_path / "card")]) == 0
    said, folder = capsys.readouterr().out, tmp_path / "card"
    assert said.startswith("Measured on 7 photographs of 7 scenes without ground truth: how far each result agrees")
    assert f"archsr vote {networks[0]} {networks[1]} --photos {town}" in said
    page = (folder / "report.html").read_text()
    [first] = re.findall("<h1>(.*?)</h1>", page)
    assert first in said
    assert "archsr vote" in page.split("</h1>")[1][:400]
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert page.count("class='slider true'") == 5
    assert "left out, because their endings are not those of images: notes.txt" in page.lower()
    plain = json.loads((folder / "scores.json").read_text())
    assert all(image["key"] in page for image in plain["images"])
    assert list(plain["models"]) == list(plain["means"]) == ["bicubic", "old", "new"]
    assert set(plain["unjudged"]) == set(plain["models"])
    assert {f["verdict"] for of in plain["differences"].values() for f in of.values()} == {"no verdict"}
    for text in (page, said, (folder / "report.md").read_text(), json.dumps(plain)):
        assert not re.search(r"\b(is|are) (better|worse)\b|class=(better|worse)", text)
    assert plain["means"]["bicubic"]["agreement"] > plain["means"]["new"]["agreement"] + 10
    assert {"size", "window", "changed", "worst"} <= set(plain["images"][0])
    Image.open(folder / "comparison.png").verify()
    assert not (folder / "differences.png").exists()


def test_the_tables_are_those_of_the_other_card(town, networks, tmp_path):
    card = archsr.evaluate(networks, photos=town, out=tmp_path / "card", baseline="old", limit=6)
    rows = pq.read_table(card.folder / "scores.parquet")
    assert rows.column_names == [
        "image", "scene", "tags", "strength", "difficulty", "model", "title",
        "agreement", "agreement_worst", "agreement_colour", "niqe", "sharpness",
    ]  # fmt: skip
    assert rows.num_rows == 6 * 3
    verdicts = pq.read_table(card.folder / "verdicts.parquet").to_pylist()
    assert {v["verdict"] for v in verdicts} == {"no verdict"}
    found = next(v for v in verdicts if (v["model"], v["metric"]) == ("new", "agreement"))
    differences = [r.values["new"]["agreement"] - r.values["old"]["agreement"] for r in card.scores.rows]
    assert found["mean"] == pytest.approx(np.mean(differences))
    assert found["low"] <= found["mean"] <= found["high"]
    assert list(card.table.index) == ["bicubic", "old", "new"]
    assert "<table" in card._repr_html_()


def test_what_was_measured_is_not_measured_again(town, networks, tmp_path, monkeypatch):
    asked = PhotoRequest(networks, str(town))
    before = evaluate_photos(asked, out=tmp_path / "card").scores.rows
    text = (tmp_path / "card" / NAME).read_text()
    (tmp_path / "card" / NAME).write_text(text[:-20])  # killed while it wrote the last
    Image.fromarray(np.zeros((64, 72, 3), np.uint8)).save(town / "house2" / "one.png")
    counted = []
    true = measure_photo
    monkeypatch.setattr("archsr.evaluation.photos.card.measure_photo",
                        lambda photo, *a, **k: counted.append(photo.key) or true(photo, *a, **k))  # fmt: skip
    after = evaluate_photos(asked, out=tmp_path / "card").scores.rows
    assert counted == ["house2/one.png", before[-1].key]
    assert [r for r in after if r.key not in counted] == [r for r in before if r.key not in counted]
    counted.clear()
    evaluate_photos(asked, out=tmp_path / "card")
    assert counted == []
    evaluate_photos(PhotoRequest((networks[0], "lanczos"), str(town), limit=2), out=tmp_path / "card")
    assert len(counted) == 2, "other models are another question"


def test_people_are_asked_about_these_photographs_and_the_card_repeats_it(town, networks, tmp_path, monkeypatch):
    """Voters see both results and the input; there is no ground truth."""
    folder, study = prepare_vote(
        VoteRequest(*networks, photos=str(town), crop=128, device="cpu"), tmp_path / "votes" / "a"
    )
    assert len(study.images) == len(list((folder / "images").iterdir())) / 3 == 7
    booth = Ballot(folder, study)
    state = booth.state({"voter": "x"})
    assert set(state["next"]) == {"image", "left", "right", "input"}
    with Image.open(folder / state["next"]["left"].lstrip("/")) as left:
        assert left.size == (128, 128)
    while state["next"]:
        state = booth.vote({"voter": "x", "image": state["next"]["image"], "choice": "left", "seconds": 1})
    report_result(folder)
    monkeypatch.setattr("archsr.evaluation.photos.card.VOTES_FOLDER", tmp_path / "votes")
    card = evaluate_photos(PhotoRequest(networks, str(town)), out=tmp_path / "card").folder
    assert "Asked people: new got" in (card / "report.html").read_text()


def test_the_crops_shown_are_those_that_differ_most(town, networks):
    """There is one per scene, at the place of the largest difference."""
    photos = open_photos(str(town), scale=4)

    def marked(lq):
        made = torch.nn.functional.interpolate(lq, scale_factor=4, mode="nearest")
        made[:, :, 128:, 160:] += lq.mean() * 0.5  # brighter photographs are changed more
        return made

    old = ComparedModel("old", "old", lambda lq: torch.nn.functional.interpolate(lq, scale_factor=4, mode="nearest"))
    models, metrics = [old, ComparedModel("new", "new", marked)], metrics_without_truth(4)[0]
    rows = [measure_photo(p, models, metrics, baseline="old") for p in photos.read(photos.numbers())]
    scores = Scores(list(rows), [("old", "old"), ("new", "new")], metrics, "old", truth=False)
    shown = photo_crops(rows, photos, models, scores, new="new")
    changes = {row.key: row.changed["new"].value for row in rows}
    assert [one.key for one in shown[:4]] == sorted(changes, key=changes.__getitem__, reverse=True)[:4]
    for one in shown:
        assert one.top >= 128 - 64
        lq = next(p.lq for p in photos.read(photos.numbers()) if p.key == one.key)
        assert np.array_equal(one.images["old"], one.images["input"])
        assert np.array_equal(one.images["input"][::4, ::4], lq.permute(1, 2, 0).numpy())
        assert np.array_equal(one.images["new"], tensor_to_pixels(marked(lq[None] / 255).clamp(0, 1)))
