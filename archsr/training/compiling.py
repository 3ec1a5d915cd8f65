"""Compile the generator's blocks by torch.compile, for training iterations only."""

from contextlib import AbstractContextManager

import torch

from archsr.errors import UserError
from archsr.models.base import Generator


def compile_blocks(net: Generator, *, backend: str = "inductor") -> None:
    """Compile each block in place. Blocks of one kind share their compiled code, so it takes as long as for one.

    Names of parameters stay. Raises `UserError` for a network without blocks.
    """
    blocks = net.blocks()
    if not blocks:
        raise UserError("training.compile: this network has no repeated blocks to compile; use false")
    for block in blocks:
        block.compile(backend=backend)


def eager() -> AbstractContextManager[object]:
    """Return a context in which compiled blocks run uncompiled: for other sizes, and to equal `archsr evaluate`."""
    return torch.compiler.set_stance("force_eager")
