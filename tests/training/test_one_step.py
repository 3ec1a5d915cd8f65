"""A run, the doctor and the benchmark use the same step, and few modules are between a run and its network."""

import traceback
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

import archsr
from archsr.bench.stages import iteration
from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.doctor.launch import launch as examine
from archsr.models.rrdbnet import RRDBNet
from archsr.training import launch
from archsr.training.processes import end

CLIP = 1e-4


def trained(config):
    launch.run(config, resume=False)


def examined(config):
    assert [line.state for line in examine(config)] == ["ok", "ok"]


def timed(config):
    once = iteration(config, Accelerator(cpu=True))
    try:
        once()
    finally:
        end()


@pytest.fixture
def norms(monkeypatch):
    """Record the norms of both networks' gradients at each optimiser step, in order."""
    found, real = [], torch.amp.GradScaler.step

    def noted(self, optimizer):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        found.append(float(nn.utils.get_total_norm(gradients)))
        return real(self, optimizer)

    monkeypatch.setattr(torch.amp.GradScaler, "step", noted)
    return found


@pytest.mark.parametrize(("work", "steps"), [(trained, 6), (examined, 1), (timed, 1)])
def test_the_gradients_of_both_networks_are_clipped(tiny_tables, norms, work, steps):
    tables = {
        **tiny_tables,
        "discriminator": {**tiny_tables["discriminator"], "clip": CLIP},
        "training": {**tiny_tables["training"], "clip": CLIP},
    }
    work(check(TrainConfig, tables, where="test"))
    assert norms == pytest.approx([CLIP] * 2 * steps, rel=0.02)  # torch adds 1e-6 to the norm it divides by


def test_a_run_is_four_modules_away_from_its_network(tiny_tables, monkeypatch):
    """`archsr/train.py`, which calls the first of them, is the fifth."""
    real, ways = RRDBNet.forward, []

    def noted(self, x):
        if self.training and torch.is_grad_enabled() and x.device.type != "meta":  # not the memory forecast
            ways.append([frame.filename for frame in traceback.extract_stack()])
        return real(self, x)

    monkeypatch.setattr(RRDBNet, "forward", noted)
    launch.run(check(TrainConfig, tiny_tables, where="test"), resume=False)
    package = Path(archsr.__file__).parent
    own = [[Path(f).relative_to(package).as_posix() for f in way if Path(f).is_relative_to(package)] for way in ways]
    assert [list(dict.fromkeys(way)) for way in own] == [
        ["training/launch.py", "training/loop.py", "training/step.py"]
    ] * 12
