"""The steps of a degradation by name. Each step maps a canvas to the next.

Everything that decides how much to compute (sizes, which kinds occur) is read from the recipe on the CPU. The numbers
themselves are read from its copy on the device, so that nothing waits for the device; only `codec` does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from archsr.config import Step
from archsr.degradation.antialias import bicubic, reduce_smoothly
from archsr.degradation.canvas import Canvas, full
from archsr.degradation.codecs import encode_and_decode
from archsr.degradation.halving import decimate, halve
from archsr.degradation.jpeg import jpeg
from archsr.degradation.kernels import blur
from archsr.degradation.lens import aberrate, unsharp
from archsr.degradation.noise import add_noise
from archsr.degradation.order_params import Order
from archsr.degradation.recipe import Recipe
from archsr.degradation.resize import BICUBIC, BILINEAR, resize
from archsr.degradation.saving import few_levels, save_often
from archsr.degradation.sensor import add_sensor_noise


@dataclass(frozen=True)
class StepContext:
    """The inputs of all steps.

    `recipe` is on the CPU, `on_device` on the device. `kernels` (3, b, k, k) are those of the two orders and
    of the last filter, `rng` generates the noise, and `target` is the size (h, w) of `lq` before the crop.
    """

    recipe: Recipe
    on_device: Recipe
    kernels: Tensor
    rng: torch.Generator
    target: tuple[int, int]


Operation = Callable[[Canvas, StepContext], Canvas]


def _halve(canvas: Canvas, work: StepContext) -> Canvas:
    on_device = work.on_device.halved, work.on_device.half_mode
    return halve(canvas, work.recipe.halved, work.recipe.half_mode, on_device=on_device)


def _blur1(canvas: Canvas, work: StepContext) -> Canvas:
    return blur(canvas, work.recipe.first.kernel, work.kernels[0])


def _blur2(canvas: Canvas, work: StepContext) -> Canvas:
    return blur(canvas, work.recipe.second.kernel, work.kernels[1])


def _sinc(canvas: Canvas, work: StepContext) -> Canvas:
    return blur(canvas, work.recipe.final_kernel, work.kernels[2])


def _resize1(canvas: Canvas, work: StepContext) -> Canvas:
    # the reference uses the factor, not the rounded size: at 0.15 the far edge of lq is displaced by up to 6 pixels of
    # gt
    stretched = "stretched_resize" in work.recipe.quirks
    order, on_device = work.recipe.first, work.on_device.first
    parts = torch.where(work.recipe.halved, 2, 1)
    total = _largest((side * work.recipe.scale // parts for side in work.target), order)
    height, width = (_side(side, on_device) for side in (canvas.height, canvas.width))
    if not order.decimate.any():
        return _scaled(canvas, work, height, width, order, on_device, total=total, stretched=stretched)
    thinned = decimate(canvas, height, width, on_device.decimate, total=total)
    if order.decimate.all():
        return thinned
    scaled = _scaled(canvas, work, height, width, order, on_device, total=total, stretched=stretched)
    chosen = (on_device.decimate > 0)[:, None, None, None]
    return scaled.with_pixels(torch.where(chosen, thinned.pixels, scaled.pixels))


def _resize2(canvas: Canvas, work: StepContext) -> Canvas:
    order, on_device = work.recipe.second, work.on_device.second
    height, width = (_side(side, on_device) for side in work.target)
    return _scaled(canvas, work, height, width, order, on_device, total=_largest(work.target, order), stretched=False)


def _side(side: Tensor | int, order: Order) -> Tensor:
    return (side * order.factor).floor().clamp(min=1).long()


def _largest(sides: Iterable[Tensor | int], order: Order) -> tuple[int, int]:
    """Return the largest height and width that `order`, on the CPU, makes of these sides."""
    height, width = (int(_side(side, order).max()) for side in sides)
    return height, width


def _scaled(
    canvas: Canvas,
    work: StepContext,
    height: Tensor,
    width: Tensor,
    order: Order,
    on_device: Order,
    *,
    total: tuple[int, int],
    stretched: bool,
) -> Canvas:
    factor = on_device.factor if stretched else None
    return _resized(canvas, work, height, width, order.mode, on_device.mode, total=total, factor=factor)


def _reduce(canvas: Canvas, work: StepContext) -> Canvas:
    height, width = (torch.full_like(canvas.height, side) for side in work.target)
    modes = work.recipe.final_mode, work.on_device.final_mode
    return _resized(canvas, work, height, width, *modes, total=work.target, factor=None).filled()


def _resized(
    canvas: Canvas,
    work: StepContext,
    height: Tensor,
    width: Tensor,
    mode: Tensor,
    mode_on_device: Tensor,
    *,
    total: tuple[int, int],
    factor: Tensor | None,
) -> Canvas:
    plain = resize(canvas, height, width, mode, total=total, factor=factor)
    if not work.recipe.antialias.any():
        return plain
    smooth = reduce_smoothly(canvas, height, width, mode_on_device, total=total, factor=factor)
    narrow = (mode_on_device == BILINEAR) | (mode_on_device == BICUBIC)  # area and Lanczos average anyway
    chosen = work.on_device.antialias & (height < canvas.height) & narrow
    return plain.with_pixels(torch.where(chosen[:, None, None, None], smooth.pixels, plain.pixels))


def _noise1(canvas: Canvas, work: StepContext) -> Canvas:
    return _noise(canvas, work, work.recipe.first, work.on_device.first)


def _noise2(canvas: Canvas, work: StepContext) -> Canvas:
    return _noise(canvas, work, work.recipe.second, work.on_device.second)


def _noise(canvas: Canvas, work: StepContext, order: Order, on_device: Order) -> Canvas:
    shared = "shared_grey" in work.recipe.quirks
    return canvas.with_pixels(
        add_noise(
            canvas,
            poisson=order.poisson,
            strength=on_device.strength,
            grey=order.grey,
            rng=work.rng,
            shared_grey=shared,
            mixing=on_device.mixing if order.correlated().any() else None,
        )
    )


def _jpeg1(canvas: Canvas, work: StepContext) -> Canvas:
    return canvas.with_pixels(_jpeg(canvas, work, work.recipe.first, work.on_device.first))


def _jpeg2(canvas: Canvas, work: StepContext) -> Canvas:
    return canvas.with_pixels(_jpeg(canvas, work, work.recipe.second, work.on_device.second))


def _jpeg(canvas: Canvas, work: StepContext, order: Order, on_device: Order) -> Tensor:
    if not order.compressed.any():
        return canvas.pixels
    present = set(order.sampling.tolist())
    compressed = jpeg(
        canvas,
        on_device.quality,
        transposed_luma="transposed_luma" in work.recipe.quirks,
        black_border="black_border" in work.recipe.quirks,
        sampling=on_device.sampling,
        present=present,
    )
    if order.compressed.all():
        return compressed
    return torch.where(on_device.compressed[:, None, None, None], compressed, canvas.pixels)


def _finish(canvas: Canvas, work: StepContext) -> Canvas:
    """Apply JPEG, resize and sinc where `sinc_last`; resize, sinc and JPEG elsewhere."""
    last = work.recipe.sinc_last
    if last.all():
        return _sinc(_reduce(_jpeg2(canvas, work), work), work)
    if not last.any():
        return _jpeg2(_sinc(_reduce(canvas, work), work), work)
    chosen = work.on_device.sinc_last[:, None, None, None]
    early = torch.where(chosen, _jpeg2(canvas, work).pixels, canvas.pixels)
    filtered = _sinc(_reduce(canvas.with_pixels(early), work), work)
    return filtered.with_pixels(torch.where(chosen, filtered.pixels, _jpeg2(filtered, work).pixels))


def _sharpen(canvas: Canvas, work: StepContext) -> Canvas:
    here, there = work.recipe.camera, work.on_device.camera
    if not here.sharpen_amount.any():
        return canvas
    return unsharp(canvas, here.sharpen_radius, on_device=(there.sharpen_radius, there.sharpen_amount))


def _aberration(canvas: Canvas, work: StepContext) -> Canvas:
    here, there = work.recipe.camera, work.on_device.camera
    if not (here.red.any() or here.blue.any()):
        return canvas
    return aberrate(canvas, there.red, there.blue, centre=there.centre)


def _sensor(canvas: Canvas, work: StepContext) -> Canvas:
    there = work.on_device.camera
    if not work.recipe.camera.shot.any():
        return canvas
    numbers = {"shot": there.shot, "read": there.read, "gains": there.gains, "to_camera": there.to_camera}
    return canvas.with_pixels(add_sensor_noise(canvas, **numbers, rng=work.rng))


def _saves(canvas: Canvas, work: StepContext) -> Canvas:
    here, there = work.recipe.saving, work.on_device.saving
    return save_often(canvas, here, there) if here.saves.any() else canvas


def _codec(canvas: Canvas, work: StepContext) -> Canvas:
    here = work.recipe.saving
    return canvas.with_pixels(encode_and_decode(canvas, here.codec, here.codec_quality))


def _levels(canvas: Canvas, work: StepContext) -> Canvas:
    if not work.recipe.saving.levels.any():
        return canvas
    return canvas.with_pixels(few_levels(canvas, work.on_device.saving))


def _bicubic(canvas: Canvas, work: StepContext) -> Canvas:
    return full(bicubic(canvas.pixels, scale=work.recipe.scale))


OPERATIONS: dict[Step, Operation] = {
    "sharpen": _sharpen,
    "aberration": _aberration,
    "sensor": _sensor,
    "saves": _saves,
    "codec": _codec,
    "levels": _levels,
    "halve": _halve,
    "blur1": _blur1,
    "resize1": _resize1,
    "noise1": _noise1,
    "jpeg1": _jpeg1,
    "blur2": _blur2,
    "resize2": _resize2,
    "noise2": _noise2,
    "jpeg2": _jpeg2,
    "reduce": _reduce,
    "sinc": _sinc,
    "finish": _finish,
    "bicubic": _bicubic,
}
