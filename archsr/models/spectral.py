"""Spectral normalisation of convolutions, in full precision under autocast."""

from collections.abc import Callable

from torch import Tensor, nn

# the older API, because the official files have its key names (weight_orig, _u, _v)
from torch.nn.utils import spectral_norm

from archsr.models.memory_efficient import lean_conv, without_autocast


def normalised(conv: nn.Conv2d) -> nn.Conv2d:
    """Divide the convolution's weight by its largest singular value, with one power iteration per forward."""
    conv = spectral_norm(conv)
    for hook in conv._forward_pre_hooks.values():  # pyright: ignore[reportPrivateUsage]
        hook.compute_weight = _in_full_precision(hook.compute_weight)  # pyright: ignore[reportFunctionMemberAccess]
    return conv


def _in_full_precision(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Disable autocast, which would run the power iteration's matrix-vector products in 8 to 11 bits."""

    def wrapped(module: nn.Module, do_power_iteration: bool) -> Tensor:
        kind = next(module.parameters()).device.type
        with without_autocast(kind):
            return compute(module, do_power_iteration=do_power_iteration)

    return wrapped


def hooked_conv(conv: nn.Module, x: Tensor, *, slope: float | None) -> Tensor:
    """Run the convolution and leaky ReLU. A hook normalises the weight first, if there is one."""
    return with_weights_now(conv, slope=slope)(x)


def with_weights_now(conv: nn.Module, *, slope: float | None) -> Callable[[Tensor], Tensor]:
    """Like `hooked_conv`, but normalise now, so that recomputing it makes no further power iteration."""
    assert isinstance(conv, nn.Conv2d)
    for hook in conv._forward_pre_hooks.values():  # pyright: ignore[reportPrivateUsage]
        hook(conv, ())
    weight, bias, stride, padding = conv.weight, conv.bias, conv.stride[0], conv.padding[0]
    assert isinstance(padding, int)
    return lambda x: lean_conv([x], weight, bias, stride=stride, padding=padding, slope=slope)
