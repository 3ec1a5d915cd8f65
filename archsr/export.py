"""A model as a `.pth` file in the form of the official releases, for tools that do not read safetensors."""

from pathlib import Path

import torch

from archsr.atomic import replacing
from archsr.errors import UserError
from archsr.models.build import official_state
from archsr.upscale.upscaler import open_model


def export_pth(source: str, target: Path) -> None:
    """Write the model of a run folder, a weights file or an official name as `{"params_ema": tensors}`.

    Tensors are float32 and have the official names, or those of the file that the model was fine-tuned from. Raises
    `UserError` where the model cannot be read or `target` not be written.
    """
    if target.suffix != ".pth":
        raise UserError(f"{target}: got the ending {target.suffix or '(none)'}, expected .pth")
    net, _ = open_model(source)
    state = {name: tensor.detach().clone() for name, tensor in official_state(net).items()}
    try:
        with replacing(target) as temporary:
            torch.save({"params_ema": state}, temporary)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        raise UserError(f"{target}: cannot be written: {error}") from None
