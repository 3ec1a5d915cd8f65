"""GAN objectives for generator and discriminator, on logits of any shape.

- `vanilla`: cross-entropy (Goodfellow 2014), with the non-saturating generator loss;
- `relativistic`: whether real looks more real than fake on average, and fake less (Jolicoeur-Martineau 2018), as in
  ESRGAN: half of each of two cross-entropies;
- `hinge` (Lim and Ye 2017): the generator's loss is unbounded;
- `least_squares` (Mao 2017): logits go to 1 and 0.

The relativistic means are over one process and one micro-batch, as in the reference.
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
    """Return whether a logit is compared with those of the other kind, so that both must be computed."""
    return objective == "relativistic"


def generator_loss(objective: Objective, fake: Tensor, *, real: Tensor | None) -> Tensor:
    """Return the generator's scalar loss. `real`: logits of real images without a graph, if the objective compares."""
    if objective == "relativistic":
        assert real is not None
        return (_cross_entropy(real - fake.mean(), False) + _cross_entropy(fake - real.mean(), True)) / 2
    return -fake.mean() if objective == "hinge" else _JUDGED[objective](fake, True)


def discriminator_loss(objective: Objective, logits: Tensor, *, real: bool, other: Tensor | None) -> Tensor:
    """Return one of the discriminator's two scalar losses: on real or on fake images.

    `other`: logits of the other kind without a graph, if the objective compares.
    """
    if objective == "relativistic":
        assert other is not None
        return _cross_entropy(logits - other.mean(), real) / 2
    return _JUDGED[objective](logits, real)
