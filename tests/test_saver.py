"""Saving in the background stores the moment of `begin`, failures reach every rank, and copies can be trusted."""

import json
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsr.checkpoint import Contents, Keep, Mirror, Saver, load_newest, problem_with, writing
from archsr.checkpoint.keeping import Stamp, staying
from archsr.errors import UserError
from archsr.utils.world import World

ALONE = World()


def contents(value, size=100):
    return Contents(
        files={"generator": {"w": torch.full((size, size), float(value))}},
        state={"progress": {"step": value}},
        own={"pool": torch.tensor([value])},
    )


@pytest.fixture
def saver(tmp_path):
    made = Saver(tmp_path / "run", world=ALONE, keep=Keep(2))
    yield made
    made.close()


def test_what_training_does_after_begin_is_not_in_the_checkpoint(tmp_path, saver, monkeypatch):
    real, go_on = safetensors.torch.save_file, threading.Event()
    monkeypatch.setattr(safetensors.torch, "save_file", lambda *a: (go_on.wait(10), real(*a)))
    made = contents(1)
    saver.begin(1, made)
    for tensors in (made.files["generator"], made.own):
        for tensor in tensors.values():
            tensor.fill_(9)
    made.state["progress"]["step"] = 9
    go_on.set()
    saver.settle()
    loaded, _ = load_newest(tmp_path / "run", world=ALONE)
    assert loaded.files["generator"]["w"].eq(1).all()
    assert loaded.own[0]["pool"].tolist() == [1]
    assert loaded.state == {"progress": {"step": 1}}


def test_training_goes_on_while_files_are_written(tmp_path, saver, monkeypatch):
    real = safetensors.torch.save_file
    monkeypatch.setattr(safetensors.torch, "save_file", lambda *a: (time.sleep(0.5), real(*a)))
    saver.begin(1, contents(1))
    assert not saver.finished
    saver.settle()
    (saved,) = saver.finished
    assert saved.seconds > 0.5 > saved.paused


def test_layouts_and_views_are_saved_as_their_values(tmp_path, saver):
    last = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    view = torch.arange(10.0)[2:6]
    saver.begin(1, Contents({"generator": {"last": last, "view": view}}, {}, {}))
    saver.settle()
    found = load_newest(tmp_path / "run", world=ALONE)[0].files["generator"]
    assert torch.equal(found["last"], last)
    assert torch.equal(found["view"], view)


def test_a_failure_is_raised_at_the_next_look_and_no_half_stays(tmp_path, saver, monkeypatch):
    saver.begin(1, contents(1))
    saver.settle()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    saver.begin(2, contents(2))
    while not saver._underway.part.done():
        time.sleep(0.01)
    with pytest.raises(UserError, match=r"step-00000002.*No space left.*last good checkpoint is untouched"):
        saver.check()
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_snapshot_that_cannot_be_written_is_raised_too(saver):
    def fails():
        raise UserError("the snapshot could not be written")

    saver.submit(fails)
    with pytest.raises(UserError, match="the snapshot could not be written"):
        saver.settle()


def test_a_rank_that_never_writes_is_not_waited_for_at_the_end(tmp_path, monkeypatch):
    """After another rank's death, its part never comes."""
    saver = Saver(tmp_path, world=ALONE, keep=Keep(2))
    monkeypatch.setattr(writing, "_announce", lambda note, text: None)
    saver.begin(1, contents(1))
    saver.close()
    assert load_newest(tmp_path, world=ALONE) == (None, [])
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_folder_may_be_renamed_as_soon_as_the_last_part_is_announced(tmp_path, monkeypatch):
    """Rank 0 renames it while another rank may still be in the call that wrote its note."""
    real, final = Path.replace, tmp_path / "final"

    def replaced(path, target):
        result = real(path, target)
        if target == writing._note(tmp_path / "part", 1):
            (tmp_path / "part").rename(final)
        return result

    (tmp_path / "part").mkdir()
    monkeypatch.setattr(Path, "replace", replaced)
    writing.write_part(tmp_path / "part", contents(1), rank=1)
    assert {p.name for p in final.iterdir()} == {"rank-00001.safetensors", "part-00001.json"}


stamps = st.lists(
    st.tuples(st.integers(0, 10**6), st.floats(0, 1e6), st.none() | st.floats(-50, 50)), unique_by=lambda s: s[0]
).map(lambda rows: [Stamp(*row) for row in rows])


@given(stamps, st.integers(1, 5), st.booleans(), st.sampled_from([0.0, 1.0, 24.0]))
def test_who_stays(there, newest, best, hours):
    stay = staying(there, Keep(newest, best, hours))
    steps = sorted((s.step for s in there), reverse=True)
    assert stay <= set(steps)
    assert set(steps[:newest]) <= stay
    scores = [s.score for s in there if s.score is not None]
    if best and scores:
        assert max(scores) in {s.score for s in there if s.step in stay}
    if not best and not hours:
        assert stay == set(steps[:newest])


