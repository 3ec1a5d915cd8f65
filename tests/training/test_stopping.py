"""A graceful stop saves on all ranks at one iteration, exits with 85, and resumes bit-identically."""

import json
import signal
import time
from pathlib import Path

import pytest
import safetensors.torch
import tomli_w
import torch
from ranks import TRAIN, Ranks, train

from archsr.config import TrainConfig
from archsr.config.config_file import check, load
from archsr.training import launch
from archsr.utils import stopping
from archsr.utils.stopping import REASONS, REQUEUE, Stopped, StopRequest


def events(run, kind=None):
    path = run / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [e for e in found if kind in (None, e["event"])]


def wait_for(condition, seconds=120):
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, "it never came to that"
        time.sleep(0.02)


@pytest.fixture
def started():
    """Start training, and end what a failed test leaves running."""
    running = []

    def start(processes, path, *options, **extra):
        running.append(Ranks(processes, TRAIN, "--config", path, *options, folder=path.parent, **extra))
        return running[-1]

    yield start
    for ranks in running:
        ranks.kill()


def same_files(a, b):
    names = sorted(p.name for p in a.glob("*.safetensors"))
    assert names == sorted(p.name for p in b.glob("*.safetensors"))
    for name in names:
        x, y = (safetensors.torch.load_file(f / name) for f in (a, b))
        assert all(torch.equal(x[k], y[k]) for k in x), name


@pytest.fixture
def long(tiny_tables, tmp_path):
    """Return a config file of 24 iterations that saves only at its end, and its run folder."""

    def make(name):
        training = {**tiny_tables["training"], "stages": [{"iterations": 24, "lr": 1e-3}]}
        tables = {**tiny_tables, "training": training, "name": name, "checkpoint": {"every": 1000}}
        path = tmp_path / f"{name}.toml"
        path.write_text(tomli_w.dumps({**tables, "validation": {"every": 11, "samples": 2}}))
        return path, Path(tiny_tables["runs"]) / name

    return make


@pytest.mark.slow
def test_one_of_two_is_told_and_both_save(long, tmp_path, started):
    """USR1 to rank 1 alone: both save the same iteration, exit with 85, and resume to the unbroken run's weights."""
    whole, unbroken = long("unbroken")
    train(2, whole, folder=tmp_path)
    path, run = long("stopped")
    told = tmp_path / "exit"
    process = started(2, path, ARCHSR_EXIT_FILE=str(told))
    wait_for(lambda: len(events(run, "train")) >= 5)
    process.send(signal.SIGUSR1, rank=1)
    assert [p.exitcode for p in process.wait(together=False).processes] == [REQUEUE] * 2
    (stop,) = events(run, "stop")
    assert stop["reason"] == "SIGUSR1"
    assert 5 <= stop["step"] < 24
    assert told.read_text() == f"85 {stop['step']}\n"
    saved = run / "checkpoints" / f"step-{stop['step']:08d}"
    assert {"rank-00000.safetensors", "rank-00001.safetensors"} <= {p.name for p in saved.iterdir()}
    train(2, path, "--resume", folder=tmp_path)
    same_files(*(f / "checkpoints" / "step-00000024" for f in (unbroken, run)))


def test_ctrl_c_once_saves(long, started):
    path, run = long("ctrl-c")
    process = started(1, path)
    wait_for(lambda: len(events(run, "train")) >= 3)
    process.send(signal.SIGINT)
    assert process.wait().returncode == REQUEUE
    said = "archsr: SIGINT: stopping; wait for 'saved', then continue with --resume. A second one ends it at once"
    assert said in process.stderr
    assert events(run, "stop")[0]["reason"] == "SIGINT"


