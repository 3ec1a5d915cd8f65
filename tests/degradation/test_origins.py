"""Pairs keep their origin through the pool, its checkpoints and other numbers of ranks."""

import pytest
import torch

from archsr.degradation.apply import Pair
from archsr.degradation.pool import PairPool, redistribute
from archsr.utils.seeds import generator


def labelled(start, b=2, *, known=True):
    """Return pairs whose grey level and origin are their number."""
    numbers = torch.arange(start, start + b)
    gt = numbers.float().div(255)[:, None, None, None].expand(b, 3, 8, 8).contiguous()
    origin = torch.stack((numbers, numbers + 1000), 1) if known else None
    return Pair(gt[:, :, ::4, ::4].contiguous(), gt, origin)


def numbers(images):
    return (images[:, 0, 0, 0].float() * (1 if images.dtype == torch.uint8 else 255)).round().long()


def filled(capacity=8, steps=9):
    pool = PairPool(capacity)
    for step in range(steps):
        out = pool.swap(labelled(2 * step), generator(0, "pool", step))
        assert torch.equal(out.origin[:, 0], numbers(out.gt))
        assert torch.equal(out.origin[:, 1], numbers(out.lq) + 1000)
    return pool


def test_origins_move_with_their_pairs():
    state = filled().state()
    assert torch.equal(state["origin"][:, 0], numbers(state["gt"]))


@pytest.mark.parametrize("world", [1, 3])
def test_origins_survive_checkpoints_and_other_numbers_of_ranks(world):
    old = [filled(steps=n).state() for n in (9, 12)]
    for rank in range(world):
        pool = PairPool(16)
        pool.load(redistribute(old, rank=rank, world=world), device=torch.device("cpu"))
        state = pool.state()
        assert torch.equal(state["origin"][:, 0], numbers(state["gt"]))


def test_pairs_of_older_checkpoints_have_no_known_origin():
    state = filled().state()
    del state["origin"]
    pool = PairPool(8)
    pool.load(state, device=torch.device("cpu"))
    out = pool.swap(labelled(100), generator(0, "pool", 100))
    assert (out.origin == -1).all()
    kept = pool.state()
    known = kept["origin"][:, 0] >= 0
    assert sorted(kept["origin"][known, 0].tolist()) == [100, 101]
    assert torch.equal(numbers(kept["gt"])[known], kept["origin"][known, 0])


def test_pairs_without_origins_need_none():
    pool = PairPool(4)
    for step in range(4):
        assert pool.swap(labelled(2 * step, known=False), generator(0, "pool", step)).origin is None
    assert pool.state().keys() == {"lq", "gt"}
