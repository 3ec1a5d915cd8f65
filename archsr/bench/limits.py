"""What the hardware gives at best, measured in the same run: products of matrices, copies of memory."""

import torch

from archsr.bench.timing import Clock, Row

_SIDE = {"cpu": 2048, "cuda": 8192}
_COPIED = {"cpu": 2**28, "cuda": 2**31}  # bytes


def types_of(device: torch.device) -> dict[str, torch.dtype]:
    """The precisions worth measuring on a device."""
    found = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return found | ({"fp16": torch.float16} if device.type == "cuda" else {})


def limits(clock: Clock) -> list[Row]:
    """TFLOP/s of square products in each precision, GB/s of a copy (read and written bytes)."""
    side, device = _SIDE[clock.device.type], clock.device
    rows: list[Row] = []
    for name, kind in types_of(device).items():
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        rows.append(
            clock.rate("limit", f"product, {name}", lambda a=a, b=b: a @ b, amount=2e-12 * side**3, unit="TFLOP/s")
        )
    source = torch.ones(_COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rows.append(clock.rate("limit", "copy", lambda: target.copy_(source), amount=2e-9 * source.numel(), unit="GB/s"))
    return rows


def product(rows: list[Row], precision: str) -> float | None:
    """FLOP/s of a precision among the limits, if they were measured."""
    return next((1e12 * r.value for r in rows if r.case == f"product, {precision}"), None)
