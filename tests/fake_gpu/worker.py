"""Train a few iterations on the fake GPU, in a process of its own, and print what was counted as JSON.

    python worker.py '{"work": {"blocks": 1}, "layers": ["all"], "precision": "fp16", "set": ["losses.gan.weight=0"]}'

Each argument is a case. The keys of a case are the arguments of `Case`.
"""

import contextlib
import dataclasses
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

warnings.filterwarnings("ignore")

import fake_device  # noqa: E402
import torch  # noqa: E402
from accelerate import Accelerator  # noqa: E402
from accelerate.state import AcceleratorState  # noqa: E402

from archsr.bench.stages import Workload, tables  # noqa: E402
from archsr.config import TrainConfig  # noqa: E402
from archsr.config.config_file import check, with_overrides  # noqa: E402
from archsr.data.stream.loader import Batch  # noqa: E402
from archsr.degradation.apply import Pair  # noqa: E402
from archsr.training import step as step_module  # noqa: E402
from archsr.training.data import Data  # noqa: E402
from archsr.training.logging.log import Meter  # noqa: E402
from archsr.training.pairs import pair_of  # noqa: E402
from archsr.training.setup import Run, make_run  # noqa: E402
from archsr.utils.seeds import generator  # noqa: E402
from archsr.utils.world import World  # noqa: E402

SMALL = {"blocks": 1, "features": 8, "growth": 4, "batch": 2, "gt": 64}


@dataclasses.dataclass(frozen=True)
class Case:
    """A training of this size. `pieces`: what is recomputed. `set`: overrides. `pool`: batches in the pair pool."""

    work: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(SMALL))
    layers: list[str] = dataclasses.field(default_factory=lambda: ["all"])
    precision: str = "bf16"
    pieces: str = "none"
    set: list[str] = dataclasses.field(default_factory=list)
    pool: int = 1


def counted(case: Case) -> dict[str, Any]:
    """Return the counts of the third iteration, when the pool is full and the optimisers have their state."""
    table = tables(Workload(**case.work), case.layers, case.precision, case.pieces)
    table["degrade"] = {"pool_batches": case.pool}
    config = check(TrainConfig, with_overrides(table, case.set), where="fake GPU")
    AcceleratorState._reset_state(True)
    accelerator = Accelerator(mixed_precision={"fp32": "no"}.get(case.precision, case.precision))
    assert accelerator.device.type == "cuda", accelerator.device
    device = fake_device.FakeDevice()
    with device:
        with torch.device("cuda"):  # parameters could not become fake later
            run = make_run(
                config, accelerator, World(), Data(Path(), SimpleNamespace(paired=False, degrades=True), None)
            )  # type: ignore[arg-type]
        pixels = _pixels(config)
        meter = Meter()
        with _phases(device, run):
            for number in range(case.pool + 2):
                device.clear()
                _iteration(run, pixels, number, meter, device)
        device.phase = "log"
        before = dict(device.waits)
        meter.means()
        logged = {k: v - before.get(k, 0) for k, v in device.waits.items() if v != before.get(k, 0)}
        for key in logged:
            device.waits.pop(key)
    groups = [group for o in run.optimizers for group in o.param_groups]
    return {
        "launches": _listed(device.launches),
        "by_phase": dict(_summed(device.launches)),
        "total": sum(device.launches.values()),
        "waits": _listed(device.waits),
        "log_waits": _listed(Counter(logged)),
        "casts": _listed(device.casts),
        "expanded": _listed(device.expanded),
        "fused": [group.get("fused") for group in groups],
        "on_gpu": all(p.device.type == "cuda" for group in groups for p in group["params"]),
    }


def _pixels(config: TrainConfig) -> torch.Tensor:
    """Return a batch as the loader makes it: uint8 in page-locked memory."""
    size = config.data.gt_size + config.degrade.margin
    return torch.zeros(config.training.global_batch, size, size, 3, dtype=torch.uint8).permute(0, 3, 1, 2).pin_memory()


def _iteration(run: Run, pixels: torch.Tensor, number: int, meter: Meter, device: fake_device.FakeDevice) -> None:
    """Do what the loop does in an iteration, without reading."""
    count = len(pixels) // run.accumulation

    def pairs() -> Iterator[Pair]:
        for part in range(run.accumulation):
            place = number * len(pixels) + part * count
            batch = Batch(pixels[:count], tuple(map(str, range(count))), place)
            device.phase = "degrade"
            pair, _ = pair_of(run.config, batch, 1.0, device=run.accelerator.device)
            device.phase = "pool"
            pair = run.pool.swap(pair, generator(number, "pool", part))
            device.phase = "step"
            yield pair

    done = step_module.train_step(run, pairs(), step=number, count=run.accumulation)
    device.phase = "meter"
    for terms in done.terms:
        meter.add(terms.names, terms.values)
    device.phase = "step"
    if not run.defers:
        done.verdict.read()


@contextlib.contextmanager
def _phases(device: fake_device.FakeDevice, run: Run) -> Generator[None]:
    """Name the parts of `train_step` while it runs."""

    def within(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def named(*args: Any, **kwargs: Any) -> Any:
            before, device.phase = device.phase, name
            try:
                return function(*args, **kwargs)
            finally:
                device.phase = before

        return named

    names = {"_term": "losses", "_discriminator_pass": "discriminator", "_agreed": "check", "update": "update"}
    plain = {name: getattr(step_module, name) for name in names}
    forward, backward, averaging = run.parts.net_g.forward, torch.Tensor.backward, run.ema.update
    for name, phase in names.items():
        setattr(step_module, name, within(phase, plain[name]))
    run.parts.net_g.forward = within("generator forward", forward)
    run.ema.update = within("EMA", averaging)  # type: ignore[method-assign]

    def told(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        phase = (
            "generator backward" if tensor.dim() == 4 else device.phase if device.phase == "discriminator" else "losses"
        )
        within(phase, backward)(tensor, *args, **kwargs)

    torch.Tensor.backward = told  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(step_module, name, function)
        torch.Tensor.backward = backward  # type: ignore[method-assign]


def _summed(counter: Counter[tuple[str, str, str]]) -> Counter[str]:
    by_phase: Counter[str] = Counter()
    for (phase, _, _), count in counter.items():
        by_phase[phase] += count
    return by_phase


def _listed(counter: Counter[tuple[str, str, str]]) -> list[list[Any]]:
    return [[*key, count] for key, count in counter.most_common()]


if __name__ == "__main__":
    fake_device.move_in_place()
    print(json.dumps([counted(Case(**json.loads(text))) for text in sys.argv[1:]]))
