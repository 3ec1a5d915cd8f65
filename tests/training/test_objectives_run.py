"""Small runs of the shipped objectives: alone, resumed, and in two processes."""

from itertools import pairwise, product
from pathlib import Path

import pytest
import safetensors.torch
import tomli
import tomli_w
import torch
from ranks import ROOT, train

from archsr.config import TrainConfig
from archsr.config.config_file import check, with_overrides
from archsr.training import launch
from archsr.training.logging.log import read_log

SMALL = {
    "rrdbnet": {"features": 8, "growth": 4, "blocks": 1},
    "srresnet": {"features": 8, "blocks": 2},
}
JUDGES = {"vgg": {"input_size": 128}, "unet": {}, "patch": {"layers": 2}}


def tables(name, tiny, *overrides):
    """Return a shipped config with tiny networks on the synthetic dataset, with its objective, discriminator and
    degradation.
    """
    shipped = tomli.loads((ROOT / "configs" / f"{name}.toml").read_text())
    for own in ("name", "runs", "validation", "checkpoint", "log"):
        shipped[own] = tiny[own]
    shipped["model"] |= {**SMALL[shipped["model"]["arch"]], "weights": "scratch"}
    if "discriminator" in shipped:
        shipped["discriminator"] |= {"features": 4, "weights": "scratch"}
    shipped["losses"]["perceptual"] |= {"weights": "scratch", "layers": {"conv2_2": 1.0}}
    shipped["data"] |= {"shards": tiny["data"]["shards"], "workers": 0}
    shipped["training"] |= {**tiny["training"], "micro_batch": 2}
    return with_overrides(shipped, list(overrides))


def run(plain, *, resume=False):
    launch.run(check(TrainConfig, plain, where="test"), resume=resume)
    return Path(plain["runs"]) / plain["name"]


def states(folder, step):
    path = folder / "checkpoints" / f"step-{step:08d}"
    return {name: safetensors.torch.load_file(path / f"{name}.safetensors") for name in ("generator", "discriminator")}


@pytest.mark.parametrize(
    "name", [pytest.param("esrgan", marks=pytest.mark.slow), pytest.param("srgan", marks=pytest.mark.slow)]
)
def test_stopped_and_resumed_is_the_unbroken_run(name, tiny_tables):
    stages = "training.stages=[{iterations=4, lr=1e-3}]"
    unbroken = run(tables(name, tiny_tables, stages, "name=unbroken", "losses.ldl.weight=1.0"))
    run(tables(name, tiny_tables, "training.stages=[{iterations=2, lr=1e-3}]", "losses.ldl.weight=1.0"))
    resumed = run(tables(name, tiny_tables, stages, "losses.ldl.weight=1.0"), resume=True)
    for net, state in states(unbroken, 4).items():
        other = states(resumed, 4)[net]
        assert state.keys() == other.keys()
        for key in state:
            assert torch.equal(state[key], other[key]), f"{net} {key}"
    assert states(resumed, 4)["discriminator"]["bn3_0.num_batches_tracked"] > 0


SOME = {("vanilla", "unet"), ("relativistic", "vgg"), ("hinge", "patch"), ("least_squares", "unet")}
COMBINED = [
    pytest.param(*pair, marks=() if pair in SOME else pytest.mark.slow)
    for pair in product(["vanilla", "relativistic", "hinge", "least_squares"], JUDGES)
]


@pytest.mark.parametrize(("objective", "judge"), COMBINED)
def test_every_objective_with_every_judge(objective, judge, tiny_tables):
    plain = tables("esrgan", tiny_tables, "training.stages=[{iterations=1, lr=1e-3}]", "validation.samples=1")
    plain["losses"]["gan"]["objective"] = objective
    plain["discriminator"] = {"arch": judge, "features": 4, "weights": "scratch", **JUDGES[judge]}
    folder = run(plain)
    assert all(v.isfinite().all() for state in states(folder, 1).values() for v in state.values())


def test_a_discriminator_warms_up_takes_turns_and_pauses(tiny_tables):
    """Two iterations alone, then the generator in every second; above `pause` it is not updated."""
    plain = tables("esrgan", tiny_tables, "training.stages=[{iterations=6, lr=1e-3}]", "checkpoint.every=1",
                   "checkpoint.keep=9", "validation.every=6")  # fmt: skip
    judge = {"arch": "patch", "layers": 2, "features": 4, "weights": "scratch", "warmup": 2, "every": 2}
    folder = run({**plain, "discriminator": judge})
    found = [states(folder, step) for step in range(1, 7)]

    def moved(net):
        pairs = pairwise(found)
        return [any(not torch.equal(a[net][k], b[net][k]) for k in a[net] if "weight" in k) for a, b in pairs]

    assert moved("generator") == [False, True, False, True, False]
    assert moved("discriminator") == [True] * 5
    events = [e for e in read_log(folder) if e["event"] == "train"]
    assert ["pixel" in e for e in events] == [False, False, True, False, True, False]
    paused = run({**plain, "name": "paused", "discriminator": {**judge, "pause": 1e-9}})
    a, b = (states(paused, step)["discriminator"] for step in (1, 6))
    assert all(torch.equal(a[k], b[k]) for k in a if k.endswith(("bias", "weight")))


def test_every_term_at_once(tiny_tables):
    plain = tables("srgan", tiny_tables, "training.stages=[{iterations=2, lr=1e-3}]", "training.micro_batch=1")
    scratch = {
        "lpips": {"network": "alex"},
        "dists": {"balance": "scratch"},
        "features": {"network": "test_resnet.r160_in1k"},
    }
    plain["losses"]["ms_ssim"] = {"weight": 0.1, "scales": 2}
    for name in ("charbonnier", "frequency", "gradient", "ldl", "colour"):
        plain["losses"][name] = {"weight": 0.1}
    for name, options in scratch.items():
        plain["losses"][name] = {"weight": 0.1, "weights": "scratch", **options}
    folder = run(plain)
    line = next(x for x in (folder / "log.jsonl").read_text().splitlines() if '"event": "train"' in x)
    assert all(f'"{name}":' in line for name in TrainConfig.model_fields["losses"].annotation.model_fields)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_two_accumulated_micro_batches(tiny_tables, tmp_path, monkeypatch):
    """The relativistic objective's three passes under DDP synchronise gradients once, with equal results."""
    steps = ["training.stages=[{iterations=2, lr=1e-3}]", "training.optimizer.name=sgd", "checkpoint.every=1"]
    together = tables("esrgan", tiny_tables, *steps, "name=together", "losses.gan.weight=0.5", "losses.ldl.weight=1.0")
    (tmp_path / "esrgan.toml").write_text(tomli_w.dumps(together))
    train(2, tmp_path / "esrgan.toml", folder=tmp_path)
    monkeypatch.setattr("archsr.training.processes.cores", lambda: 1)  # threads would add in another order
    alone = run({**together, "name": "alone"})
    still = run(with_overrides(together, ["name=still", "training.stages=[{iterations=1, lr=1e-12}]"]))
    for step, tolerance in ((1, 1e-5), (2, 1e-3)):
        found = [states(Path(tiny_tables["runs"]) / "together", step), states(alone, step), states(still, 1)]
        for net in ("generator", "discriminator"):
            # each process keeps its own running statistics, which training does not use
            names = [k for k in found[0][net] if "running" not in k and "tracked" not in k]
            a, b, begun = (torch.cat([f[net][k].ravel() for k in names]) for f in found)
            assert (a - begun).norm() > 1e-4 * begun.norm()
            assert (a - b).norm() < tolerance * (a - begun).norm(), f"{net} after step {step}"
