"""One iteration as Real-ESRGAN makes it: generator, then discriminator, on the same pairs."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from archsr.config import Loss, LossConfig
from archsr.degrade.apply import Pair
from archsr.degrade.sharpen import sharpen
from archsr.training.adversarial import compares, discriminator_loss, generator_loss
from archsr.training.feature_losses import FeatureLoss
from archsr.training.losses import PICTURE_LOSSES, ldl
from archsr.training.watch import accuracy, colour_drift


@dataclass(frozen=True)
class Parts:
    """The networks of a run. `net_g` and `net_d` are what the launcher wrapped, `raw_d` the discriminator itself.

    `net_d` is None where the discriminator is frozen, `raw_d` where there is none. `averaged` makes pictures with the
    moving average of the generator, for the LDL loss. The scalers are enabled for fp16 only, one per optimiser: a
    shared one would skip both steps when one of them overflows.
    """

    accelerator: Accelerator
    net_g: nn.Module
    net_d: nn.Module | None
    raw_d: nn.Module | None
    losses: LossConfig
    scaler_g: torch.amp.GradScaler
    scaler_d: torch.amp.GradScaler
    features: Mapping[str, FeatureLoss] = field(default_factory=dict[str, FeatureLoss])
    averaged: Callable[[Tensor], Tensor] | None = None


Terms = dict[str, Tensor]


def micro_step(parts: Parts, pair: Pair, *, share: float, last: bool) -> Terms:
    """Forward and backward of both networks on one micro-batch; gradients are added up, weights stay.

    `share` is 1 / accumulation; gradients travel between processes only on the `last` micro-batch. Returns the
    detached loss terms. The discriminator learns from the picture the generator made before its update, so doing its
    backward pass here equals the reference, which steps the generator in between.
    """
    fake, terms = _generator_pass(parts, pair, share, last)
    if parts.net_d is not None:
        terms |= _discriminator_pass(parts, pair.gt, fake, share, last)
    return terms


def judge_step(parts: Parts, pair: Pair, *, share: float, last: bool) -> Terms:
    """As `micro_step`, but only the discriminator learns: while it warms up, and in iterations that are its own."""
    with torch.no_grad():
        fake = parts.net_g(pair.lq).float()
    return _discriminator_pass(parts, pair.gt, fake, share, last)


def _generator_pass(parts: Parts, pair: Pair, share: float, last: bool) -> tuple[Tensor, Terms]:
    wanted = parts.losses.terms()
    sharpened = any(term.aims_at_sharpened for term in wanted.values())
    targets = {True: sharpen(pair.gt) if sharpened else pair.gt, False: pair.gt}
    if parts.raw_d is not None:
        parts.raw_d.requires_grad_(False)
    with contextlib.nullcontext() if last else parts.accelerator.no_sync(parts.net_g):
        sr = parts.net_g(pair.lq).float()
        seen = sr.detach().requires_grad_()
        terms: Terms = {}
        # a term at a time with its backward pass down to the picture, so that no two networks' activations are held
        # together; in the order in which autograd would add up their gradients
        for name, term in reversed(wanted.items()):
            value = _term(parts, name, term, seen, pair, targets[term.aims_at_sharpened])
            parts.scaler_g.scale(term.weight * value * share).backward()
            terms[name] = value.detach()
            del value
        sr.backward(seen.grad)
    terms = {name: terms[name] for name in wanted}
    total = torch.stack([term.weight * terms[name] for name, term in wanted.items()]).sum()
    sr = sr.detach()
    return sr, {**terms, "total": total, "colour_drift": colour_drift(sr, pair.gt)}


def _term(parts: Parts, name: str, config: Loss, sr: Tensor, pair: Pair, target: Tensor) -> Tensor:
    """One unweighted term of the generator's objective; `target` is plain or sharpened as the term wants."""
    if name in PICTURE_LOSSES:
        return PICTURE_LOSSES[name](sr, target, config)
    if name == "ldl":
        assert parts.averaged is not None
        with torch.no_grad():
            averaged = parts.averaged(pair.lq).float()
        return ldl(sr, target, averaged, parts.losses.ldl)
    if name == "gan":
        return _judged(parts, sr, target)
    loss = parts.features[name]
    with parts.accelerator.autocast() if loss.autocast else contextlib.nullcontext():
        return loss(sr, target)


def _judged(parts: Parts, sr: Tensor, target: Tensor) -> Tensor:
    """The adversarial term. The real pictures pass first, as in the reference, where it compares with them."""
    assert parts.raw_d is not None
    objective = parts.losses.gan.objective
    with parts.accelerator.autocast():
        real = _without_graph(parts.raw_d, target) if compares(objective) else None
        fake = parts.raw_d(sr)
    return generator_loss(objective, fake.float(), real=real)


@torch.no_grad()
def _without_graph(net: nn.Module, picture: Tensor) -> Tensor:
    return net(picture).float()


def _discriminator_pass(parts: Parts, gt: Tensor, fake: Tensor, share: float, last: bool) -> Terms:
    """Real, then fake, each with a backward pass of its own; gradients travel with the second.

    An objective that compares needs the fake logits before the real pass, and the real logits after it: three passes,
    so that batch statistics and power iterations move as in the reference. The first goes through the network itself,
    for it has no gradient to gather.
    """
    assert parts.net_d is not None
    assert parts.raw_d is not None
    parts.raw_d.requires_grad_(True)
    objective = parts.losses.gan.objective
    real = sharpen(gt) if parts.losses.gan.aims_at_sharpened else gt
    other: Tensor | None = None
    if compares(objective):
        with parts.accelerator.autocast():
            other = _without_graph(parts.raw_d, fake)
    terms: Terms = {}
    for name, picture in (("d_real", real), ("d_fake", fake)):
        final = last and name == "d_fake"
        with contextlib.nullcontext() if final else parts.accelerator.no_sync(parts.net_d):
            logits = parts.net_d(picture).float()
            loss = discriminator_loss(objective, logits, real=name == "d_real", other=other)
            parts.scaler_d.scale(loss * share).backward()
        judged: Tensor = logits.detach()
        right = accuracy(objective, judged, real=name == "d_real", other=other)
        terms |= {name: loss.detach(), f"{name}_logit": judged.mean(), f"{name}_accuracy": right}
        other = judged
    return terms


def update(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, *, clip: float = 0.0) -> None:
    """Step on the gathered gradients, their common norm at most `clip` where it is above 0, and clear them."""
    if clip:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
