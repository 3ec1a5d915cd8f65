"""Contact sheets of a degradation: pairs side by side with their recipes in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from archsr.degradation.apply import Pair
from archsr.degradation.recipe import Recipe
from archsr.degradation.words import describe
from archsr.images.pixels import Pixels, tensor_to_pixels
from archsr.metrics.psnr_ssim import psnr

_LARGEST, _SMALLEST = 256, 192  # shown sides of an image: larger ones are cropped, smaller ones upscaled
_GAP, _MARGIN, _LINE = 4, 16, 17
BACKGROUND, INK = (250, 250, 248), (25, 25, 25)


@dataclass(frozen=True)
class Cell:
    """One pair: `lq` (bicubically upscaled) and `gt` uint8 of equal size, a title, and lines of text."""

    lq: Pixels
    gt: Pixels
    title: str
    words: tuple[str, ...]


def enlarged(pair: Pair) -> torch.Tensor:
    """Upscale `lq` bicubically to the size of `gt`."""
    if pair.lq.shape == pair.gt.shape:
        return pair.lq
    return F.interpolate(pair.lq, size=pair.gt.shape[2:], mode="bicubic", align_corners=False).clamp(0, 1)


def psnrs(pair: Pair) -> list[float]:
    """Return the PSNR in dB of each bicubically upscaled lq against its gt."""
    large, gt = enlarged(pair).cpu(), pair.gt.cpu()  # in float64, which not every device has
    return [float(psnr(large[i : i + 1], gt[i : i + 1])) for i in range(len(large))]


def cells(pair: Pair, recipe: Recipe, keys: Sequence[str]) -> list[Cell]:
    """Return a cell for each sample of a batch."""
    large, values = enlarged(pair), psnrs(pair)
    return [
        Cell(
            _middle(tensor_to_pixels(large[i])),
            _middle(tensor_to_pixels(pair.gt[i])),
            f"{key}   {values[i]:.1f} dB",
            tuple(f"{n}. {line}" for n, line in enumerate(describe(recipe, i), 1)),
        )
        for i, key in enumerate(keys)
    ]


def _middle(pixels: Pixels) -> Pixels:
    side = min(_LARGEST, *pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    cut = pixels[top : top + side, left : left + side]
    times = -(-_SMALLEST // side)
    return cut.repeat(times, 0).repeat(times, 1)


def draw_sheet(shown: Sequence[Cell], header: str, *, columns: int = 3) -> Pixels:
    """Draw the cells in rows under a header: degraded image left, ground truth right, text below."""
    font, bold = (ImageFont.truetype(_font(n), 13) for n in ("DejaVuSans", "DejaVuSans-Bold"))
    columns = min(columns, len(shown))
    side = shown[0].gt.shape[0]
    width = 2 * side + _GAP
    words = [[line for text in cell.words for line in _wrapped(text, font, width)] for cell in shown]
    tall = [max(map(len, words[i : i + columns])) for i in range(0, len(shown), columns)]
    tops = np.cumsum([0, *(side + (lines + 1) * _LINE + 2 * _MARGIN for lines in tall)])
    head = _wrapped(header, font, columns * (width + _MARGIN) - _MARGIN)
    above = _MARGIN + len(head) * _LINE + _MARGIN
    sheet = Image.new("RGB", (columns * (width + _MARGIN) + _MARGIN, above + int(tops[-1])), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(head):
        pen.text((_MARGIN, _MARGIN + number * _LINE), line, font=font, fill=INK)
    for number, cell in enumerate(shown):
        x, y = _MARGIN + number % columns * (width + _MARGIN), above + int(tops[number // columns])
        sheet.paste(Image.fromarray(cell.lq), (x, y))
        sheet.paste(Image.fromarray(cell.gt), (x + side + _GAP, y))
        pen.text((x, y + side + 5), _cut(cell.title, bold, width), font=bold, fill=INK)
        for line, text in enumerate(words[number], 1):
            pen.text((x, y + side + 5 + line * _LINE), text, font=font, fill=INK)
    return np.asarray(sheet)


def _font(name: str) -> Path:
    """Return a font of matplotlib that has σ and ×."""
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".removeprefix(" ") if lines[-1].strip() else f"{lines[-1]}{word}"
        if font.getlength(longer) > width and lines[-1].strip():
            lines.append(f"   {word}")
        else:
            lines[-1] = longer
    return lines


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while font.getlength(text) > width:
        text = "…" + text[2:]
    return text


def header_of(recipe: Recipe, name: str, preset: str, *, overrides: Sequence[str] = ()) -> str:
    """Return the text that applies to all cells. `overrides`: what --set changed in the config."""
    quirks = ", ".join(recipe.quirks) or "none"
    cut = f", the middle {_LARGEST} shown" if recipe.gt_size > _LARGEST else ""
    changed = "".join(f" --set {override}" for override in overrides)
    return (
        f"{name}{changed}: preset {preset}, scale {recipe.scale}, quirks: {quirks}. Left: lq enlarged bicubically; "
        f"right: gt of {recipe.gt_size} pixels{cut}; dB: PSNR of the left against the right. configs/DEGRADATION.md "
        "explains the words."
    )
