"""By hand: processor time of each kind of damage, on one thread of the CPU; the table of configs/DEGRADATION.md.

    python tests/measure/speed_of_damage.py [PHOTO]

Twelve images of 288 pixels, medians of nine recipes, less the time of the reduction alone. The images are noise, or
cut from PHOTO, which encoders need for a fair time. HEIC, H.264 and HEVC need the extras `phone` and `codecs`.
"""

import sys
import time

import numpy as np
import torch
from PIL import Image

from archsr.config import PrepareConfig
from archsr.config.config_file import check
from archsr.degradation.apply import apply_whole
from archsr.degradation.codecs import CODECS
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


def codec(name, *, last=False):
    steps = ["bicubic", "codec"] if last else ["codec", "bicubic"]
    return {"steps": steps, "codec": {"formats": {other: float(other == name) for other in CODECS[1:]}}}


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
    "saves, one": {"steps": ["saves", "bicubic"], "saves": {"low": 1, "high": 1}},
    "saves, four": {"steps": ["saves", "bicubic"], "saves": {"low": 4, "high": 4}},
    "saves of lq, four": {"steps": ["bicubic", "saves"], "saves": {"low": 4, "high": 4}},
    "levels": {"steps": ["levels", "bicubic"]},
    **{f"codec, {name}": codec(name) for name in CODECS[1:]},
    **{f"codec of lq, {name}": codec(name, last=True) for name in CODECS[1:]},
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


def noise():
    return torch.rand(12, 3, 288, 288, generator=torch.Generator().manual_seed(0))


def twelve(photo):
    pixels = torch.from_numpy(np.array(Image.open(photo).convert("RGB"))).permute(2, 0, 1) / 255
    places = [(y, x) for y in range(3) for x in range(4)]
    down, across = (pixels.shape[1] - 288) // 2, (pixels.shape[2] - 288) // 3
    return torch.stack([pixels[:, y * down : y * down + 288, x * across : x * across + 288] for y, x in places])


def main():
    torch.set_num_threads(1)
    images = twelve(sys.argv[1]) if len(sys.argv) > 1 else noise()
    alone = {end: median({"steps": [end]}, images) for end in ("bicubic", "reduce")}
    print("| step | ms |\n|---|---|")
    for name, table in CASES.items():
        end = "reduce" if "reduce" in table["steps"] else "bicubic"
        print(f"| {name} | {median(table, images) - alone[end]:.0f} |")


if __name__ == "__main__":
    main()
