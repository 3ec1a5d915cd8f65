"""From a config, or from the tensors of a file, to a network."""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from archsr.config import (
    DiscriminatorConfig,
    ModelConfig,
    RRDBNetConfig,
    SpandrelConfig,
    SRResNetConfig,
    SRVGGConfig,
    UNetConfig,
    VGGStyleConfig,
)
from archsr.errors import WeightsError
from archsr.models.adapters import merged_state
from archsr.models.foreign import Foreign
from archsr.models.foreign_trial import open_trained
from archsr.models.patch_discriminator import PatchDiscriminator
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srresnet import SRResNet
from archsr.models.srvgg import SRVGGNetCompact
from archsr.models.unet_discriminator import UNetDiscriminatorSN
from archsr.models.vgg_discriminator import VGGStyleDiscriminator
from archsr.seeds import seeded

OwnGenerator = RRDBNet | SRVGGNetCompact | SRResNet
Generator = OwnGenerator | Foreign


def build(config: ModelConfig, *, seed: int = 0) -> Generator:
    """A freshly initialised network; the same weights for the same `seed`, global random state untouched.

    One of spandrel's comes with the weights of its file.
    """
    if isinstance(config, SpandrelConfig):
        # on the device of a surrounding `with torch.device(...)`, as the others
        return open_trained(config.file, scale=config.scale).to(torch.empty(0).device)
    with seeded(seed, "init"):
        if isinstance(config, RRDBNetConfig):
            return RRDBNet(scale=config.scale, features=config.features, blocks=config.blocks, growth=config.growth)
        if isinstance(config, SRResNetConfig):
            return SRResNet(scale=config.scale, features=config.features, blocks=config.blocks)
        return SRVGGNetCompact(scale=config.scale, features=config.features, convs=config.convs)


def build_discriminator(config: DiscriminatorConfig, *, seed: int = 0) -> nn.Module:
    """A freshly initialised discriminator, (b, 3, h, w) to logits; the same weights for the same `seed`."""
    with seeded(seed, "init discriminator"):
        if isinstance(config, UNetConfig):
            return UNetDiscriminatorSN(features=config.features)
        if isinstance(config, VGGStyleConfig):
            return VGGStyleDiscriminator(features=config.features, size=config.input_size)
        return PatchDiscriminator(features=config.features, layers=config.layers, norm=config.norm)


def infer(state: Mapping[str, Tensor], *, where: str) -> ModelConfig:
    """The config of the network that `state` belongs to. Raises `UserError` if no generator has such tensors."""
    if "conv_first.weight" in state and "body.0.rdb1.conv1.weight" in state:
        first = state["conv_first.weight"].shape
        blocks = 1 + max(int(m[1]) for k in state if (m := re.match(r"body\.(\d+)\.", k)))
        growth = state["body.0.rdb1.conv1.weight"].shape[0]
        scale = {3: 4, 12: 2, 48: 1}.get(first[1])
        if scale == 4 or scale == 2 or scale == 1:
            return RRDBNetConfig(scale=scale, features=first[0], blocks=blocks, growth=growth, weights=where)
    if "conv_first.weight" in state and "body.0.conv1.weight" in state and "upconv1.weight" in state:
        features = state["conv_first.weight"].shape[0]
        blocks = 1 + max(int(m[1]) for k in state if (m := re.match(r"body\.(\d+)\.", k)))
        scale = 4 if "upconv2.weight" in state else math.isqrt(state["upconv1.weight"].shape[0] // features)
        if scale == 2 or scale == 3 or scale == 4:
            return SRResNetConfig(arch="srresnet", scale=scale, features=features, blocks=blocks, weights=where)
    convs = sorted(
        int(m[1]) for k, v in state.items() if (m := re.fullmatch(r"body\.(\d+)\.weight", k)) and v.dim() == 4
    )
    if convs and "body.1.weight" in state and state["body.1.weight"].dim() == 1:
        scale = math.isqrt(state[f"body.{convs[-1]}.weight"].shape[0] // 3)
        if scale == 1 or scale == 2 or scale == 3 or scale == 4:
            features = state["body.0.weight"].shape[0]
            return SRVGGConfig(arch="srvgg", scale=scale, features=features, convs=len(convs) - 2, weights=where)
    some = ", ".join(f"{k} {tuple(v.shape)}" for k, v in list(state.items())[:3])
    raise WeightsError(
        f"{where}: not the weights of RRDBNet, SRVGGNetCompact or SRResNet; its first tensors are {some}"
    )


def load_state(net: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Copy `state` into `net`, every tensor by name and shape. Raises `UserError` naming what does not fit."""
    wanted = net.state_dict()
    missing = [f"{k} {tuple(v.shape)}" for k, v in wanted.items() if k not in state]
    unknown = [f"{k} {tuple(v.shape)}" for k, v in state.items() if k not in wanted]
    shapes = [
        f"{k} is {tuple(state[k].shape)} there and {tuple(v.shape)} here"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    problems = [
        f"{title}: {', '.join(found[:3])}{f' and {len(found) - 3} more' if len(found) > 3 else ''}"
        for title, found in (("missing", missing), ("unknown", unknown), ("other shape", shapes))
        if found
    ]
    if problems:
        raise WeightsError(
            f"{where}: the weights of another network; {'; '.join(problems)}. Check [model] in the config"
        )
    net.load_state_dict(dict(state))


def official_state(net: nn.Module) -> dict[str, Tensor]:
    """The network's tensors as other tools know them: adapters merged, under official names or those of its file."""
    state = merged_state(net)
    return net.in_file(state) if isinstance(net, Foreign) else state


def parameter_count(net: nn.Module) -> int:
    """How many numbers the network has."""
    return sum(p.numel() for p in net.parameters())
