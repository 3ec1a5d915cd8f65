"""`archsr runs` on runs that finished, stopped, failed, were killed, or are running."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import TRAIN, Ranks
from test_runs import config

from archsr.cli import main
from archsr.config.config_file import dump
from archsr.errors import UserError
from archsr.runs import run_lock
from archsr.runs.run_lock import Holder
from archsr.runs.summary import WIDTH, duration, row_of, state_of, survey, table
from archsr.training import launch
from archsr.training import step as one_step
from archsr.utils.stopping import Stopped, StopRequest

ALIVE = {"holder": Holder(), "silent": 0.0}
GONE = {"holder": None, "silent": None}


def line(kind, at, **values):
    return {"event": kind, "step": 5, "time": at, **values}


def test_the_state_from_the_last_word_and_the_lock():
    dead = {"holder": Holder(process=1.0), "silent": 3.0}
    since = ALIVE["holder"].since
    train = [line("train", since - 9)]
    assert state_of([], **ALIVE)[0] == "running"
    assert state_of(train, **ALIVE)[0] == "running"
    assert state_of(train, **dead)[0] == state_of(train, **GONE)[0] == "died"
    assert state_of([*train, line("end", 1)], **GONE) == ("finished", "")
    assert state_of([*train, line("stop", 1, reason="SIGUSR1", requeue=True)], **dead) == ("stopped", "SIGUSR1")
    failed = [*train, line("stop", since - 5, reason="error", error="no space")]
    assert state_of(failed, **GONE) == ("failed", "no space")
    assert state_of(failed, **ALIVE)[0] == "running", "started again after it"
    assert state_of([*train, line("end", since + 9)], **ALIVE)[0] == "finished", "said so, and is about to go"


def test_runs_as_they_ended(tiny_tables, tmp_path, monkeypatch, capsys):
    runs = Path(tiny_tables["runs"])
    launch.run(config(tiny_tables, "name=good", "validation.samples=3"), resume=False)
    stop_request = StopRequest()
    real = one_step.micro_step

    def asked(*args, **kwargs):
        stop_request.handle(10)  # SIGUSR1
        return real(*args, **kwargs)

    monkeypatch.setattr(one_step, "micro_step", asked)
    with pytest.raises(Stopped):
        launch.run(config(tiny_tables, "name=asked"), resume=False, stop_request=stop_request)

    def broken(*args, **kwargs):
        raise RuntimeError("the device fell off")

    monkeypatch.setattr(one_step, "micro_step", broken)
    with pytest.raises(RuntimeError):
        launch.run(config(tiny_tables, "name=broken"), resume=False)
    monkeypatch.undo()
    good, stopped, failed = (row_of(runs / n) for n in ("good", "asked", "broken"))
    assert (good.state, good.step, good.total, good.checkpoint, good.left) == ("finished", 6, 6, 6, None)
    assert (good.metric, good.best < good.first) == ("features", True)
    assert (stopped.state, stopped.why, stopped.checkpoint) == ("stopped", "SIGUSR1", 1)
    assert (failed.state, failed.why, failed.checkpoint) == ("failed", "RuntimeError: the device fell off", None)
    (runs / "good" / "checkpoints" / "step-00000006" / "generator.safetensors").write_bytes(b"torn")
    assert row_of(runs / "good").checkpoint == 4
    capsys.readouterr()
    assert main(["runs", str(runs), "--json"]) == 0
    assert {r["name"]: r["state"] for r in json.loads(capsys.readouterr().out)} == {
        "good": "finished", "asked": "stopped", "broken": "failed"}  # fmt: skip


def test_a_killed_run_died(tiny_tables, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(dump(config(tiny_tables, "training.stages.0.iterations=5000")))
    run = Path(tiny_tables["runs"]) / "tiny"
    process = Ranks(1, TRAIN, "--config", path, folder=tmp_path)
    end = time.time() + 300
    while "\nstep 3/" not in process.stdout or (row_of(run).checkpoint or 0) < 2:  # checkpoints are written beside it
        assert time.time() < end
        time.sleep(0.02)
    row = row_of(run)
    assert row.state == "running"
    assert row.left > 0
    assert f"process {process.pids[0]} on" in row.why
    process.kill()
    assert row_of(run).state == "died"
    assert row_of(run).checkpoint >= 2


def test_the_table_fits(tiny_tables):
    runs = Path(tiny_tables["runs"])
    for number, name in enumerate(("a" * 60, "b")):
        run = runs / name
        run.mkdir(parents=True)
        (run / "config.toml").write_text(dump(config(tiny_tables, "training.stages.0.iterations=1000000")))
        events = [
            line("validation", 1.0, psnr=20.0 + number, chosen=True),
            line("validation", 2.0, psnr=30.5, chosen=True),
        ]
        train = {**line("train", 3.0, images_per_second=123.4), "step": 999999}
        stop = line("stop", 4.0, reason="error", error="a long\nexplanation " * 20)
        (run / "log.jsonl").write_text("\n".join(json.dumps(e) for e in [*events, train, stop]))
    os.utime(run / "log.jsonl")
    (run / run_lock.NAME).write_text(json.dumps(vars(Holder())))
    words = table(survey(runs)).splitlines()
    assert len(words) == 3
    assert max(map(len, words)) <= WIDTH
    assert "999999/1000000" in words[1]
    assert "30.5 (+10.500) dB  failed: a long explanation" in words[1]
    assert words[1].endswith("…")
    assert "running: process" in words[2]


def test_the_newest_checkpoint_is_that_of_the_highest_step(tiny_tables, tmp_path):
    (tmp_path / "config.toml").write_text(dump(config(tiny_tables)))
    for name in ("step-99999999", "step-100000000", "step-200000000.damaged", "step-0000000300000000"):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True)
        step = int(name.removeprefix("step-").removesuffix(".damaged"))
        (folder / "MANIFEST.json").write_text(json.dumps({"step": step, "saved": 1.0, "files": {}}))
    assert row_of(tmp_path).checkpoint == 100000000


def test_a_folder_without_runs_is_said(tmp_path):
    with pytest.raises(UserError, match="contains no run"):
        survey(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        survey(tmp_path / "none")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7500, "2 h 05"), (97 * 3600, "4 d 01 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_no_torch_is_loaded(tmp_path):
    code = "import sys, archsr.runs.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
