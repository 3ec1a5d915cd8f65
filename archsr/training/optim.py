"""Optimisers, their learning rates and their loss scalers, and plain state for checkpoints."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor, nn

from archsr.config import OptimizerConfig, Stage
from archsr.errors import UserError, near
from archsr.seeds import seeded
from archsr.training.layers import Group


def make_optimizer(groups: Sequence[Group], config: OptimizerConfig, *, lr: float) -> torch.optim.Optimizer:
    """One parameter group per layer group.

    Raises `UserError` for a name that timm does not know, and for an optimiser that a trial on one small layer shows
    not to work, or not to be storable: better now than at the first checkpoint.
    """
    known = [str(name) for name in list_optimizers()]
    if config.name not in known:
        raise UserError(f"training.optimizer.name: no optimiser {config.name!r}{near(config.name, known)}")
    parameters = [{"params": list(g.parameters.values()), "lr": lr * g.lr_scale} for g in groups]
    try:
        with seeded(0, "optimiser trial"):
            probe = nn.Conv2d(2, 3, 3)
        trial = _create([{"params": list(probe.parameters()), "lr": lr}], config, lr)
        probe(torch.ones(1, 2, 3, 3)).sum().backward()
        trial.step()
        json.dumps(pack(trial)[1])
        return _create(parameters, config, lr)
    except Exception as error:  # timm's optimisers fail in many ways: unknown settings, GPU only, second derivatives
        raise UserError(
            f"training.optimizer: {config.name} cannot be used here ({type(error).__name__}: {error}); adam, adamw, "
            "lion, sgd and most others can"
        ) from None


def _create(parameters: list[dict[str, Any]], config: OptimizerConfig, lr: float) -> torch.optim.Optimizer:
    return create_optimizer_v2(parameters, opt=config.name, lr=lr, weight_decay=config.weight_decay, betas=config.betas)


def set_lr(optimizer: torch.optim.Optimizer, scales: Sequence[float], lr: float) -> None:
    """Give every parameter group its share of `lr`."""
    for group, scale in zip(optimizer.param_groups, scales, strict=True):
        group["lr"] = lr * scale


def stage_at(stages: Sequence[Stage], step: int) -> tuple[int, Stage]:
    """The stage that iteration `step` (0, 1, ...) belongs to, with its number; the last one beyond the end."""
    for number, stage in enumerate(stages):
        if step < stage.iterations:
            return number, stage
        step -= stage.iterations
    return len(stages) - 1, stages[-1]


def pack(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and plain JSON, so that no pickle is needed to store it."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    return tensors, {"state": plain, "param_groups": state["param_groups"]}


def unpack(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Load what `pack` gave."""
    state: dict[int, dict[str, Any]] = {int(i): dict(entries) for i, entries in plain["state"].items()}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": plain["param_groups"]})
