"""The second-order degradation of Real-ESRGAN in its order: a pure function of a batch and its recipe."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.degrade.canvas import Canvas, extend, full
from archsr.degrade.jpeg import jpeg
from archsr.degrade.kernels import SIZE, KernelParams, render
from archsr.degrade.noise import add_noise
from archsr.degrade.recipe import Order, Recipe
from archsr.degrade.resize import resize
from archsr.degrade.sharpen import sharpen


@dataclass(frozen=True)
class Pair:
    """`lq` (b, 3, s, s) on the 8-bit grid in [0, 1], and its `gt` (b, 3, scale·s, scale·s), both float32."""

    lq: Tensor
    gt: Tensor


@torch.no_grad()
def apply(gt: Tensor, recipe: Recipe) -> Pair:
    """Degrade `gt` (b, 3, h, w), h and w multiples of the scale, and crop both to the recipe's `gt_size`.

    The crop makes the phase of the last JPEG's grid random. Same inputs, same device: same bits. Computed in float32
    whatever autocast says.
    """
    with torch.autocast(gt.device.type, enabled=False):
        gt = gt.float()
        rng = torch.Generator(device=gt.device).manual_seed(recipe.noise_seed)
        source = full(sharpen(gt) if recipe.sharpen_gt else gt)
        canvas = _first(source, recipe.first, recipe, rng)
        canvas = _second(canvas, recipe.second, recipe, rng, _target(gt, recipe))
        lq = _finish(canvas, recipe, _target(gt, recipe))
        lq = (lq.clamp(0, 1) * 255).round() / 255
        return _crop(lq, gt, recipe)


def _target(gt: Tensor, recipe: Recipe) -> tuple[int, int]:
    return gt.shape[2] // recipe.scale, gt.shape[3] // recipe.scale


def _first(canvas: Canvas, order: Order, recipe: Recipe, rng: torch.Generator) -> Canvas:
    canvas = blur(canvas, order.kernel)
    h, w = canvas.pixels.shape[2:]
    height, width = (h * order.factor).floor().long(), (w * order.factor).floor().long()
    # the reference follows the factor, not the rounded size: at 0.15 the far edge of lq is then up to 6 pixels of gt
    # away from where it belongs
    factor = order.factor if recipe.faithful else None
    canvas = _resize_to(canvas, height, width, order.mode, factor=factor)
    canvas = _noise(canvas, order, recipe, rng)
    return canvas.with_pixels(_jpeg(canvas, order.quality, recipe))


def _second(canvas: Canvas, order: Order, recipe: Recipe, rng: torch.Generator, target: tuple[int, int]) -> Canvas:
    canvas = blur(canvas, order.kernel)
    height = (target[0] * order.factor).floor().long()
    width = (target[1] * order.factor).floor().long()
    canvas = _resize_to(canvas, height, width, order.mode)
    return _noise(canvas, order, recipe, rng)


def _finish(canvas: Canvas, recipe: Recipe, target: tuple[int, int]) -> Tensor:
    """JPEG then resize and sinc where `sinc_last`, the other way round elsewhere; (b, 3, *target)."""
    last = recipe.sinc_last.to(canvas.pixels.device)[:, None, None, None]
    quality = recipe.second.quality
    early = torch.where(last, _jpeg(canvas, quality, recipe), canvas.pixels)
    batch = len(recipe)
    resized = _resize_to(
        canvas.with_pixels(early),
        torch.full((batch,), target[0]),
        torch.full((batch,), target[1]),
        recipe.final_mode,
    )
    filtered = blur(resized, recipe.final_kernel)
    return torch.where(last, filtered.pixels, _jpeg(filtered, quality, recipe))


def blur(canvas: Canvas, params: KernelParams) -> Canvas:
    """Filter each sample with its own kernel (cross-correlation, reflected borders)."""
    b, c, h, w = canvas.pixels.shape
    reach = SIZE // 2
    kernels = render(params, device=canvas.pixels.device)
    padded = extend(canvas, before=reach, total=(h + 2 * reach, w + 2 * reach), mode="reflect")
    weights = kernels[:, None].expand(b, c, SIZE, SIZE).reshape(b * c, 1, SIZE, SIZE)
    flat = padded.reshape(1, b * c, h + 2 * reach, w + 2 * reach)
    return canvas.with_pixels(F.conv2d(flat, weights, groups=b * c).view(b, c, h, w))


def _resize_to(canvas: Canvas, height: Tensor, width: Tensor, mode: Tensor, *, factor: Tensor | None = None) -> Canvas:
    """Sizes are known on the CPU, so the new canvas needs no word from the device."""
    height, width = height.clamp(min=1), width.clamp(min=1)
    device = canvas.pixels.device
    return resize(
        canvas,
        height.to(device),
        width.to(device),
        mode.to(device),
        total=(int(height.max()), int(width.max())),
        factor=None if factor is None else factor.to(device),
    )


def _noise(canvas: Canvas, order: Order, recipe: Recipe, rng: torch.Generator) -> Canvas:
    strength = order.strength.to(canvas.pixels.device)
    return canvas.with_pixels(
        add_noise(
            canvas, poisson=order.poisson, strength=strength, grey=order.grey, rng=rng, shared_grey=recipe.faithful
        )
    )


def _jpeg(canvas: Canvas, quality: Tensor, recipe: Recipe) -> Tensor:
    here = quality.to(canvas.pixels.device)
    return jpeg(canvas, here, transposed_luma=recipe.faithful, black_border=recipe.faithful)


def _crop(lq: Tensor, gt: Tensor, recipe: Recipe) -> Pair:
    size = recipe.gt_size // recipe.scale
    top = (recipe.crop_y * (lq.shape[2] - size + 1)).floor().long().to(lq.device)
    left = (recipe.crop_x * (lq.shape[3] - size + 1)).floor().long().to(lq.device)
    return Pair(
        _windows(lq, top, left, size), _windows(gt, top * recipe.scale, left * recipe.scale, size * recipe.scale)
    )


def _windows(x: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    place = torch.arange(size, device=x.device)
    rows = (top[:, None] + place)[:, None, :, None]
    columns = (left[:, None] + place)[:, None, None, :]
    return x.take_along_dim(rows, 2).take_along_dim(columns, 3).contiguous()
