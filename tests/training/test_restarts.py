"""A launcher restarts a rank that dies; a rank that hangs ends with its stacks; 85 and 2 end the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import tomli_w
import torch
from ranks import ROOT, train
from test_launch import command, environment

from archsr.checkpoint import problem_with
from archsr.training.faults.hang import Alarm
from archsr.training.logging.log import read_log
from archsr.utils import stopping

PLANTED = Path(__file__).with_name("planted_hang.py")


def launched(path, *options, plant=(), restarts=0):
    """Return the command for two processes under a launcher that restarts them."""
    words = command(2, path, *options)
    at = words.index(str(ROOT / "archsr" / "train.py"))
    script = [str(PLANTED), *map(str, plant)] if plant else words[at : at + 1]
    return [*words[:at], "--max_restarts", str(restarts), *script, *words[at + 1 :]]


def done(words, **extra):
    env = environment(ACCELERATE_USE_CPU="true", PYTHONPATH=str(ROOT), **extra)
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def configured(tiny_tables, tmp_path):
    """Return a config file with a checkpoint every fourth iteration, and its run folder."""

    def make(name, iterations, **training):
        training = {**tiny_tables["training"], "stages": [{"iterations": iterations, "lr": 1e-3}], **training}
        tables = {**tiny_tables, "training": training, "name": name, "checkpoint": {"every": 4}}
        path = tmp_path / f"{name}.toml"
        path.write_text(tomli_w.dumps({**tables, "validation": {"every": 7, "samples": 2}}))
        return path, Path(tiny_tables["runs"]) / name

    return make


def same_files(a, b):
    names = sorted(p.name for p in a.glob("*.safetensors"))
    assert names == sorted(p.name for p in b.glob("*.safetensors"))
    for name in names:
        x, y = (safetensors.torch.load_file(f / name) for f in (a, b))
        assert all(torch.equal(x[k], y[k]) for k in x), name


@pytest.mark.gate
def test_a_killed_rank_is_started_again_and_the_run_ends_as_if_unbroken(configured):
    whole, unbroken = configured("unbroken", 12)
    train(2, whole, folder=whole.parent)
    path, run = configured("killed", 12)
    ended = done(launched(path, "--resume", plant=(1, 7, "kill"), restarts=1))
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "resumed at step 4\n" in ended.stdout
    same_files(*(f / "checkpoints" / "step-00000012" for f in (unbroken, run)))


@pytest.mark.slow
def test_stopping_when_asked_is_not_mended_by_starting_again(configured, tmp_path):
    path, run = configured("asked", 100_000)
    told = tmp_path / "exit"
    env = environment(ACCELERATE_USE_CPU="true", ARCHSR_EXIT_FILE=str(told))
    process = subprocess.Popen(
        launched(path, "--resume", restarts=2), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until_it_trains(run)
    holder = stopping_rank(process.pid)
    os.kill(holder, signal.SIGUSR1)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "exitcode: 85" in err or "exitcode  : 85" in err
    (stop,) = [e for e in read_log(run) if e["event"] == "stop"]
    assert told.read_text() == f"85 {stop['step']}\n"
    assert "resumed" not in out


def stopping_rank(launcher):
    import psutil

    return next(c.pid for c in psutil.Process(launcher).children() if c.environ().get("RANK") == "1")


@pytest.mark.slow
def test_term_to_the_launcher_reaches_the_ranks(configured):
    """As clusters and people end a run: torchrun passes SIGTERM on, and its own SIGTERM afterwards does no harm."""
    path, run = configured("term", 100_000)
    env = environment(ACCELERATE_USE_CPU="true")
    process = subprocess.Popen(launched(path), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_it_trains(run)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    (stop,) = [e for e in read_log(run) if e["event"] == "stop"]
    assert stop["reason"] == "SIGTERM"
    assert problem_with(run / "checkpoints" / f"step-{stop['step']:08d}") == ""


def until_it_trains(run):
    deadline = time.time() + 120
    while not ((run / "log.jsonl").exists() and any(e["event"] == "train" for e in read_log(run))):
        assert time.time() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_mistake_of_the_users_is_said_once_whatever_the_restarts(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text('nmae = "x"\n')
    ended = done(launched(path, restarts=3))
    assert ended.returncode == 1
    assert 1 <= ended.stderr.count("wrong.toml: name: missing") <= 2, "once per process"


@pytest.mark.slow
def test_a_rank_that_hangs_ends_them_all_with_their_stacks(configured):
    """One of two sleeps for ever in an iteration, and the other waits for it. Both end after the timeout."""
    path, run = configured("hanging", 12, collective_timeout=0.25)
    started = time.monotonic()
    ended = done(launched(path, plant=(1, 6, "sleep")))
    assert ended.returncode == 1
    assert time.monotonic() - started < 15 + 60, "0.25 minutes, and what starting and ending takes"
    stacks = [(run / f"stacks-rank{rank}.txt").read_text() for rank in range(2)]
    line = next(n for n, text in enumerate(PLANTED.read_text().splitlines(), 1) if "the planted line" in text)
    assert f'planted_hang.py", line {line} in planted' in stacks[1]
    assert 'step.py", line ' in stacks[0]
    assert "in micro_step" in stacks[0]
    assert problem_with(run / "checkpoints" / "step-00000004") == ""
    assert [e["step"] for e in read_log(run) if e["event"] == "train"][-1] == 5
    assert "resumed at step 4\n" in train(2, path, "--resume", folder=path.parent)


def test_the_alarm_only_rings_where_others_wait(tmp_path):
    script = "import sys, time\nfrom pathlib import Path\nfrom archsr.training.faults.hang import Alarm\n"
    script += "with Alarm(Path(sys.argv[1]), seconds=0.3, active=sys.argv[2] == '1') as alarm:\n"
    script += "    for _ in range(4): alarm.set(); time.sleep(0.1)\n    alarm.set(1.5); time.sleep(0.6)\n"
    script += "    alarm.set(); time.sleep(1)\nprint('left')\n"
    for active, code in ((0, 0), (1, 1)):
        ended = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "s.txt"), str(active)],
            env=environment(), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (ended.returncode, "left" in ended.stdout) == (code, code == 0)
        assert (tmp_path / "s.txt").exists() == bool(active)
    assert 'File "<string>", line 7' in (tmp_path / "s.txt").read_text()


def test_a_lost_peer_leaves_the_stack_and_a_good_end_nothing(tmp_path):
    path = tmp_path / "s.txt"
    with pytest.raises(RuntimeError), Alarm(path, seconds=60, active=True):
        raise RuntimeError("Connection closed by peer")
    assert "test_a_lost_peer_leaves" in path.read_text()
    path.unlink()
    with Alarm(path, seconds=60, active=True) as alarm:
        alarm.set()
    assert not path.exists()


def test_what_a_launchers_start_decided_holds_for_its_next(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    stopping.record_final_code(85)
    assert stopping.final_code() is None, "without a launcher"
    for attempt, rank in (("attempt_0", "0"), ("attempt_1", "1")):
        (tmp_path / "run" / attempt / rank).mkdir(parents=True)
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "run" / attempt / rank / "error.json"))
        assert stopping.final_code() == (None if attempt == "attempt_0" else 85)
        stopping.record_final_code(1 if attempt == "attempt_1" else 85)
    assert stopping.final_code() == 85
