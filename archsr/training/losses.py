"""The generator's and the discriminator's objectives, as in Real-ESRGAN."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archsr.config import SCRATCH, LossConfig, PerceptualLoss
from archsr.errors import UserError
from archsr.models.build import load_state
from archsr.models.lean import l1
from archsr.models.vgg_features import CONVS, VGG19Features
from archsr.models.weights import read_state
from archsr.seeds import seeded


class Perceptual(nn.Module):
    """Weighted mean L1 between VGG19 features before ReLU; the prediction is not clamped.

    The features may be computed under autocast; their differences are float32.
    """

    def __init__(self, config: PerceptualLoss) -> None:
        super().__init__()
        unknown = [name for name in config.layers if name not in CONVS]
        if unknown:
            raise UserError(f"losses.perceptual.layers: no layer {unknown[0]!r} in VGG19; it has {', '.join(CONVS)}")
        self.weights: Mapping[str, float] = config.layers
        self.vgg = VGG19Features(config.layers)

    def load(self, source: str) -> None:
        """Load the features of torchvision's VGG19 file."""
        wanted = self.vgg.state_dict()
        load_state(self.vgg, {k: v for k, v in read_state(source).items() if k in wanted}, where=source)

    def forward(self, sr: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of two (b, 3, h, w)."""
        with torch.no_grad():
            wanted = self.vgg(target)
        found = self.vgg(sr)
        terms = [w * l1(found[name], wanted[name]) for name, w in self.weights.items()]
        return torch.stack(terms).sum()


def perceptual_for(config: LossConfig) -> Perceptual | None:
    """The perceptual loss with its weights, or None where its weight is 0.

    Raises `UserError`, saying what to do, where VGG19's weights cannot be had.
    """
    if config.perceptual.weight == 0:
        return None
    with seeded(0, "init perceptual"):
        loss = Perceptual(config.perceptual)
    if config.perceptual.weights == SCRATCH:
        return loss
    try:
        loss.load(config.perceptual.weights)
    except UserError as error:
        raise UserError(
            f"the perceptual loss needs VGG19: {error}. Or point losses.perceptual.weights to a local file, "
            "or train without it: --set losses.perceptual.weight=0"
        ) from None
    return loss


def adversarial(logits: Tensor, *, real: bool) -> Tensor:
    """Binary cross-entropy of a logit map against all-real or all-fake, mean over the map."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, 1.0 if real else 0.0))
