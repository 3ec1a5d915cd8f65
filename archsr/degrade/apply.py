"""The second-order degradation of Real-ESRGAN in its order: a pure function of a batch and its recipe."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.config import Step
from archsr.degrade.antialias import bicubic, reduce_smoothly
from archsr.degrade.canvas import Canvas, extend, full
from archsr.degrade.jpeg import jpeg
from archsr.degrade.kernels import SIZE, KernelParams, render
from archsr.degrade.noise import add_noise
from archsr.degrade.order import Order
from archsr.degrade.recipe import Recipe
from archsr.degrade.resize import AREA, resize
from archsr.degrade.sharpen import sharpen

_GROUP = 3


@dataclass(frozen=True)
class Pair:
    """`lq` (b, 3, s, s) on the 8-bit grid in [0, 1], and its `gt` (b, 3, scale·s, scale·s), both float32.

    `origin`: int64 (b, n) on the CPU, where the caller says so: what it needs to make each pair again.
    """

    lq: Tensor
    gt: Tensor
    origin: Tensor | None = None


@torch.no_grad()
def apply(gt: Tensor, recipe: Recipe) -> Pair:
    """Degrade `gt` (b, 3, h, w), h and w multiples of the scale, and crop both to the recipe's `gt_size`.

    The crop makes the phase of the last JPEG's grid random. Same inputs, same device: same bits. Computed in float32
    whatever autocast says.
    """
    with torch.autocast(gt.device.type, enabled=False):
        gt = gt.float()
        rng = torch.Generator(device=gt.device).manual_seed(recipe.noise_seed)
        source = sharpen(gt) if recipe.sharpen_gt else gt
        groups = _groups(recipe, gt.device)
        parts = [_degraded(source[rows], recipe.take(rows), rng) for rows in groups] if len(groups) > 1 else []
        lq = torch.cat(parts)[torch.cat(groups).argsort()] if parts else _degraded(source, recipe, rng)
        lq = (lq.clamp(0, 1) * 255).round() / 255
        return _crop(lq, gt, recipe)


def _groups(recipe: Recipe, device: torch.device) -> list[Tensor]:
    """Samples that go through the steps together: on a CPU those of like size, whose canvas is then no larger than
    needed. A GPU, which waits for launches and not for arithmetic, takes all at once."""
    alone = device.type != "cpu" or "shared_grey" in recipe.quirks or len(recipe.first.factor.unique()) == 1
    return [torch.arange(len(recipe))] if alone else list(recipe.first.factor.argsort(stable=True).split(_GROUP))


def _degraded(source: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    canvas = full(source)
    for step in recipe.steps:
        canvas = _OPERATIONS[step](canvas, recipe, rng, _target(source, recipe))
    return canvas.pixels


def _target(gt: Tensor, recipe: Recipe) -> tuple[int, int]:
    return gt.shape[2] // recipe.scale, gt.shape[3] // recipe.scale


_Operation = Callable[[Canvas, Recipe, torch.Generator, tuple[int, int]], Canvas]


def _resize1(canvas: Canvas, recipe: Recipe, rng: torch.Generator, target: tuple[int, int]) -> Canvas:  # noqa: ARG001
    order = recipe.first
    h, w = canvas.pixels.shape[2:]
    height, width = (h * order.factor).floor().long(), (w * order.factor).floor().long()
    # the reference follows the factor, not the rounded size: at 0.15 the far edge of lq is then up to 6 pixels of gt
    # away from where it belongs
    factor = order.factor if "stretched_resize" in recipe.quirks else None
    return _resize_to(canvas, height, width, order.mode, recipe, factor=factor)


def _resize2(canvas: Canvas, recipe: Recipe, rng: torch.Generator, target: tuple[int, int]) -> Canvas:  # noqa: ARG001
    order = recipe.second
    height, width = ((side * order.factor).floor().long() for side in target)
    return _resize_to(canvas, height, width, order.mode, recipe)


def _reduce(canvas: Canvas, recipe: Recipe, rng: torch.Generator, target: tuple[int, int]) -> Canvas:  # noqa: ARG001
    height, width = (torch.full((len(recipe),), side) for side in target)
    return _resize_to(canvas, height, width, recipe.final_mode, recipe)


def _finish(canvas: Canvas, recipe: Recipe, rng: torch.Generator, target: tuple[int, int]) -> Canvas:
    """JPEG then resize and sinc where `sinc_last`, the other way round elsewhere."""
    last = recipe.sinc_last.to(canvas.pixels.device)[:, None, None, None]
    early = torch.where(last, _jpeg(canvas, recipe.second, recipe), canvas.pixels)
    filtered = blur(_reduce(canvas.with_pixels(early), recipe, rng, target), recipe.final_kernel)
    return filtered.with_pixels(torch.where(last, filtered.pixels, _jpeg(filtered, recipe.second, recipe)))


_OPERATIONS: dict[Step, _Operation] = {
    "blur1": lambda canvas, recipe, _rng, _target: blur(canvas, recipe.first.kernel),
    "resize1": _resize1,
    "noise1": lambda canvas, recipe, rng, _target: _noise(canvas, recipe.first, recipe, rng),
    "jpeg1": lambda canvas, recipe, _rng, _target: canvas.with_pixels(_jpeg(canvas, recipe.first, recipe)),
    "blur2": lambda canvas, recipe, _rng, _target: blur(canvas, recipe.second.kernel),
    "resize2": _resize2,
    "noise2": lambda canvas, recipe, rng, _target: _noise(canvas, recipe.second, recipe, rng),
    "jpeg2": lambda canvas, recipe, _rng, _target: canvas.with_pixels(_jpeg(canvas, recipe.second, recipe)),
    "reduce": _reduce,
    "sinc": lambda canvas, recipe, _rng, _target: blur(canvas, recipe.final_kernel),
    "finish": _finish,
    "bicubic": lambda canvas, recipe, _rng, _target: full(bicubic(canvas.pixels, scale=recipe.scale)),
}


def blur(canvas: Canvas, params: KernelParams) -> Canvas:
    """Filter each sample with its own kernel (cross-correlation, reflected borders)."""
    b, c, h, w = canvas.pixels.shape
    reach = SIZE // 2
    kernels = render(params, device=canvas.pixels.device)
    padded = extend(canvas, before=reach, total=(h + 2 * reach, w + 2 * reach), mode="reflect")
    weights = kernels[:, None].expand(b, c, SIZE, SIZE).reshape(b * c, 1, SIZE, SIZE)
    flat = padded.reshape(1, b * c, h + 2 * reach, w + 2 * reach)
    return canvas.with_pixels(F.conv2d(flat, weights, groups=b * c).view(b, c, h, w))


def _resize_to(
    canvas: Canvas, height: Tensor, width: Tensor, mode: Tensor, recipe: Recipe, *, factor: Tensor | None = None
) -> Canvas:
    """Sizes are known on the CPU, so the new canvas needs no word from the device."""
    height, width = height.clamp(min=1), width.clamp(min=1)
    total = int(height.max()), int(width.max())
    device = canvas.pixels.device
    height, width = height.to(device), width.to(device)
    factor = None if factor is None else factor.to(device)
    plain = resize(canvas, height, width, mode, total=total, factor=factor)
    if not recipe.antialias.any():
        return plain
    smooth = reduce_smoothly(canvas, height, width, mode.to(device), total=total, factor=factor)
    # area is antialiased as it is
    chosen = recipe.antialias.to(device) & (height < canvas.height) & (mode.to(device) != AREA)
    return plain.with_pixels(torch.where(chosen[:, None, None, None], smooth.pixels, plain.pixels))


def _noise(canvas: Canvas, order: Order, recipe: Recipe, rng: torch.Generator) -> Canvas:
    strength = order.strength.to(canvas.pixels.device)
    shared = "shared_grey" in recipe.quirks
    return canvas.with_pixels(
        add_noise(canvas, poisson=order.poisson, strength=strength, grey=order.grey, rng=rng, shared_grey=shared)
    )


def _jpeg(canvas: Canvas, order: Order, recipe: Recipe) -> Tensor:
    """The pixels compressed, where the order says so."""
    device = canvas.pixels.device
    compressed = jpeg(
        canvas,
        order.quality.to(device),
        transposed_luma="transposed_luma" in recipe.quirks,
        black_border="black_border" in recipe.quirks,
    )
    if order.compressed.all():
        return compressed
    return torch.where(order.compressed.to(device)[:, None, None, None], compressed, canvas.pixels)


def _crop(lq: Tensor, gt: Tensor, recipe: Recipe) -> Pair:
    size = recipe.gt_size // recipe.scale
    top = (recipe.crop_y * (lq.shape[2] - size + 1)).floor().long().to(lq.device)
    left = (recipe.crop_x * (lq.shape[3] - size + 1)).floor().long().to(lq.device)
    return Pair(
        _windows(lq, top, left, size), _windows(gt, top * recipe.scale, left * recipe.scale, size * recipe.scale)
    )


def _windows(x: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """(b, c, size, size): a window of each sample, in one gather."""
    sample = torch.arange(len(x), device=x.device)
    return x.unfold(2, size, 1).unfold(3, size, 1)[sample, :, top, left].contiguous()
