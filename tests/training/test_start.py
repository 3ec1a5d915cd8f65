"""`archsr train`: the processes it starts, and how they react to Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli_w
from ranks import ROOT, train
from test_launch import environment

from archsr.cli import main
from archsr.training.start import command_of


def started(tmp_path, tables, *words):
    """Start it in its own process group, as a shell does."""
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps(tables))
    return subprocess.Popen(
        [sys.executable, "-m", "archsr", "train", "--config", str(path), *words],
        env=environment(PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES=""),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_saves_and_the_run_goes_on(tiny_tables, tmp_path, processes):
    tables = {**tiny_tables, "training": {**tiny_tables["training"], "stages": [{"iterations": 10_000, "lr": 1e-3}]}}
    tables = {**tables, "checkpoint": {"every": 100_000}, "validation": {"every": 100_000, "samples": 2}}
    run = Path(tables["runs"]) / "tiny"
    first = started(tmp_path, tables, "--processes", str(processes))
    deadline = time.time() + 120
    while not ((run / "log.jsonl").exists() and '"train"' in (run / "log.jsonl").read_text()):
        assert time.time() < deadline
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGINT)  # what a terminal does
    out, err = first.communicate(timeout=120)
    step = int(out.split("stopped at step ")[1].split(",")[0])
    assert (run / "checkpoints" / f"step-{step:08d}" / "MANIFEST.json").is_file()
    assert f"{processes} × cpu" in out
    if processes == 1:
        assert (first.returncode, "Traceback" in err) == (85, False)
    tables["training"]["stages"] = [{"iterations": step + 2, "lr": 1e-3}]
    (tmp_path / "c.toml").write_text(tomli_w.dumps(tables))
    assert f"resumed at step {step}\n" in train(processes, tmp_path / "c.toml", "--resume", folder=tmp_path)
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["step"]) == ("end", step + 2)


def test_one_process_needs_no_launcher_and_several_get_one():
    alone, more = command_of(["--config", "x"], 1, gpus=0)
    assert (alone, more) == ([sys.executable, str(ROOT / "archsr" / "train.py"), "--config", "x"], {})
    several, more = command_of(["--config", "x"], 4, gpus=4)
    assert several[several.index("--num_processes") + 1] == "4"
    assert several[-3:] == alone[1:]
    assert "ACCELERATE_USE_CPU" not in more
    assert command_of([], 2, gpus=0)[1]["ACCELERATE_USE_CPU"] == "true"


def test_it_is_refused_where_processes_were_started_already(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "configs/tail.toml"]) == 2
    assert "starts processes itself" in capsys.readouterr().err


def test_more_processes_than_gpus(monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert main(["train", "--config", "configs/tail.toml", "--processes", "3"]) == 2
    assert "this machine has 2 GPUs" in capsys.readouterr().err


def test_dry_run_of_a_mistake_is_one_line(tmp_path, tiny_tables):
    process = started(tmp_path, {**tiny_tables, "nmae": 1}, "--dry-run")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("archsr: ")
    assert "did you mean 'name'?" in err
    assert err.count("\n") == 1
