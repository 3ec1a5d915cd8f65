"""By hand: processor time of each kind of damage, on one thread of the CPU; the table of configs/DEGRADATION.md.

    python tests/measure/speed_of_damage.py

Twelve images of 288 pixels, medians of nine recipes, less the time of the reduction alone.
"""

import time

import numpy as np
import torch

from archsr.config import PrepareConfig
from archsr.config.config_file import check
from archsr.degradation.apply import apply_whole
from archsr.degradation.recipe import draw
from archsr.utils.seeds import generator


def jpeg(**shares):
    others = {f"yuv{number}": 0.0 for number in (420, 422, 440, 444)}
    return {"steps": ["jpeg1", "bicubic"], "first": {"jpeg": {"sampling": others | shares}}}


def blur(**keys):
    return {"steps": ["blur1", "bicubic"], "first": {"blur": {"sinc": 0.0, **keys}}}


def resize(**modes):
    factor = {"low": 0.6, "high": 1.0}
    keys = {"up": 0.0, "down": 1.0, "keep": 0.0, "factor": factor, "modes": modes}
    return {"steps": ["resize1", "reduce"], "first": {"resize": keys}}


CASES = {
    "JPEG 4:2:0": jpeg(yuv420=1.0),
    "JPEG 4:2:0, interpolated": {"steps": ["jpeg1", "bicubic"], "first": {"jpeg": {"interpolated": 1.0}}},
    "JPEG 4:4:4": jpeg(yuv444=1.0),
    "blur": blur(),
    "out of focus": blur(defocus=1.0),
    "moved": blur(motion=1.0),
    "sharpen the full image": {"steps": ["sharpen", "bicubic"]},
    "sharpen lq": {"steps": ["bicubic", "sharpen"]},
    "aberration": {"steps": ["aberration", "bicubic"]},
    "resize1": resize(),
    "resize1, Lanczos": resize(lanczos=1.0),
    "resize1, nearest": resize(nearest=1.0),
    "noise1": {"steps": ["noise1", "bicubic"]},
    "sensor": {"steps": ["sensor", "bicubic"]},
}


def median(table, images):
    config = check(PrepareConfig, {"degrade": {"sharpen_gt": False, "margin": 32, **table}}, where="speed").degrade
    times = []
    for seed in range(10):
        recipe = draw(config, generator(seed, "speed"), len(images), scale=4, gt_size=256)
        started = time.process_time()
        apply_whole(images, recipe)
        times.append(1000 * (time.process_time() - started))
    return float(np.median(times[1:]))


def main():
    torch.set_num_threads(1)
    images = torch.rand(12, 3, 288, 288, generator=torch.Generator().manual_seed(0))
    alone = {end: median({"steps": [end]}, images) for end in ("bicubic", "reduce")}
    print("| step | ms |\n|---|---|")
    for name, table in CASES.items():
        end = "reduce" if "reduce" in table["steps"] else "bicubic"
        print(f"| {name} | {median(table, images) - alone[end]:.0f} |")


if __name__ == "__main__":
    main()