def test_of_equal_scores_the_older_is_best():
    assert staying([Stamp(step, 0.0, 20.0) for step in range(1, 6)], Keep(2, best=True)) == {1, 4, 5}


def test_one_an_hour_stays_however_often_it_is_asked():
    keep = Keep(newest=2, hours=1.0)
    there = []
    for step in range(1, 61):  # every ten minutes
        there.append(Stamp(step, 600.0 * step, None))
        stay = staying(there, keep)
        there = [s for s in there if s.step in stay]
    assert [s.step for s in there] == [1, 7, 13, 19, 25, 31, 37, 43, 49, 55, 59, 60]


def test_the_best_stays_though_newer_ones_come(tmp_path):
    saver = Saver(tmp_path, world=ALONE, keep=Keep(2, best=True))
    for step, score in enumerate((20.0, 22.0, 21.0, None, 21.5), start=1):
        saver.begin(step, contents(step), score=score)
    saver.settle()
    saver.close()
    assert sorted(p.name[-1] for p in (tmp_path / "checkpoints").iterdir()) == ["2", "4", "5"]


# ---------------------------------------------------------------- a second place


def mirrored(run, url, steps, *, ident="1dea", **keep):
    kept = Keep(2, **keep)
    (run / "snapshots").mkdir(parents=True, exist_ok=True)
    (run / "config.toml").write_text("name = 'x'\n")
    saver = Saver(run, world=ALONE, keep=kept, mirror=Mirror(url, keep=kept, pause=0.01), ident=ident)
    for step in steps:
        saver.begin(step, contents(step))
    saver.settle()
    saver.close()
    return saver.notes


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_lost_run_folder_comes_back_from_the_mirror(tmp_path, kind):
    url = str(tmp_path / "there") if kind == "folder" else f"memory://{tmp_path.name}"
    assert mirrored(tmp_path / "a" / "run", url, [1, 2, 3]) == []
    loaded, told = load_newest(tmp_path / "b" / "run", world=ALONE, mirror=url)
    assert loaded.step == 3
    assert "fetched from" in told[0]
    assert told[0].endswith("run/1dea")
    assert (tmp_path / "b" / "run" / "config.toml").read_text() == "name = 'x'\n"
    assert load_newest(tmp_path / "c" / "run", world=ALONE, mirror=url + "-nothing") == (None, [])


def test_the_mirror_keeps_as_many(tmp_path):
    mirrored(tmp_path / "run", str(tmp_path / "there"), [1, 2, 3, 4])
    copies = tmp_path / "there" / "run" / "1dea" / "checkpoints"
    found = sorted(p.name for p in copies.iterdir())
    assert found == ["step-00000003", "step-00000004"]
    assert not any(problem_with(copies / name) for name in found)


def test_a_damaged_copy_is_named_and_the_one_before_is_brought(tmp_path):
    mirrored(tmp_path / "run", str(tmp_path / "there"), [1, 2])
    victim = tmp_path / "there" / "run" / "1dea" / "checkpoints" / "step-00000002" / "generator.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    loaded, told = load_newest(tmp_path / "other" / "run", world=ALONE, mirror=str(tmp_path / "there"))
    assert loaded.step == 1
    assert "step-00000002: skipped, generator.safetensors is damaged" in told[0]


def test_a_copy_that_was_cut_short_has_no_manifest(tmp_path, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    real = LocalFileSystem.put_file

    def breaks(self, source, target, *args, **kwargs):
        if target.endswith("state.json"):
            raise ConnectionError("gone")
        return real(self, source, target, *args, **kwargs)

    monkeypatch.setattr(LocalFileSystem, "put_file", breaks)
    (note,) = mirrored(tmp_path / "run", str(tmp_path / "there"), [1])
    assert "could not be copied" in note
    assert "after 4 tries (ConnectionError: gone)" in note
    assert not list((tmp_path / "there").rglob("MANIFEST.json"))
    assert load_newest(tmp_path / "run", world=ALONE)[0].step == 1
    assert load_newest(tmp_path / "other" / "run", world=ALONE, mirror=str(tmp_path / "there")) == (None, [])


def test_a_mirror_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(UserError, match=r"checkpoint.mirror: nonsense://x: cannot be read.*checkpoint.mirror="):
        load_newest(tmp_path / "run", world=ALONE, mirror="nonsense://x")


def test_the_manifest_is_readable_without_archsr(tmp_path, saver):
    saver.begin(7, contents(7), score=20.5)
    saver.settle()
    folder = tmp_path / "run" / "checkpoints" / "step-00000007"
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert (manifest["schema"], manifest["step"], manifest["world"]) == ("archsr-checkpoint/1", 7, 1)
    assert manifest["score"] == 20.5
    assert set(manifest["files"]) == {p.name for p in folder.iterdir()} - {"MANIFEST.json"}
