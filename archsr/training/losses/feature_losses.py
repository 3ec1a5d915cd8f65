"""Losses on features of frozen networks: VGG19, any timm network, LPIPS, DISTS.

Each is built without weights and then loads them, so that a memory forecast can build it from shapes alone.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from archsr.config import SCRATCH, DistsLoss, FeaturesLoss, LossConfig, LpipsLoss, PerceptualLoss
from archsr.errors import UserError, did_you_mean, first_line
from archsr.evaluation.metrics import NO_PYIQA, pyiqa_is_installed
from archsr.models.build import load_state
from archsr.models.feature_distance import stage_distances, unit
from archsr.models.memory_efficient import l1
from archsr.models.recompute import run_again
from archsr.models.vgg_features import CONVS, VGG19Features, untrained
from archsr.models.weights import read_state
from archsr.utils.seeds import seeded


class FeatureLoss(nn.Module):
    """A scalar loss of two images (b, 3, h, w) in [0, 1]; the first is not clamped. Frozen, in evaluation mode."""

    autocast = True  # whether its features may be computed in 16 bits

    def recompute(self) -> None:
        """Recompute the features in the backward pass, one stage at a time, instead of keeping them."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "FeatureLoss":  # noqa: ARG002 - frozen whatever the parent does
        """Stay in evaluation mode."""
        return super().train(False)


class Perceptual(FeatureLoss):
    """Weighted mean L1 distance of VGG19 features before ReLU, computed in float32."""

    def __init__(self, config: PerceptualLoss) -> None:
        super().__init__()
        unknown = [name for name in config.layers if name not in CONVS]
        if unknown:
            raise UserError(f"losses.perceptual.layers: no layer {unknown[0]!r} in VGG19; it has {', '.join(CONVS)}")
        self.weights: Mapping[str, float] = config.layers
        self.vgg = VGG19Features(config.layers)

    def recompute(self) -> None:
        """Recompute the layers between two poolings at a time."""
        self.vgg.recompute = True

    def load(self, config: PerceptualLoss) -> None:
        """Load the features of torchvision's VGG19 file."""
        if config.weights != SCRATCH:
            _load_known(self.vgg, read_state(config.weights), config.weights)

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        # both images advance together, so that no features wait in memory for their counterpart
        wanted = self.vgg.each(target)
        distances: dict[str, Tensor] = {}
        for name, found in self.vgg.each(sr):
            with torch.no_grad():
                _, truth = next(wanted)
            distances[name] = l1(found, truth)
        return torch.stack([w * distances[name] for name, w in self.weights.items()]).sum()


class TimmFeatureLoss(FeatureLoss):
    """Weighted sum of feature distances in a timm network, with that network's input normalisation."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: FeaturesLoss) -> None:
        super().__init__()
        self.net = _timm(config.network, None, download=False)
        names = [str(name) for name in self.net.feature_info.module_name()]
        unknown = [name for name in config.layers if name not in names]
        if unknown:
            raise UserError(
                f"losses.features.layers: {config.network} has no features {unknown[0]!r}"
                f"{did_you_mean(unknown[0], names)}; they are {', '.join(names)}"
            )
        self.weights = [config.layers.get(name, 0.0) if config.layers else 1.0 for name in names]
        self.unit = config.distance == "unit"
        about = self.net.pretrained_cfg
        self.register_buffer("mean", torch.tensor(about["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(about["std"]).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def load(self, config: FeaturesLoss) -> None:
        """Load weights from timm, or from a file of the whole network, with or without its head."""
        if config.weights == SCRATCH:
            return
        state = None if config.weights == "timm" else read_state(config.weights)
        self.net = _timm(config.network, state, download=state is None).requires_grad_(False).eval()

    def recompute(self) -> None:
        """Recompute the stages that timm selects, which excludes the first."""
        self.net.set_grad_checkpointing(True)

    def check(self, size: int) -> None:
        """Raise `UserError` if the network cannot process images of `size` pixels."""
        image = torch.zeros(1, 3, size, size, device=self.mean.device)
        try:
            self(image, image)
        except Exception as error:  # transformers accept one size only, and some networks have a minimum
            raise UserError(
                f"losses.features.network: cannot process data.gt_size = {size} ({first_line(error, kind=True)})"
            ) from None

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss."""
        with torch.no_grad():
            wanted = self.net((target - self.mean) / self.std)
        found = self.net((sr - self.mean) / self.std)
        distances = stage_distances(found, wanted) if self.unit else map(l1, found, wanted)
        return torch.stack([w * d.mean() for w, d in zip(self.weights, distances, strict=True) if w > 0]).sum()


