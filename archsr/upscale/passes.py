"""One pass of a generator over a window, in little memory, and how much that is."""

import copy
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from archsr.models.build import Generator, OwnGenerator
from archsr.models.foreign import Foreign
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srresnet import SRResNet
from archsr.models.srvgg import SRVGGNetCompact

PIECE = (64, 256)  # rows and columns of features for which the enlarging part is run at a time
_TAIL_HALO = 2  # of those see their neighbours: 1/2 + 1/4 + 1/4 + 1/4, rounded up
_EFFECTIVE = 80  # pixels from which on nothing changes a level: tests/upscale/measure_halo.py
_UNKNOWN = 64
_WORKSPACE = 1.25  # what convolutions allocate besides their results


def halo_of(net: Generator) -> int:
    """How many pixels around a tile the network shall see so that no seam shows.

    The receptive field where it is small, else what was measured to be enough on photographs with the official weights.
    """
    if isinstance(net, SRVGGNetCompact):
        return min(_EFFECTIVE, sum(m.__class__.__name__ == "Conv2d" for m in net.body))
    if isinstance(net, SRResNet):
        return min(_EFFECTIVE, 2 * len(net.body) + 4)
    if isinstance(net, RRDBNet):
        return net.unshuffle * min(_EFFECTIVE, 15 * len(net.body) + 4)
    return _UNKNOWN


def forward(net: Generator, x: Tensor) -> Tensor:
    """(b, 3, h, w) to (b, 3, scale·h, scale·w), not clamped; sides need be no multiples of `net.unshuffle`."""
    height, width = x.shape[2:]
    if height % net.unshuffle or width % net.unshuffle:
        x = F.pad(x, (0, -width % net.unshuffle, 0, -height % net.unshuffle), mode="replicate")
    sr = _in_pieces(net, x) if isinstance(net, RRDBNet) else net(x)
    return sr[:, :, : height * net.scale, : width * net.scale]


def _in_pieces(net: RRDBNet, x: Tensor) -> Tensor:
    """The enlarging part needs 16 times the memory of the part before it, so it goes over the features in pieces."""
    features = net.trunk(x)
    height, width = features.shape[2:]
    sr = features.new_empty(len(x), 3, 4 * height, 4 * width)
    for top, bottom in _divided(height, PIECE[0]):
        above, below = max(0, top - _TAIL_HALO), min(height, bottom + _TAIL_HALO)
        for left, right in _divided(width, PIECE[1]):
            before, after = max(0, left - _TAIL_HALO), min(width, right + _TAIL_HALO)
            piece = net.tail(features[:, :, above:below, before:after])
            sr[:, :, 4 * top : 4 * bottom, 4 * left : 4 * right] = piece[
                :, :, 4 * (top - above) : 4 * (bottom - above), 4 * (left - before) : 4 * (right - before)
            ]
    return sr


def _divided(side: int, most: int) -> list[tuple[int, int]]:
    """From and to (exclusive) of even parts of at most `most`."""
    count = -(-side // most)
    return list(pairwise(side * i // count for i in range(count + 1)))


# ---------------------------------------------------------------- memory


def bytes_per_pixel(net: Generator, dtype: torch.dtype) -> float:
    """Memory that a pass needs at its highest, per pixel of a large window.

    Counted on a copy without values. Networks of other people's that cannot be run so are taken for wide ones.
    """
    side, small = 192, 96  # two sizes: what does not grow with the window is not counted
    if isinstance(net, Foreign):
        return 24_000 * dtype.itemsize / 4
    with torch.device("meta"):
        shadow = _copy_on_meta(net).to(dtype)
    peaks = [_peak(shadow, size, dtype) for size in (small, side)]
    return max(1.0, _WORKSPACE * (peaks[1] - peaks[0]) / (side**2 - small**2))


def _copy_on_meta(net: OwnGenerator) -> OwnGenerator:
    return copy.deepcopy(net).to("meta").requires_grad_(False).eval()


def _peak(net: OwnGenerator, side: int, dtype: torch.dtype) -> int:
    with Counter() as counter, torch.no_grad():
        x = torch.empty(1, 3, side, 4 * side, dtype=dtype, device="meta")
        forward(net, x)
    return counter.most // 4


class Counter(TorchDispatchMode):
    """Bytes of all results that are alive, at their highest."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                self._alive.setdefault(reference.cdata, (reference, storage.nbytes()))
        self._alive = {k: v for k, v in self._alive.items() if not v[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return out
