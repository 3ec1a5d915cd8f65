"""Perceptual distance in an ImageNet classifier: LPIPS's form without its learned weights."""

import torch
from torch import Tensor, nn


def unit(features: Tensor) -> Tensor:
    """Normalise each pixel's features (b, c, h, w) to length one. Zeros stay zeros and have a gradient."""
    return features * (features.square().sum(1, keepdim=True) + 1e-20).rsqrt()


def stage_distances(found: list[Tensor], wanted: list[Tensor]) -> list[Tensor]:
    """Return for each stage (b,): the squared distance of unit features, 0 to 4, averaged over pixels."""
    return [(unit(a) - unit(b)).square().sum(1).mean((1, 2)) for a, b in zip(found, wanted, strict=True)]


class FeatureDistance(nn.Module):
    """Distance (b,) of two batches (b, 3, h, w) in [0, 1], summed over the five stages of EfficientNet-Lite0.

    Zhang et al. (2018) found that such distances agree with people for any ImageNet network, and that the learned
    weights of LPIPS add a little. Raises `UserError` if the network's file is not on this machine.
    """

    def __init__(self) -> None:
        super().__init__()
        import timm

        from archsr.models.imagenet import NETWORK, lite0_state

        net: nn.Module = timm.create_model(NETWORK, pretrained=False, features_only=True)
        state = lite0_state()
        net.load_state_dict({name: state[name] for name in net.state_dict()})
        self.net = net.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FeatureDistance":  # noqa: ARG002 - frozen whatever the parent does
        """Stay in evaluation mode."""
        return super().train(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the five feature maps of (b, 3, h, w) in [0, 1], at 1/2 to 1/32 of its size."""
        return self.net(image * 2 - 1)

    @torch.no_grad()
    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Return (b,)."""
        return torch.stack(stage_distances(self.features(sr), self.features(gt))).sum(0)