@pytest.mark.parametrize(("look", "step"), [(2, None), (5, 3), (8, 6)])
def test_stopped_within_a_validation_it_comes_first_in_the_next_start(tiny_tables, look, step):
    """Validations of two pairs at 0, 3 and 6 check three times each for a stop."""

    class Asked(StopRequest):
        looks = 0

        def requested(self):
            self.looks += 1
            if self.looks == look:
                self.handle(signal.SIGINT)
            return super().requested()

    whole, broken = (check(TrainConfig, {**tiny_tables, "name": n}, where="test") for n in ("whole", "broken"))
    launch.run(whole, resume=False)
    with pytest.raises(Stopped) as stopped:
        launch.run(broken, resume=False, stop_request=Asked())
    assert stopped.value.step == step
    runs = Path(tiny_tables["runs"])
    validated = lambda name: {e["step"]: e["psnr"] for e in events(runs / name, "validation")}
    assert step not in validated("broken")
    launch.run(broken, resume=True)
    assert validated("broken") == validated("whole")
    for folder in ("checkpoints/step-00000006", "snapshots"):
        same_files(runs / "whole" / folder, runs / "broken" / folder)


def test_a_second_term_ends_it_at_once(long, started):
    path, run = long("twice")
    sizes = ("training.global_batch=24", "data.gt_size=128", "model.features=64", "model.growth=32", "model.blocks=23")
    process = started(1, path, *(word for size in sizes for word in ("--set", size)))  # an iteration takes a minute
    wait_for(lambda: events(run, "validation"))
    time.sleep(1)
    process.send(signal.SIGTERM)
    time.sleep(stopping.REPEATED + 0.5)
    assert process.returncode is None
    process.send(signal.SIGTERM)
    assert process.wait(20).returncode == -signal.SIGTERM
    assert not list((run / "checkpoints").glob("step-*"))


@pytest.mark.slow  # it takes the time that it is about; the arithmetic: test_what_is_asked
def test_the_time_limit_is_kept_save_included(long):
    """The process seems to have started 1000 seconds ago."""
    path, run = long("limited")
    stop_request = StopRequest(started=time.time() - 1000)
    stop_request.record_save(0.5)
    changes = ["training.time_limit='0:16:52'", "training.stages.0.iterations=5000"]
    with pytest.raises(Stopped, match="time limit"):
        launch.run(load(TrainConfig, path, overrides=changes), resume=False, stop_request=stop_request)
    (stop,) = events(run, "stop")
    assert (stop["reason"], stop["requeue"]) == ("time limit", True)
    assert stop["step"] > 1
    manifest = json.loads((run / "checkpoints" / f"step-{stop['step']:08d}" / "MANIFEST.json").read_text())
    assert manifest["saved"] < stop_request.started + 1012


def test_what_is_asked():
    stop_request = StopRequest(started=time.time() - 100)
    assert stop_request.reason() == 0
    stop_request.limit = 115.0
    assert stop_request.reason() == 0, "a tenth of the limit is left for a save of unknown length"
    stop_request.limit = 110.0
    assert REASONS[stop_request.reason()] == "time limit"
    stop_request.record_save(1.0)
    assert stop_request.reason() == 0, "a save of one second needs less"
    stop_request.record_save(30.0)
    assert REASONS[stop_request.reason()] == "time limit"
    with pytest.raises(Stopped, match="SIGTERM"):
        stop_request.handle(signal.SIGTERM)  # nothing was trained yet
    stop_request.training = True
    stop_request.handle(signal.SIGUSR1)
    assert REASONS[stop_request.reason()] == "SIGUSR1"
    stop_request.handle(signal.SIGTERM)  # after SIGUSR1 the cluster insists; that is no second SIGTERM
    assert REASONS[stop_request.reason()] == "SIGTERM"


@pytest.mark.parametrize("wrong", ["3:50", "90", "1:60:00", "soon"])
def test_a_time_limit_is_a_time(tiny_tables, wrong):
    tables = {**tiny_tables, "training": {**tiny_tables["training"], "time_limit": wrong}}
    with pytest.raises(stopping.UserError, match="training.time_limit"):
        check(TrainConfig, tables, where="test")
