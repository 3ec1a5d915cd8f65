"""By hand: the degradation's speed beside realesrgan's own `feed_data`, on one thread of the CPU.

    ARCHSR_PEER_PYTHON=peers/bin/python python tests/measure/degradation_speed.py

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
from archsr.config.config_file import check
from archsr.degradation.apply import Pair, apply
from archsr.degradation.canvas import full
from archsr.degradation.jpeg import jpeg
from archsr.degradation.kernels import KernelParams, blur, concatenated, render
from archsr.degradation.noise import add_noise
from archsr.degradation.order_params import draw_kernels, rand
from archsr.degradation.pool import PairPool
from archsr.degradation.recipe import draw, final_kernel
from archsr.degradation.resize import AREA, BICUBIC, BILINEAR, resize
from archsr.degradation.sharpen import sharpen
from archsr.utils.seeds import generator

PEERS = Path(__file__).resolve().parents[1] / "peers"

ROUNDS = 4


def image(side, batch=12):
    """As in official_speed.py."""
    rng = np.random.default_rng(side)
    coarse = torch.from_numpy(rng.random((batch, 3, side // 8, side // 8), np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return torch.from_numpy(
        (smooth.numpy() + 0.05 * rng.random((batch, 3, side, side), np.float32)).clip(0, 1).astype(np.float32)
    )


def theirs(side, feeds, usm, start):
    script = PEERS / "official_speed.py"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [os.environ["ARCHSR_PEER_PYTHON"], str(script), str(side), str(feeds), usm, str(start)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def ours(side, feeds, fidelity, start):
    config = check(PrepareConfig, {"degrade": {"fidelity": fidelity}}, where="speed").degrade
    gt, pool = image(side), PairPool(180)
    made, drawn = [], []
    seeds = range(start, start + feeds + 1)
    for seed in seeds:
        rng = generator(seed, "kernels")
        started = time.process_time()
        first, second = (
            draw_kernels(table.blur, rng, 12, rand(rng, 12) < table.blur.probability)
            for table in (config.first, config.second)
        )
        render(concatenated(first, second, final_kernel(config, rng, 12)))
        drawn.append(time.process_time() - started)
    for seed in seeds:
        started = time.process_time()
        recipe = draw(config, generator(seed, "speed"), 12, scale=4, gt_size=256)
        pair = pool.swap(apply(gt, recipe), generator(seed, "pool"))
        sharpen(pair.gt)
        made.append(time.process_time() - started)
    return {"feeds": [1000 * t for t in made[1:]], "kernels": [1000 * t for t in drawn[1:]]}


def each_of_ours(side, repeats=9):
    """The operations of `official_speed.operations`, one image at a time as `apply` does it on a CPU."""
    gt = image(side)
    singles = [full(single) for single in gt.split(1)]
    one = {name: torch.ones(1) for name in ("sigma_x", "sigma_y", "theta", "beta", "cutoff")}
    params = KernelParams(kind=torch.tensor([0]), taps=torch.tensor([21]), **one)
    kernels, quality, size = render(params), torch.full((1,), 60.0), torch.tensor([round(side * 0.6)])
    to, rng = (int(size), int(size)), torch.Generator().manual_seed(0)

    def noisy(canvas, *, poisson, grey):
        kind = {"poisson": torch.tensor([poisson]), "grey": torch.tensor([grey])}
        add_noise(canvas, **kind, strength=torch.tensor([1.0 if poisson else 15 / 255]), rng=rng)

    def shrink(canvas, mode):
        resize(canvas, size, size, torch.tensor([mode]), total=to)

    pool = PairPool(180)
    pair = Pair(torch.rand(12, 3, 64, 64), torch.rand(12, 3, 256, 256))
    for n in range(15):
        pool.swap(pair, generator(n, "pool"))
    modes = {"area": AREA, "bilinear": BILINEAR, "bicubic": BICUBIC}
    noises = {f"{kind} noise, {name}": (kind == "Poisson", name == "grey")
              for kind in ("Gaussian", "Poisson") for name in ("colour", "grey")}  # fmt: skip
    sharpening = timed(lambda: sharpen(gt), repeats)
    return {
        "sharpening, dense": sharpening,
        "sharpening, made separable": sharpening,
        "blur, 21 taps": timed(lambda: [blur(canvas, params, kernels) for canvas in singles], repeats),
        **{f"resize × 0.6, {name}": timed(lambda m=m: [shrink(canvas, m) for canvas in singles], repeats)
           for name, m in modes.items()},
        **{name: timed(lambda p=p, g=g: [noisy(canvas, poisson=p, grey=g) for canvas in singles], repeats)
           for name, (p, g) in noises.items()},
        "JPEG": timed(lambda: [jpeg(canvas, quality) for canvas in singles], repeats),
        "pair pool of 180": timed(lambda: pool.swap(pair, generator(1, "pool")), repeats),
    }  # fmt: skip


def timed(work, repeats):
    """The median of the processor times, in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(1000 * (time.process_time() - started))
    return float(np.median(times))


def operations(side):
    """Ours and theirs in turns; the medians of three rounds."""
    ours_all, theirs_all = [], []
    for _ in range(3):
        ours_all.append(each_of_ours(side))
        theirs_all.append(theirs(side, 9, "operations", 0))
    print(f"\n| twelve images of {side} | reference, ms | archsr, ms | ratio |\n|---|---|---|---|")
    for name in ours_all[0]:
        there, here = (float(np.median([found[name] for found in them])) for them in (theirs_all, ours_all))
        print(f"| {name} | {there:.1f} | {here:.1f} | {there / here:.1f} |")


def main():
    torch.set_num_threads(1)
    operations(288)
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
    print("| | feeds | ms per feed of 12 | ms per image | kernels drawn, ms |\n|---|---|---|---|---|")
    for name, (feeds, kernels) in found.items():
        mean = np.mean(feeds)
        print(f"| {name} | {len(feeds)} | {mean:.0f} | {mean / 12:.1f} | {np.mean(kernels):.2f} |")


if __name__ == "__main__":
    if "ARCHSR_PEER_PYTHON" not in os.environ:
        sys.exit(__doc__)
    main()
