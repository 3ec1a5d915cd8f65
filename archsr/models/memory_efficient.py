"""Convolutions that keep only what the backward pass needs.

Autograd keeps the input of every convolution and activation. In a dense block the inputs are concatenations of the same
few images, stored again for each convolution. Behind the trained layers the inputs are not needed at all, because the
gradient of a frozen convolution only needs its weights. Here a convolution and its leaky ReLU are one step. A trained
one keeps the parts of its input, and its output, which is a part of later ones, and concatenates again in the backward
pass. A frozen one keeps one byte per output value: whether it was above zero.
"""

# pyright: reportIncompatibleMethodOverride=false
# (torch declares `backward` with a parameter that can also be named, `once_differentiable` gives it none)

import typing
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from archsr.models.cast_weights import cast_of


def conv_act(parts: Sequence[Tensor], conv: nn.Conv2d, *, slope: float | None = None) -> Tensor:
    """`leaky_relu(conv(cat(parts, 1)), slope)`, or the convolution alone without `slope`.

    Values and gradients equal those of the plain operations, also under autocast.
    """
    stride, padding, weights = conv.stride[0], _padding(conv), (conv.weight, conv.bias)
    return lean_conv(parts, *weights, stride=stride, padding=padding, slope=slope, cast=cast_of(conv))


def _padding(conv: nn.Conv2d) -> int:
    assert isinstance(conv.padding, tuple)
    return conv.padding[0]


def lean_conv(
    parts: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int,
    padding: int,
    slope: float | None,
    cast: tuple[Tensor, Tensor | None] | None = None,
) -> Tensor:
    """Like `conv_act`, with explicit weights. `cast`: copies of weight and bias in the type of the computation."""
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (weight, bias, *parts))
    if not learns:
        return _forward(parts, *(cast or (weight, bias)), stride, padding, slope)
    return typing.cast(Tensor, _LeanConv.apply(weight, bias, cast, stride, padding, slope, *parts))


def _forward(
    parts: Sequence[Tensor], weight: Tensor, bias: Tensor | None, stride: int, padding: int, slope: float | None
) -> Tensor:
    out = F.conv2d(_joined(parts), weight, bias, stride, padding)
    return out if slope is None else F.leaky_relu(out, slope, inplace=True)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), 1)


class _LeanConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context object takes any attribute
        weight: Tensor,
        bias: Tensor | None,
        cast: tuple[Tensor, Tensor | None] | None,
        stride: int,
        padding: int,
        slope: float | None,
        *parts: Tensor,
    ) -> Tensor:
        used_weight, used_bias = cast or (weight, bias)
        out = _forward(parts, used_weight, used_bias, stride, padding, slope)
        ctx.stride, ctx.padding, ctx.slope = stride, padding, slope
        ctx.trained = ctx.needs_input_grad[0]
        ctx.channels = [p.shape[1] for p in parts]
        ctx.shape = (parts[0].shape[0], sum(ctx.channels), *parts[0].shape[2:])
        side = () if slope is None else (out,) if ctx.trained else (out > 0,)
        ctx.save_for_backward(used_weight, *side, *(parts if ctx.trained else ()))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (grad,) = grad_outputs
        weight, *kept = ctx.saved_tensors
        if ctx.slope is not None:
            # the output, or 1 where it was above zero: on a CPU ten times faster than a mask
            side = kept.pop(0).to(grad.dtype)
            grad = torch.ops.aten.leaky_relu_backward(grad, side, ctx.slope, True)
        need_x, need_w, need_b = any(ctx.needs_input_grad[6:]), ctx.trained, ctx.needs_input_grad[1]
        # only the shape of a frozen convolution's input is needed
        x = _joined(kept).to(grad.dtype) if ctx.trained else grad.new_empty(1).expand(ctx.shape)
        padding, stride = [ctx.padding] * 2, [ctx.stride] * 2
        grad_x, grad_w, grad_b = torch.ops.aten.convolution_backward(
            grad, x, weight.to(grad.dtype), [grad.shape[1]] if need_b else None, stride, padding, [1, 1], False, [0, 0],
            1, [need_x, need_w, need_b],
        )  # fmt: skip
        to_parts = grad_x.split(ctx.channels, 1) if need_x else [None] * len(ctx.channels)
        wanted = [g if need else None for g, need in zip(to_parts, ctx.needs_input_grad[6:], strict=True)]
        return (grad_w if need_w else None, grad_b if need_b else None, *[None] * 4, *wanted)


def relu(x: Tensor) -> Tensor:
    """ReLU that keeps one byte per value."""
    return typing.cast(Tensor, _LeanReLU.apply(x))


class _LeanReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x > 0)
        return x.relu()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # noqa: ANN401
        (grad,) = grad_outputs
        (positive,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, positive.to(grad.dtype), 0)


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Return a context without autocast on such devices; "meta" tensors have none."""
    return torch.autocast(device_type, enabled=False) if device_type != "meta" else nullcontext()


def doubled(x: Tensor, *, mode: Literal["nearest", "bilinear"]) -> Tensor:
    """Return `x` at twice its size in its own dtype. Autocast would compute and store it in float32, for no other bits.

    (b, c, h, w) to (b, c, 2h, 2w).
    """
    with without_autocast(x.device.type):
        return F.interpolate(x, scale_factor=2, mode=mode, align_corners=None if mode == "nearest" else False)


def halved(x: Tensor) -> Tensor:
    """2×2 max pooling, without a last odd row or column; keeps one byte per result."""
    even = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return typing.cast(Tensor, _LeanPool.apply(even))


class _LeanPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        out, index = F.max_pool2d(x, 2, return_indices=True)
        width = x.shape[3]
        # the flat index within a plane, reduced to which of the four pixels it is; the width is even
        flat = index.int()  # much faster than 64 bits
        ctx.save_for_backward(((flat // width & 1) * 2 + (flat & 1)).to(torch.uint8))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # noqa: ANN401
        (grad,) = grad_outputs
        (place,) = ctx.saved_tensors
        b, c, h, w = grad.shape
        last = grad.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        spread = torch.empty(b, c, 2 * h, 2 * w, dtype=grad.dtype, device=grad.device, memory_format=layout)
        zero = grad.new_zeros(())
        for corner in range(4):
            torch.where(place == corner, grad, zero, out=spread[:, :, corner // 2 :: 2, corner % 2 :: 2])
        return spread


def l1(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute difference in float32. `wanted` gets no gradient. Keeps one byte per value."""
    return typing.cast(Tensor, _LeanL1.apply(found, wanted.detach()))


class _LeanL1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, found: Tensor, wanted: Tensor) -> Tensor:  # noqa: ANN401
        difference = found.float() - wanted.float() if found.dtype != torch.float64 else found - wanted
        ctx.save_for_backward(difference.sign().to(torch.int8))
        ctx.dtype = found.dtype
        return difference.abs().mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (grad,) = grad_outputs
        (sign,) = ctx.saved_tensors
        return (sign * (grad / sign.numel())).to(ctx.dtype), None
