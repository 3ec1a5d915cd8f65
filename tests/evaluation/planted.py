"""A drawn façade and distortions of one kind each, with growing amounts; amount 0 changes nothing."""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from archsr.images.pixels import pixels_to_tensor, tensor_to_pixels

PERIOD = 48  # pixels between windows


def facade(height=384, width=480):
    """Return (1, 3, h, w): a plain wall with rows of equal windows, a cornice and a slanted roof line."""
    y, x = np.mgrid[:height, :width].astype(float)
    image = np.full((height, width, 3), (196.0, 178.0, 152.0))
    wall = (y > 70) & (y < height - 40)
    u, v = x % PERIOD, (y - 80) % PERIOD
    frame = wall & (u >= 10) & (u < 38) & (v >= 6) & (v < 42) & (y > 80)
    glass = frame & (u >= 14) & (u < 34) & (v >= 10) & (v < 38) & ~((u >= 23) & (u < 25)) & ~((v >= 20) & (v < 22))
    image[frame] = (236, 232, 224)
    image[glass] = (58, 74, 92)
    image[(y > 60) & (y < 70)] = (120, 104, 88)
    image[y <= 60] = (150, 180, 214)
    image[(y <= 60) & (y > 60 - 0.12 * (width - x))] = (110, 60, 50)
    return torch.from_numpy(image / 255).permute(2, 0, 1)[None].float()


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _warped(gt, dx, dy):
    """Sample `gt` at (x + dx, y + dy), bicubic, because bilinear sampling would also blur it."""
    height, width = gt.shape[2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    grid = torch.stack([(x + dx(x, y)) / (width - 1) * 2 - 1, (y + dy(x, y)) / (height - 1) * 2 - 1], -1)[None]
    return F.grid_sample(gt, grid, mode="bicubic", padding_mode="border", align_corners=True).clamp(0, 1)


def wobbled(gt, pixels):
    """Bend lines by `pixels` to both sides, equal windows equally."""
    return _warped(gt, lambda _, y: pixels * torch.sin(torch.pi * 2 / PERIOD * y),
                   lambda x, _: pixels * torch.sin(torch.pi * 2 / PERIOD * x))  # fmt: skip


def shifted(gt, pixels):
    """Shift the image to the right and down."""
    return _warped(gt, lambda *_: -pixels, lambda *_: -pixels)


def turned(gt, degrees):
    """Rotate the image about its centre."""
    cos, sin = math.cos(math.radians(degrees)) - 1, math.sin(math.radians(degrees))
    cy, cx = gt.shape[2] / 2, gt.shape[3] / 2
    return _warped(gt, lambda x, y: cos * (x - cx) - sin * (y - cy), lambda x, y: sin * (x - cx) + cos * (y - cy))


def blurred(gt, sigma):
    """Blur by a Gaussian; `sigma` in pixels."""
    reach = math.ceil(4 * sigma)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    wide = F.pad(gt, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(wide, taps, groups=3), taps.mT, groups=3)


def sharpened(gt, amount):
    """Sharpen by unsharp masking with a Gaussian of one pixel."""
    return (gt + amount * (gt - blurred(gt, 1.0))).clamp(0, 1)


def flattened(gt, share):
    """Reduce the contrast around middle grey."""
    return gt + share * (0.5 - gt)


def brighter(gt, levels):
    """Brighten all channels."""
    return (gt + levels / 255).clamp(0, 1)


def compressed(gt, loss):
    """Compress as JPEG of quality 100 − `loss`, with halved chroma."""
    buffer = io.BytesIO()
    Image.fromarray(tensor_to_pixels(gt)).save(buffer, "JPEG", quality=100 - loss)
    return pixels_to_tensor(np.asarray(Image.open(buffer)))


def broken(gt, share):
    """Blur a share of all places until no line is left."""
    soft = F.avg_pool2d(F.pad(gt, (12,) * 4, mode="replicate"), 25, stride=1)
    places = torch.rand(1, 1, gt.shape[2] // 24 + 1, gt.shape[3] // 24 + 1, generator=_rng())
    mask = F.interpolate((places < share).float(), scale_factor=24)[:, :, : gt.shape[2], : gt.shape[3]]
    return torch.lerp(gt, soft, mask)


def scratched(gt, lines):
    """Add straight lines."""
    out, rng = gt.clone(), np.random.default_rng(0)
    y, x = np.mgrid[: gt.shape[2], : gt.shape[3]]
    for _ in range(lines):
        cy, cx, angle = rng.uniform(0, gt.shape[2]), rng.uniform(0, gt.shape[3]), rng.uniform(0, np.pi)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        beside = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        out[:, :, torch.from_numpy((np.abs(along) < 40) & (np.abs(beside) < 2))] = 0.05
    return out


def unlike(gt, levels):
    """Make each window lighter or darker by itself, with a mean change of zero."""
    rows, columns = gt.shape[2] // PERIOD + 2, gt.shape[3] // PERIOD + 1
    draws = torch.rand(1, 1, rows, columns, generator=_rng(1)) - 0.5
    large = F.interpolate(draws, scale_factor=PERIOD)[:, :, 16 : 16 + gt.shape[2], : gt.shape[3]]
    glass = (gt.mean(1, keepdim=True) < 0.4).float()
    glass[:, :, :80] = 0
    change = (large - (large * glass).sum() / glass.sum()) * glass * levels * 2 / 255
    return (gt + change).clamp(0, 1)


def tinted(gt, levels):
    """Make it warmer: more red, less blue."""
    return (gt + levels / 255 * torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)).clamp(0, 1)


def two_casts(gt, levels):
    """Make the left half redder and less green, and the right half the opposite."""
    sign = torch.where(torch.arange(gt.shape[3]) < gt.shape[3] // 2, 1.0, -1.0)
    return (gt + levels / 255 * sign * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)).clamp(0, 1)


def rough(gt, levels):
    """Add fine noise everywhere, like invented texture."""
    noise = torch.randn(1, 1, *gt.shape[2:], generator=_rng(2))
    noise = noise - F.avg_pool2d(F.pad(noise, (4,) * 4, mode="reflect"), 9, stride=1)
    return (gt + levels / 255 * noise).clamp(0, 1)


def blotched(gt, levels):
    """Add wide soft stains."""
    coarse = torch.randn(1, 1, gt.shape[2] // 64 + 2, gt.shape[3] // 64 + 2, generator=_rng(3))
    soft = F.interpolate(coarse, size=gt.shape[2:], mode="bicubic")
    return (gt + levels / 255 * (soft - soft.mean())).clamp(0, 1)


# kind → what makes it, and growing amounts: σ in pixels, amount of unsharp masking, share of contrast, levels of 255,
# pixels, degrees, share of all places, number of lines, 100 − quality
KINDS = {
    "blur": (blurred, (0.5, 1.0, 1.5, 2.0)),
    "sharpening": (sharpened, (0.5, 1.0, 2.0)),
    "contrast": (flattened, (0.05, 0.1, 0.2)),
    "brightness": (brighter, (4, 8, 16)),
    "shift": (shifted, (0.25, 0.5)),
    "wobble": (wobbled, (0.25, 0.5, 1.0, 2.0, 4.0)),
    "rotation": (turned, (0.25, 0.5, 1.0)),
    "lost places": (broken, (0.25, 0.5, 0.9)),
    "added lines": (scratched, (8, 15, 30)),
    "texture": (rough, (1.5, 3, 6)),
    "cast": (tinted, (4, 8, 16)),
    "two casts": (two_casts, (4, 8, 16)),
    "windows unlike": (unlike, (15, 30, 60)),
    "stains": (blotched, (3, 6, 12)),
    "JPEG": (compressed, (10, 25, 50)),
}
