"""Real launches: two processes, killed and resumed; worlds nobody asked for are refused."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import tomli_w
import torch

from archsr import manifest as mf
from archsr.errors import UserError
from archsr.training.log import read_log
from archsr.training.processes import begin

ROOT = Path(__file__).resolve().parents[2]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]


def environment(**extra):
    kept = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "MASTER_PORT", "MASTER_ADDR")}
    return {**kept, "OMP_NUM_THREADS": "1", **extra}


def command(processes, path, *options):
    """One process as in debugging, or several through accelerate on the CPU."""
    launch = [sys.executable]
    if processes > 1:
        launch = [*ACCELERATE, "--multi_gpu", "--num_processes", str(processes), "--num_machines", "1"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [*launch, str(ROOT / "archsr" / "train.py"), "--config", str(path), *options]


def launch(processes, path, *options):
    done = subprocess.run(
        command(processes, path, *options),
        env=environment(ACCELERATE_USE_CPU="true"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    # what a process said of its end comes before the launcher's long account of it
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[:5000]
    return done.stdout


def kill_at_step(step, processes, path, run, *options):
    """Start a run and SIGKILL all of it once the log shows `step`."""
    started = subprocess.Popen(
        command(processes, path, *options),
        env=environment(ACCELERATE_USE_CPU="true"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log, deadline = run / "log.jsonl", time.time() + 120
    while time.time() < deadline:
        text = log.read_text() if log.exists() else ""
        if f'"event": "train", "step": {step},' in text:
            break
        time.sleep(0.02)
    for process in [*psutil.Process(started.pid).children(recursive=True), psutil.Process(started.pid)]:
        process.kill()  # SIGKILL; the launcher puts its processes into sessions of their own
    started.wait()
    assert '"event": "end"' not in log.read_text(), "it ended before it could be killed"


def keys(run):
    found = {}
    for path in sorted((run / "keys").glob("rank-*.jsonl")):
        per_rank = {}
        for line in path.read_text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # the line being written when the process was killed
                continue
            per_rank[event["step"]] = event["keys"]
        for step, some in per_rank.items():
            found.setdefault(step, []).extend(some)
    return {step: sorted(k) for step, k in found.items()}


@pytest.mark.slow
def test_killed_and_resumed_on_two_and_on_one_process(tiny_tables, tmp_path):
    """Bit-identical weights on the same number of processes, exactly the same samples on another."""
    tables = {**tiny_tables, "checkpoint": {"every": 10}, "validation": {"every": 100, "samples": 2}}
    tables["training"] = {**tables["training"], "stages": [{"iterations": 60, "lr": 1e-3}]}
    runs = Path(tables["runs"])
    for name in ("unbroken", "killed", "fewer"):
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps({**tables, "name": name}))
    launch(2, tmp_path / "unbroken.toml")
    for name, processes in (("killed", 2), ("fewer", 1)):
        kill_at_step(15, 2, tmp_path / f"{name}.toml", runs / name)
        out = launch(processes, tmp_path / f"{name}.toml", "--resume")
        assert any(f"resumed at step {step}\n" in out for step in (10, 20, 30))
    final = [runs / n / "checkpoints" / "step-00000060" for n in ("unbroken", "killed")]
    for path in sorted(final[0].glob("*.safetensors")):
        a, b = (safetensors.torch.load_file(f / path.name) for f in final)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), path.name
    whole = keys(runs / "unbroken")
    assert sorted(whole) == list(range(1, 61))
    assert all(len(k) == 4 for k in whole.values())
    assert keys(runs / "killed") == whole
    fewer = keys_after_resume(runs / "fewer")
    assert set(fewer) >= set(range(31, 61))
    assert fewer == {step: whole[step] for step in fewer}


def test_two_then_one_then_three_processes_see_every_sample_of_an_epoch_once(tiny_tables, tmp_path):
    tables = {**tiny_tables, "checkpoint": {"every": 10}, "validation": {"every": 100, "samples": 2}}
    tables["training"] = {**tables["training"], "global_batch": 6, "stages": [{"iterations": 60, "lr": 1e-3}]}
    runs = Path(tables["runs"])
    for name in ("unbroken", "elastic"):
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps({**tables, "name": name}))
    launch(2, tmp_path / "unbroken.toml")
    kill_at_step(14, 2, tmp_path / "elastic.toml", runs / "elastic")
    kill_at_step(34, 1, tmp_path / "elastic.toml", runs / "elastic", "--resume")
    launch(3, tmp_path / "elastic.toml", "--resume")
    whole, found = keys(runs / "unbroken"), keys(runs / "elastic")
    assert sorted(found) == list(range(1, 61))
    assert found == whole
    manifest = mf.load(Path(tables["data"]["shards"]))
    epochs, rest = divmod(60 * 6, manifest.splits["train"].samples)
    counts = Counter(key for some in found.values() for key in some)
    assert set(counts.values()) == ({epochs, epochs + 1} if rest else {epochs})
    # the same pictures, degraded by other draws and mixed by other pools: alike on the whole, not step by step
    curves = [[e["pixel"] for e in read_log(runs / n) if e["event"] == "train"] for n in ("unbroken", "elastic")]
    assert len(curves[0]) == len(curves[1]) == 60
    thirds = [[sum(curve[start : start + 20]) / 20 for start in (0, 20, 40)] for curve in curves]
    assert thirds[1] == pytest.approx(thirds[0], rel=0.1)


def keys_after_resume(run):
    """What the single process trained on: rank 0's file from the resumed step on holds whole global batches."""
    found = {}
    for line in (run / "keys" / "rank-00000.jsonl").read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if len(event["keys"]) == 4:
            found[event["step"]] = sorted(event["keys"])
    return found


def test_accelerates_silent_single_process_is_refused(tmp_path, tiny_tables):
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps(tiny_tables))
    done = subprocess.run(
        [*ACCELERATE, "--cpu", "--num_processes", "2", str(ROOT / "archsr" / "train.py"), "--config", str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "started only this one" in done.stderr
    assert "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu" in done.stderr


def test_a_lonely_member_of_a_larger_world_is_refused(tiny, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match="started only this one"):
        begin(tiny)


@pytest.mark.parametrize("option", ["--help", "--dry-run"])
def test_help_and_dry_run_touch_nothing(tmp_path, tiny_tables, option):
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps(tiny_tables))
    out = launch(1, path, option)
    words = ["examples:", "--resume"] if option == "--help" else ["[training]", "trained of", "memory forecast"]
    assert all(w in out for w in words)
    assert not Path(tiny_tables["runs"]).exists()


def test_a_users_error_is_one_line_and_exit_code_2(tmp_path, tiny_tables):
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps({**tiny_tables, "nmae": "x"}))
    done = subprocess.run(command(1, path), capture_output=True, text=True, timeout=60, check=False, env=environment())
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"archsr: {path}: nmae: unknown key; did you mean 'name'?")


def test_debug_mode_passes_without_shards_and_weights(tmp_path):
    config = ROOT / "configs" / "last_layer.toml"
    out = launch(1, config, "--debug", "--set", f"runs={tmp_path}", "--set", f"data.shards={tmp_path}/none")
    for word in ("stands in", "drawn photographs stand in", "resumed at step 2", "every stage passed on 1 process"):
        assert word in out
