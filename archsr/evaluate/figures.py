"""Side by side: the patches that changed most between the original and the fine-tuned model."""

import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from archsr.images import Pixels, tensor_to_pixels, write_picture

SIDE = 128
_PER_PICTURE = 1


@dataclass(frozen=True)
class Patch:
    """A square of one picture: mean absolute change in 8-bit levels, and each column's pixels (side, side, 3)."""

    change: float
    key: str
    top: int
    left: int
    columns: dict[str, Pixels]


class PatchKeeper:
    """Keeps the `count` most changed patches seen, at most one of a picture, in constant memory."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[tuple[float, int, Patch]] = []
        self._offered = 0

    def offer(self, key: str, lq: Tensor, restored: dict[str, Tensor], gt: Tensor) -> None:
        """Look at one picture; the change is between the last two of `restored`."""
        if self.count == 0 or len(restored) < 2 or min(gt.shape[2:]) < SIDE:
            return
        before, after = list(restored.values())[-2:]
        change = F.avg_pool2d((after - before).abs().mean(1, keepdim=True), SIDE, stride=SIDE // 2)[0, 0] * 255
        best = change.flatten().argsort(descending=True)[: 4 * _PER_PICTURE].tolist()
        taken: list[tuple[int, int]] = []
        for index in best:
            top, left = (place * (SIDE // 2) for place in divmod(index, change.shape[1]))
            if len(taken) == _PER_PICTURE or any(abs(top - t) < SIDE and abs(left - x) < SIDE for t, x in taken):
                continue
            taken.append((top, left))
            pictures = {"input": F.interpolate(lq, size=gt.shape[2:], mode="nearest"), **restored, "ground truth": gt}
            columns = {
                name: tensor_to_pixels(p[:, :, top : top + SIDE, left : left + SIDE]) for name, p in pictures.items()
            }
            self._push(Patch(float(change.flatten()[index]), key, top, left, columns))

    def _push(self, patch: Patch) -> None:
        self._offered += 1
        heapq.heappush(self._heap, (patch.change, -self._offered, patch))
        if len(self._heap) > self.count:
            heapq.heappop(self._heap)

    def patches(self) -> list[Patch]:
        """The kept patches, most changed first."""
        return [patch for _, _, patch in sorted(self._heap, key=lambda e: (-e[0], -e[1]))]


def write_patches(path: Path, patches: list[Patch], *, zoom: int = 2) -> None:
    """One row per patch, one column per model, with captions; enlarged `zoom` times without smoothing."""
    names = list(patches[0].columns)
    side, gap, head, foot = SIDE * zoom, 6, 24, 20
    sheet = Image.new(
        "RGB", (len(names) * (side + gap) + gap, head + len(patches) * (side + foot + gap)), (255, 255, 255)
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for column, name in enumerate(names):
        pen.text((gap + column * (side + gap), 4), name, fill=(0, 0, 0), font=font)
    for row, patch in enumerate(patches):
        y = head + row * (side + foot + gap)
        for column, pixels in enumerate(patch.columns.values()):
            large = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(large, (gap + column * (side + gap), y))
        caption = f"{patch.key}  at {patch.left}, {patch.top}  changed by {patch.change:.2f} levels of 255 on average"
        pen.text((gap, y + side + 1), caption, fill=(60, 60, 60), font=font)
    write_picture(path, np.asarray(sheet))
