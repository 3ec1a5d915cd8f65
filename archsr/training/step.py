"""One training iteration as in Real-ESRGAN: generator, then discriminator, on the same pairs.

Runs, the doctor and the benchmark all call `train_step`. The memory forecast follows its order.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from archsr.config import Loss, LossConfig
from archsr.degradation.apply import Pair
from archsr.degradation.sharpen import sharpen
from archsr.training.logging.run_warnings import accuracy, colour_drift
from archsr.training.losses.feature_losses import FeatureLoss
from archsr.training.losses.gan import compares, discriminator_loss, generator_loss
from archsr.training.losses.image_losses import IMAGE_LOSSES, ldl
from archsr.training.optim import gradient_norms
from archsr.training.schedule import generator_learns

if TYPE_CHECKING:  # for types only: a run contains the parts of its step
    from archsr.training.setup import Run


@dataclass(frozen=True)
class Parts:
    """The networks of a run. `net_g` and `net_d` are wrapped by accelerate, `raw_d` is the bare discriminator.

    `net_d` is None if the discriminator is frozen, `raw_d` if there is none. `averaged` runs the generator's moving
    average, for the LDL loss. The scalers are enabled for fp16 only. There is one per optimiser, because a shared one
    would skip both updates if one of them overflows.
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


@dataclass(frozen=True)
class Stepped:
    """The result of an iteration: the detached loss terms of each micro-batch, and whether weights were updated.

    `usable` is False on all ranks if a term or gradient was NaN or Inf on one. `norms`: L2 norms of the gradients by
    layer group of the generator, before clipping; empty unless asked for, or if the generator was not trained.
    """

    terms: list[Terms]
    usable: bool
    norms: dict[str, Tensor]


def train_step(run: "Run", pairs: Iterator[Pair], *, step: int, count: int, norms: bool = False) -> Stepped:
    """Run iteration `step` (0, 1, ...): gradients of `count` micro-batches, both updates, the average.

    Every rank must call it. Gradient norms are clipped as the config says. Nothing is updated if anything is NaN or
    Inf, and the discriminator is not updated if it was right too often. Sets `run.stop_request.agreed`. The host waits
    for the device once.
    """
    learns = run.optimizer_d is None or generator_learns(run.config.discriminator, step)
    terms = accumulate(run.parts, pairs, count=count, learns=learns)
    good, judged_right = _usable(run, terms)  # all ranks
    found: dict[str, Tensor] = {}
    if good and learns:
        if norms:
            scale = run.parts.scaler_g.get_scale()  # read before the update, which may change it
            found = {name: norm / scale for name, norm in gradient_norms(run.groups).items()}
        update(run.optimizer_g, run.parts.scaler_g, clip=run.config.training.clip)
        run.ema.update(step + 1)
    if good and run.optimizer_d is not None and judged_right <= run.config.discriminator.pause:
        update(run.optimizer_d, run.parts.scaler_d, clip=run.config.discriminator.clip)
    for optimizer in run.optimizers:  # also clears gradients that were not used
        optimizer.zero_grad(set_to_none=True)
    return Stepped(terms, good, found)


def accumulate(parts: Parts, pairs: Iterator[Pair], *, count: int, learns: bool = True) -> list[Terms]:
    """Accumulate the mean gradients of `count` micro-batches, without an update. Return the terms of each.

    With `learns` false only the discriminator gets gradients.
    """
    step = micro_step if learns else discriminator_step
    return [step(parts, next(pairs), share=1 / count, last=part == count - 1) for part in range(count)]


def _usable(run: "Run", terms: Sequence[Terms]) -> tuple[bool, float]:
    """Return whether all loss terms and gradients are finite on all ranks, and the discriminator's accuracy.

    The accuracy is the minimum over ranks and kinds, or 0 without a discriminator. Called before the update, so that
    NaN or Inf never reaches weights, moments and averages. The same all-reduce agrees on whether to stop after this
    iteration (`run.stop_request.agreed`). Waits for the device. A collective.
    """
    values = torch.stack([value.detach().float() for micro in terms for value in micro.values()])
    wrong = (~values.isfinite()).any().float()
    if not run.parts.scaler_g.is_enabled():  # with fp16 the scaler checks the gradients and skips the update
        wrong = torch.maximum(wrong, (~_gradients(run).isfinite()).any().float())
    asked = torch.full((), float(run.stop_request.reason()), device=wrong.device)
    shares = [micro[name] for micro in terms for name in ("d_real_accuracy", "d_fake_accuracy") if name in micro]
    missed = 1 - torch.stack(shares).min() if shares else torch.ones((), device=wrong.device)
    agreed = torch.stack([wrong, asked, missed])
    if run.world.size > 1:
        dist.all_reduce(agreed, op=dist.ReduceOp.MAX)  # all ranks
    bad, stop, most_missed = agreed.tolist()
    run.stop_request.agreed = int(stop)
    return not bad, 1 - most_missed


