"""Build a network from a config or from the tensors of a file."""

from collections.abc import Mapping

from torch import Tensor, nn

from archsr.config import DiscriminatorConfig, ModelConfig
from archsr.errors import WeightsError
from archsr.models.adapters import merged_state
from archsr.models.base import Discriminator, Generator
from archsr.models.foreign import Foreign
from archsr.models.patch_discriminator import PatchDiscriminator
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srresnet import SRResNet
from archsr.models.srvgg import SRVGGNetCompact
from archsr.models.unet_discriminator import UNetDiscriminatorSN
from archsr.models.vgg_discriminator import VGGStyleDiscriminator
from archsr.utils.seeds import seeded

# by `arch` in the config
GENERATORS: dict[str, type[Generator]] = {
    "rrdbnet": RRDBNet,
    "srvgg": SRVGGNetCompact,
    "srresnet": SRResNet,
    "spandrel": Foreign,
}
DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "unet": UNetDiscriminatorSN,
    "vgg": VGGStyleDiscriminator,
    "patch": PatchDiscriminator,
}


def build(config: ModelConfig, *, seed: int = 0) -> Generator:
    """Build a network. The same `seed` gives the same weights, and the global random state does not change.

    A spandrel network has the weights of its file.
    """
    with seeded(seed, "init"):
        return GENERATORS[config.arch].from_config(config)


def build_discriminator(config: DiscriminatorConfig, *, seed: int = 0) -> Discriminator:
    """Build a discriminator, (b, 3, h, w) to logits. The same `seed` gives the same weights."""
    with seeded(seed, "init discriminator"):
        return DISCRIMINATORS[config.arch].from_config(config)


def infer(state: Mapping[str, Tensor], *, where: str) -> ModelConfig:
    """Return the config of the network that `state` belongs to. Raises `UserError` if no generator matches."""
    for kind in GENERATORS.values():
        if found := kind.infer(state, where=where):
            return found
    known = " or ".join(kind.__name__ for kind in GENERATORS.values() if kind is not Foreign)
    some = ", ".join(f"{k} {tuple(v.shape)}" for k, v in list(state.items())[:3])
    raise WeightsError(f"{where}: not the weights of {known}; its first tensors are {some}")


def load_state(net: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Copy `state` into `net`. Raises `UserError` if a name or shape does not match."""
    wanted = net.state_dict()
    missing = [f"{k} {tuple(v.shape)}" for k, v in wanted.items() if k not in state]
    unknown = [f"{k} {tuple(v.shape)}" for k, v in state.items() if k not in wanted]
    shapes = [
        f"{k} is {tuple(state[k].shape)}, expected {tuple(v.shape)}"
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


def official_state(net: Generator) -> dict[str, Tensor]:
    """Return the network's tensors for other tools: adapters merged, with official names or those of its file."""
    return net.in_file(merged_state(net))


def parameter_count(net: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in net.parameters())
