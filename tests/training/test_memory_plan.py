"""The memory plan: known FLOPs, monotone memory, and advice that fits."""

from pathlib import Path

import pytest
import torch

from archsr.cli import main
from archsr.config import TrainConfig
from archsr.config.config_file import check, load
from archsr.errors import UserError
from archsr.training import launch
from archsr.training.memory import plan

GB = 10**9


def config(blocks=23, **training):
    table = {"stages": [{"iterations": 1, "lr": 1e-4}], "precision": "bf16", **training}
    model = {"arch": "rrdbnet", "blocks": blocks}
    return check(TrainConfig, {"name": "p", "model": model, "training": table}, where="p")


def test_the_generators_arithmetic_is_that_of_its_convolutions():
    """Each convolution counts once forward, and in the backward pass once for weights and once for inputs."""
    net_flops = 0
    for _, outs, ins, scale in [("first", 64, 3, 1), ("body", 64, 64, 1), ("up1", 64, 64, 2), ("up2", 64, 64, 4),
                                ("hr", 64, 64, 4), ("last", 3, 64, 4)]:  # fmt: skip
        net_flops += 2 * 9 * outs * ins * (64 * scale) ** 2
    for k in range(5):
        net_flops += 69 * 2 * 9 * (32 if k < 4 else 64) * (64 + 32 * k) * 64**2
    first = 2 * 9 * 64 * 3 * 64**2  # no gradient for the image
    assert plan.generator_flops(config(layers=["all"])) == 3 * net_flops - first
    last = 2 * 9 * 3 * 64 * 256**2
    assert plan.generator_flops(config(layers=["conv_last"])) == net_flops + last
    recomputed = plan.generator_flops(config(layers=["all"], gradient_checkpointing="rrdb"))
    assert 3.9 * net_flops < recomputed < 4 * net_flops


@pytest.mark.slow
def test_more_memory_never_gives_a_slower_way():
    full = config(layers=["all"], micro_batch=4)
    found = [plan.fitting(full, int(gb * GB)) for gb in (1.5, 2.2, 2.5, 3, 4, 6, 16)]
    assert found[0] is None
    costs = [f.cost for f in found if f]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) > 2
    assert (found[-1].config.training.micro_batch, found[-1].recomputed) == (12, "no")


@pytest.mark.parametrize(
    ("gb", "blocks"), [(2.5, 3), (8, 3), *(pytest.param(gb, 23, marks=pytest.mark.slow) for gb in (2.5, 3, 4, 8))]
)
def test_the_advice_fits(gb, blocks):
    full = config(blocks, layers=["all"], micro_batch=12)
    better = plan.fitting(full, int(gb * GB))
    assert plan.option(better.config).memory <= gb * GB
    for line in plan.lines_to_change(full, better):
        assert line.split(" ")[1] in plan.report(full, memory=int(gb * GB))


def test_the_command(capsys):
    assert main(["plan", "configs/compact.toml", "--memory", "3GB", "--tflops", "10"]) == 0
    out = capsys.readouterr().out
    assert "all" in out
    assert "fits" in out
    assert main(["plan", "configs/compact.toml", "--memory", "much"]) == 2
    assert "expected a size, for example 16GB" in capsys.readouterr().err


def test_out_of_memory_says_what_to_change(tiny, monkeypatch):
    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(launch, "train", full)
    with pytest.raises(UserError, match=r"(?s)out of memory.*2.00 GiB.*micro-batch 2.*--resume"):
        launch.run(tiny, resume=False)


def test_the_whole_generator_at_batch_12_takes_less_than_12_gb():
    """As in configs/full.toml, with every loss; as written it fits a card of 16 GB."""
    full = load(TrainConfig, Path("configs/full.toml"))
    assert plan.option(plan.changed(full, micro_batch=12)).memory < 12 * GB
    assert plan.option(full).memory < 16 * GB
