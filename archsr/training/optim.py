"""Optimisers, learning rates, gradient norms, and optimiser state for checkpoints."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from archsr.config import OptimizerConfig
from archsr.errors import UserError, did_you_mean
from archsr.training.layers import Group
from archsr.utils.seeds import seeded

_OWN = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}  # also in timm, but importing timm takes long
_KERNELS = ("fused", "foreach", "capturable")  # how a group is computed here; not a part of the state
_FUSED = ("adam", "adamw", "sgd", "nesterov", "momentum")  # torch's own optimisers with a fused CUDA kernel


def make_optimizer(groups: Sequence[Group], config: OptimizerConfig, *, lr: float) -> torch.optim.Optimizer:
    """Create an optimiser with one parameter group per layer group, or two if vectors have no weight decay.

    Raises `UserError` for a name that timm does not have. Also raises if a trial on one small layer fails, or if the
    state of that trial cannot be stored.
    """
    if config.name not in _OWN:
        from timm.optim import list_optimizers  # pyright: ignore[reportPrivateImportUsage]

        known = [str(name) for name in list_optimizers()]
        if config.name not in known:
            raise UserError(f"training.optimizer.name: no optimiser {config.name!r}{did_you_mean(config.name, known)}")
    parameters = [p for group in groups for p in _decayed(group, config, lr)]
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
            f"training.optimizer: {config.name} cannot be used here ({type(error).__name__}: {error}); use adam, "
            "adamw, lion, muon, sgd or most others"
        ) from None


def _decayed(group: Group, config: OptimizerConfig, lr: float) -> list[dict[str, Any]]:
    """Return the parameter groups of a layer group. Each keeps its `lr_scale` for `set_lr`."""
    decay = config.weight_decay if group.weight_decay is None else group.weight_decay
    parameters = list(group.parameters.values())
    parts = {decay: parameters}
    if decay and not config.decay_biases:
        parts = {decay: [p for p in parameters if p.ndim > 1], 0.0: [p for p in parameters if p.ndim <= 1]}
    common = {"lr": lr * group.lr_scale, "lr_scale": group.lr_scale}
    return [{"params": members, "weight_decay": value, **common} for value, members in parts.items() if members]


def _create(parameters: list[dict[str, Any]], config: OptimizerConfig, lr: float) -> torch.optim.Optimizer:
    on_gpu = parameters[0]["params"][0].is_cuda
    own: dict[str, Any] = {"fused": True} if on_gpu and config.name in _FUSED else {}
    own |= config.args
    if config.name in _OWN:
        return _OWN[config.name](parameters, lr=lr, weight_decay=config.weight_decay, betas=config.betas, **own)
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

    return create_optimizer_v2(
        parameters, opt=config.name, lr=lr, weight_decay=config.weight_decay, betas=config.betas, **own
    )


def skips_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the optimiser takes `found_inf`, by which the device skips an update (torch's fused ones)."""
    return isinstance(optimizer, torch.optim.Adam | torch.optim.SGD) and all(
        bool(group.get("fused")) for group in optimizer.param_groups
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group to `lr` times its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


@torch.no_grad()
def gradient_norms(groups: Sequence[Group]) -> dict[str, Tensor]:
    """Return the L2 norm of each group's gradient by title, as tensors on the device, without waiting for it.

    Groups without gradients are left out.
    """
    found: dict[str, Tensor] = {}
    for group in groups:
        gradients = [p.grad for p in group.parameters.values() if p.grad is not None]
        if gradients:
            found[group.title] = nn.utils.get_total_norm(gradients)
    return found


def pack(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimiser's state as named tensors and plain JSON, so that storing it needs no pickle."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    groups = [{k: v for k, v in group.items() if k not in _KERNELS} for group in state["param_groups"]]
    return tensors, {"state": plain, "param_groups": groups}


def unpack(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Load the result of `pack`, also from another kind of device."""
    state: dict[int, dict[str, Any]] = {int(i): dict(entries) for i, entries in plain["state"].items()}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = [
        {**stored, **{k: own[k] for k in _KERNELS if k in own}}
        for stored, own in zip(plain["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
