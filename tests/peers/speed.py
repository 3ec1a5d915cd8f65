"""By hand: the degradation's speed beside realesrgan's own `feed_data`, on one thread of the CPU.

    ARCHSR_PEER_PYTHON=peers/bin/python python tests/peers/speed.py

Batch 12, gt 256, processor time, means over seeded feeds; the programs take turns, so that other load is shared. The
reference works on crops of 400 and, for equal work, of 288, which is archsr's default (gt + 32); whole and with nothing
but its sharpening made separable, which is most of its time. Its time includes the pair pool and the second sharpening
after it, so archsr's does too.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from archsr.config import PrepareConfig
from archsr.config_file import check
from archsr.degrade.apply import apply
from archsr.degrade.kernels import joined, render
from archsr.degrade.order import draw_kernels, rand
from archsr.degrade.pool import PairPool
from archsr.degrade.recipe import draw, final_kernel
from archsr.degrade.sharpen import sharpen
from archsr.seeds import generator

ROUNDS = 4


def picture(side, batch=12):
    """As in official_speed.py."""
    rng = np.random.default_rng(side)
    coarse = torch.from_numpy(rng.random((batch, 3, side // 8, side // 8), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return torch.from_numpy(
        (smooth.numpy() + 0.05 * rng.random((batch, 3, side, side), np.float32)).clip(0, 1).astype(np.float32)
    )


def theirs(side, feeds, usm, start):
    script = Path(__file__).with_name("official_speed.py")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [os.environ["ARCHSR_PEER_PYTHON"], str(script), str(side), str(feeds), usm, str(start)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def ours(side, feeds, fidelity, start):
    config = check(PrepareConfig, {"degrade": {"fidelity": fidelity}}, where="speed").degrade
    gt, pool = picture(side), PairPool(180)
    made, drawn = [], []
    seeds = range(start, start + feeds + 1)
    for seed in seeds:
        rng = generator(seed, "kernels")
        started = time.process_time()
        first, second = (
            draw_kernels(table.blur, rng, 12, rand(rng, 12) < table.blur.probability)
            for table in (config.first, config.second)
        )
        render(joined(first, second, final_kernel(config, rng, 12)))
        drawn.append(time.process_time() - started)
    for seed in seeds:
        started = time.process_time()
        recipe = draw(config, generator(seed, "speed"), 12, scale=4, gt_size=256)
        pair = pool.swap(apply(gt, recipe), generator(seed, "pool"))
        sharpen(pair.gt)
        made.append(time.process_time() - started)
    return {"feeds": [1000 * t for t in made[1:]], "kernels": [1000 * t for t in drawn[1:]]}


def main():
    torch.set_num_threads(1)
    found = {}
    for number in range(ROUNDS):
        for name, run in {
            "archsr fixed, 288": lambda n: ours(288, 6, "fixed", 100 * n),
            "archsr faithful, 288": lambda n: ours(288, 6, "faithful", 100 * n),
            "archsr fixed, 400": lambda n: ours(400, 6, "fixed", 100 * n),
            "reference with separable sharpening, 288": lambda n: theirs(288, 6, "separable", 100 * n),
            "reference with separable sharpening, 400": lambda n: theirs(400, 6, "separable", 100 * n),
            "reference, 288": lambda n: theirs(288, 6, "dense", 100 * n),
            "reference, 400": lambda n: theirs(400, 6, "dense", 100 * n),
        }.items():
            timed = run(number)
            feeds, kernels = found.setdefault(name, ([], []))
            feeds.extend(timed["feeds"])
            kernels.extend(timed["kernels"])
            print(f"round {number + 1} of {ROUNDS}: {name}: {np.mean(timed['feeds']):.0f} ms", file=sys.stderr)
    print("| | feeds | ms per feed of 12 | ms per picture | kernels drawn, ms |\n|---|---|---|---|---|")
    for name, (feeds, kernels) in found.items():
        mean = np.mean(feeds)
        print(f"| {name} | {len(feeds)} | {mean:.0f} | {mean / 12:.1f} | {np.mean(kernels):.2f} |")


if __name__ == "__main__":
    if "ARCHSR_PEER_PYTHON" not in os.environ:
        sys.exit(__doc__)
    main()
