"""By hand: draws what each quirk does, for configs/DEGRADATION.md.

python tests/measure/draw_quirks.py configs/quirks.webp
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from archsr.config import DegradeConfig
from archsr.config.config_file import check
from archsr.data.drawn_photos import draw_photos
from archsr.degradation.apply import apply
from archsr.degradation.recipe import Recipe, draw
from archsr.degradation.resize import BILINEAR
from archsr.degradation.sheet import Cell, draw_sheet
from archsr.images.pixels import pixels_to_tensor, read_photo, tensor_to_pixels
from archsr.utils.seeds import generator

SIDE = 256
OFF = {"probability": 0.0}
PLAIN = {"margin": 0, "sharpen_gt": False, "steps": ["bicubic"]}


def recipe(tables, *, batch=1, scale=1, side=SIDE, seed=4) -> Recipe:
    config = check(DegradeConfig, {**PLAIN, **tables}, where="quirks")
    return draw(config, generator(seed, "quirks"), batch, scale=scale, gt_size=side)


def large(image):
    times = SIDE // image.shape[-1]
    return tensor_to_pixels(image.repeat_interleave(times, -1).repeat_interleave(times, -2))


def both(tables, quirk, gt, show=lambda lq: lq[0], **options):
    """The image with the quirk, and without."""
    side = gt.shape[-1]
    with_it, without = (
        apply(gt, recipe({**tables, "quirks": q}, batch=len(gt), side=side, **options)).lq for q in ([quirk], [])
    )
    return large(show(with_it)), large(show(without))


def transposed(photo):
    """Stripes that are frequency 5 of the DCT, so faint that a step of 40 rounds them to nothing and one of 24 not."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    stripes = 0.5 + 7.5 / 255 * torch.cos((2 * torch.where(x < 32, x, y) + 1) * 5 * torch.pi / 16)
    gt = stripes.expand(1, 3, 64, 64).contiguous()
    tables = {"steps": ["jpeg1", "bicubic"], "first": {"jpeg": {"low": 20.0, "high": 20.0}}}
    images = both(tables, "transposed_luma", gt, show=lambda lq: (lq[0] - 0.5) * 6 + 0.5)
    return Cell(*images, "transposed_luma", ("faint upright and lying stripes at JPEG 20 (contrast × 6)",))


def border(photo):
    gt = photo[:, :, 100:228, 150:278][:, :, :100, :100] * 0.3 + 0.65
    tables = {"steps": ["jpeg1", "bicubic"], "first": {"jpeg": {"low": 30.0, "high": 30.0}}}
    with_it, without = both(tables, "black_border", gt, show=lambda lq: lq[0][:, -32:, -32:])
    return Cell(with_it, without, "black_border", ("last 32 of 100 pixels at JPEG 30: dark ringing at the edges",))


def grey(photo):
    gt = torch.full((2, 3, 64, 64), 0.5)
    noise = {"gaussian": 1.0, "sigma": {"low": 25.0, "high": 25.0}, "grey": 1.0}
    tables = {"steps": ["noise1", "bicubic"], "first": {"noise": noise}}
    show = lambda lq: torch.cat((lq[0][:, :, :32], lq[1][:, :, :32]), 2)
    return Cell(*both(tables, "shared_grey", gt, show), "shared_grey", ("grey noise of two samples, side by side",))


def stretched(photo):
    gt = photo[:, :, 64:320, 200:456]
    made = []
    for quirks in (["stretched_resize"], []):
        one = recipe({"steps": ["resize1", "reduce"], "quirks": quirks, "antialias": 1.0})
        first = dataclasses.replace(
            one.first, factor=torch.tensor([0.1521], dtype=torch.float64), mode=torch.tensor([BILINEAR])
        )  # 256 × 0.1521 = 38.9 is rounded down to 38 pixels
        one = dataclasses.replace(one, first=first, final_mode=torch.tensor([BILINEAR]))
        made.append(tensor_to_pixels(apply(gt, one).lq))
    return Cell(*made, "stretched_resize", ("first resize by 0.1521: the right and lower edges are cut off",))


def together(photo):
    gt = photo[:, :, 64:320, 128:384].expand(4, -1, -1, -1)
    tables = {**PLAIN, "preset": "realesrgan", "steps": ["blur1", "resize1", "noise1", "jpeg1", "resize2", "finish"]}
    show = lambda lq: torch.cat((torch.cat((lq[0], lq[1]), 2), torch.cat((lq[2], lq[3]), 2)), 1)
    images = both(tables, "batch_choices", gt, show, scale=4)
    return Cell(*images, "batch_choices", ("four samples: one factor, mode and kind of noise, or each its own",))


def lines(photo):
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    gt = (0.5 + 0.4 * torch.sin(((x - 128) ** 2 + (y - 20) ** 2) / 110)).expand(1, 3, 256, 256).contiguous()
    made = []
    for share in (0.0, 1.0):
        one = recipe({"steps": ["reduce"], "antialias": share}, scale=4)
        one = dataclasses.replace(one, final_mode=torch.tensor([BILINEAR]))
        made.append(large(apply(gt, one).lq[0]))
    return Cell(*made, "antialias = 0 and 1", ("rings reduced to a quarter: coarse rings that are not there, or grey",))


def main(path):
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        draw_photos(Path(folder), projects=1, views=1, plans=0)
        photo = pixels_to_tensor(read_photo(next(Path(folder).rglob("*.jpg"))).pixels)
    cells = [make(photo) for make in (transposed, border, grey, stretched, together, lines)]
    sheet = draw_sheet(cells, "Left: with the quirk. Right: without. Below right: antialias = 0 and antialias = 1.")
    Image.fromarray(sheet).save(path, quality=70, method=6)


if __name__ == "__main__":
    main(sys.argv[1])
