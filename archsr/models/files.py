"""Weights files read without running anything that is inside them."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from archsr.errors import WeightsError, first_line


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises `UserError` where it is damaged."""
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from None


def read_pickled(path: Path) -> Any:  # noqa: ANN401 - whatever of plain values was stored
    """What a `.pth` file holds; nothing but tensors and plain values is unpickled. Raises `UserError`."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged zip, foreign pickle, refused class: torch raises many kinds
        raise WeightsError(
            f"{path}: not loaded: only plain tensors are accepted from a .pth file ({first_line(error)})"
        ) from None
