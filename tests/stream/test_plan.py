"""Law 5: the order is arithmetic, each sample once an epoch, and the same for any number of readers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsr.data.stream import plan as plan_module
from archsr.data.stream.plan import Plan, Slice, subset_sizes
from archsr.utils.seeds import generator

shards = st.lists(st.integers(1, 12), min_size=1, max_size=9).map(tuple)


@given(shards, st.integers(0, 5), st.integers(1, 4), st.integers(0, 3))
def test_each_epoch_is_a_permutation_of_all_samples(sizes, seed, window, epoch):
    plan = Plan(sizes, seed, window)
    seen = [plan.place(epoch * plan.total + i) for i in range(plan.total)]
    assert sorted((p.shard, p.index) for p in seen) == [(s, i) for s, n in enumerate(sizes) for i in range(n)]


@given(
    shards,
    st.integers(0, 5),
    st.sampled_from([(1, 12, 1), (2, 6, 1), (2, 3, 2), (3, 2, 2), (4, 3, 1), (6, 1, 2), (12, 1, 1), (1, 1, 12)]),
    st.integers(1, 3),
    st.integers(0, 40),
)
@settings(max_examples=60)
def test_any_world_reads_the_same_positions_each_once(sizes, seed, shape, workers, start):
    world, micro, accumulation = shape
    steps = 4
    seen = []
    for rank in range(world):
        part = Slice(start, micro, accumulation, rank, world)
        assert part.global_batch == 12
        by_worker = [part.numbers(worker=w, workers=workers) for w in range(workers)]
        turns = itertools.islice(itertools.cycle(by_worker), steps * accumulation)  # the DataLoader's round robin
        numbers = [next(w) for w in turns]
        assert numbers == list(range(steps * accumulation))
        seen += [p for n in numbers for p in part.positions(n)]
    assert sorted(seen) == list(range(start, start + steps * 12))


@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 2, 4]))
def test_a_step_takes_its_own_global_batch(step, accumulation, world):
    micro = 3
    g = micro * accumulation * world
    for rank in range(world):
        part = Slice(7, micro, accumulation, rank, world)
        for a in range(accumulation):
            for p in part.positions(step * accumulation + a):
                assert 7 + step * g <= p < 7 + (step + 1) * g


def test_epochs_and_seeds_differ():
    plan = Plan((50, 50, 50), 0, 2)
    first, second = ([plan.place(e * 150 + i) for i in range(150)] for e in (0, 1))
    assert first != second
    assert first != [Plan((50, 50, 50), 1, 2).place(i) for i in range(150)]


def test_the_order_never_changes_between_versions():
    """Runs that resume after an update of archsr depend on it."""
    plan = Plan((5, 3, 4), 0, 2)
    assert [(p.shard, p.index) for p in map(plan.place, range(12))] == GOLDEN


GOLDEN = [(1, 0), (0, 0), (0, 3), (0, 1), (0, 4), (1, 1), (1, 2), (0, 2), (2, 1), (2, 3), (2, 0), (2, 2)]


def test_a_far_position_of_a_huge_set_is_found_without_the_way_there(monkeypatch):
    """Of ten million positions, only one epoch's shard order and one window are drawn."""
    drawn = []
    monkeypatch.setattr(plan_module, "generator", lambda *key: drawn.append(key) or generator(*key))
    plan = Plan((1000,) * 50_000, 0, 8)
    assert len({plan.place(10_000_000 + i) for i in range(12)}) == 12
    assert len(set(drawn)) <= 3


@pytest.mark.parametrize(("share", "expected"), [(1.0, (10, 3, 1)), (0.5, (5, 2, 1)), (0.01, (1, 1, 1))])
def test_subsets_take_the_first_of_every_shard(share, expected):
    assert subset_sizes([10, 3, 1], share) == expected


def test_every_epoch_mixes_a_window_anew():
    """With one shard only the order inside can differ."""
    plan = Plan((40,), seed=3, window=2)
    orders = [[plan.place(epoch * 40 + n).index for n in range(40)] for epoch in range(3)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
