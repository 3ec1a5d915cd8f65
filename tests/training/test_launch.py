"""Several processes, killed and resumed with the same and other numbers; wrong numbers are refused."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import safetensors.torch
import tomli_w
import torch
from ranks import ROOT, TRAIN, Ranks, train

from archsr.data import manifest as mf
from archsr.errors import UserError
from archsr.training.logging.log import read_log
from archsr.training.processes import begin

ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]


def environment(**extra):
    kept = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "MASTER_PORT", "MASTER_ADDR")}
    return {**kept, "OMP_NUM_THREADS": "1", **extra}


def command(processes, path, *options):
    """Return the command for one process as in debugging, or for several through accelerate on the CPU."""
    launch = [sys.executable]
    if processes > 1:
        launch = [*ACCELERATE, "--multi_gpu", "--num_processes", str(processes), "--num_machines", "1"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [*launch, str(ROOT / "archsr" / "train.py"), "--config", str(path), *options]


def launch(processes, path, *options):
    """Through a real launcher."""
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
    """Start a run, and SIGKILL all of it when the log shows `step`."""
    started = Ranks(processes, TRAIN, "--config", path, *options, folder=path.parent)
    log, deadline = run / "log.jsonl", time.time() + 120
    while time.time() < deadline:
        text = log.read_text() if log.exists() else ""
        if f'"event": "train", "step": {step},' in text:
            break
        time.sleep(0.02)
    started.kill()
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


def test_killed_and_resumed_on_as_many_and_on_other_numbers_of_processes(tiny_tables, tmp_path):
    """The same number gives bit-identical weights, another number exactly the same samples, each once an epoch."""
    stages = [{"iterations": 12, "lr": 1e-3}]
    tables = {**tiny_tables, "checkpoint": {"every": 2}, "validation": {"every": 100, "samples": 2}}
    tables["training"] = {**tables["training"], "global_batch": 6, "micro_batch": 3, "stages": stages}
    runs = Path(tables["runs"])
    for name in ("unbroken", "killed", "elastic"):
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps({**tables, "name": name}))
    train(2, tmp_path / "unbroken.toml", folder=tmp_path)
    whole = keys(runs / "unbroken")
    assert sorted(whole) == list(range(1, 13))
    assert all(len(k) == 6 for k in whole.values())
    kill_at_step(3, 2, tmp_path / "killed.toml", runs / "killed")
    out = train(2, tmp_path / "killed.toml", "--resume", folder=tmp_path)
    assert any(f"resumed at step {step}\n" in out for step in (2, 4, 6, 8))
    final = [runs / n / "checkpoints" / "step-00000012" for n in ("unbroken", "killed")]
    for path in sorted(final[0].glob("*.safetensors")):
        a, b = (safetensors.torch.load_file(f / path.name) for f in final)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a), path.name
    assert keys(runs / "killed") == whole
    kill_at_step(3, 2, tmp_path / "elastic.toml", runs / "elastic")
    kill_at_step(7, 1, tmp_path / "elastic.toml", runs / "elastic", "--resume")
    train(3, tmp_path / "elastic.toml", "--resume", folder=tmp_path)
    assert keys(runs / "elastic") == whole
    manifest = mf.load(Path(tables["data"]["shards"]))
    epochs, rest = divmod(12 * 6, manifest.splits["train"].samples)
    counts = Counter(key for some in whole.values() for key in some)
    assert set(counts.values()) == ({epochs, epochs + 1} if rest else {epochs})
    # the same images, degraded by other draws and mixed by other pools: alike on the whole, not step by step
    curves = [[e["pixel"] for e in read_log(runs / n) if e["event"] == "train"] for n in ("unbroken", "elastic")]
    assert len(curves[0]) == len(curves[1]) == 12
    halves = [[sum(curve[start : start + 6]) / 6 for start in (0, 6)] for curve in curves]
    assert halves[1] == pytest.approx(halves[0], rel=0.15)


@pytest.mark.slow
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
    out = train(1, path, option, folder=tmp_path)
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


@pytest.mark.gate
def test_debug_mode_passes_without_shards_and_weights(tmp_path):
    where = ("--set", f"runs={tmp_path}", "--set", f"data.shards={tmp_path}/none")
    out = train(1, ROOT / "configs" / "last_layer.toml", "--debug", *where, folder=tmp_path)
    for word in (
        "using a tiny untrained generator",
        "using synthetic photographs",
        "resumed at step 2",
        "every stage passed on 1 process",
    ):
        assert word in out
