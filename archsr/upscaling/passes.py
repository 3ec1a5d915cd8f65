"""Run a generator over a window in little memory, and predict how much."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from archsr.models.base import Generator

_WORKSPACE = 1.25  # what convolutions allocate besides their results
_WIDE = 24_000  # bytes per pixel in float32 of a wide network
_WIDEST = 2048  # elements per pixel of its largest tensor
MOST_ELEMENTS = 2**31 - 1  # larger tensors need 64-bit indices, which cuDNN does not have


def forward(net: Generator, x: Tensor) -> Tensor:
    """Run (b, 3, h, w) to (b, 3, scale·h, scale·w), not clamped; sides need not be multiples of `net.unshuffle`."""
    height, width = x.shape[2:]
    if height % net.unshuffle or width % net.unshuffle:
        x = F.pad(x, (0, -width % net.unshuffle, 0, -height % net.unshuffle), mode="replicate")
    return net.frugal(x)[:, :, : height * net.scale, : width * net.scale]


# ---------------------------------------------------------------- memory


def bytes_per_pixel(net: Generator, dtype: torch.dtype) -> float:
    """Return the peak memory of a pass per pixel of a large window, counted on a copy without data.

    Untested networks, which may fail here, get the value of a wide network.
    """
    side, small = 192, 96  # two sizes, so that what does not grow with the window is not counted
    if not net.tested:
        return _WIDE * dtype.itemsize / 4
    shadow = _copy_on_meta(net).to(dtype)
    peaks = [_counted(shadow, size, dtype).most / 4 for size in (small, side)]
    return max(1.0, _WORKSPACE * (peaks[1] - peaks[0]) / (side**2 - small**2))


def most_pixels(net: Generator) -> int:
    """Return the largest window in pixels whose tensors all have at most `MOST_ELEMENTS` elements."""
    side = 192
    elements = _counted(_copy_on_meta(net), side, torch.float32).largest / (4 * side**2) if net.tested else _WIDEST
    return int(MOST_ELEMENTS / elements)


def _copy_on_meta(net: Generator) -> Generator:
    with torch.device("meta"):
        return copy.deepcopy(net).to("meta", torch.float32).requires_grad_(False).eval()


def _counted(net: Generator, side: int, dtype: torch.dtype) -> "Counter":
    """Return what a pass over a window of `side` × 4·`side` pixels counts."""
    with Counter() as counter, torch.no_grad():
        forward(net, torch.empty(1, 3, side, 4 * side, dtype=dtype, device="meta"))
    return counter


class Counter(TorchDispatchMode):
    """Counts the peak bytes of all living tensors, and the elements of the largest one."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.largest = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self._alive.setdefault(reference.cdata, (reference, storage.nbytes()))
        self._alive = {k: v for k, v in self._alive.items() if not v[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return out
