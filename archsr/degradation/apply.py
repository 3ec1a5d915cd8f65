"""Makes the pairs of a training step from a batch and its recipe. It is a pure function."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from archsr.degradation.canvas import full
from archsr.degradation.kernels import SIZE, concatenated, render
from archsr.degradation.operations import OPERATIONS, StepContext
from archsr.degradation.recipe import Recipe
from archsr.degradation.sharpen import sharpen


@dataclass(frozen=True)
class Pair:
    """`lq` (b, 3, s, s) on the 8-bit grid in [0, 1], and its `gt` (b, 3, scale·s, scale·s), both float32.

    `origin`: optional int64 (b, n) on the CPU, from which the caller can make each pair again.
    """

    lq: Tensor
    gt: Tensor
    origin: Tensor | None = None


@torch.no_grad()
def apply(gt: Tensor, recipe: Recipe) -> Pair:
    """Degrade `gt` (b, 3, h, w), h and w multiples of the scale, and crop both to the recipe's `gt_size`.

    The crop makes the phase of the last JPEG's grid random. The same inputs on the same device give the same bits.
    Everything is computed in float32, even under autocast; the CPU does it for Apple's GPUs, which have no float64 for
    kernels and places.
    """
    if gt.device.type == "mps":
        pair = apply(gt.cpu(), recipe)
        return Pair(pair.lq.to(gt.device), pair.gt.to(gt.device))
    with torch.autocast(gt.device.type, enabled=False), _full_float32():
        return _pair(gt.float().contiguous(), recipe)


@torch.no_grad()
def apply_whole(gt: Tensor, recipe: Recipe) -> Tensor:
    """Return `lq` (b, 3, h / scale, w / scale) of the whole `gt`, without the crop."""
    if gt.device.type == "mps":  # as in `apply`
        return apply_whole(gt.cpu(), recipe).to(gt.device)
    with torch.autocast(gt.device.type, enabled=False), _full_float32():
        return _lq(gt.float().contiguous(), recipe, recipe.to(gt.device))


def _pair(gt: Tensor, recipe: Recipe) -> Pair:
    on_device = recipe.to(gt.device)
    return _crop(_lq(gt, recipe, on_device), gt, recipe, on_device)


def _lq(gt: Tensor, recipe: Recipe, on_device: Recipe) -> Tensor:
    lq = _degraded(sharpen(gt) if recipe.sharpen_gt else gt, recipe, on_device)
    return (lq.clamp(0, 1) * 255).round() / 255


@contextmanager
def _full_float32() -> Generator[None]:
    """Disable TF32, which the networks may use: it would change the rounding of JPEG coefficients."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _degraded(source: Tensor, recipe: Recipe, on_device: Recipe) -> Tensor:
    """Run the steps of the recipe on all samples.

    A GPU is limited by kernel launches, so it takes all samples at once. A CPU takes them one by one: none is padded to
    the canvas of a larger one, and the data stay in the cache.
    """
    size = max(SIZE, *(int(order.kernel.taps.max()) for order in (recipe.first, recipe.second)))
    placed = on_device.first.kernel, on_device.second.kernel, on_device.final_kernel
    here = recipe.first.kernel, recipe.second.kernel, recipe.final_kernel
    kinds = {kind for kernel in here for kind in kernel.kind.tolist()}
    kernels = render(concatenated(*placed), size=size, kinds=kinds).unflatten(0, (len(placed), len(recipe)))
    rng = _noise_rng(source.device, recipe.noise_seed)
    target = source.shape[2] // recipe.scale, source.shape[3] // recipe.scale
    together = "shared_grey" in recipe.quirks and len(recipe.first.factor.unique()) > 1
    count = len(recipe) if together or source.device.type != "cpu" else 1
    parts: list[Tensor] = []
    for start in range(0, len(recipe), count):
        some = slice(start, start + count)
        work = StepContext(recipe.take(some), on_device.take(some), kernels[:, some], rng, target)
        canvas = full(source[some])
        for step in recipe.steps:
            canvas = OPERATIONS[step](canvas, work)
        parts.append(canvas.pixels)
    return torch.cat(parts)


def _noise_rng(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def _crop(lq: Tensor, gt: Tensor, recipe: Recipe, on_device: Recipe) -> Pair:
    size = recipe.gt_size // recipe.scale
    top = (on_device.crop_y * (lq.shape[2] - size + 1)).floor().long()
    left = (on_device.crop_x * (lq.shape[3] - size + 1)).floor().long()
    return Pair(
        _windows(lq, top, left, size), _windows(gt, top * recipe.scale, left * recipe.scale, size * recipe.scale)
    )


def _windows(x: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Return (b, c, size, size): one window of each sample, in one gather."""
    sample = torch.arange(len(x), device=x.device)
    return x.unfold(2, size, 1).unfold(3, size, 1)[sample, :, top, left].contiguous()
