"""The highest memory of `archsr upscale` on this CPU: python tests/measure/upscale_memory.py 0.3 24 100 [--share 0.05]

One process for each size in megapixels, so that none sees what another left. The network has x4plus's width and one of
its 23 blocks: a pass needs the memory of the whole one in a twelfth of the time. `--share` ends after that part of the
tiles; the highest is reached with the second row of tiles.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pyvips

from archsr.models.rrdbnet import RRDBNet
from archsr.upscaling.one_image import upscale_image
from archsr.upscaling.upscaler import Upscaler


class EnoughError(Exception):
    """So much was to be measured."""


def measure(megapixels, share):
    width = round((megapixels * 4e6 / 3) ** 0.5)
    height = round(width * 3 / 4)
    upscaler = Upscaler(RRDBNet(blocks=1).eval().requires_grad_(False))
    process, seen = psutil.Process(), [psutil.Process().memory_info().rss]
    before = seen[0]

    def watch():
        while True:
            seen.append(process.memory_info().rss)
            time.sleep(0.05)

    def enough(done):
        if done >= share:
            raise EnoughError

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.jpg"
        noise = pyvips.Image.gaussnoise(width, height, mean=128, sigma=20).cast("uchar")
        noise.bandjoin([noise, noise]).copy(interpretation="srgb").jpegsave(str(source), Q=90)
        threading.Thread(target=watch, daemon=True).start()
        with contextlib.suppress(EnoughError):
            upscale_image(source, source.with_name("b.jpg"), upscaler, on_progress=enough)
    print(f"{megapixels:g} megapixels: {max(seen) / 2**30:.2f} GiB, of which {before / 2**30:.2f} before the image")


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("megapixels", type=float, nargs="+")
    parser.add_argument("--share", type=float, default=2)
    args = parser.parse_args()
    if len(args.megapixels) == 1:
        measure(args.megapixels[0], args.share)
        return
    for megapixels in args.megapixels:
        subprocess.run([sys.executable, __file__, str(megapixels), "--share", str(args.share)], check=True)


if __name__ == "__main__":
    main()
