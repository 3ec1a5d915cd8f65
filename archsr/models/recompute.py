"""Gradient checkpointing: which pieces of a network are made again in the backward pass instead of kept."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


def run_again(function: Callable[..., T], *inputs: Tensor) -> T:
    """`function(*inputs)`, of which only the inputs are kept; the backward pass calls it once more.

    The second call must find what the first found: it may not move power iterations or running statistics. The
    gradients are bit for bit those without recomputing, for autograd walks the same graph.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    # the non-reentrant kind: the reentrant one returns no gradient when its input needs none. Nothing here is random
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def run_blocks(blocks: Sequence[nn.Module], x: Tensor, *, together: int) -> Tensor:
    """The blocks one after the other, each `together` of them recomputed as one piece; 0 keeps everything.

    Frozen blocks in front of the first trained layer build no graph, so nothing of them is kept or recomputed.
    """
    front = 0 if x.requires_grad else next((n for n, b in enumerate(blocks) if trained(b)), len(blocks))
    x = _chain(blocks[:front], x)
    learning = blocks[front:]
    if together == 0:
        return _chain(learning, x)
    for start in range(0, len(learning), together):
        piece = learning[start : start + together]
        x = run_again(partial(_chain, piece), x)
    return x


def trained(module: nn.Module) -> bool:
    """Whether any of its parameters is."""
    return any(p.requires_grad for p in module.parameters())


def _chain(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x
