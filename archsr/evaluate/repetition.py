"""Whether what is alike in a façade stays alike: a window may be drawn wrong, but not each window in another way.

In the original, every place with structure is paired with the place elsewhere that looks most like it. Where the two
differ by little, the result may not differ by more. Fine detail is averaged away first: noise is another measure's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 4  # pixels averaged
PATCH = 8  # cells: 32 pixels
STEP = 4  # cells between places that are looked at; partners are looked for at every cell
ALIKE = 0.35  # two places are, when they differ by at most this share of their own contrast
CONTRAST = 6.0  # levels: less is no structure
FEWEST = 8  # pairs
BLOCK = 128  # cells: larger pictures are looked at in pieces of 512 pixels


def repetition(sr: Tensor, gt: Tensor) -> float:
    """By how much places that are alike in `gt` differ more in `sr`, in levels of 255; 0 is perfect.

    Both (1, 3, h, w) in [0, 1]. NaN where `gt` repeats nothing.
    """
    small = [F.avg_pool2d(p.double().cpu() * 255, CELL) for p in (sr, gt)]
    height, width = small[1].shape[2:]
    worse: list[Tensor] = []
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            result, original = (p[:, :, top : top + BLOCK, left : left + BLOCK] for p in small)
            if min(original.shape[2:]) >= 2 * PATCH:
                worse.append(_block(result, original))
    found = torch.cat(worse) if worse else torch.zeros(0)
    return float(found.mean()) if len(found) >= FEWEST else float("nan")


def _block(result: Tensor, original: Tensor) -> Tensor:
    """For each pair of places alike in a block of the original, how much more they differ in the result, >= 0."""
    patches = F.unfold(original, PATCH)[0].T  # (places, 3·8·8)
    columns = original.shape[3] - PATCH + 1
    number = torch.arange(len(patches))
    row, column = number // columns, number % columns
    contrast = (patches.view(len(patches), 3, -1) - patches.view(len(patches), 3, -1).mean(2, keepdim=True)).square()
    contrast = contrast.mean((1, 2)).sqrt()
    looked_at = number[(row % STEP == 0) & (column % STEP == 0) & (contrast > CONTRAST)]
    if len(looked_at) == 0:
        return torch.zeros(0)
    apart = torch.cdist(patches[looked_at], patches) / patches.shape[1] ** 0.5  # RMS in levels
    overlap = (row[looked_at, None] - row).abs().maximum((column[looked_at, None] - column).abs()) < PATCH
    distance, partner = apart.masked_fill(overlap, torch.inf).min(1)
    alike = distance <= ALIKE * contrast[looked_at]
    first, second = looked_at[alike], partner[alike]
    drawn = F.unfold(result, PATCH)[0].T
    now = (drawn[first] - drawn[second]).square().mean(1).sqrt()
    return (now - distance[alike]).clamp(min=0)
