"""What tests of damage share: tables, draws, and photographs to damage."""

import torch
import torch.nn.functional as F

from archsr.config import PrepareConfig
from archsr.config.config_file import check
from archsr.degradation.recipe import draw
from archsr.utils.seeds import generator


def config(**tables):
    return check(PrepareConfig, {"degrade": tables}, where="test").degrade


def drawn(seed=0, batch=3, gt_size=48, **tables):
    return draw(config(**tables), generator(seed, "t"), batch, scale=4, gt_size=gt_size)


def photo(seed=0, b=1, h=144, w=176):
    """Return smooth surfaces with sharp, coloured edges, on the 8-bit grid."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(b, 3, -(-h // 16), -(-w // 16), generator=rng)
    smooth = F.interpolate(coarse, size=(h, w), mode="bicubic").clamp(0, 1)
    flat = F.interpolate(torch.rand(b, 3, -(-h // 24), -(-w // 22), generator=rng), size=(h, w), mode="nearest")
    return ((0.6 * smooth + 0.4 * flat) * 255).round() / 255
