"""The GAN objectives, each with its side of the generator and of the discriminator, on logits of any shape.

- `vanilla`: cross-entropy (Goodfellow 2014), the generator's side not saturating;
- `relativistic`: whether real looks more real than fake does on average, and fake less (Jolicoeur-Martineau 2018), as
  in ESRGAN: half of each of two cross-entropies;
- `hinge` (Lim and Ye 2017): the generator raises its logits without end;
- `least_squares` (Mao 2017): logits towards 1 and 0.

The means of the relativistic objective are of one process and one micro-batch, as in the reference.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.config import Objective


def _cross_entropy(logits: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, 1.0 if real else 0.0))


def _margin(logits: Tensor, real: bool) -> Tensor:
    return F.relu(1 - logits if real else 1 + logits).mean()


def _squares(logits: Tensor, real: bool) -> Tensor:
    return (logits - (1.0 if real else 0.0)).square().mean()


_JUDGED: dict[Objective, Callable[[Tensor, bool], Tensor]] = {
    "vanilla": _cross_entropy,
    "relativistic": _cross_entropy,
    "hinge": _margin,
    "least_squares": _squares,
}


def compares(objective: Objective) -> bool:
    """Whether a logit is judged against those of the other kind, so that both have to be computed."""
    return objective == "relativistic"


def generator_loss(objective: Objective, fake: Tensor, *, real: Tensor | None) -> Tensor:
    """Scalar for the generator. `real`: logits of real images without a graph, for an objective that compares."""
    if objective == "relativistic":
        assert real is not None
        return (_cross_entropy(real - fake.mean(), False) + _cross_entropy(fake - real.mean(), True)) / 2
    return -fake.mean() if objective == "hinge" else _JUDGED[objective](fake, True)


def discriminator_loss(objective: Objective, logits: Tensor, *, real: bool, other: Tensor | None) -> Tensor:
    """One of the two scalars for the discriminator: on real or on fake images.

    `other`: logits of the other kind without a graph, for an objective that compares.
    """
    if objective == "relativistic":
        assert other is not None
        return _cross_entropy(logits - other.mean(), real) / 2
    return _JUDGED[objective](logits, real)
