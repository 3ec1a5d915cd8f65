"""What each measure of architecture sees of each planted distortion, on a drawn façade and on photographs. Prints.

python tests/measure/measure_architecture.py [PHOTO ...]
"""

import sys
import time
from pathlib import Path

import beside  # noqa: F401
import torch.nn.functional as F
from planted import KINDS, facade

from archsr.evaluate.architecture import architecture
from archsr.images import pixels_to_tensor, read_photo

STRENGTHS = (0.0, 0.25, 0.5, 1.0)


def table(name, gt):
    measures = architecture()
    lq = F.interpolate(gt, scale_factor=0.25, mode="area")
    print(f"\n{name}, {gt.shape[3]} × {gt.shape[2]}: each figure at strengths {', '.join(map(str, STRENGTHS))}\n")
    print("| distortion | " + " | ".join(m.title for m in measures) + " |\n|---|" + "---|" * len(measures))
    began = time.perf_counter()
    for kind, distort in KINDS.items():
        rows = [[m.of(distorted, gt, lq) for m in measures] for s in STRENGTHS for distorted in [distort(gt, s)]]
        cells = [" ".join(f"{row[n]:.2f}" for row in rows) for n in range(len(measures))]
        print(f"| {kind} | " + " | ".join(cells) + " |")
    spent = (time.perf_counter() - began) / len(KINDS) / len(STRENGTHS)
    print(f"\n{spent / (gt.shape[2] * gt.shape[3] / 1e6):.2f} s per megapixel, distortion included")


table("drawn façade", facade())
for path in sys.argv[1:]:
    pixels = read_photo(Path(path)).pixels
    table(Path(path).name, pixels_to_tensor(pixels[: pixels.shape[0] // 4 * 4, : pixels.shape[1] // 4 * 4]))
