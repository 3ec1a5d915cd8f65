"""Devices for tiles: their memory and precision, and networks placed on them."""

import copy
import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import psutil
import torch

from archsr.errors import UserError, first_line
from archsr.models.base import Generator as Network
from archsr.utils.devices import best_device, takes_channels_last
from archsr.utils.world import cores

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MOST_ON_CPU = 1.5 * 2**30  # bytes for one pass: larger windows are not faster on a CPU
_MOST_WRITERS, _MOST_WAITING = 16, 16 * 2**30  # images encoded at a time; bytes
_SHARE = {"cpu": 0.5, "cuda": 0.75}  # share of the free memory for one pass


def devices_of(wanted: str, *, rank: int = 0, size: int = 1) -> list[torch.device]:
    """Return the devices called `wanted`: "all" means all GPUs, Apple's GPU, or else the CPU.

    With several processes, each gets its own GPU. Raises `UserError` for unknown names and missing GPUs.
    """
    if wanted == "all":
        count = torch.cuda.device_count()
        numbers = range(count) if size == 1 else [rank % count] if count else []
        return [torch.device("cuda", n) for n in numbers] or [best_device()]
    try:
        devices = [torch.device(name) for name in wanted.split(",")]
    except RuntimeError as error:
        raise UserError(f"--device {wanted}: {first_line(error)}; expected all, cpu or e.g. cuda:0") from None
    for device in devices:
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise UserError(f"--device {device}: this machine has {torch.cuda.device_count()} GPUs that torch can use")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise UserError(f"--device {device}: this machine has no GPU of Apple that torch can use")
    return devices


def resolve_precision(net: Network, precision: Precision, devices: list[torch.device]) -> Precision:
    """Return the precision, resolving "auto". Raises `UserError` if the network or a device does not support it."""
    if precision == "auto":
        able = "fp16" in net.supported_precisions
        precision = "fp16" if able and all(d.type == "cuda" for d in devices) else "fp32"
    net.check_precision(precision)
    if precision == "fp16" and any(d.type == "cpu" for d in devices):
        raise UserError("precision fp16: needs a GPU; use bf16 or fp32 on a CPU")
    return precision


def place_network(net: Network, device: torch.device, precision: Precision, *, alone: bool) -> Network:
    """Move the network, or a copy unless it is used alone in fp32, to the device."""
    if not net.converts:
        return (net if alone else copy.deepcopy(net)).to(device)
    own = net if alone and precision == "fp32" else copy.deepcopy(net)
    layout = torch.channels_last if takes_channels_last(device) else torch.preserve_format
    return own.to(device=device, dtype=DTYPES[precision], memory_format=layout)  # pyright: ignore[reportCallIssue, reportArgumentType]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return a context of mixed precision; without effect for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def memory_budget(device: torch.device) -> float:
    """Return the bytes that one pass may use of the memory that is free now.

    On a GPU what torch has reserved and does not use is free, too.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return _SHARE["cuda"] * (free + cached)
    return min(_MOST_ON_CPU, _SHARE["cpu"] * psutil.virtual_memory().available)


def writers_for(device: torch.device) -> tuple[int, int]:
    """Return how many images may be encoded at a time, and the bytes of their rows that may wait for that.

    One core encodes a PNG more slowly than a GPU makes it (28 megapixels per second), so every core of this process
    encodes, and up to a quarter of the free memory holds what waits. A CPU makes it more slowly than it is encoded.
    """
    if device.type != "cuda":
        return 2, 32 * 2**20
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    waiting = psutil.virtual_memory().available // (4 * processes)
    return min(_MOST_WRITERS, max(2, cores() // processes)), min(_MOST_WAITING, waiting)


@contextmanager
def measured_algorithms() -> Generator[None]:
    """Let cuDNN measure its algorithms for every new shape. It pays where shapes repeat."""
    with _cudnn(benchmark=True):
        yield


@contextmanager
def comparable_numbers() -> Generator[None]:
    """Compute float32 without TF32, and let cuDNN choose its algorithms by rule, so that figures can be repeated."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with _cudnn(benchmark=False, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _cudnn(**settings: bool) -> Generator[None]:
    before = {name: getattr(torch.backends.cudnn, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(torch.backends.cudnn, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(torch.backends.cudnn, name, value)
