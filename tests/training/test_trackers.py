"""Curves and images, read back by the trackers' own readers, of a run that died and resumed."""

import importlib.metadata
import importlib.util
import json
import shutil
import struct
import subprocess
import sys

import pytest
import tomli_w
from accelerate.tracking import TensorBoardTracker
from ranks import TRAIN, Ranks
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_launch import environment

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
from archsr.training import launch
from archsr.training.logging.log import read_log


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


def died_and_resumed(tables, tmp_path, tracker, *, processes=1, **variables):
    """Run four iterations and lose the last checkpoint, so that the second process resumes at 2 and ends at 6."""
    path = tmp_path / "tiny.toml"
    for iterations, options in ((4, []), (6, ["--resume"])):
        tables["training"]["stages"][0]["iterations"] = iterations
        tables["validation"]["every"] = 2
        tables["losses"]["gan"] = {"weight": 0.0}
        tables["log"] = {"every": 1, "trackers": [tracker], "project": "houses"}
        path.write_text(tomli_w.dumps(tables))
        done = Ranks(processes, TRAIN, "--config", path, *options, folder=tmp_path, **variables).wait()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "fails" not in done.stderr
        if iterations == 4:
            shutil.rmtree(tmp_path / "runs" / "tiny" / "checkpoints" / "step-00000004")
    return tmp_path / "runs" / "tiny"


def expected(run, kind="train", name="total"):
    return {e["step"]: pytest.approx(e[name], rel=1e-4) for e in read_log(run) if e["event"] == kind}


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tensorboard_has_one_curve_without_what_a_resume_went_back_behind(tiny_tables, tmp_path, processes):
    run = died_and_resumed(tiny_tables, tmp_path, "tensorboard", processes=processes)
    assert len(list((run / "tensorboard").iterdir())) == 2  # of rank 0 alone, one for each process
    read = EventAccumulator(str(run / "tensorboard"))
    read.Reload()
    for kind, name in (("train", "total"), ("validation", "psnr")):
        points = read.Scalars(f"{kind}/{name}")
        assert [p.step for p in points] == sorted({p.step for p in points})
        assert {p.step: p.value for p in points} == expected(run, kind, name)
    assert {p.step for p in read.Images("validation")} == {0, 2, 4, 6}
    assert read.Images("degradation")[0].width > 100


def records(path):
    """The records of a .wandb file: a log of LevelDB's, blocks of 32 KiB after seven bytes of its own."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # complete, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


@needs("wandb")
def test_wandb_goes_on_in_the_same_run_and_is_told_nothing_twice(tiny_tables, tmp_path):
    run = died_and_resumed(tiny_tables, tmp_path, "wandb", WANDB_MODE="offline")
    runs, points, images = set(), [], []
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "run":
                runs.add((record.run.run_id, record.run.display_name, record.run.project))
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                assert config["training"]["global_batch"] == 4
            if record.WhichOneof("record_type") == "history":
                row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
                points += [(row["_step"], row["train/total"])] if "train/total" in row else []
                images += [row["_step"]] if "validation/width" in row or "validation" in row else []
    assert len(runs) == 1
    assert next(iter(runs))[1:] == ("tiny", "houses")
    assert [step for step, _ in points] == [1, 2, 3, 4, 5, 6]
    assert dict(points) == expected(run)
    assert images == [0, 2, 4, 6]


@needs("trackio")
def test_trackio_goes_on_in_the_same_run_and_is_told_nothing_twice(tiny_tables, tmp_path):
    variables = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    run = died_and_resumed(tiny_tables, tmp_path, "trackio", **variables)

    def ask(*words):
        said = subprocess.run(
            [sys.executable, "-m", "trackio.cli", *words, "--project", "houses", "--json"],
            env=environment(**variables),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(said.stdout)

    [name] = ask("list", "runs")["runs"]
    assert name.startswith("tiny-")
    points = ask("get", "metric", "--run", name, "--metric", "train/total")["values"]
    assert [p["step"] for p in points] == [1, 2, 3, 4, 5, 6]
    assert {p["step"]: p["value"] for p in points} == expected(run)
    images = sorted((tmp_path / "trackio" / "media").rglob("*.png"))
    assert {int(p.parent.name) for p in images} == {0, 2, 4, 6}


def tracked(tables, *names):
    tables["log"] = {"every": 1, "trackers": list(names)}
    return check(TrainConfig, tables, where="tracked")


def test_a_package_that_is_missing_is_said_before_anything_begins(tiny_tables, monkeypatch, capsys):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    config = tracked(tiny_tables, "wandb")
    with pytest.raises(UserError, match=r"log.trackers: not installed: wandb; pip install wandb, or .*trackers=\[\]"):
        launch.run(config, resume=False)
    assert not launch.dry_run(config, resume=False)
    assert "trackers       NOT READY" in capsys.readouterr().out


def test_a_tracker_that_fails_is_said_once_and_training_goes_on(tiny_tables, tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise ConnectionError("no route\nto anywhere")

    monkeypatch.setattr(TensorBoardTracker, "log", broken)
    launch.run(tracked(tiny_tables, "tensorboard"), resume=False)
    [line] = [x for x in capsys.readouterr().err.splitlines() if "tensorboard" in x]
    assert line.endswith("tensorboard fails: ConnectionError: no route; training continues")
    assert read_log(tmp_path / "runs" / "tiny")[-1]["event"] == "end"


def test_a_tracker_that_does_not_start_is_said_and_training_goes_on(tiny_tables, tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("no key")

    monkeypatch.setattr(TensorBoardTracker, "start", broken)
    launch.run(tracked(tiny_tables, "tensorboard"), resume=False)
    assert capsys.readouterr().err.count("tensorboard fails: RuntimeError: no key; training continues") == 1
    assert read_log(tmp_path / "runs" / "tiny")[-1]["event"] == "end"
