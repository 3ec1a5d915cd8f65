"""A run that continues from another run: its start, its memory of it, and what it may be judged on."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from test_runs import config

from archsr.checkpoint import about_snapshot, weights_of
from archsr.checkpoint.ancestry import lineage
from archsr.cli import main
from archsr.data.prepare.pipeline import prepare
from archsr.data.versions import current
from archsr.errors import UserError
from archsr.evaluation.card import EvaluationRequest, evaluate_models
from archsr.evaluation.seen import seen_photos
from archsr.exporting import export
from archsr.training import launch
from archsr.utils.atomic import sha256


def start_of(run):
    return safetensors.torch.load_file(run / "snapshots" / "initial.safetensors")


@pytest.fixture(scope="session")
def others(photos, prepare_config, tmp_path_factory):
    """The same photographs, half of them for testing: some test scenes are training scenes of `shards`."""
    folder = tmp_path_factory.mktemp("others") / "shards"
    prepare(photos, folder, prepare_config.model_copy(update={"test": 0.6}))
    return current(folder)


@pytest.fixture
def child(unbroken, tiny_tables, others):
    """A run that began with `unbroken` and trained on another dataset."""
    given = config(tiny_tables, f"model.weights={unbroken}", "name=child", f"data.shards={others}",
                   "training.stages=[{iterations=2,lr=1e-3}]")  # fmt: skip
    launch.run(given, resume=False)
    return Path(given.runs) / "child"


def test_a_run_begins_with_the_weights_of_another_run_by_its_folder(child, unbroken):
    parent = safetensors.torch.load_file(weights_of(str(unbroken)))
    assert parent.keys() == start_of(child).keys()
    assert all(torch.equal(parent[k], v) for k, v in start_of(child).items())


def test_what_is_wrong_with_the_folder_is_said_before_training(unbroken, tiny_tables, tmp_path, capsys):
    for where, word in ((tmp_path, "no run folder"), (unbroken.parent, "a folder of runs; choose one"),
                        (unbroken / "nothing", "neither a run folder")):  # fmt: skip
        with pytest.raises(UserError, match=word):
            launch.run(config(tiny_tables, f"model.weights={where}", "name=child"), resume=False)
    assert launch.dry_run(config(tiny_tables, f"model.weights={unbroken}", "name=child"), resume=False)
    assert f"{unbroken}: here ({weights_of(str(unbroken))})" in capsys.readouterr().out
    assert not launch.dry_run(config(tiny_tables, f"model.weights={tmp_path}", "name=child"), resume=False)
    assert "NOT THERE" in capsys.readouterr().out


def test_the_new_run_and_its_card_remember_where_it_came_from(child, unbroken, shards, tmp_path):
    stored = json.loads((child / "run.json").read_text())["ancestors"]
    parent = weights_of(str(unbroken))
    ident = json.loads((unbroken / "run.json").read_text())["ident"]
    fingerprint = json.loads((shards / "manifest.json").read_text())["fingerprint"]
    assert [(a["run"], a["ident"], a["fingerprint"], a["sha256"]) for a in stored] == [
        ("tiny", ident, fingerprint, sha256(Path(parent)))
    ]
    assert about_snapshot(Path(weights_of(str(child))))["ancestors"] == stored
    export(str(child), tmp_path / "child.safetensors")
    card = (tmp_path / "child.safetensors.md").read_text()
    assert all(word in card for word in (ident, fingerprint, stored[0]["sha256"], "Run: child"))


def test_a_grandchild_remembers_both_also_from_a_copied_file(child, unbroken, tiny_tables, tmp_path):
    copied = shutil.copy(weights_of(str(child)), tmp_path / "copied.safetensors")
    launch.run(config(tiny_tables, f"model.weights={copied}", "name=third"), resume=False)
    third = Path(tiny_tables["runs"]) / "third"
    names = [a["run"] for a in json.loads((third / "run.json").read_text())["ancestors"]]
    assert names == ["tiny", "child"]
    assert [a.run for a in lineage(str(third))] == ["tiny", "child", "third"]


def test_it_resumes_though_the_other_run_is_gone_and_remembers_still(child, unbroken, tiny_tables, others):
    before = (child / "run.json").read_text()
    shutil.rmtree(unbroken)
    launch.run(config(tiny_tables, f"model.weights={unbroken}", "name=child", f"data.shards={others}"), resume=True)
    assert (child / "run.json").read_text() == before
    assert len(about_snapshot(Path(weights_of(str(child))))["ancestors"]) == 1


def scenes(folder, split):
    lines = [json.loads(line) for line in (folder / "sources.jsonl").read_text().splitlines()]
    return {line["scene"] for line in lines if line["split"] == split}


def test_test_scenes_that_an_ancestor_saw_are_left_out_by_name(child, shards, others, tmp_path, capsys):
    seen = scenes(others, "test") & (scenes(shards, "train") | scenes(shards, "val"))
    assert seen
    assert scenes(others, "test") - seen
    answer = evaluate_models(EvaluationRequest((str(child),)), out=tmp_path / "card")
    assert {row.scene for row in answer.scores.rows} == scenes(others, "test") - seen
    said = capsys.readouterr().err
    assert f"{len(seen)} of {len(scenes(others, 'test'))} scenes" in said
    assert all(scene in said for scene in seen)
    assert f"{len(seen)} of {len(scenes(others, 'test'))} scenes" in (tmp_path / "card" / "report.md").read_text()


def test_photographs_of_a_folder_are_left_out_too_and_nothing_left_is_refused(child, photos, tmp_path, capsys):
    project = photos / "00 facade project"  # a photograph for training, and a floor plan
    answer = evaluate_models(EvaluationRequest((str(child),), on=str(project)), out=tmp_path / "card")
    assert [row.key for row in answer.scores.rows] == ["plan 1.png"]
    assert "1 of 2 scenes are left out, because tiny was trained on" in capsys.readouterr().err
    (tmp_path / "only").mkdir()
    shutil.copy(project / "facade view 1.jpg", tmp_path / "only" / "another name.jpg")
    with pytest.raises(UserError, match="no image is left"):
        evaluate_models(EvaluationRequest((str(child),), on=str(tmp_path / "only")), out=tmp_path / "card")


def test_without_the_dataset_of_the_ancestor_it_says_that_it_cannot_check(child, others, tmp_path, capsys):
    lost = [{**a, "shards": str(tmp_path / "gone")} for a in json.loads((child / "run.json").read_text())["ancestors"]]
    for name in ("best", "last", "chosen"):
        file = child / "snapshots" / f"{name}.safetensors"
        if file.is_file():
            about = {**about_snapshot(file), "ancestors": lost}
            safetensors.torch.save_file(safetensors.torch.load_file(file), file, metadata={"archsr": json.dumps(about)})
    answer = evaluate_models(EvaluationRequest((str(child),), limit=3), out=tmp_path / "card")
    assert len(answer.scores.rows) == 3
    assert "cannot check" in capsys.readouterr().err
    assert "cannot check" in (tmp_path / "card" / "report.md").read_text()


def test_without_the_list_of_the_test_photographs_it_says_that_it_cannot_check(child, others, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(others, bare)
    (bare / "sources.jsonl").unlink()
    answer = evaluate_models(EvaluationRequest((str(child),), on=str(bare), limit=3), out=tmp_path / "card")
    assert len(answer.scores.rows) == 3
    assert "cannot check whether tiny was trained" in capsys.readouterr().err


def test_seen_photographs_are_those_of_training_and_validation(unbroken, shards):
    found = seen_photos(lineage(str(unbroken))[0])
    lines = [json.loads(line) for line in (shards / "sources.jsonl").read_text().splitlines()]
    assert found == {line["sha256"] for line in lines if line["split"] in ("train", "val")}


def test_copies_of_a_run_are_compared_under_the_names_of_their_folders(unbroken, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(unbroken, tmp_path / name)
    answer = evaluate_models(
        EvaluationRequest((str(tmp_path / "first"), str(tmp_path / "second")), limit=2), out=tmp_path / "card"
    )
    assert [name for name, _ in answer.scores.compared_models][-2:] == ["first", "second"]
    inner = tmp_path / "other" / "first"
    shutil.copytree(unbroken, inner)
    answer = evaluate_models(EvaluationRequest((str(tmp_path / "first"), str(inner)), limit=2), out=tmp_path / "card")
    assert [name for name, _ in answer.scores.compared_models][-2:] == [f"{tmp_path.name}/first", "other/first"]


def test_doctor_knows_a_run_folder(unbroken, tiny_tables):
    from archsr.doctor.assets import weights

    assert next(weights(config(tiny_tables, f"model.weights={unbroken}"))).state == "ok"
    wrong = next(weights(config(tiny_tables, f"model.weights={unbroken.parent}")))
    assert wrong.state == "wrong"
    assert "choose one" in wrong.what


# ---------------------------------------------------------------- archsr runs


def test_a_run_is_renamed_and_goes_on_under_its_new_name(unbroken, tiny_tables, capsys):
    assert main(["runs", str(unbroken), "--rename", "better"]) == 0
    assert not unbroken.exists()
    assert main(["runs", str(unbroken.with_name("better"))]) == 0
    assert "better" in capsys.readouterr().out
    more = "training.stages=[{iterations=8,lr=1e-3}]"
    launch.run(config(tiny_tables, "name=better", more), resume=True)
    assert about_snapshot(unbroken.with_name("better") / "snapshots" / "last.safetensors")["run"] == "better"


@pytest.mark.parametrize(("name", "word"), [("a/b", "a name"), ("taken", "exists"), ("..", "a name")])
def test_names_that_cannot_be(unbroken, name, word, capsys):
    (unbroken.parent / "taken").mkdir()
    assert main(["runs", str(unbroken), "--rename", name]) == 2
    assert word in capsys.readouterr().err
    assert unbroken.is_dir()


def test_a_run_is_removed_only_on_a_yes(unbroken, monkeypatch, capsys):
    assert main(["runs", str(unbroken), "--remove"]) == 2  # nobody can be asked
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main(["runs", str(unbroken), "--remove"]) == 1
    assert unbroken.is_dir()
    assert main(["runs", str(unbroken), "--remove", "--yes"]) == 0
    assert not unbroken.exists()
    assert main(["runs", str(unbroken.parent), "--remove", "--yes"]) == 2  # not a run
    assert unbroken.parent.is_dir()


def test_a_running_run_is_neither_renamed_nor_removed(unbroken, capsys):
    from archsr.runs.run_lock import Lock

    lock = Lock(unbroken, lost=lambda: None)
    lock.take()
    try:
        for words in (["--rename", "other"], ["--remove", "--yes"]):
            assert main(["runs", str(unbroken), *words]) == 2
            assert "in use" in capsys.readouterr().err
    finally:
        lock.release()
    assert unbroken.is_dir()


def test_two_runs_are_compared_by_config_and_results(unbroken, child, capsys):
    copy = unbroken.with_name("copy")
    shutil.copytree(unbroken, copy)
    assert main(["runs", str(unbroken), "--compare", str(copy)]) == 0
    assert "the same config" in capsys.readouterr().out
    assert main(["runs", str(unbroken), "--compare", str(child)]) == 0
    said = capsys.readouterr().out
    assert "data.shards" in said
    assert "psnr" in said.lower()
    assert "tiny" in said.splitlines()[0]
    assert "child" in said.splitlines()[0]
