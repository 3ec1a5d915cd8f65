"""The lock of a run folder: its holder, when a holder is dead, and that only one of many takes it over."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from test_runs import config

from archsr.checkpoint import set_aside
from archsr.errors import UserError
from archsr.runs import run_lock
from archsr.runs.run_lock import Holder, Lock, why_dead
from archsr.training import hooks, launch, loop

FOREVER = "import time; from pathlib import Path; from archsr.runs.run_lock import Lock; import sys\nheld = Lock(Path(sys.argv[1]), lost=print)\nprint(held.take(), flush=True); time.sleep(600)"  # fmt: skip  # noqa: E501


def held_elsewhere(folder):
    """Hold the lock in another process."""
    process = subprocess.Popen([sys.executable, "-c", FOREVER, str(folder)], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def nothing():
    pass


def test_a_living_process_keeps_it_and_a_killed_one_loses_it(tmp_path):
    other = held_elsewhere(tmp_path)
    try:
        with pytest.raises(UserError, match=rf"in use by process {other.pid} on .*A second run needs another name"):
            Lock(tmp_path, lost=nothing).take()
    finally:
        other.kill()
        other.communicate()
    mine = Lock(tmp_path, lost=nothing)
    assert f"took over the lock of process {other.pid}" in (word := mine.take())
    assert "its process no longer exists" in word
    mine.release()
    assert not tmp_path.exists(), "an empty run folder goes, too"


def test_when_a_holder_is_dead():
    me = Holder()
    assert why_dead(me, 0.0, me) == ""
    assert why_dead(replace(me, process=me.process - 60), 0.0, me) == "its process no longer exists", (
        "the number was used again"
    )
    far = replace(me, machine="another", pid=2**22 + 1)
    assert why_dead(far, run_lock.STALE - 1, me) == ""
    assert "sent no heartbeat" in why_dead(far, run_lock.STALE + 1, me)
    assert "sent no heartbeat" in why_dead(None, run_lock.STALE + 1, me)
    job = replace(far, job="7", start="0")
    assert why_dead(job, 0.0, replace(me, job="8", start="0")) == ""
    assert "earlier start" in why_dead(job, 0.0, replace(me, job="7", start="1"))


def test_of_many_that_see_a_dead_lock_one_gets_it(tmp_path):
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        (folder / run_lock.NAME).write_text(json.dumps({**vars(Holder()), "process": 1.0}))

        def take(number, folder=folder):
            mine = Lock(folder, lost=nothing)
            try:
                mine.take()
            except UserError:
                return None
            return mine

        with ThreadPoolExecutor(8) as pool:
            got = [m for m in pool.map(take, range(8)) if m]
        assert len(got) == 1
        got[0].release()


def test_beats_keep_it_fresh_and_a_robbed_holder_hears_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT", 0.05)
    robbed = []
    mine = Lock(tmp_path, lost=lambda: robbed.append(1))
    mine.take()
    os.utime(tmp_path / run_lock.NAME, (1, 1))
    deadline = time.time() + 5
    while run_lock.silence(tmp_path) > 100:
        assert time.time() < deadline
        time.sleep(0.01)
    (tmp_path / run_lock.NAME).write_text(json.dumps({**vars(Holder()), "token": "other"}))
    while not robbed:
        assert time.time() < deadline
        time.sleep(0.01)
    mine.release()
    assert run_lock.read(tmp_path).token == "other", "the other's lock stays"


def test_two_runs_cannot_use_one_folder(tiny_tables, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    other = held_elsewhere(folder)
    try:
        with pytest.raises(UserError, match="in use by process"):
            launch.run(config(tiny_tables), resume=True)
        assert [p.name for p in folder.iterdir()] == [run_lock.NAME]
        assert set_aside(folder) is None
    finally:
        other.kill()
        other.communicate()
    launch.run(config(tiny_tables), resume=True)
    assert not (folder / run_lock.NAME).exists()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_robbed_run_ends_without_saving(tiny_tables, tmp_path, monkeypatch, when):
    """The loss is noticed in the first validation or during training."""
    monkeypatch.setattr(run_lock, "BEAT", 0.01)
    folder = tmp_path / "runs" / "tiny"

    def robbed(run, progress, log):
        done = when == "after" and hooks.validate_run(run, progress, log)
        (folder / run_lock.NAME).write_text(json.dumps({**vars(Holder()), "token": "other"}))
        time.sleep(0.2)
        return done or hooks.validate_run(run, progress, log)

    monkeypatch.setattr(loop, "validate_run", robbed)
    with pytest.raises(UserError, match="another run has taken over this folder; stopped without saving"):
        launch.run(config(tiny_tables), resume=False)
    assert not list((folder / "checkpoints").glob("step-*"))
