"""Validation during training: the fixed pairs, shared out over all ranks and gathered exactly."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from archsr.colour import mean_drift
from archsr.images import tensor_to_pixels, to_float
from archsr.manifest import Manifest, Sample
from archsr.metrics import psnr, ssim
from archsr.remote import Place
from archsr.stream.loader import eval_pairs
from archsr.training.sheets import SIDE, Seen, of_each_scene
from archsr.world import World


@dataclass(frozen=True)
class Validation:
    """Means over all pairs, the same on every rank and on any number of ranks, and some of rank 0's pictures.

    `colour`: CIEDE2000 between mean colours of result and ground truth; `consistency`: mean absolute difference between
    the input and the result reduced to its size.
    """

    psnr: float
    ssim: float
    l1: float
    colour: float
    consistency: float
    pairs: int
    seen: list[Seen]


@torch.no_grad()
def validate(
    net: nn.Module,
    folder: Place,
    manifest: Manifest,
    *,
    samples: int,
    pictures: int,
    device: torch.device,
    world: World,
    given_up: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Restore the validation pairs with `net` and compare with their ground truth. A collective.

    None where `given_up`, asked before every pair, said so on any rank.
    """
    was_training = net.training
    net.eval()
    scores: list[tuple[float, ...]] = []
    seen: list[Seen] = []
    split = manifest.splits["val"]
    pairs = eval_pairs(folder, split, limit=samples, rank=world.rank, world=world.size)
    total = min(split.samples, samples) // world.size
    hidden = world.rank > 0 or not sys.stderr.isatty()
    for pair in tqdm(pairs, desc="validating", total=total, unit="pair", leave=False, disable=hidden):
        if given_up():
            break
        lq, gt = (to_float(p)[None].to(device) for p in (pair.lq, pair.gt))
        sr = net(lq).float().clamp(0, 1)
        quality = (psnr(sr, gt, border=manifest.scale), ssim(sr, gt, border=manifest.scale), F.l1_loss(sr, gt))
        reduced = F.interpolate(sr, size=lq.shape[2:], mode="area")
        quality += (mean_drift(sr, gt), F.l1_loss(reduced, lq))
        scores.append((pair.number, *map(float, quality)))
        if world.rank == 0 and pictures:
            seen = of_each_scene([*seen, _seen(pair.sample, lq, sr, gt)], pictures)
    net.train(was_training)
    parts = world.gather(None if given_up() else scores)  # all ranks
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    gathered = sorted(score for part in whole for score in part)
    means = np.array(gathered)[:, 1:].mean(axis=0)
    return Validation(*map(float, means), pairs=len(gathered), seen=seen)


def _seen(sample: Sample, lq: Tensor, sr: Tensor, gt: Tensor) -> Seen:
    """The input enlarged by repetition, and the middle of each picture."""
    enlarged = F.interpolate(lq, size=sr.shape[2:], mode="nearest")
    top, left = ((length - min(SIDE, length)) // 2 for length in sr.shape[2:])
    return Seen(
        sample.photo,
        sample.scene,
        *(tensor_to_pixels(p[:, :, top : top + SIDE, left : left + SIDE]) for p in (enlarged, sr, gt)),
    )
