"""A drawn façade, and distortions of one kind each, growing with `strength` from 0 to 1."""

import numpy as np
import torch
import torch.nn.functional as F

PERIOD = 48  # pixels between windows


def facade(height=384, width=480):
    """(1, 3, h, w): a plain wall with rows of alike windows, a cornice and a slanted roof line."""
    y, x = np.mgrid[:height, :width].astype(float)
    picture = np.full((height, width, 3), (196.0, 178.0, 152.0))
    wall = (y > 70) & (y < height - 40)
    u, v = x % PERIOD, (y - 80) % PERIOD
    frame = wall & (u >= 10) & (u < 38) & (v >= 6) & (v < 42) & (y > 80)
    glass = frame & (u >= 14) & (u < 34) & (v >= 10) & (v < 38) & ~((u >= 23) & (u < 25)) & ~((v >= 20) & (v < 22))
    picture[frame] = (236, 232, 224)
    picture[glass] = (58, 74, 92)
    picture[(y > 60) & (y < 70)] = (120, 104, 88)
    picture[y <= 60] = (150, 180, 214)
    picture[(y <= 60) & (y > 60 - 0.12 * (width - x))] = (110, 60, 50)
    return torch.from_numpy(picture / 255).permute(2, 0, 1)[None].float()


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def bent(gt, strength):
    """Lines wave by up to 3 pixels, alike windows alike."""
    height, width = gt.shape[2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    dx = 3 * strength * torch.sin(2 * torch.pi * y / PERIOD)
    dy = 3 * strength * torch.sin(2 * torch.pi * x / PERIOD)
    grid = torch.stack([(x + dx) / (width - 1) * 2 - 1, (y + dy) / (height - 1) * 2 - 1], -1)[None]
    return F.grid_sample(gt, grid, mode="bilinear", padding_mode="border", align_corners=True).clamp(0, 1)


def broken(gt, strength):
    """Up to nearly all places are blurred until no line is left."""
    soft = F.avg_pool2d(F.pad(gt, (12,) * 4, mode="replicate"), 25, stride=1)
    places = torch.rand(1, 1, gt.shape[2] // 24 + 1, gt.shape[3] // 24 + 1, generator=_rng())
    mask = F.interpolate((places < strength).float(), scale_factor=24)[:, :, : gt.shape[2], : gt.shape[3]]
    return torch.lerp(gt, soft, mask)


def scratched(gt, strength):
    """Up to 30 straight lines that were not there."""
    out, rng = gt.clone(), np.random.default_rng(0)
    y, x = np.mgrid[: gt.shape[2], : gt.shape[3]]
    for _ in range(round(30 * strength)):
        cy, cx, angle = rng.uniform(0, gt.shape[2]), rng.uniform(0, gt.shape[3]), rng.uniform(0, np.pi)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        beside = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        out[:, :, torch.from_numpy((np.abs(along) < 40) & (np.abs(beside) < 2))] = 0.05
    return out


def unlike(gt, strength):
    """Each window is lighter or darker by itself, by up to 60 levels, all of them together by nothing."""
    rows, columns = gt.shape[2] // PERIOD + 2, gt.shape[3] // PERIOD + 1
    draws = torch.rand(1, 1, rows, columns, generator=_rng(1)) - 0.5
    large = F.interpolate(draws, scale_factor=PERIOD)[:, :, 16 : 16 + gt.shape[2], : gt.shape[3]]
    glass = (gt.mean(1, keepdim=True) < 0.4).float()
    glass[:, :, :80] = 0
    change = (large - (large * glass).sum() / glass.sum()) * glass * strength * 120 / 255
    return (gt + change).clamp(0, 1)


def tinted(gt, strength):
    """Warmer, by up to 16 levels of red and blue."""
    return (gt + strength * torch.tensor([16.0, 0.0, -16.0]).view(1, 3, 1, 1) / 255).clamp(0, 1)


def rough(gt, strength):
    """Fine noise of up to 6 levels everywhere."""
    noise = torch.randn(1, 1, *gt.shape[2:], generator=_rng(2))
    noise = noise - F.avg_pool2d(F.pad(noise, (4,) * 4, mode="reflect"), 9, stride=1)
    return (gt + strength * 6 / 255 * noise).clamp(0, 1)


def blotched(gt, strength):
    """Wide soft stains of up to 12 levels."""
    coarse = torch.randn(1, 1, gt.shape[2] // 64 + 2, gt.shape[3] // 64 + 2, generator=_rng(3))
    soft = F.interpolate(coarse, size=gt.shape[2:], mode="bicubic")
    return (gt + strength * 12 / 255 * (soft - soft.mean())).clamp(0, 1)


KINDS = {"bent": bent, "broken": broken, "scratched": scratched, "unlike": unlike, "tinted": tinted, "rough": rough,
         "blotched": blotched}  # fmt: skip
