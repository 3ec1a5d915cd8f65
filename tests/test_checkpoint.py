"""A checkpoint is complete or absent, the newest good one is used, and nothing good is lost."""

import json
import threading
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from archsr.checkpoint import (
    Contents,
    Keep,
    about_snapshot,
    load_newest,
    problem_with,
    save,
    weights_of,
    write_snapshot,
    writing,
)
from archsr.errors import UserError
from archsr.utils.world import World


def contents(value=1.0, rank=0):
    return Contents(
        files={"generator": {"w": torch.full((100, 100), value)}},
        state={"progress": {"step": int(value)}},
        own={"pool": torch.tensor([rank, int(value)])},
    )


ALONE = World()


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path, 5, contents(5.0), world=ALONE, keep=Keep(2))
    loaded, skipped = load_newest(tmp_path, world=ALONE)
    assert (loaded.step, skipped) == (5, [])
    assert torch.equal(loaded.files["generator"]["w"], torch.full((100, 100), 5.0))
    assert loaded.state == {"progress": {"step": 5}}
    assert loaded.own[0]["pool"].tolist() == [0, 5]


def test_the_newest_stay_and_old_ones_go(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, contents(float(step)), world=ALONE, keep=Keep(2))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000003", "step-00000004"]


@pytest.mark.parametrize("victim", ["generator.safetensors", "state.json", "rank-00000.safetensors", "MANIFEST.json"])
@pytest.mark.parametrize("how", ["cut", "flip", "gone"])
def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(tmp_path, victim, how):
    for step in (1, 2):
        save(tmp_path, step, contents(float(step)), world=ALONE, keep=Keep(2))
    path = tmp_path / "checkpoints" / "step-00000002" / victim
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data[: len(data) // 2] if how == "cut" else data)
    loaded, skipped = load_newest(tmp_path, world=ALONE)
    assert loaded.step == 1
    assert "step-00000002: skipped" in skipped[0]


def test_nothing_saved_is_nothing_loaded(tmp_path):
    assert load_newest(tmp_path, world=ALONE) == (None, [])


@pytest.mark.parametrize("moment", ["write", "space", "commit"])
def test_a_full_disk_leaves_the_last_good_one(tmp_path, monkeypatch, moment):
    save(tmp_path, 1, contents(1.0), world=ALONE, keep=Keep(2))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if moment == "write":
        monkeypatch.setattr(safetensors.torch, "save_file", full)
    elif moment == "space":
        monkeypatch.setattr(writing.shutil, "disk_usage", lambda p: SimpleNamespace(free=1000))
    else:
        monkeypatch.setattr(writing, "sync_folder", full)
    with pytest.raises(UserError) as error:
        save(tmp_path, 2, contents(2.0), world=ALONE, keep=Keep(2))
    assert "step-00000002" in str(error.value)
    assert "last good checkpoint is untouched" in str(error.value)
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert load_newest(tmp_path, world=ALONE)[0].step == 1


def test_a_step_reached_again_replaces_its_checkpoint(tmp_path):
    save(tmp_path, 3, contents(1.0), world=ALONE, keep=Keep(2))
    save(tmp_path, 3, contents(7.0), world=ALONE, keep=Keep(2))
    loaded, _ = load_newest(tmp_path, world=ALONE)
    assert loaded.files["generator"]["w"][0, 0] == 7
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


class Threads:
    """Collectives over threads in one process, without a process group."""

    def __init__(self, size):
        self.size, self.slots, self.barrier = size, [None] * size, threading.Barrier(size)

    def rank(self, rank):
        def gather(value):
            self.slots[rank] = value
            self.barrier.wait(10)
            found = list(self.slots)
            self.barrier.wait(10)
            return found

        return SimpleNamespace(
            rank=rank, size=self.size, gather=gather, broadcast=lambda v: gather(v)[0], on_all_ranks=lambda work: work()
        )


def together(size, work):
    results = [None] * size
    world = Threads(size)

    def call(rank):
        try:
            results[rank] = work(world.rank(rank))
        except UserError as error:
            results[rank] = error

    threads = [threading.Thread(target=call, args=(r,)) for r in range(size)]
    [t.start() for t in threads]
    [t.join(20) for t in threads]
    return results


def test_all_ranks_write_their_part(tmp_path):
    together(3, lambda w: save(tmp_path, 4, contents(4.0, w.rank), world=w, keep=Keep(2)))
    loaded = together(3, lambda w: load_newest(tmp_path, world=w)[0])
    for one in loaded:
        assert [o["pool"].tolist() for o in one.own] == [[0, 4], [1, 4], [2, 4]]


def test_one_rank_that_cannot_write_stops_all_and_hangs_none(tmp_path, monkeypatch):
    save(tmp_path, 1, contents(1.0), world=ALONE, keep=Keep(2))
    real = safetensors.torch.save_file

    def picky(tensors, path, *args, **kwargs):
        if "rank-00001" in str(path):
            raise OSError(28, "No space left on device")
        return real(tensors, path, *args, **kwargs)

    monkeypatch.setattr(safetensors.torch, "save_file", picky)
    results = together(2, lambda w: save(tmp_path, 2, contents(2.0, w.rank), world=w, keep=Keep(2)))
    assert all("rank 1): No space left on device" in str(r) for r in results)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


# ---------------------------------------------------------------- snapshots


def test_snapshots_carry_what_they_are(tmp_path):
    path = tmp_path / "snapshots" / "best.safetensors"
    write_snapshot(path, {"w": torch.ones(3, dtype=torch.float16)}, about={"step": 7})
    assert about_snapshot(path) == {"step": 7}
    assert safetensors.torch.load_file(path)["w"].dtype == torch.float32
    assert weights_of(str(tmp_path)) == str(path)
    assert weights_of("RealESRGAN_x4plus") == "RealESRGAN_x4plus"


def test_a_run_that_never_improved_offers_its_last_weights(tmp_path):
    write_snapshot(tmp_path / "snapshots" / "last.safetensors", {"w": torch.ones(3)}, about={})
    assert weights_of(str(tmp_path)).endswith("last.safetensors")
    with pytest.raises(UserError, match="no run folder: it has no config.toml"):
        weights_of(str(tmp_path / "snapshots"))


def test_a_folder_without_weights_says_what_it_is(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").touch()
    with pytest.raises(UserError, match=f"a folder of runs; choose one of them: {tmp_path}/a, {tmp_path}/b$"):
        weights_of(str(tmp_path))
    with pytest.raises(UserError, match="a: has no weights yet"):
        weights_of(str(tmp_path / "a"))


def test_checkpoints_hold_no_pickles(tmp_path):
    save(tmp_path, 1, contents(), world=ALONE, keep=Keep(2))
    for path in (tmp_path / "checkpoints" / "step-00000001").iterdir():
        assert path.suffix in (".json", ".safetensors")
        if path.suffix == ".json":
            json.loads(path.read_text())
    assert problem_with(tmp_path / "checkpoints" / "step-00000001") == ""
