"""Gradient checkpointing: recompute parts of a network in the backward pass instead of keeping their activations."""

import fnmatch
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from archsr.errors import UserError, did_you_mean

T = TypeVar("T")


def run_again(function: Callable[..., T], *inputs: Tensor) -> T:
    """Return a function that keeps only its inputs; the backward pass calls `function` again.

    The second call must compute the same as the first, so it may not update power iterations or running statistics. The
    gradients are bit-identical, because autograd traverses the same graph.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    # non-reentrant: the reentrant kind returns no gradient if its input needs none. Nothing here is random
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def run_blocks(blocks: Sequence[nn.Module], x: Tensor, *, together: int) -> Tensor:
    """Run the blocks in sequence, recomputing groups of `together` blocks; 0 keeps everything.

    Frozen blocks before the first trained layer build no graph, so they keep and recompute nothing.
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
    """Return whether any of the module's parameters is trained."""
    return any(p.requires_grad for p in module.parameters())


def _chain(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def recompute_modules(net: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Recompute the modules that match any pattern in the backward pass, and return their names.

    Of nested modules only the outermost counts. Values and gradients are bit-identical. Raises `UserError` for a
    pattern that matches nothing, or a list of modules, which is never called itself.
    """
    modules = {name: module for name, module in net.named_modules() if name}
    for pattern in patterns:
        hits = fnmatch.filter(modules, pattern)
        if not hits:
            raise UserError(f"training.recompute: no module {pattern!r}{did_you_mean(pattern, modules)}")
        if all(isinstance(modules[name], nn.ModuleList | nn.ModuleDict) for name in hits):
            raise UserError(f"training.recompute: {pattern!r} is a list of modules; name its members: '{pattern}.*'")
    chosen: list[str] = []
    for name, module in modules.items():  # parents come before their children
        inside = any(name.startswith(f"{outer}.") for outer in chosen)
        matches = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        if matches and not inside and not isinstance(module, nn.ModuleList | nn.ModuleDict):
            module.forward = partial(_again, module, module.forward)
            chosen.append(name)
    return chosen


def _again(module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any module's
    given = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
    learns = any(t.requires_grad for t in (*given, *module.parameters()))
    if not (learns and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
