"""Print how far two tiles are from the whole image as their halo shrinks, for networks with real weights.

python tests/measure/measure_halo.py PHOTO WEIGHTS [WEIGHTS ...]

One seam in the middle of a strip of the photograph, not feathered: what is printed is the network's own difference, in
levels of 255 before rounding, and the share of levels that it changes.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archsr.images.pixels import read_photo
from archsr.models.base import Generator
from archsr.upscaling.tiles import spans
from archsr.upscaling.upscaler import Upscaler, open_model

ROWS, COLUMNS = 64, 320
SHARES = (1.2, 1, 0.75, 0.5, 0.25, 0)  # of the network's own halo


def strip(photo: Path) -> Tensor:
    """(1, 3, ROWS, COLUMNS) from the middle of a photograph, in [0, 1]."""
    pixels = read_photo(photo).pixels
    top, left = (pixels.shape[0] - ROWS) // 2, (pixels.shape[1] - COLUMNS) // 2
    crop = np.ascontiguousarray(pixels[top : top + ROWS, left : left + COLUMNS])
    return torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255


def differences(net: Generator, lq: Tensor) -> None:
    """A line for each halo."""
    whole = Upscaler(net, device=torch.device("cpu"), tile=0).restore(lq) * 255
    for halo in sorted({round(net.halo() * share) for share in SHARES}, reverse=True):
        tile = (COLUMNS - 2 * halo + 1) // 2  # the widest of which it takes two
        assert len(spans(COLUMNS, tile=tile, halo=halo)) == 2
        tiled = Upscaler(net, device=torch.device("cpu"), tile=tile, halo=halo, feather=0).restore(lq) * 255
        off = (tiled - whole).abs()
        changed = (tiled.round() != whole.round()).float().mean()
        own = "its own" if halo == net.halo() else ""
        print(f"| {net.title} | {halo} | {own} | {off.max():.5f} | {changed:.4%} |", flush=True)


def main(photo: str, weights: list[str]) -> None:
    """A table over all networks."""
    lq = strip(Path(photo))
    print("| network | halo, pixels | | farthest, levels | levels changed |\n|---|---:|---|---:|---:|", flush=True)
    for file in weights:
        net, _ = open_model(file)
        print(f"| {Path(file).name} | | | | |")
        differences(net, lq)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
