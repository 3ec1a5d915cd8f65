"""`training.precision = "auto"`: 16 bits if they are fast and close to float32 on this device, otherwise float32."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from archsr.checkpoint.ancestry import with_file
from archsr.checkpoint.folder import newest
from archsr.config import TrainConfig
from archsr.models.build import build
from archsr.models.weights import initial_generator
from archsr.runs.folders import folder_of
from archsr.utils.devices import best_device
from archsr.utils.seeds import generator

Narrow = Literal["bf16", "fp16"]
_KINDS: dict[Narrow, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def with_precision(config: TrainConfig, *, resume: bool = False) -> TrainConfig:
    """Return the config with "auto" replaced, by the checkpoint's precision if the run resumes.

    On a CPU with bf16 instructions it is bf16, on other CPUs fp32, because bf16 would be many times slower there. On
    Apple's GPUs it is fp32. On a GPU of CUDA or ROCm it is the 16-bit type whose results are closer to float32 in this
    network.
    """
    if config.training.precision != "auto":
        return config
    found = _of_checkpoint(folder_of(config)) if resume else ""
    found = found or _BY_DEVICE[best_device().type](config)
    return config.model_copy(update={"training": config.training.model_copy(update={"precision": found})})


def cpu_has_bf16() -> bool:
    """Return whether this CPU has instructions for bf16 (AVX-512 BF16 or AMX)."""
    asked = (
        getattr(torch.cpu, name, lambda: False) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(bool(ask()) for ask in asked)


def _of_checkpoint(run: Path) -> str:
    folder, _ = newest(run)
    return "" if folder is None else str(json.loads((folder / "state.json").read_bytes()).get("precision", ""))


def _on_cpu(config: TrainConfig) -> str:
    with torch.device("meta"):
        able = "bf16" in build(config.model).supported_precisions
    return "bf16" if able and cpu_has_bf16() else "fp32"


def _on_gpu(config: TrainConfig) -> str:
    net = initial_generator(with_file(config.model), seed=config.seed)
    kinds: list[Narrow] = ["fp16"] if "fp16" in net.supported_precisions else []
    if "bf16" in net.supported_precisions and torch.cuda.is_bf16_supported(including_emulation=False):
        kinds.append("bf16")
    errors = {kind: disagreement(net, kind, torch.device("cuda")) for kind in kinds}
    return min(errors, key=lambda kind: errors[kind]) if errors else "fp32"


_BY_DEVICE: dict[str, Callable[[TrainConfig], str]] = {"cuda": _on_gpu, "cpu": _on_cpu, "mps": lambda _: "fp32"}


@torch.no_grad()
def disagreement(net: nn.Module, kind: Narrow, device: torch.device) -> float:
    """Return the RMS difference, in levels of 255, between a network's results in 16 bits and in float32.

    The input is fixed smooth noise of 64 × 64 pixels. NaN or Inf gives infinity.
    """
    placed = copy.deepcopy(net).to(device).eval()
    coarse = torch.rand(1, 3, 16, 16, generator=generator(0, "precision"))
    lq = nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1).to(device)
    exact = placed(lq).float()
    with torch.autocast(device.type, dtype=_KINDS[kind]):
        narrow = placed(lq).float()
    error = float((narrow - exact).square().mean().sqrt() * 255)
    return error if error == error else float("inf")  # true for NaN
