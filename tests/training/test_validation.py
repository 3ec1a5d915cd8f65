"""Validation gives the same numbers as `archsr evaluate`, for any number of processes."""

import itertools
from pathlib import Path

import pytest
import safetensors.torch
import torch
from ranks import Ranks

from archsr.checkpoint import load_newest, strength_of
from archsr.config import TrainConfig
from archsr.config.config_file import check, dump, with_overrides
from archsr.evaluation.compared_models import ComparedModel
from archsr.evaluation.metrics import standard
from archsr.evaluation.pairs import ShardPairs
from archsr.evaluation.selection import distance_for, figures_of, metrics_of
from archsr.evaluation.suite import evaluate
from archsr.training import launch
from archsr.training.logging.log import read_log
from archsr.training.logging.run_warnings import VALIDATING, RunWarnings
from archsr.training.resuming import progress_from
from archsr.training.schedule import seconds_left, validation_share
from archsr.training.validation import validate
from archsr.upscaling.upscaler import Upscaler, open_model
from archsr.utils import progress
from archsr.utils.world import World

TRAIN = Path(__file__).resolve().parents[2] / "archsr" / "train.py"


def flat(figures):
    """Return every value by metric, scene and number."""
    scenes = [(f"{metric} {scene}", values) for metric, each in figures.items() for scene, values in each.items()]
    return {f"{name} {number}": value for name, values in scenes for number, value in enumerate(values)}


def start_of(folder):
    """Return the metrics of the first validation from the last checkpoint."""
    saved, _ = load_newest(folder, world=World())
    return progress_from(saved.state["progress"]).start


def test_validation_counts_its_images_in_a_log(unbroken, tiny, monkeypatch, capsys):
    """By a simulated clock, half a minute for each."""
    clock = itertools.count(0, 31)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    net = open_model(str(unbroken / "snapshots" / "initial.safetensors"))[0]
    pairs = ShardPairs(Path(tiny.data.shards), "val", 2)
    validate(net, pairs, standard(4)[:1], images=0, device=torch.device("cpu"), world=World())
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["validating: 1 of 2", "validating: 2 of 2"]


def test_validation_has_evaluates_digits_on_one_process_and_on_two(unbroken, tiny, tiny_tables, tmp_path):
    found = start_of(unbroken)
    metrics = metrics_of(tiny.model.scale, distance_for(tiny.best))
    net = open_model(str(unbroken / "snapshots" / "initial.safetensors"))[0]
    models = [ComparedModel("start", "start", Upscaler(net, tile=0).restore)]
    pairs = ShardPairs(Path(tiny.data.shards), "val", tiny.validation.samples)
    by_evaluate = figures_of(evaluate(pairs, models, metrics), "start")
    assert flat(by_evaluate) == pytest.approx(flat(found), rel=1e-12, nan_ok=True)
    assert {"psnr", "ssim", "niqe", "niqe_distance", "features", "colour", "false_texture"} <= found.keys()

    path = tmp_path / "two.toml"
    path.write_text(dump(check(TrainConfig, {**tiny_tables, "name": "two"}, where="test")))
    done = Ranks(2, TRAIN, "--config", path, folder=tmp_path).wait()
    assert done.returncode == 0, done.stderr[-2000:]
    # these processes may compute with another number of threads, which moves the seventh digit of float32 networks
    assert flat(start_of(Path(tiny.runs) / "two")) == pytest.approx(flat(found), rel=1e-6, nan_ok=True)


def test_a_run_ends_with_the_share_of_its_training_that_the_rule_prefers(tiny_tables):
    """The learning rate is too high, so by PSNR partial strength is better than full strength."""
    changes = ["validation.strength=true", "validation.best=psnr", "validation.every=6"]
    changes += ["training.stages=[{iterations=6, lr=5e-3}]", "training.ema.decay=0.0", "losses.gan.weight=0"]
    tables = with_overrides(tiny_tables, changes)
    launch.run(check(TrainConfig, tables, where="test"), resume=False)
    folder = Path(tables["runs"]) / "tiny"
    events = read_log(folder)
    (tried,) = [e for e in events if e["event"] == "strength"]
    (end,) = [e for e in events if e["event"] == "end"]
    scores = {float(k): v for k, v in tried.items() if k not in ("event", "step", "time")}
    assert {0.25, 0.5, 0.75, 1.0} < scores.keys()
    assert scores[end["strength"]] == max(scores.values())
    weights = [safetensors.torch.load_file(folder / "snapshots" / f"{n}.safetensors") for n in ("initial", "best")]
    chosen = safetensors.torch.load_file(folder / "snapshots" / "chosen.safetensors")
    for name, (first, last) in ((n, (weights[0][n], weights[1][n])) for n in chosen):
        assert torch.allclose(chosen[name], first + end["strength"] * (last - first), atol=1e-6)
    assert strength_of(folder / "snapshots" / "chosen.safetensors") == end["strength"]


def test_what_validation_takes_of_the_time_is_written_down(unbroken):
    events = read_log(unbroken)
    assert all(e["seconds"] > 0 for e in events if e["event"] == "validation")
    assert all(0 < e["validation_share"] < 1 for e in events if e["event"] == "train")


@pytest.mark.parametrize(("each", "every", "validating"), [(0.5, 100, 20.0), (2.0, 10, 100.0), (1.0, 7, 3.0)])
def test_the_share_is_that_of_a_long_run(each, every, validating):
    whole = seconds_left(0, 1000 * every, each=each, every=every, validating=validating)
    share = validation_share(each=each, every=every, validating=validating)
    assert share == pytest.approx(1000 * validating / whole, rel=2e-3)
    warnings = RunWarnings().of_training({"validation_share": share, "validate_every": every})
    assert bool(warnings) == (share > VALIDATING)
    if warnings:
        advised = float(warnings[0].split("validation.every=")[1].split()[0])
        assert validation_share(each=each, every=round(advised), validating=validating) == pytest.approx(0.1, rel=0.1)
