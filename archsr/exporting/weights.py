"""Weights under the names that other tools look for: `.pth` and `.safetensors`."""

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from archsr.errors import UserError
from archsr.models.base import Generator
from archsr.models.build import official_state


def _tensors(net: Generator, precision: str) -> dict[str, Tensor]:
    width = torch.float16 if precision == "fp16" else torch.float32
    return {
        k: (v.to(width) if v.is_floating_point() else v).detach().clone().contiguous()
        for k, v in official_state(net).items()
    }


def write_pth(net: Generator, path: Path, precision: str) -> str:
    """`{"params_ema": tensors}`, the form of the official releases."""
    state = _tensors(net, precision)
    torch.save({"params_ema": state}, path)
    _refuse_other(torch.load(path, weights_only=True)["params_ema"], state)
    return f"{len(state)} tensors in {precision}, read back"


def write_safetensors(net: Generator, path: Path, precision: str) -> str:
    """The same tensors, with nothing around them."""
    state = _tensors(net, precision)
    safetensors.torch.save_file(state, path)
    _refuse_other(safetensors.torch.load_file(path), state)
    return f"{len(state)} tensors in {precision}, read back"


def _refuse_other(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    if found.keys() != wanted.keys() or not all(torch.equal(v, found[k]) for k, v in wanted.items()):
        raise UserError("what was written is not what was to be written; is the disk sound?")
