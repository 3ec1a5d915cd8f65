"""Select the layers to train by name: one convolution, a range of blocks, a pattern, or everything.

A name is a module or parameter of the unwrapped network (`body.2.rdb3.conv5`, `conv_last.bias`), a glob (`conv_up*`), a
range in one of its parts (`body.20-22`), or `all`.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from archsr.config import LayerGroup
from archsr.errors import UserError, did_you_mean
from archsr.models.adapters import adapt, adaptable
from archsr.models.base import Generator
from archsr.utils.seeds import seeded


@dataclass(frozen=True)
class Group:
    """Parameters with one learning rate: `title` is the selection as written, `parameters` maps full names.

    With `weight_decay` None the optimiser's own applies.
    """

    title: str
    lr_scale: float
    parameters: dict[str, nn.Parameter]
    weight_decay: float | None = None


def select(net: nn.Module, layers: Sequence[str | LayerGroup]) -> list[Group]:
    """Freeze `net` and unfreeze the selected layers. Call it before an optimiser or DDP wrapper exists.

    Each string is a group of its own at the stage's learning rate. Raises `UserError` for a name that matches nothing
    (with suggestions) and for a parameter in two groups.
    """
    groups = [LayerGroup(names=(wanted,)) if isinstance(wanted, str) else wanted for wanted in layers]
    matches = [{k: p for name in group.names for k, p in _matching(net, name).items()} for group in groups]
    owner: dict[str, str] = {}
    for group, chosen in zip(groups, matches, strict=True):
        for key in chosen:
            if key in owner:
                raise UserError(f"training.layers: {key} is chosen twice, by {owner[key]!r} and by {_title(group)!r}")
            owner[key] = _title(group)
    # adapters come last, because they change names
    made = [_group(net, group, chosen) for group, chosen in zip(groups, matches, strict=True)]
    trained = {id(p) for group in made for p in group.parameters.values()}
    for parameter in net.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    return made


def _title(group: LayerGroup) -> str:
    return ", ".join(group.names) + (f" (rank {group.rank})" if group.rank else "")


def _group(net: nn.Module, group: LayerGroup, chosen: dict[str, nn.Parameter]) -> Group:
    if not group.rank:
        return Group(_title(group), group.lr_scale, chosen, group.weight_decay)
    modules = [key.removesuffix(".weight") for key in chosen if key.endswith(".weight")]
    modules = [name for name in modules if adaptable(net.get_submodule(name))]
    if not modules:
        raise UserError(f"training.layers: {_title(group)}: no convolution or linear layer to put an adapter on")
    parameters: dict[str, nn.Parameter] = {}
    for name in modules:
        with seeded(0, f"adapter {name}"):
            added = adapt(net.get_submodule(name), rank=group.rank, alpha=group.alpha or group.rank)
        parameters |= {f"{name}.parametrizations.weight.0.{k}": p for k, p in added.named_parameters()}
    return Group(_title(group), group.lr_scale, parameters, group.weight_decay)


def _matching(net: nn.Module, name: str) -> dict[str, nn.Parameter]:
    idle = net.idle if isinstance(net, Generator) else frozenset[str]()
    parameters = {k: p for k, p in net.named_parameters() if k not in idle}
    if name == "all":
        return parameters
    modules = [m for m, _ in net.named_modules() if m]
    wanted = _expand(name)
    hits = [m for m in [*modules, *parameters] if any(fnmatch.fnmatchcase(m, w) for w in wanted)]
    chosen = {k: p for k, p in parameters.items() if any(k == h or k.startswith(h + ".") for h in hits)}
    missing = [w for w in wanted if not any(fnmatch.fnmatchcase(h, w) for h in hits)]
    if hits and not chosen and not missing:
        raise UserError(f"training.layers: no gradient reaches {name!r}, or it holds nothing that can learn")
    if missing or not chosen:
        word = missing[0] if missing else name
        raise UserError(f"training.layers: no layer {word!r}{did_you_mean(word, modules) or _outline(net)}")
    return chosen


def _expand(name: str) -> list[str]:
    """Expand a range such as `body.20-22.rdb1` to one name per block. Other names stay as they are."""
    found = re.search(r"(?:^|\.)(\d+)-(\d+)(?=\.|$)", name)
    if not found:
        return [name]
    low, high = int(found[1]), int(found[2])
    if low > high:
        raise UserError(f"training.layers: {name!r}: the range {low}-{high} is descending")
    return [e for n in range(low, high + 1) for e in _expand(f"{name[: found.start(1)]}{n}{name[found.end(2) :]}")]


def _outline(net: nn.Module) -> str:
    return f"; the network's parts are {', '.join(name for name, _ in net.named_children())}"


def table(net: nn.Module, groups: Sequence[Group]) -> str:
    """Return a table of the groups, their parameters, and their share of the network."""
    total = sum(p.numel() for p in net.parameters())
    lines = [f"{'layers':44}{'lr ×':>7}{'tensors':>9}{'parameters':>13}"]
    for group in groups:
        count = sum(p.numel() for p in group.parameters.values())
        title = group.title if len(group.title) <= 42 else group.title[:39] + "..."
        lines.append(f"{title:44}{group.lr_scale:>7g}{len(group.parameters):>9}{count:>13,}")
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    lines.append(f"{'trained of ' + f'{total:,}':44}{'':>7}{'':>9}{trained:>13,}  ({trained / total:.2%})")
    return "\n".join(lines)