def _timm(name: str, state: Mapping[str, Tensor] | None, *, download: bool) -> Any:  # noqa: ANN401 - timm is untyped
    """Return timm's feature network with the weights of `state`, downloaded ones, or random ones."""
    import timm

    where = f"losses.features.network: {name}"
    if not timm.is_model(name):
        raise UserError(f"{where}: timm has no such network{did_you_mean(name.split('.')[0], timm.list_models())}")
    overlay: dict[str, Any] = {"pretrained_cfg_overlay": {"state_dict": dict(state)}} if state else {}
    try:
        net: Any = timm.create_model(name, pretrained=download or state is not None, features_only=True, **overlay)
    except Exception as error:  # timm raises many kinds of errors: no features, no network, another network's file
        raise UserError(f"{where}: cannot be loaded ({first_line(error, kind=True)})") from None
    if state is not None:
        _check_taken(net, state, where)
    return net


def _check_taken(net: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Raise `UserError` if `state` does not fit, which timm ignores. timm renames `stages.0`, or adds `model.`."""
    given = {name.replace(".", "_"): tensor for name, tensor in state.items()}
    for name, tensor in net.state_dict().items():
        found = given.get(name.removeprefix("model.").replace(".", "_"))
        if found is None or found.shape != tensor.shape or not torch.equal(found.to(tensor), tensor):
            raise UserError(
                f"{where}: the file of losses.features.weights belongs to another network: it has no {name}"
            )


class Lpips(FeatureLoss):
    """LPIPS v0.1 (Zhang 2018): the package's network and its learned weights."""

    autocast = False

    def __init__(self, config: LpipsLoss) -> None:
        super().__init__()
        import lpips
        from lpips import pretrained_networks

        made = SimpleNamespace(**{name: partial(_untrained, name) for name in ("alexnet", "vgg16")})
        with mock.patch.object(pretrained_networks, "tv", made), torch.device("cpu"):
            net: Any = lpips.LPIPS(net=config.network, pnet_rand=True, verbose=False)
        self.net: Any = net.to(torch.get_default_device())
        self.requires_grad_(False).eval()

    def recompute(self) -> None:
        """Recompute the features."""
        _recompute_stages(self.net.net, "slice")

    def load(self, config: LpipsLoss) -> None:
        """Load ImageNet weights for the features."""
        source = _imagenet(config)
        if source != SCRATCH:
            _load_known(self.net.net, _by_stage(self.net.net, read_state(source)), source)

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the batch."""
        with torch.no_grad():
            wanted = [unit(f) for f in self.net.net(self.net.scaling_layer(target * 2 - 1))]
        found = [unit(f) for f in self.net.net(self.net.scaling_layer(sr * 2 - 1))]
        heads = self.net.lins
        return torch.stack([h((f - w).square()).mean() for h, f, w in zip(heads, found, wanted, strict=True)]).sum()


class Dists(FeatureLoss):
    """DISTS (Ding 2020): pyiqa's network."""

    autocast = False

    def __init__(self, _: DistsLoss) -> None:
        super().__init__()
        self.net = _dists()
        self.requires_grad_(False).eval()

    def recompute(self) -> None:
        """Recompute the features."""
        _recompute_stages(self.net, "stage")

    def load(self, config: DistsLoss) -> None:
        """Load ImageNet weights for VGG16, and the weights of structure and texture."""
        source = _imagenet(config)
        own = self.net.state_dict()
        if source != SCRATCH:
            kept = {k: v for k, v in own.items() if not k.endswith((".weight", ".bias"))}
            _load_known(self.net, {**kept, **_by_stage(self.net, read_state(source))}, source)
        if config.balance != SCRATCH:
            kept = {k: v for k, v in self.net.state_dict().items() if k not in ("alpha", "beta")}
            _load_known(self.net, {**kept, **read_state(config.balance)}, config.balance)

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return self.net(sr, target.detach()).mean()


def _dists() -> nn.Module:
    """Build pyiqa's module with an untrained VGG16. By itself it would download torchvision's."""
    if not pyiqa_is_installed():
        raise UserError(f"losses.dists: {NO_PYIQA}")
    from pyiqa.archs import dists_arch

    with mock.patch.object(dists_arch, "models", SimpleNamespace(vgg16=partial(_untrained, "vgg16"))):
        return dists_arch.DISTS(pretrained=False)


def _untrained(name: str, **_: object) -> Any:  # noqa: ANN401 - torchvision's networks share no type
    return untrained(name)


def _recompute_stages(net: nn.Module, prefix: str) -> None:
    for name, stage in net.named_children():
        if name.startswith(prefix):
            stage.forward = partial(run_again, stage.forward)


def _imagenet(config: LpipsLoss | DistsLoss) -> str:
    if config.weights != "imagenet":
        return config.weights
    return "alexnet" if isinstance(config, LpipsLoss) and config.network == "alex" else "vgg16"


def _by_stage(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map torchvision's `features.N.weight` to a network that is cut into stages: `slice2.N.weight`."""
    wanted = {key: ".".join(key.split(".")[-2:]) for key in net.state_dict() if key.count(".") >= 2}
    return {key: state[f"features.{short}"] for key, short in wanted.items() if f"features.{short}" in state}


def _load_known(net: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load the tensors that `net` has. The rest of a classifier's file is not needed."""
    wanted = net.state_dict()
    load_state(net, {k: v for k, v in state.items() if k in wanted}, where=where)


FEATURE_LOSSES: dict[str, Callable[[Any], Any]] = {
    "perceptual": Perceptual,
    "features": TimmFeatureLoss,
    "lpips": Lpips,
    "dists": Dists,
}
TITLES = {"perceptual": "VGG19", "features": "timm's network", "lpips": "LPIPS", "dists": "DISTS"}


def feature_losses(
    config: LossConfig, *, size: int, weights: bool = True, recompute: bool = False
) -> dict[str, FeatureLoss]:
    """Return the losses with a weight above 0, by name, for images of `size` pixels.

    With `weights` false they stay untrained. With `recompute` they keep less memory for the backward pass. Raises
    `UserError`, with a remedy, if weights are not available.
    """
    found: dict[str, FeatureLoss] = {}
    for name, term in config.terms().items():
        if name not in FEATURE_LOSSES:
            continue
        with seeded(0, f"init {name}"):
            loss = FEATURE_LOSSES[name](term)
        if weights:
            try:
                loss.load(term)
            except UserError as error:
                raise UserError(
                    f"losses.{name} needs {TITLES[name]}: {error}. Or set losses.{name}.weights to a local file, "
                    f"or train without it: --set losses.{name}.weight=0"
                ) from None
        if isinstance(loss, TimmFeatureLoss):
            loss.check(size)
        if recompute:
            loss.recompute()
        found[name] = loss
    return found


def sources(config: LossConfig) -> dict[str, str]:
    """Return the sources of the losses' weights, by title."""
    found: dict[str, str] = {}
    for name, term in config.terms().items():
        if isinstance(term, PerceptualLoss | FeaturesLoss):
            found[TITLES[name]] = term.weights
        if isinstance(term, LpipsLoss | DistsLoss):
            found[TITLES[name]] = _imagenet(term)
        if isinstance(term, DistsLoss):
            found["DISTS balance"] = term.balance
    return found
