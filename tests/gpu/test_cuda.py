"""On a real GPU: the same results as on a CPU, and a host that does not wait."""

import copy
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from archsr.bench.stages import Workload, tables
from archsr.config import TrainConfig
from archsr.config.config_file import check, with_overrides
from archsr.degradation.apply import apply
from archsr.degradation.recipe import draw
from archsr.models.rrdbnet import RRDBNet
from archsr.training.data import Data
from archsr.training.memory.forecast import forecast
from archsr.training.processes import end
from archsr.training.setup import make_run
from archsr.training.step import train_step
from archsr.upscaling.upscaler import Upscaler
from archsr.utils.seeds import generator
from archsr.utils.world import World

pytestmark = pytest.mark.gpu
SMALL = Workload(blocks=2, features=16, growth=8, batch=4, gt=64)


def made(precision, *, overrides=(), cpu=False, work=SMALL, layers=("all",)):
    """A run on synthetic images, and its endless pairs, which are the same on every device."""
    table = with_overrides(tables(work, list(layers), precision), list(overrides))
    config = check(TrainConfig, table, where="gpu")
    accelerator = Accelerator(cpu=cpu, mixed_precision={"fp32": "no"}.get(precision, precision))
    run = make_run(config, accelerator, World(), Data(Path(), SimpleNamespace(paired=False), None))
    size = config.data.gt_size + config.degrade.margin
    gt = torch.rand(config.training.micro_batch, 3, size, size, generator=generator(0, "gpu"))

    def pairs():
        for number in itertools.count():
            recipe = draw(config.degrade, generator(number, "gpu"), len(gt), scale=4, gt_size=config.data.gt_size)
            yield run.pool.swap(apply(gt.to(accelerator.device), recipe), generator(number, "pool"))

    return run, pairs()


QUIET = [
    "degrade.pool_batches=0", "degrade.first.noise.probability=0", "degrade.second.noise.probability=0",
]  # fmt: skip  # each device draws its own noise


def test_an_iteration_is_that_of_a_cpu():
    after = {}
    for cpu in (True, False):
        run, pairs = made("fp32", overrides=QUIET, cpu=cpu)
        terms = [train_step(run, pairs, step=n, count=run.accumulation).terms[0] for n in range(3)]
        after[cpu] = [dict(zip(t.names, t.values.tolist(), strict=True)) for t in terms]
        end()
    for here, there in zip(after[True], after[False], strict=True):
        for name in ("pixel", "perceptual", "gan", "d_real", "d_fake"):
            assert there[name] == pytest.approx(here[name], rel=2e-2, abs=1e-4), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_host_never_waits_in_an_iteration(precision):
    run, pairs = made(precision)
    assert run.defers
    for number in range(3):
        train_step(run, pairs, step=number, count=run.accumulation)
    torch.cuda.set_sync_debug_mode("error")
    try:
        done = [train_step(run, pairs, step=3 + n, count=run.accumulation) for n in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        end()
    assert all(d.verdict.read()[0] for d in done)


def test_the_device_skips_an_iteration_with_nan():
    run, pairs = made("fp32")
    train_step(run, pairs, step=0, count=1)
    before = {k: v.clone() for k, v in run.raw_g.state_dict().items()}
    average = {k: v.clone() for k, v in run.ema.average.items()}
    pair = next(pairs)
    pair.gt.fill_(float("nan"))
    done = train_step(run, iter([pair]), step=1, count=1)
    assert not done.verdict.read()[0]
    assert all(torch.equal(v, before[k]) for k, v in run.raw_g.state_dict().items())
    assert all(torch.equal(v, average[k]) for k, v in run.ema.average.items())
    done = train_step(run, pairs, step=2, count=1)
    assert done.verdict.read()[0]
    assert not all(torch.equal(v, before[k]) for k, v in run.raw_g.state_dict().items())
    end()


@pytest.mark.parametrize("layers", [["all"], ["conv_last"]])
def test_the_peak_memory_is_that_of_the_forecast(layers):
    run, pairs = made("bf16", work=Workload(blocks=8, batch=4, gt=192), layers=layers)
    for number in range(2):
        train_step(run, pairs, step=number, count=run.accumulation)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    train_step(run, pairs, step=2, count=run.accumulation)
    torch.cuda.synchronize()
    peak, expected = torch.cuda.max_memory_allocated(), forecast(run.config).total
    end()
    assert 0.8 * expected < peak < 1.25 * expected


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1), ("fp16", 3)])
def test_upscaling_is_that_of_a_cpu(precision, most):
    torch.manual_seed(0)
    net = RRDBNet(blocks=2, features=16, growth=8).eval().requires_grad_(False)
    image = (np.random.default_rng(0).random((150, 170, 3)) * 255).astype(np.uint8)
    here = Upscaler(copy.deepcopy(net), device=torch.device("cpu"), tile=64).pixels(image)
    there = Upscaler(copy.deepcopy(net), device=torch.device("cuda"), tile=64, precision=precision).pixels(image)
    assert np.abs(here.astype(int) - there.astype(int)).max() <= most
