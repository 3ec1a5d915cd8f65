"""Read weights files without running code from them."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from archsr.errors import WeightsError, first_line


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises `UserError` if it is damaged."""
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from None


def read_pickled(path: Path) -> Any:  # noqa: ANN401 - any plain values
    """Return the contents of a `.pth` file. Only tensors and plain values are unpickled. Raises `UserError`."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors: damaged zip, foreign pickle, refused class
        raise WeightsError(
            f"{path}: not loaded: only plain tensors are accepted from a .pth file ({first_line(error)})"
        ) from None
