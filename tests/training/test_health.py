"""An iteration with a NaN or Inf loss is skipped on all ranks, and too many of them end the run."""

import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import tomli_w
import torch
from ranks import Ranks

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
from archsr.training import launch
from archsr.training import step as one_step

PLANTED = Path(__file__).with_name("planted_train.py")


def plant(monkeypatch, bad):
    """Put NaN into the term `pixel` and all gradients of the micro-steps `bad` (1, 2, ...)."""
    real, calls = one_step.micro_step, []

    def planted(parts, pair, *, share, last):
        terms = real(parts, pair, share=share, last=last)
        calls.append(last)
        if len(calls) not in bad:
            return terms
        for p in parts.net_g.parameters():
            if p.grad is not None:
                p.grad.fill_(math.nan)
        return {**terms, "pixel": terms["pixel"] * math.nan}

    monkeypatch.setattr(one_step, "micro_step", planted)


def config_of(tables, **changes):
    return check(TrainConfig, {**tables, **changes}, where="test")


def events(folder, kind):
    return [e for line in (folder / "log.jsonl").read_text().splitlines() if (e := json.loads(line))["event"] == kind]


def weights(folder):
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    return safetensors.torch.load_file(newest / "generator.safetensors")


def test_a_skipped_iteration_leaves_no_trace_in_the_weights(tiny_tables, monkeypatch):
    """With plain gradient descent at a constant rate, skipping the last iteration equals stopping before it."""
    training = {**tiny_tables["training"], "optimizer": {"name": "sgd"}, "stages": [{"iterations": 3, "lr": 1e-3}]}
    runs = Path(tiny_tables["runs"])
    launch.run(config_of(tiny_tables, training=training, name="short"), resume=False)
    longer = {**training, "stages": [{"iterations": 4, "lr": 1e-3}]}
    plant(monkeypatch, {7})  # two micro-steps an iteration: the first of the fourth
    launch.run(config_of(tiny_tables, training=longer, name="skipped"), resume=False)
    a, b = weights(runs / "short"), weights(runs / "skipped")
    assert all(torch.equal(a[k], b[k]) for k in a)
    (event,) = events(runs / "skipped", "skip")
    assert event["step"] == 4
    assert event["terms"][0]["terms"] == ["pixel"]
    assert Path(event["terms"][0]["batch"]).is_file()


def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_skipped(tiny_tables, monkeypatch, capsys):
    """This happens for a square root at zero. Adam would carry it into every later weight."""
    real, calls = one_step.micro_step, []

    def planted(parts, pair, *, share, last):
        terms = real(parts, pair, share=share, last=last)
        calls.append(last)
        if len(calls) == 3:
            next(p for p in parts.net_g.parameters() if p.grad is not None).grad.fill_(math.inf)
        return terms

    monkeypatch.setattr(one_step, "micro_step", planted)
    launch.run(config_of(tiny_tables), resume=False)
    folder = Path(tiny_tables["runs"]) / "tiny"
    assert [e["step"] for e in events(folder, "skip")] == [2]
    assert "the gradient. Skipped on all ranks" in capsys.readouterr().out
    assert all(t.isfinite().all() for t in weights(folder).values())


@pytest.mark.parametrize("pause", [1.0, 0.4])
def test_a_device_that_decides_by_itself_trains_the_same(tiny_tables, monkeypatch, pause):
    """The host reads each verdict one iteration later; weights, averages, log skips are those of reading now."""
    fused = {"name": "adam", "args": {"fused": True}}
    judge = {**tiny_tables["discriminator"], "optimizer": fused, "pause": pause}
    training = {**tiny_tables["training"], "optimizer": fused, "clip": 0.05}
    runs = Path(tiny_tables["runs"])
    for name in ("now", "later"):
        with monkeypatch.context() as patch:
            plant(patch, {5, 7})  # in the iterations 3 and 4
            if name == "later":
                patch.setattr("archsr.training.setup.defers_on", lambda device, optimizers: True)
            launch.run(config_of(tiny_tables, training=training, discriminator=judge, name=name), resume=False)
    for kind in ("generator", "ema", "discriminator", "optimizer_g", "optimizer_d"):
        a, b = (
            safetensors.torch.load_file(sorted((runs / n / "checkpoints").iterdir())[-1] / f"{kind}.safetensors")
            for n in ("now", "later")
        )
        assert a.keys() == b.keys()
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=1e-6, atol=1e-8, msg=f"{kind} {key}")
    for kind, keys in (("skip", ("step", "terms")), ("train", ("step", "iterations", "pixel"))):
        at_once, later = ([[e.get(k) for k in keys] for e in events(runs / n, kind)] for n in ("now", "later"))
        assert str(at_once).replace("runs/now", "runs/later") == str(later)
    assert [e["step"] for e in events(runs / "later", "skip")] == [3, 4]


def test_means_leave_skipped_iterations_out(tiny_tables, monkeypatch):
    plant(monkeypatch, {3})
    launch.run(config_of(tiny_tables, log={"every": 3}), resume=False)
    logged = events(Path(tiny_tables["runs"]) / "tiny", "train")
    assert logged
    assert all(math.isfinite(e["pixel"]) for e in logged)


def test_too_many_end_the_run_with_a_checkpoint_that_goes_on(tiny_tables, monkeypatch, capsys):
    folder = Path(tiny_tables["runs"]) / "tiny"
    tables = {**tiny_tables, "training": {**tiny_tables["training"], "max_skipped": 2}, "checkpoint": {"every": 100}}
    plant(monkeypatch, {3, 7})  # in the iterations 2 and 4
    with pytest.raises(UserError, match=r"2 of the last 1000 iterations; stopped at step 4 with a good checkpoint"):
        launch.run(config_of(tables), resume=False)
    assert "step 2: NaN or Inf in pixel on rank 0. Skipped on all ranks (1 of at most 2 " in capsys.readouterr().out
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-00000004"]
    assert all(t.isfinite().all() for t in weights(folder).values())
    monkeypatch.undo()
    launch.run(config_of({**tables, "training": {**tables["training"], "max_skipped": 3}}), resume=True)
    assert events(folder, "end")


def two(path, rank, steps):
    return Ranks(2, PLANTED, str(rank), steps, "--config", path, folder=path.parent).wait()


def test_one_rank_of_two_has_no_number(tiny_tables, tmp_path):
    """It is reported and skipped on both, and the run ends with equal weights on both ranks."""
    path = tmp_path / "c.toml"
    path.write_text(tomli_w.dumps(tiny_tables))
    done = two(path, 1, "3")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "step 3: NaN or Inf in pixel on rank 1. Skipped on all ranks" in done.stdout
    folder = Path(tiny_tables["runs"]) / "tiny"
    assert [e["step"] for e in events(folder, "skip")] == [3]
    assert (folder / "bad_batches" / "00000003-rank-00001.json").is_file()
    assert events(folder, "end")
    assert all(t.isfinite().all() for t in weights(folder).values())


def test_one_rank_of_two_has_no_number_too_often(tiny_tables, tmp_path):
    path = tmp_path / "c.toml"
    training = {**tiny_tables["training"], "stages": [{"iterations": 20, "lr": 1e-3}]}
    path.write_text(tomli_w.dumps({**tiny_tables, "training": training}))
    done = two(path, 0, ",".join(str(s) for s in range(3, 13)))
    assert done.returncode != 0
    assert "stopped at step 12 with a good checkpoint" in done.stderr
    folder = Path(tiny_tables["runs"]) / "tiny"
    assert len(events(folder, "skip")) == 10
    assert all(t.isfinite().all() for t in weights(folder).values())
