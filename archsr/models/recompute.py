"""Gradient checkpointing of a block."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_block(block: nn.Module, x: Tensor, *, recompute: bool) -> Tensor:
    """The block; with `recompute` its activations are made again in the backward pass instead of kept.

    Frozen blocks in front of the first trained layer build no graph, so nothing of them is recomputed.
    """
    learns = x.requires_grad or any(p.requires_grad for p in block.parameters())
    if recompute and learns and torch.is_grad_enabled():
        # the non-reentrant kind: the reentrant one returns no gradient when its input needs none
        return cast(Tensor, checkpoint(block, x, use_reentrant=False))
    return block(x)
