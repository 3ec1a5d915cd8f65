"""The hardware's limits, measured in the same run: matrix products and memory copies."""

from collections.abc import Iterable

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from archsr.bench.timing import Clock, Timing

_SIDE = {"cpu": 2048, "cuda": 8192}
_COPIED = {"cpu": 2**28, "cuda": 2**31}  # bytes


def types_of(device: torch.device) -> dict[str, torch.dtype]:
    """Return the precisions to measure on a device."""
    found = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return found | ({"fp16": torch.float16} if device.type == "cuda" else {})


def limits(clock: Clock) -> list[Timing]:
    """Measure TFLOP/s of square products in each precision, and GB/s of a copy (bytes read and written)."""
    side, device = _SIDE[clock.device.type], clock.device
    rows: list[Timing] = []
    for name, kind in types_of(device).items():
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        rows.append(clock.best(f"product, {name}", lambda a=a, b=b: a @ b, amount=2e-12 * side**3, unit="TFLOP/s"))
    source = torch.ones(_COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rows.append(clock.best("copy", lambda: target.copy_(source), amount=2e-9 * source.numel(), unit="GB/s"))
    return rows


_FREE = ("aten::_unsafe_view", "aten::empty", "aten::empty_like", "aten::new_empty")
_PICKS = ("aten::index", "aten::gather", "aten::index_select")


class Traffic(TorchDispatchMode):
    """Count in `bytes` what the operations inside it read and write.

    Each tensor counts fully, also one from which values are gathered. Views count nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: Iterable[type], args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:  # fmt: skip
        out = func(*args, **(kwargs or {}))
        name = func.name().split(".")[0]
        if not func.is_view and name not in _FREE:
            read = (out, args[1:]) if name in _PICKS else args
            touched = pytree.tree_leaves((read, kwargs, out))
            self.bytes += sum(t.numel() * t.element_size() for t in touched if isinstance(t, torch.Tensor))
        return out


def copied(rows: list[Timing]) -> float | None:
    """Return the bytes per second of a copy, if it was measured."""
    return next((1e9 * r.value for r in rows if r.case == "copy"), None)


def product(rows: list[Timing], precision: str) -> float | None:
    """Return the FLOP/s in a precision, if it was measured."""
    return next((1e12 * r.value for r in rows if r.case == f"product, {precision}"), None)
