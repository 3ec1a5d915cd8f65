"""Shards that do not divide evenly between processes. A stream never waits for data that never comes.

- Uneven shards: each sample once an epoch, whatever the shards' sizes; empty shards are skipped.
- Fewer shards than processes or workers: reading is divided by position, not by shard, so that all of them work.
- An epoch that the global batch does not divide: the batch continues in the next one; no sample is dropped.
- A number of processes that does not divide the global batch: refused before reading, with a batch that works.
"""

from collections import Counter

import pytest
from small_set import small_set

from archsr.data import manifest as mf
from archsr.data.stream.loader import Stream, StreamOptions, eval_pairs
from archsr.data.stream.plan import Slice
from archsr.errors import UserError
from archsr.training.data import open_data
from archsr.training.setup import with_micro_batch
from archsr.utils.world import World

SHAPES = {
    "one shard of one": [1],
    "one shard": [7],
    "uneven": [1, 40, 2, 9],
    "with empty ones": [0, 6, 0, 0, 5],
    "a giant": [60, 1, 1],
}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def dataset(request, tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("uneven") / "set", request.param), sum(request.param)


def keys(folder, count, *, world, micro, workers):
    """Return the key at each of the first `count` positions, read by `world` processes."""
    made = mf.load(folder)
    options = StreamOptions(folder, made.splits["train"].shards, seed=1, window=2, size=32, hflip=True)
    found = {}
    for rank in range(world):
        stream = Stream(options, Slice(0, micro, 1, rank, world), workers=workers, pin_memory=False)
        for _ in range(-(-count // (micro * world))):
            batch = stream.next()
            found |= {batch.position + i: key for i, key in enumerate(batch.keys)}
        stream.close()
    return [found[p] for p in range(count)]


@pytest.mark.parametrize(("world", "micro", "workers"), [(1, 3, 3), (3, 2, 0), (5, 1, 2), (2, 7, 1)])
def test_every_sample_once_an_epoch_on_any_world(dataset, world, micro, workers):
    folder, total = dataset
    order = keys(folder, 2 * total, world=world, micro=micro, workers=workers)
    for epoch in (order[:total], order[total:]):
        assert len(Counter(epoch)) == total
    assert order == keys(folder, 2 * total, world=1, micro=1, workers=0)


def test_a_world_that_does_not_divide_the_batch_is_refused(tiny):
    with pytest.raises(UserError, match=r"global_batch \(4\) is not divisible by 3 processes; use 3 or 6"):
        with_micro_batch(tiny, World(size=3))


@pytest.mark.parametrize(("sizes", "subset"), [([3], 1.0), ([3, 3, 3], 0.3)])
def test_fewer_samples_than_a_batch_are_refused(tiny, tmp_path, sizes, subset):
    folder = small_set(tmp_path / "set", sizes)
    stages = tuple(s.model_copy(update={"subset": subset}) for s in tiny.training.stages)
    config = tiny.model_copy(
        update={
            "data": tiny.data.model_copy(update={"shards": str(folder)}),
            "training": tiny.training.model_copy(update={"stages": stages}),
        }
    )
    with pytest.raises(UserError, match="fewer than one global batch"):
        open_data(config)


def test_more_processes_than_pairs(tmp_path):
    """Processes without a pair validate nothing and wait for nobody."""
    folder = small_set(tmp_path / "set", [4])
    split = mf.load(folder).splits["val"]
    shares = [[p.number for p in eval_pairs(folder, split, rank=rank, world=4)] for rank in range(4)]
    assert shares == [[0], [], [], []]
