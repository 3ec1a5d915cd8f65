"""Print how far tiles are from the whole image with the true x4plus, and what they cost.

python tests/measure/measure_tiles.py WEIGHTS PHOTO [PHOTO ...]
"""

import sys
import time
from pathlib import Path

import numpy as np

from archsr.images.pixels import read_photo
from archsr.upscaling.upscaler import Upscaler, open_model

SIZES = ((200, 300), (256, 256), (320, 200), (160, 420))  # height, width
TILES = (64, 112)


def main(weights: str, photos: list[str]) -> None:
    """One line for each size and tile: pixels off by more than a level, the farthest, time against the whole."""
    net, _ = open_model(weights)
    print("| size | tile | farthest, levels | off by one | off by more | time, whole = 1 |\n|---|---|---|---|---|---|")
    for number, (height, width) in enumerate(SIZES):
        image = read_photo(Path(photos[number % len(photos)])).pixels
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        crop = np.ascontiguousarray(image[top : top + height, left : left + width])
        begun = time.process_time()
        whole = Upscaler(net, tile=0).pixels(crop).astype(int)
        alone = time.process_time() - begun
        for tile in TILES:
            begun = time.process_time()
            off = np.abs(Upscaler(net, tile=tile).pixels(crop) - whole).max(2)
            cost = (time.process_time() - begun) / alone
            print(
                f"| {width}×{height} | {tile} | {off.max()} | {(off == 1).mean():.4%} | {(off > 1).mean():.4%} "
                f"| {cost:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
