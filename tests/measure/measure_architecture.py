"""What each metric of architecture sees of each planted distortion: means over photographs of a folder. Prints.

python tests/measure/measure_architecture.py FOLDER [IMAGES]

Of all photographs so many (10) are taken, evenly spread, and of each the middle 512 × 384 pixels. Beside each row of
figures stands, in per cent, how far the last is from perfect, of how far the metric's own kind is at its last.
"""

import statistics
import sys
import time
from pathlib import Path

import beside  # noqa: F401
import torch.nn.functional as F
from planted import KINDS, facade

from archsr.data.stream.loader import spread
from archsr.evaluation.architecture import architecture
from archsr.images.pixels import pixels_to_tensor, read_photo

OWN = {"lines": "wobble", "lines_kept": "lost places", "lines_invented": "added lines", "lines_bend": "wobble",
       "colour": "two casts", "false_texture": "texture", "consistency": "stains"}  # fmt: skip


def photographs():
    """The pixels of the images, or the drawn façade where no folder is given."""
    if len(sys.argv) < 2:
        return [facade()]
    files = sorted(p for p in Path(sys.argv[1]).rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
    found = [read_photo(files[n]).pixels for n in spread(len(files), int(sys.argv[2]) if sys.argv[2:] else 10)]
    return [middle(pixels_to_tensor(p)) for p in found]


def middle(image):
    height, width = (min(n, side) // 4 * 4 for n, side in zip(image.shape[2:], (384, 512), strict=True))
    top, left = (image.shape[2] - height) // 2, (image.shape[3] - width) // 2
    return image[:, :, top : top + height, left : left + width]


def main():
    images, metrics = photographs(), architecture()
    values = {kind: [[[] for _ in metrics] for _ in amounts] for kind, (_, amounts) in KINDS.items()}
    spent = 0.0
    for gt in images:
        lq = F.interpolate(gt, scale_factor=0.25, mode="area")
        for kind, (distort, amounts) in KINDS.items():
            for amount, found in zip(amounts, values[kind], strict=True):
                sr, began = distort(gt, amount), time.process_time()
                for metric, figures in zip(metrics, found, strict=True):
                    if (figure := metric.of(sr, gt, lq)) == figure:
                        figures.append(figure)
                spent += time.process_time() - began
    means = {k: [[statistics.fmean(f) if f else float("nan") for f in at] for at in v] for k, v in values.items()}
    print(f"means of {len(images)} images\n")
    print("| distortion | " + " | ".join(m.title for m in metrics) + " |\n|---|" + "---|" * len(metrics))
    for kind, (_, amounts) in KINDS.items():
        cells = []
        for n, metric in enumerate(metrics):
            perfect = 1.0 if metric.higher_is_better else 0.0
            share = abs(means[kind][-1][n] - perfect) / abs(means[OWN[metric.name]][-1][n] - perfect)
            cells.append(" ".join(f"{at[n]:.2f}" for at in means[kind]) + f" ({share:.0%})")
        print(f"| {kind} {', '.join(f'{a:g}' for a in amounts)} | " + " | ".join(cells) + " |")
    pixels = sum(gt.shape[2] * gt.shape[3] for gt in images) * sum(len(a) for _, a in KINDS.values())
    print(f"\n{spent / pixels * 1e6:.2f} s of processor time per megapixel")


main()
