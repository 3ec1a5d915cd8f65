"""One iteration as Real-ESRGAN makes it: generator, then discriminator, on the same pairs."""

import contextlib
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from archsr.config import LossConfig
from archsr.degrade.apply import Pair
from archsr.degrade.sharpen import sharpen
from archsr.models.lean import l1
from archsr.training.losses import Perceptual, adversarial


@dataclass(frozen=True)
class Parts:
    """The networks of a run. `net_g` and `net_d` are what the launcher wrapped, `raw_d` the discriminator itself.

    `net_d` is None where the discriminator is frozen, `raw_d` where there is none. The scalers are enabled for fp16
    only, one per optimiser: a shared one would skip both steps when one of them overflows.
    """

    accelerator: Accelerator
    net_g: nn.Module
    net_d: nn.Module | None
    raw_d: nn.Module | None
    perceptual: Perceptual | None
    losses: LossConfig
    scaler_g: torch.amp.GradScaler
    scaler_d: torch.amp.GradScaler


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


def _generator_pass(parts: Parts, pair: Pair, share: float, last: bool) -> tuple[Tensor, Terms]:
    losses, terms = parts.losses, Terms()
    sharpened = losses.pixel.sharpened or losses.perceptual.sharpened
    gt_usm = sharpen(pair.gt) if sharpened else pair.gt
    if parts.raw_d is not None:
        parts.raw_d.requires_grad_(False)
    with contextlib.nullcontext() if last else parts.accelerator.no_sync(parts.net_g):
        sr = parts.net_g(pair.lq).float()
        terms["pixel"] = l1(sr, gt_usm if losses.pixel.sharpened else pair.gt)
        total = losses.pixel.weight * terms["pixel"]
        if parts.perceptual is not None:
            with parts.accelerator.autocast():
                terms["perceptual"] = parts.perceptual(sr, gt_usm if losses.perceptual.sharpened else pair.gt)
            total = total + losses.perceptual.weight * terms["perceptual"]
        if parts.raw_d is not None:
            with parts.accelerator.autocast():
                logits = parts.raw_d(sr)
            terms["gan"] = adversarial(logits.float(), real=True)
            total = total + losses.gan.weight * terms["gan"]
        parts.scaler_g.scale(total * share).backward()
    terms["total"] = total
    return sr.detach(), {name: value.detach() for name, value in terms.items()}


def _discriminator_pass(parts: Parts, gt: Tensor, fake: Tensor, share: float, last: bool) -> Terms:
    assert parts.net_d is not None
    assert parts.raw_d is not None
    parts.raw_d.requires_grad_(True)
    real = sharpen(gt) if parts.losses.gan.sharpened else gt
    terms: Terms = {}
    for name, picture in (("d_real", real), ("d_fake", fake)):
        final = last and name == "d_fake"
        with contextlib.nullcontext() if final else parts.accelerator.no_sync(parts.net_d):
            logits = parts.net_d(picture).float()
            loss = adversarial(logits, real=name == "d_real")
            parts.scaler_d.scale(loss * share).backward()
        terms[name] = loss.detach()
        terms[f"{name}_logit"] = logits.detach().mean()
    return terms


def update(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
    """Step on the gathered gradients and clear them."""
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
