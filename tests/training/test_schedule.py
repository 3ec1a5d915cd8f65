"""Learning rates and clipping against torch's, and stages that end on a plateau."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler as theirs

from archsr.config import LayerGroup, OptimizerConfig, Stage, TrainConfig
from archsr.config.config_file import check, with_overrides
from archsr.errors import UserError
from archsr.evaluation.selection import Rule
from archsr.training import launch
from archsr.training.layers import select
from archsr.training.logging.log import read_log
from archsr.training.optim import gradient_norms, make_optimizer
from archsr.training.schedule import (
    Plateau,
    changed_at,
    lr_at,
    open_end,
    place_of,
    seconds_left,
    total_of,
    updated_plateau,
    validation_due,
)
from archsr.training.step import update


def rates(make, steps, lr=0.1):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"schedule": "cosine", "lr_end": 0.01}, lambda o: theirs.CosineAnnealingLR(o, T_max=20, eta_min=0.01)),
        ({"schedule": "linear", "lr_end": 0.01}, lambda o: theirs.LinearLR(o, 1.0, 0.1, total_iters=20)),
        ({"schedule": "multistep", "milestones": (4, 11), "gamma": 0.3}, lambda o: theirs.MultiStepLR(o, [4, 11], 0.3)),
        ({"warmup": 5}, lambda o: theirs.LinearLR(o, 1 / 5, 1.0, total_iters=4)),
        ({}, lambda o: theirs.ConstantLR(o, 1.0)),
    ],
)
def test_rates_are_torchs(settings, make):
    stage = Stage(iterations=20, lr=0.1, **settings)
    assert [lr_at(stage, n) for n in range(20)] == pytest.approx(rates(make, 20))


def test_a_schedule_begins_after_its_warm_up():
    stage = Stage(iterations=25, lr=0.1, schedule="cosine", warmup=5)
    assert [lr_at(stage, n) for n in range(5)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    cosine = rates(lambda o: theirs.CosineAnnealingLR(o, T_max=20), 20)
    assert [lr_at(stage, n) for n in range(5, 25)] == pytest.approx(cosine)


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@given(lengths, st.data())
def test_every_iteration_has_one_place_wherever_stages_ended(iterations, data):
    stages = [Stage(iterations=n, lr=1.0 + i) for i, n in enumerate(iterations)]
    ends, start = {}, 0
    for number, n in enumerate(iterations):
        if data.draw(st.booleans()):
            ends[str(number)] = start + data.draw(st.integers(1, n))
        start = ends.get(str(number), start + n)
    total = total_of(stages, ends)
    assert total == start
    places = [place_of(stages, step, ends) for step in range(total)]
    assert [p.start + p.done for p in places] == list(range(total))
    assert [p.number for p in places] == sorted(p.number for p in places)
    assert all(p.start <= step < p.end for step, p in enumerate(places))
    assert {p.number for p in places} == set(range(len(stages)))


def test_a_plateau_is_patience_without_a_better_score():
    stage = Stage(iterations=100, lr=1.0, until="plateau", patience=2, min_delta=0.1)
    place = place_of([stage], 5, {})
    rule = Rule("psnr", 0.0, {"psnr": True})
    at = lambda value: {"psnr": {"a": [value], "b": [value]}}
    found, waited = None, []
    for score in (20.0, 20.05, 20.2, 20.1, 20.29):  # 20.29 is not better than 20.2 by more than 0.1
        found = updated_plateau(found, place, at(score), start=at(0.0), rule=rule)
        waited.append(found.waited)
    assert waited == [0, 1, 0, 1, 2]
    later = updated_plateau(
        Plateau(0, at(99.0), 1), place_of([stage, stage], 100, {}), at(1.0), start=at(0.0), rule=rule
    )
    assert later == Plateau(1, at(1.0))
    assert open_end([stage], {})
    assert not open_end([stage], {"0": 7})


def test_what_is_past_must_be_the_same_and_what_comes_may_differ():
    old = [Stage(iterations=10, lr=1.0), Stage(iterations=10, lr=0.1)]
    assert not changed_at(old, [Stage(iterations=15, lr=1.0)], {}, 10)
    told = changed_at(old, [Stage(iterations=15, lr=1.0)], {}, 11)
    assert "iteration 11 of the 11 that are done had lr 0.1, subset 1, the config gives lr 1, subset 1" in told
    assert changed_at(old, [Stage(iterations=20, lr=1.0, schedule="cosine")], {}, 2)
    assert not changed_at(old, [Stage(iterations=90, lr=1.0), Stage(iterations=5, lr=0.1)], {"0": 10}, 12)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"warmup": 10}, "warmup"),
        ({"milestones": [3]}, "set milestones if"),
        ({"schedule": "multistep"}, "set milestones if"),
        ({"schedule": "multistep", "milestones": [12]}, "below iterations"),
        ({"schedule": "multistep", "milestones": [5, 3]}, "must rise"),
        ({"lr_end": 0.1}, "lr_end needs"),
        ({"schedule": "cosine", "lr_end": 9.0}, "above lr"),
    ],
)
def test_stages_without_sense_are_refused(settings, match, tiny_tables):
    tables = copy.deepcopy(tiny_tables)
    tables["training"]["stages"] = [{"iterations": 10, "lr": 1.0, **settings}]
    with pytest.raises(UserError, match=match):
        check(TrainConfig, tables, where="x")


# ---------------------------------------------------------------- gradients


def test_clipping_is_torchs():
    nets = [nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 1, 1)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    x = torch.rand(2, 2, 5, 5)
    for net in nets:
        (100 * net(x).square().sum()).backward()
    groups = select(nets[0], ["0", LayerGroup(names=("1",), lr_scale=0.1)])
    norms = gradient_norms(groups)
    total = torch.stack(list(norms.values())).norm()
    assert norms["1"] == pytest.approx(torch.cat([p.grad.flatten() for p in nets[0][1].parameters()]).norm())
    ours = make_optimizer(groups, OptimizerConfig(name="momentum"), lr=1e-2)
    update(ours, torch.amp.GradScaler("cpu", enabled=False), clip=0.5)
    assert total == pytest.approx(nn.utils.clip_grad_norm_(nets[1].parameters(), 0.5))
    plain = [{"params": nets[1][0].parameters(), "lr": 1e-2}, {"params": nets[1][1].parameters(), "lr": 1e-3}]
    torch.optim.SGD(plain).step()
    for ours, them in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(ours, them)


def test_weight_decay_by_group_and_without_biases():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 1, 1))
    groups = select(net, ["0", LayerGroup(names=("1",), weight_decay=0.5)])

    def found(**settings):
        made = make_optimizer(groups, OptimizerConfig(name="adamw", weight_decay=0.1, **settings), lr=1)
        return [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in made.param_groups]

    assert found(decay_biases=False) == [(0.1, [4]), (0.0, [1]), (0.5, [4]), (0.0, [1])]
    assert found() == [(0.1, [4, 1]), (0.5, [4, 1])]


def test_further_arguments_reach_the_optimiser_and_wrong_ones_are_named():
    groups = select(nn.Conv2d(2, 3, 3), ["all"])
    made = make_optimizer(groups, OptimizerConfig(args={"eps": 1e-3}), lr=1)
    assert made.param_groups[0]["eps"] == 1e-3
    with pytest.raises(UserError, match=r"adam cannot be used here.*epsilon"):
        make_optimizer(groups, OptimizerConfig(args={"epsilon": 1e-3}), lr=1)


# ---------------------------------------------------------------- runs

PLATEAU = (
    "training.stages=[{iterations=40, lr=1e-9, until='plateau', patience=2, min_delta=1.0, warmup=2}, "
    "{iterations=6, lr=1e-3, schedule='cosine'}]"
)


def run(tables, *overrides, resume=False):
    config = check(TrainConfig, with_overrides(tables, list(overrides)), where="x")
    launch.run(config, resume=resume)
    folder = Path(config.runs) / config.name
    return folder, read_log(folder)


def test_a_stage_ends_on_a_plateau_and_a_resumed_run_is_the_unbroken_one(tiny_tables):
    common = ["validation.every=3", "validation.samples=1", "log.every=1", "checkpoint.every=4", "training.clip=0.1"]
    whole, events = run(tiny_tables, *common, PLATEAU, "name=whole")
    (end,) = [e for e in events if e["event"] == "plateau"]
    assert end["step"] == 9  # 3 is the first of the stage, 6 and 9 were no better
    rates = {e["step"]: e["lr"] for e in events if e["event"] == "train"}
    assert [rates[1], rates[2], rates[9]] == pytest.approx([0.5e-9, 1e-9, 1e-9], abs=1e-6)
    assert rates[10] == pytest.approx(1e-3)
    assert max(rates) == 15
    assert rates[15] < 1e-4
    # stopped inside the first stage, after the plateau began to count
    stopped = PLATEAU.replace("iterations=40", "iterations=8", 1).split("}, {")[0] + "}]"
    run(tiny_tables, *common, stopped, "name=broken")
    broken, _ = run(tiny_tables, *common, PLATEAU, "name=broken", resume=True)
    for name in ("generator", "optimizer_g", "ema"):
        path = f"checkpoints/step-00000015/{name}.safetensors"
        assert (broken / path).read_bytes() == (whole / path).read_bytes()


@given(st.integers(1, 200), st.integers(1, 50), st.data())
def test_the_time_left_has_all_validations_still_to_come(total, every, data):
    step = data.draw(st.integers(1, total))
    due = [n for n in range(step, total + 1) if validation_due(n, total, every)]
    assert total in due
    found = seconds_left(step, total, each=3.0, every=every, validating=100.0)
    assert found == pytest.approx(3.0 * (total - step) + 100.0 * len(due))
