"""Check with one small image, before anything else starts, whether a spandrel network can be trained."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from archsr.errors import UserError, first_line
from archsr.models.adapters import merged_state
from archsr.models.foreign import Foreign, foreign_of, open_foreign
from archsr.utils.seeds import generator

_SIDE = 32  # pixels, or the network's minimum


def open_trained(file: str, *, scale: int) -> Foreign:
    """Return the network of `file` after checking that it can be trained and stored unchanged.

    Its `idle` holds the parameters without a gradient. Raises `UserError` like `open_foreign`, and for another scale.
    """
    net = open_foreign(file)
    if net.scale != scale:
        raise UserError(f"{file}: {net.title} upscales by {net.scale}, but model.scale is {scale}")
    stamp = Path(file).expanduser().stat()
    net.idle = _idle(file, stamp.st_mtime_ns, stamp.st_size)
    return net


@lru_cache(maxsize=8)  # cached, because forecasts build the same network repeatedly
def _idle(file: str, _changed: int, _size: int) -> frozenset[str]:
    with torch.device("cpu"):
        net = open_foreign(file)
        _refuse_unless_read_back(net, file)
        before = torch.get_rng_state()
        x = torch.rand(1, 3, _SIDE, _SIDE, generator=generator(0, "trial"))
        try:
            with torch.enable_grad():
                out = net.requires_grad_(True)(x)
                out.sum().backward()
        except Exception as error:  # the architecture may have parts that only work in inference
            raise UserError(f"{file}: {net.title} cannot be trained: {first_line(error)}") from None
        if out.shape != (1, 3, _SIDE * net.scale, _SIDE * net.scale):
            raise UserError(
                f"{file}: {net.title} gives {tuple(out.shape)} for {tuple(x.shape)}; it cannot be trained here"
            )
        if not torch.equal(torch.get_rng_state(), before):
            torch.set_rng_state(before)
            raise UserError(
                f"{file}: {net.title} uses random numbers in training, so a run could not be resumed exactly"
            )
        return frozenset(name for name, p in net.named_parameters() if p.grad is None)


def _refuse_unless_read_back(net: Foreign, file: str) -> None:
    own = net.state_dict()
    again = foreign_of(_cloned(net.in_file(merged_state(net))), where=file).state_dict()
    if own.keys() != again.keys() or not all(torch.equal(v, again[k]) for k, v in own.items()):
        raise UserError(f"{file}: {net.title} changes when it is stored and read again; it cannot be trained here")


def _cloned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in state.items()}
