"""Versions of a dataset: never changed, sharing equal files, and reading only what is new."""

import json
import os
import random
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from archsr.config import PrepareConfig
from archsr.data import manifest as mf
from archsr.data.prepare import pipeline
from archsr.data.prepare.inspect_shards import inspect_dataset, problems
from archsr.data.prepare.pipeline import prepare
from archsr.data.prepare.survey import chunks as survey_module
from archsr.data.prepare.writing import assemble as assemble_module
from archsr.data.versions import current, remove_old, versions
from archsr.errors import UserError

SETTINGS = PrepareConfig(val=0.2, test=0.2, tile=96, min_side=90, pair_size=48, samples_per_shard=16, min_detail=0,
                         degrade={"margin": 24}, scenes={"near_duplicates": False})  # fmt: skip


def image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (100, 200, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


@pytest.fixture
def photos(tmp_path):
    for number in range(24):
        image(tmp_path / "photos" / f"project {number}" / "view.jpg", number)
    return tmp_path / "photos"


@pytest.fixture
def looked_at(monkeypatch):
    """Collect the photographs that are decoded."""
    seen, real = [], survey_module.inspect

    def inspect(photos, path, config):
        seen.append(path)
        return real(photos, path, config)

    monkeypatch.setattr(survey_module, "inspect", inspect)
    return seen


def members(folder):
    """Return the bytes of all members of the shards by split and name."""
    version = current(folder)
    found = {}
    for side, split in mf.load(version).splits.items():
        for shard in split.shards:
            with tarfile.open(version / shard.file) as archive:
                found |= {(side, m.name): archive.extractfile(m).read() for m in archive}
    return found


def state(folder):
    """Return every file with its bytes and its time."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_only_new_photographs_are_read_and_the_old_version_stays_as_it_is(photos, tmp_path, looked_at):
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    before, first = state(out / "v1"), mf.load(out / "v1")
    for number in (90, 91):
        image(photos / f"project {number}" / "view.jpg", number)
    looked_at.clear()
    made = prepare(photos, out, SETTINGS)
    assert sorted(looked_at) == ["project 90/view.jpg", "project 91/view.jpg"]
    assert state(out / "v1") == before
    assert current(out) == out / "v2"
    assert made.sources.kept == first.sources.kept + 2
    prepare(photos, tmp_path / "anew", SETTINGS)
    assert members(out) == members(tmp_path / "anew")
    inspect_dataset(out)
    shared = [s.file for s in first.splits["train"].shards if (out / "v2" / s.file).samefile(out / "v1" / s.file)]
    assert shared, "full shards in which nothing changes are one file in both versions"


def test_what_is_new_changed_and_gone_is_said(photos, tmp_path, capsys):
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    for number in (90, 91, 4):
        image(photos / f"project {number}" / "view.jpg", 1000 + number)
    shutil.rmtree(photos / "project 7")
    prepare(photos, out, SETTINGS)
    assert "22 files are as they were; 2 are new, 1 changed or to be looked at again, 1 gone" in capsys.readouterr().err
    prepare(photos, out, SETTINGS)
    assert "v2: nothing has changed, so there is no new version" in capsys.readouterr().err


def test_places_that_cannot_be_or_are_not_yet_a_dataset_say_why(photos, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="link: is a link to .*nowhere, which does not exist"):
        prepare(photos, tmp_path / "link", SETTINGS)
    monkeypatch.setattr(pipeline, "assemble", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "out", SETTINGS)
    with pytest.raises(UserError, match="out: its preparation is unfinished; run the same command again"):
        inspect_dataset(tmp_path / "out")


def test_without_links_a_version_is_a_copy(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    image(photos / "project 90" / "view.jpg", 90)

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    prepare(photos, out, SETTINGS)
    inspect_dataset(out)
    assert {p.stat().st_nlink for p in (out / "v2").iterdir()} == {1}


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.gate) for n in (1, 2))])
def test_any_changes_give_the_samples_of_a_dataset_made_anew(photos, tmp_path, seed):
    out, rng = tmp_path / "out", random.Random(seed)
    for step in range(5):
        prepare(photos, out, SETTINGS)
        shutil.rmtree(tmp_path / "anew", ignore_errors=True)
        prepare(photos, tmp_path / "anew", SETTINGS)
        assert members(out) == members(tmp_path / "anew")
        inspect_dataset(out)
        there = sorted(photos.iterdir())
        for folder in rng.sample(there, 2):
            shutil.rmtree(folder)
        for folder in rng.sample(sorted(photos.iterdir()), 2):
            image(folder / "view.jpg", rng.randrange(10**6))
        image(photos / f"added {seed} {step}" / "view.jpg", rng.randrange(10**6))


def test_without_a_change_there_is_no_new_version(photos, tmp_path, looked_at):
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    looked_at.clear()
    prepare(photos, out, SETTINGS)
    assert looked_at == []
    (photos / "project 3" / "view.jpg").touch()
    for expected in (["project 3/view.jpg"], []):
        looked_at.clear()
        prepare(photos, out, SETTINGS)
        assert looked_at == expected
    assert sorted(p.name for p in out.iterdir()) == ["current", "v1"]


def test_what_was_once_is_a_version_again_not_a_new_one(photos, tmp_path):
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    image(photos / "project 90" / "view.jpg", 90)
    prepare(photos, out, SETTINGS)
    shutil.rmtree(photos / "project 90")
    prepare(photos, out, SETTINGS.model_copy(), reread=True)
    assert current(out) == out / "v1"
    assert sorted(p.name for p in out.iterdir()) == ["current", "v1", "v2"]


@pytest.mark.parametrize(
    "change",
    [{"tile": 80}, {"seed": 1}, "reread", "stamps.json", "thumbs.npy"],
    ids=str,
)
def test_all_is_read_again_where_it_would_come_out_otherwise(photos, tmp_path, looked_at, change):
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    looked_at.clear()
    if isinstance(change, str) and change != "reread":
        (out / "v1" / change).unlink()
    prepare(
        photos, out, SETTINGS.model_copy(update=change if isinstance(change, dict) else {}), reread=change == "reread"
    )
    assert len(set(looked_at)) == 24


def test_a_photograph_whose_scene_or_tags_change_says_so_in_its_samples(photos, tmp_path, looked_at):
    """The images are reused; the metadata beside them is new."""
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    looked_at.clear()
    tagged = SETTINGS.model_copy(update={"tags": SETTINGS.tags.model_copy(update={"folders": 1})})
    prepare(photos, out, tagged)
    assert looked_at == []
    abouts = [json.loads(content) for (_, name), content in members(out).items() if name.endswith(".json")]
    assert all(about["tags"].split("\n")[0] == about["photo"].split("/")[0] for about in abouts)
    prepare(photos, tmp_path / "anew", tagged)
    assert members(out) == members(tmp_path / "anew")


def test_training_tiles_are_tagged_by_their_detail_and_reused_as_they_are(photos, tmp_path, looked_at):
    flat = photos / "flat" / "wall.png"
    flat.parent.mkdir()
    Image.fromarray(np.full((100, 200, 3), 150, np.uint8)).save(flat)
    only_train = {"val_folders": ("project 1",), "test_folders": ("project 2",), "drawings": "keep"}
    settings = SETTINGS.model_copy(update=only_train)
    for _ in range(2):  # the second time from the first version's shards
        prepare(photos, tmp_path / "out", settings)
        tags = {side: tags_of_samples(current(tmp_path / "out"), side) for side in mf.SPLITS}
        assert set(tags["train"].pop("flat/wall.png")) == {("detail:low",)}
        assert {t for found in tags["train"].values() for t in found} == {("detail:high",)}
        assert {t for side in ("val", "test") for found in tags[side].values() for t in found} == {()}
        image(photos / "project 99" / "view.jpg", 99)
    assert len(looked_at) == 26


def tags_of_samples(version, side):
    """Return the tags of a split's samples by photograph."""
    found = {}
    for shard in mf.load(version).splits[side].shards:
        for sample in mf.read_index(version, shard):
            found.setdefault(sample.photo, []).append(sample.tags)
    return found


def test_killed_before_the_new_version_counts_the_next_one_finishes_it(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    image(photos / "project 90" / "view.jpg", 90)

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(assemble_module, "make_current", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, out, SETTINGS)
    assert current(out) == out / "v1"
    monkeypatch.undo()
    prepare(photos, out, SETTINGS)
    assert current(out) == out / "v2"
    assert sorted(p.name for p in out.iterdir()) == ["current", "v1", "v2"]


def test_old_versions_go_only_when_asked(photos, tmp_path):
    out = tmp_path / "out"
    for number in range(90, 93):
        image(photos / f"project {number}" / "view.jpg", number)
        prepare(photos, out, SETTINGS)
    assert [v.name for v in versions(out)] == ["v1", "v2", "v3"]
    (out / "notes").mkdir()
    assert remove_old(out) == ["v1", "v2"]
    assert sorted(p.name for p in out.iterdir()) == ["current", "notes", "v3"]
    inspect_dataset(out)
    prepare(photos, out, SETTINGS)
    assert current(out) == out / "v3"


def test_a_dataset_of_an_earlier_archsr_is_read_and_kept(photos, tmp_path):
    """Its files lay in the dataset's folder itself."""
    out = tmp_path / "out"
    prepare(photos, tmp_path / "made", SETTINGS)
    shutil.copytree(tmp_path / "made" / "v1", out)
    for name in ("stamps.json", "thumbs.npy"):
        (out / name).unlink()
    assert current(out) == out
    before = state(out)
    sides = {s.photo: side for side in mf.SPLITS for shard in mf.load(out).splits[side].shards
             for s in mf.read_index(out, shard)}  # fmt: skip
    for number in range(24):
        (photos / f"project {number}").rename(photos / f"other {number}")
    prepare(photos, out, SETTINGS)
    assert before.items() <= state(out).items()
    assert current(out) == out / "v1"
    now = {s.photo: side for side in mf.SPLITS for shard in mf.load(out / "v1").splits[side].shards
           for s in mf.read_index(out / "v1", shard)}  # fmt: skip
    assert now == {photo.replace("project", "other"): side for photo, side in sides.items()}


# ---------------------------------------------------------------- files that change meanwhile


@pytest.fixture(params=["replaced", "removed"])
def changing(request, photos, monkeypatch):
    """Replace or remove one photograph after the survey, and read it again as if its scene had changed the split."""
    victim = photos / "project 5" / "view.jpg"
    real, real_side = pipeline.cut_again, survey_module.provisional_side
    wrong = {"train": "test", "val": "train", "test": "train"}

    def meanwhile(*args):
        image(victim, 999) if request.param == "replaced" else victim.unlink()
        return real(*args)

    def side(path, config):
        found = real_side(path, config)
        return wrong[found] if path == "project 5/view.jpg" else found

    monkeypatch.setattr(pipeline, "cut_again", meanwhile)
    monkeypatch.setattr(survey_module, "provisional_side", side)
    return request.param


def test_a_photograph_that_changes_meanwhile_is_left_out_by_name(photos, tmp_path, changing, monkeypatch, capsys):
    """It once got the scene of the old one, or counted as kept without a sample, and both passed verification."""
    out = tmp_path / "out"
    made = prepare(photos, out, SETTINGS)
    assert [(item.path, item.kind) for item in made.left_out] == [("project 5/view.jpg", "changed")]
    assert "1 files were replaced or removed during the preparation" in capsys.readouterr().err
    assert "every file verified" in inspect_dataset(out)
    monkeypatch.undo()
    again = prepare(photos, out, SETTINGS)
    assert again.sources.kept == (24 if changing == "replaced" else 23)
    assert again.left_out == []


def test_inspect_sees_samples_that_are_not_of_the_photograph_listed(photos, tmp_path, changing, monkeypatch):
    monkeypatch.setattr(pipeline, "changed_since", lambda *_: set())
    out = tmp_path / "out"
    prepare(photos, out, SETTINGS)
    word = "is of another file than" if changing == "replaced" else "has no sample"
    assert any(word in problem for problem in problems(out / "v1", mf.load(out / "v1")))
    with pytest.raises(UserError, match=word):
        inspect_dataset(out)
