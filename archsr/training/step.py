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
from archsr.models.cast_weights import CastWeights
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
    would skip both updates if one of them overflows. `casts`: 16-bit copies of the networks' weights.
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
    casts: Sequence[CastWeights] = ()


Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Stacked:
    """The loss terms of a micro-batch: their names, and their values as one tensor on the device."""

    names: tuple[str, ...]
    values: Tensor


class Verdict:
    """What all ranks agreed on in an iteration, still on the device: NaN or Inf (0 or 1), why to stop, accuracy missed.

    `accuracy missed` is 1 minus the discriminator's accuracy, of which the lowest over ranks and kinds counts, or 1
    without a discriminator. The copy to the host starts at once; `read` waits for it.
    """

    def __init__(self, agreed: Tensor) -> None:
        self.bad, _, self.missed = agreed.unbind()
        self._host = agreed
        self._copied: torch.cuda.Event | None = None
        if agreed.is_cuda:
            self._host = torch.empty(agreed.shape, dtype=agreed.dtype, pin_memory=True)
            self._host.copy_(agreed, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> tuple[bool, int, float]:
        """Return whether the iteration was usable, why to stop (an index of `REASONS`) and the accuracy."""
        if self._copied is not None:
            self._copied.synchronize()
        bad, stop, missed = self._host.tolist()
        return not bad, int(stop), 1 - missed


@dataclass(frozen=True)
class Stepped:
    """The result of an iteration: the detached loss terms of each micro-batch, and what all ranks agreed on.

    `norms`: L2 norms of the gradients by layer group of the generator, before clipping; empty unless asked for, or if
    the generator was not trained.
    """

    terms: list[Stacked]
    verdict: Verdict
    norms: dict[str, Tensor]


def train_step(run: "Run", pairs: Iterator[Pair], *, step: int, count: int, norms: bool = False) -> Stepped:
    """Run iteration `step` (0, 1, ...): gradients of `count` micro-batches, both updates, the average.

    Every rank must call it. Gradient norms are clipped as the config says. Nothing is updated if anything is NaN or
    Inf, and the discriminator is not updated if it was right too often. If `run.defers`, the device decides that and
    the host does not wait; otherwise the host reads the verdict first.
    """
    learns = run.optimizer_d is None or generator_learns(run.config.discriminator, step)
    terms = [_stacked(micro) for micro in accumulate(run.parts, pairs, count=count, learns=learns)]
    verdict, pause = _agreed(run, terms), run.config.discriminator.pause  # all ranks
    skip_g = skip_d = None
    good, pausing = True, False
    if run.defers:
        skip_g, skip_d = verdict.bad, torch.maximum(verdict.bad, (verdict.missed < 1 - pause).float())
    else:
        good, _, accuracy_d = verdict.read()
        pausing = accuracy_d > pause
    found: dict[str, Tensor] = {}
    if good and learns:
        if norms:
            scale = run.parts.scaler_g.get_scale()  # read before the update, which may change it
            found = {name: norm / scale for name, norm in gradient_norms(run.groups).items()}
        update(run.optimizer_g, run.parts.scaler_g, clip=run.config.training.clip, skip=skip_g)
        run.ema.update(step + 1, skip=skip_g)
    if good and run.optimizer_d is not None and not pausing:
        update(run.optimizer_d, run.parts.scaler_d, clip=run.config.discriminator.clip, skip=skip_d)
    for optimizer in run.optimizers:  # also gradients that were not used
        optimizer.zero_grad(set_to_none=True)
    return Stepped(terms, verdict, found)


def _stacked(terms: Terms) -> Stacked:
    return Stacked(tuple(terms), torch.stack([value.detach().float() for value in terms.values()]))


def accumulate(parts: Parts, pairs: Iterator[Pair], *, count: int, learns: bool = True) -> list[Terms]:
    """Accumulate the mean gradients of `count` micro-batches, without an update. Return the terms of each.

    With `learns` false only the discriminator gets gradients.
    """
    for casts in parts.casts:
        casts.renew()
    step = micro_step if learns else discriminator_step
    return [step(parts, next(pairs), share=1 / count, last=part == count - 1) for part in range(count)]


def _agreed(run: "Run", terms: Sequence[Stacked]) -> Verdict:
    """Agree on whether all loss terms and gradients are finite on all ranks, whether to stop, and the accuracy.

    Called before the update, so that NaN or Inf never reaches weights, moments and averages. A collective.
    """
    values = torch.cat([micro.values for micro in terms])
    wrong = (~values.isfinite()).any().float()
    if not run.parts.scaler_g.is_enabled():  # with fp16 the scaler checks the gradients and skips the update
        wrong = torch.maximum(wrong, (~_gradients(run).isfinite()).any().float())
    asked = torch.full((), float(run.stop_request.reason()), device=wrong.device)
    names = [name for micro in terms for name in micro.names]
    shares = [n for n, name in enumerate(names) if name in ("d_real_accuracy", "d_fake_accuracy")]
    missed = 1 - torch.stack([values[n] for n in shares]).min() if shares else torch.ones((), device=wrong.device)
    agreed = torch.stack([wrong, asked, missed])
    if run.world.size > 1:
        dist.all_reduce(agreed, op=dist.ReduceOp.MAX)  # all ranks
    return Verdict(agreed)


def _gradients(run: "Run") -> Tensor:  # (n,): the norm of each parameter's gradient
    parameters = [p for o in run.optimizers for group in o.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.stack(torch._foreach_norm(gradients))  # pyright: ignore


def update(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, *, clip: float, skip: Tensor | None = None
) -> None:
    """Update with the accumulated gradients. Clip their joint norm to `clip` if it is above 0.

    `skip`, 0 or 1 on the device, suppresses the update there; only fused optimisers without a scaler can do that.
    """
    if clip:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    if skip is not None:
        optimizer.found_inf = skip  # pyright: ignore[reportAttributeAccessIssue] - as GradScaler tells fused optimisers
    scaler.step(optimizer)
    if skip is not None:
        del optimizer.found_inf  # pyright: ignore[reportAttributeAccessIssue]
    scaler.update()


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