def _gradients(run: "Run") -> Tensor:  # (n,): the norm of each parameter's gradient
    parameters = [p for o in run.optimizers for group in o.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.stack(torch._foreach_norm(gradients))  # pyright: ignore


def update(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, *, clip: float) -> None:
    """Update with the accumulated gradients and clear them. Clip their joint norm to `clip` if it is above 0."""
    if clip:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)


def micro_step(parts: Parts, pair: Pair, *, share: float, last: bool) -> Terms:
    """Run forward and backward of both networks on one micro-batch. Gradients are accumulated, without an update.

    `share` is 1 / accumulation. Gradients are synchronised between processes only on the `last` micro-batch. Returns
    the detached loss terms. The discriminator learns from the image that the generator made before its update, so
    running its backward pass here gives the same result as the reference, which updates the generator in between.
    """
    fake, terms = _generator_pass(parts, pair, share, last)
    if parts.net_d is not None:
        terms |= _discriminator_pass(parts, pair.gt, fake, share, last)
    return terms


def discriminator_step(parts: Parts, pair: Pair, *, share: float, last: bool) -> Terms:
    """Like `micro_step`, but train only the discriminator, in its warm-up and in its own iterations."""
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
        # each term's backward pass stops at the image, so that the activations of two loss networks never exist
        # together. The order is the one in which autograd would sum their gradients
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
    """Return one unweighted term of the generator's objective. `target` is already plain or sharpened."""
    if name in IMAGE_LOSSES:
        return IMAGE_LOSSES[name](sr, target, config)
    if name == "ldl":
        assert parts.averaged is not None
        with torch.no_grad():
            averaged = parts.averaged(pair.lq).float()
        return ldl(sr, target, averaged, parts.losses.ldl)
    if name == "gan":
        return _gan_term(parts, sr, target)
    loss = parts.features[name]
    with parts.accelerator.autocast() if loss.autocast else contextlib.nullcontext():
        return loss(sr, target)


def _gan_term(parts: Parts, sr: Tensor, target: Tensor) -> Tensor:
    """Return the adversarial term. If the objective compares, real images pass first, as in the reference."""
    assert parts.raw_d is not None
    objective = parts.losses.gan.objective
    with parts.accelerator.autocast():
        real = _without_graph(parts.raw_d, target) if compares(objective) else None
        fake = parts.raw_d(sr)
    return generator_loss(objective, fake.float(), real=real)


@torch.no_grad()
def _without_graph(net: nn.Module, image: Tensor) -> Tensor:
    return net(image).float()


def _discriminator_pass(parts: Parts, gt: Tensor, fake: Tensor, share: float, last: bool) -> Terms:
    """Train on real, then fake images, each with its own backward pass. Gradients are synchronised in the second.

    An objective that compares needs the fake logits before the real pass, and the real logits after it. That takes
    three passes, so that batch statistics and power iterations change as in the reference. The first uses the unwrapped
    network, because it has no gradients to synchronise.
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
    for name, image in (("d_real", real), ("d_fake", fake)):
        final = last and name == "d_fake"
        with contextlib.nullcontext() if final else parts.accelerator.no_sync(parts.net_d):
            logits = parts.net_d(image).float()
            loss = discriminator_loss(objective, logits, real=name == "d_real", other=other)
            parts.scaler_d.scale(loss * share).backward()
        judged: Tensor = logits.detach()
        right = accuracy(objective, judged, real=name == "d_real", other=other)
        terms |= {name: loss.detach(), f"{name}_logit": judged.mean(), f"{name}_accuracy": right}
        other = judged
    return terms
