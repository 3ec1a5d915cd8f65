"""The image sheet of a validation (input, result before training, result now, ground truth), and of the first pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from archsr.config import TrainConfig
from archsr.degradation.apply import Pair
from archsr.degradation.recipe import Recipe
from archsr.degradation.sheet import BACKGROUND, INK, cells, draw_sheet, header_of
from archsr.images.pixels import Pixels, pixels_to_tensor, read_photo
from archsr.metrics.psnr_ssim import psnr
from archsr.training.logging.log import RunLog

SIDE = 256  # pixels; the centre of larger images is shown
_GAP, _LINE, _EDGE = 4, 18, 4


@dataclass(frozen=True)
class Seen:
    """A validation pair of a scene: upscaled input, result and ground truth, uint8 (h, w, 3), sides up to SIDE."""

    name: str
    scene: str
    lq: Pixels
    sr: Pixels
    gt: Pixels


def draw(rows: Sequence[Seen], step: int, before: Sequence[Pixels] = ()) -> Pixels:
    """Draw a row for each pair below headings. `before` holds the results before training (from step 0)."""
    titles = ["input, enlarged", *(["before training"] if before or not step else []), "photograph"]
    if step:
        titles.insert(-1, f"after {step} iterations")
    sheet = Image.new("RGB", (len(titles) * (SIDE + _GAP) - _GAP, _top(len(rows)) - _GAP), BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, title in enumerate(titles):
        pen.text((column * (SIDE + _GAP) + _EDGE, 1), title, fill=INK, font=font)
    for number, row in enumerate(rows):
        images = [row.lq, *([_as_large(before[number], row.gt)] if before else []), row.sr, row.gt]
        for column, pixels in enumerate(images):
            sheet.paste(Image.fromarray(pixels), (column * (SIDE + _GAP), _top(number)))
            result = 0 < column < len(images) - 1
            under = f"PSNR {_of_shown(pixels, row.gt):.2f} dB" if result else "" if column else row.name
            pen.text((column * (SIDE + _GAP) + _EDGE, _top(number) + SIDE + 1), under, fill=INK, font=font)
    return np.asarray(sheet)


def _as_large(pixels: Pixels, as_this: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[: as_this.shape[0], : as_this.shape[1]])


def _of_shown(sr: Pixels, gt: Pixels) -> float:
    return float(psnr(pixels_to_tensor(sr), pixels_to_tensor(gt), border=0))


def of_each_scene(found: Sequence[Seen], count: int) -> list[Seen]:
    """Return `count` of the pairs: the first of each scene before the second of any."""
    turns: Counter[str] = Counter()
    order: list[tuple[int, int]] = []
    for number, seen in enumerate(found):
        order.append((turns[seen.scene], number))
        turns[seen.scene] += 1
    return [found[number] for _, number in sorted(order)[:count]]


def before_of(sheet: Path, count: int) -> list[Pixels]:
    """Read the results before training from the sheet of step 0. Return none if it is missing or shows other images."""
    if not sheet.is_file():
        return []
    pixels, left = read_photo(sheet).pixels, SIDE + _GAP
    if pixels.shape[0] != _top(count) - _GAP:
        return []
    return [np.ascontiguousarray(pixels[_top(n) : _top(n) + SIDE, left : left + SIDE]) for n in range(count)]


def _top(row: int) -> int:
    return _LINE + row * (SIDE + _LINE + _GAP)


def show_degradation(config: TrainConfig, log: RunLog, pair: Pair, recipe: Recipe | None, keys: Sequence[str]) -> None:
    """Log the first pairs of a run with their recipes in words. Stored pairs have no recipe."""
    if log.active and recipe is not None:
        header = header_of(recipe, config.name, config.degrade.preset)
        log.degradation(draw_sheet(cells(pair, recipe, keys)[:12], header))
