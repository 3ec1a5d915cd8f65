"""Pixels from the host to a device and back: a GPU's copies are asynchronous, through page-locked memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archsr.utils.devices import copies_beside

Depth = NDArray[np.uint8 | np.uint16]
_KINDS = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}
T = TypeVar("T")


def to_device(window: NDArray[Any], device: torch.device) -> Tensor:
    """Return uint8, uint16 or float32 (h, w, 3) as float32 (1, 3, h, w) in [0, 1] on the device.

    A GPU gets the pixels at their own depth and converts them itself.
    """
    if device.type == "cuda":
        pinned = torch.empty(window.shape, dtype=_KINDS[window.dtype.name], pin_memory=True)
        np.copyto(pinned.numpy(), window)
        x = pinned.to(device, non_blocking=True).float()
    else:
        x = torch.from_numpy(window.astype(np.float32)).to(device)
    if window.dtype != np.float32:
        x = x.div_(np.iinfo(window.dtype).max)
    return x.permute(2, 0, 1)[None]


def at_depth(sr: Tensor, depth: np.dtype[Any]) -> Tensor:
    """Convert float32 (3, h, w) in about [0, 1] to (h, w, 3) at a depth, on its device; changes `sr`."""
    sr = sr.clamp_(0, 1)
    if depth != np.float32:
        sr = sr.mul_(np.iinfo(depth).max).round_()
    return sr.permute(1, 2, 0).to(_KINDS[depth.name], memory_format=torch.contiguous_format)


class Arriving:
    """A tensor on its way to the host. A GPU goes on computing meanwhile."""

    def __init__(self, tensor: Tensor) -> None:
        # torch allocates page-locked memory for it
        self._host = tensor.to("cpu", non_blocking=copies_beside(tensor.device))
        self._event: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._event = torch.cuda.Event(blocking=True)  # sleeps, so that encoders have the core
            self._event.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> NDArray[Any]:
        """Return the tensor once it is there."""
        if self._event is not None:
            self._event.synchronize()
        return self._host.numpy()


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield the items in order, each after `count` further ones have been taken."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting
