"""By hand: whole training iterations beside realesrgan's own, on one thread of the CPU.

    ARCHSR_PEER_PYTHON=peers/bin/python python tests/measure/iteration_speed.py

Real-ESRGAN's objective with networks of full size, gt 256, the pair pool and the moving average included, decoding not;
processor time, the programs taking turns, medians. The reference degrades crops of 400 in float32; archsr crops of 288,
in float32 and with bfloat16 networks. For `last` the reference's other layers are frozen by hand before its optimiser
is made: it has no option for it.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from accelerate import Accelerator

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.degradation.apply import apply
from archsr.degradation.recipe import draw
from archsr.training.data import Data
from archsr.training.processes import end
from archsr.training.setup import make_run
from archsr.training.step import train_step
from archsr.utils.seeds import generator
from archsr.utils.world import World

PEERS = Path(__file__).resolve().parents[1] / "peers"

ROUNDS, BATCH, ITERATIONS = 3, 2, 1


def theirs(layers):
    script = PEERS / "official_iteration.py"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [os.environ["ARCHSR_PEER_PYTHON"], str(script), layers, str(BATCH), str(ITERATIONS)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def ours(layers, precision):
    config = check(
        TrainConfig,
        {
            "name": "speed",
            "model": {"arch": "rrdbnet", "weights": "scratch"},
            "discriminator": {"weights": "scratch"},
            "losses": {"perceptual": {"weights": "scratch"}},
            "training": {
                "layers": {"all": ["all"], "last": ["conv_last"]}[layers],
                "precision": precision,
                "global_batch": BATCH,
                "micro_batch": BATCH,
                "stages": [{"iterations": 10, "lr": 1e-4}],
            },
            "degrade": {"pool_batches": 180 // BATCH},
        },
        where="speed",
    )
    accelerator = Accelerator(cpu=True, mixed_precision={"fp32": "no"}.get(precision, precision))
    run = make_run(config, accelerator, World(), Data(Path(), SimpleNamespace(paired=False), None))
    feeds, steps = [], []
    for number in range(ITERATIONS + 1):
        gt = torch.rand(BATCH, 3, 288, 288, generator=generator(number, "gt"))
        started = time.process_time()
        recipe = draw(config.degrade, generator(number, "speed"), BATCH, scale=4, gt_size=256)
        pair = run.pool.swap(apply(gt, recipe), generator(number, "pool"))
        fed = time.process_time()
        train_step(run, iter([pair]), step=number, count=1)
        feeds.append(1000 * (fed - started))
        steps.append(1000 * (time.process_time() - fed))
    end()
    return {"feed": feeds[1:], "step": steps[1:]}


def main():
    torch.set_num_threads(1)
    runs = {
        (f"{who}, {layers}"): run
        for layers in ("all", "last")
        for who, run in (
            ("reference", lambda layers=layers: theirs(layers)),
            ("archsr fp32", lambda layers=layers: ours(layers, "fp32")),
            ("archsr bf16", lambda layers=layers: ours(layers, "bf16")),
        )
    }
    found = {name: {"feed": [], "step": []} for name in runs}
    for number in range(ROUNDS):
        for name, run in runs.items():
            for part, values in run().items():
                found[name][part] += values
            print(f"round {number + 1} of {ROUNDS}: {name}: {found[name]['step'][-1]:.0f} ms", file=sys.stderr)
    print(f"| batch {BATCH} | degradation, ms | step, ms | together | reference / archsr |\n|---|---|---|---|---|")
    for name, parts in found.items():
        feed, step = (float(np.median(parts[k])) for k in ("feed", "step"))
        there = found[f"reference, {name.rsplit(', ', 1)[1]}"]
        whole = sum(float(np.median(there[k])) for k in ("feed", "step"))
        print(f"| {name} | {feed:.0f} | {step:.0f} | {feed + step:.0f} | {whole / (feed + step):.2f} |")


if __name__ == "__main__":
    if "ARCHSR_PEER_PYTHON" not in os.environ:
        sys.exit(__doc__)
    main()
