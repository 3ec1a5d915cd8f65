"""The device that computes when nobody named one, and the precision that it offers."""

import torch

from archsr.errors import UserError


def best_device() -> torch.device:
    """Return the first GPU (CUDA, or ROCm, which torch calls `cuda`), else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_training_precision(precision: str, device: torch.device) -> None:
    """Raise `UserError` if a device is not to train in a precision. On Apple's GPUs only fp32 was examined."""
    if device.type == "mps" and precision != "fp32":
        raise UserError(f"training.precision: {precision} is not supported on Apple's GPUs; use fp32 or auto")
    if device.type == "cpu" and precision == "fp16":
        raise UserError("training.precision: fp16 needs a GPU; use bf16 or fp32 on this machine")


def takes_channels_last(device: torch.device) -> bool:
    """Return whether convolutions gain by the memory format channels last. On Apple's GPUs they lose, and some err."""
    return device.type != "mps"


def copies_beside(device: torch.device) -> bool:
    """Return whether copies to and from a device may go on while the host does. MPS would read memory given back."""
    return device.type != "mps"
