import contextlib
import json
import shutil
import time
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archsr.data import manifest as mf
from archsr.data.stream.loader import Stream, StreamOptions, eval_pairs, spread
from archsr.data.stream.plan import Slice
from archsr.data.stream.reader import ShardReader, crop
from archsr.errors import UserError
from archsr.utils.seeds import generator


def options(folder, **changes):
    base = {"folder": folder, "shards": mf.load(folder).splits["train"].shards, "seed": 0, "window": 2, "size": 64,
            "hflip": True}  # fmt: skip
    return StreamOptions(**{**base, **changes})


def read(folder, *, world=1, micro=4, accumulation=1, workers=0, micro_batches=4, start=0, **changes):
    """Return position → (key, checksum) over all ranks."""
    seen = {}
    for rank in range(world):
        stream = Stream(
            options(folder, **changes),
            Slice(start, micro, accumulation, rank, world),
            workers=workers,
            pin_memory=False,
        )
        with contextlib.closing(stream):  # also after an error: garbage collection would wait for its workers, 5 s each
            for _ in range(micro_batches):
                batch = stream.next()
                assert batch.gt.dtype == torch.uint8
                assert batch.gt.shape == (micro, 3, 64, 64)
                # with accumulation, micro-batches of one rank are not adjacent, but samples of one micro-batch are
                for i, key in enumerate(batch.keys):
                    seen[batch.position + i] = (key, int(batch.gt[i].long().sum()))
    return seen


@pytest.mark.parametrize(
    "how",
    [
        {"world": 2, "micro": 2},
        {"world": 4, "micro": 1},
        {"micro": 2, "accumulation": 2, "micro_batches": 8},
        {"workers": 2},
        {"world": 2, "micro": 1, "accumulation": 2, "workers": 1, "micro_batches": 8},
    ],
    ids=str,
)
def test_pixels_depend_on_the_position_only(shards, how):
    assert read(shards, **how) == read(shards)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_stays_until_the_next_call_however_far_the_workers_are_ahead(shards, workers):
    expected = read(shards, micro_batches=7)
    stream = Stream(options(shards), Slice(0, 4, 1, 0, 1), workers=workers, pin_memory=False)
    for number in range(7):
        batch = stream.next()
        time.sleep(0.1)  # long enough for the workers to fill all slots
        sums = [int(image.long().sum()) for image in batch.gt]
        assert sums == [expected[4 * number + i][1] for i in range(4)]
    stream.close()


def test_stopped_anywhere_the_rest_follows(shards):
    whole = read(shards, micro_batches=6)
    rest = read(shards, micro_batches=4, start=8)
    assert rest == {p: v for p, v in whole.items() if p >= 8}


def test_a_subset_is_a_subset(shards):
    inside = {k for k, _ in read(shards, subset=0.2, micro_batches=12).values()}
    first = [s for shard in mf.load(shards).splits["train"].shards for s in mf.read_index(shards, shard)[:4]]
    assert inside <= {s.key for s in first}


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 60), st.integers(0, 99))
def test_crops_lie_inside_and_small_images_are_mirrored(h, w, size, seed):
    image = torch.arange(h * w, dtype=torch.int64).view(1, h, w).expand(3, h, w)
    out = crop(image, size, generator(seed, "t"), hflip=True)
    written = torch.empty(size, size, 3, dtype=torch.int64).permute(2, 0, 1)
    assert torch.equal(crop(image, size, generator(seed, "t"), hflip=True, out=written), out)
    assert torch.equal(written, out)
    assert out.shape == (3, size, size)
    assert out.min() >= 0
    assert out.max() < h * w


def test_flips_can_be_turned_off(shards):
    plain = read(shards, hflip=False)
    assert {p: k for p, (k, _) in plain.items()} == {p: k for p, (k, _) in read(shards).items()}
    image = torch.arange(9).view(1, 3, 3)
    assert {bool((crop(image, 3, generator(s, "f"), hflip=True) == image).all()) for s in range(20)} == {
        True,
        False,
    }
    assert all((crop(image, 3, generator(s, "f"), hflip=False) == image).all() for s in range(20))


def test_quarter_turns_and_mirroring_show_all_eight_symmetries_equally_often():
    image = torch.arange(9).view(1, 3, 3)
    seen = Counter(
        tuple(crop(image, 3, generator(s, "turn"), hflip=True, rot90=True).flatten().tolist()) for s in range(800)
    )
    mirrored = (image, image.flip(2))
    assert set(seen) == {tuple(p.rot90(k, (1, 2)).flatten().tolist()) for p in mirrored for k in range(4)}
    assert min(seen.values()) > 60


# ---------------------------------------------------------------- damage


@pytest.fixture
def copy(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    return tmp_path / "copy"


def damage(path, change):
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data))


def test_a_truncated_tar_is_found_before_and_while_reading(copy):
    shard = mf.load(copy).splits["train"].shards[0]
    damage(copy / shard.file, lambda d: d[: len(d) // 2])
    with pytest.raises(UserError, match=f"{shard.file}: truncated or changed"):
        mf.check_sizes(copy, [shard])
    with pytest.raises(UserError, match="truncated"):
        read(copy, micro_batches=20)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_flipped_bit_never_trains(copy, workers):
    shard = mf.load(copy).splits["train"].shards[0]
    sample = mf.read_index(copy, shard)[0]

    def flip(data):
        data[sample.members["gt"].offset + 100] ^= 1
        return data

    damage(copy / shard.file, flip)
    with pytest.raises(UserError) as error:
        read(copy, micro_batches=40, workers=workers)
    assert sample.key in str(error.value)
    assert "\n" not in str(error.value)


def test_another_index_is_refused(copy):
    shard = mf.load(copy).splits["train"].shards[0]
    damage(copy / shard.index, lambda d: d.replace(b'"scene"', b'"scenE"', 1))
    with pytest.raises(UserError, match=r"its SHA-256 differs from manifest\.json"):
        read(copy)


def test_a_missing_tar(copy):
    shard = mf.load(copy).splits["train"].shards[0]
    (copy / shard.file).unlink()
    with pytest.raises(UserError, match="missing"):
        mf.check_sizes(copy, [shard])
    with pytest.raises(UserError, match="cannot be opened"):
        read(copy)


# ---------------------------------------------------------------- fixed pairs


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("limit", [None, 3])
def test_pairs_are_shared_out_each_once(shards, world, limit):
    split = mf.load(shards).splits["val"]
    numbers = sorted(
        p.number for r in range(world) for p in eval_pairs(shards, split, limit=limit, rank=r, world=world)
    )
    assert numbers == spread(split.samples, limit)
    for pair in eval_pairs(shards, split, limit=1):
        assert pair.gt.shape[1] == 4 * pair.lq.shape[1]


@given(st.integers(1, 200), st.integers(1, 300))
def test_spread_is_even_and_without_repetition(total, limit):
    numbers = spread(total, limit)
    assert len(numbers) == len(set(numbers)) == min(total, limit)
    assert all(0 <= n < total for n in numbers)


def test_readers_keep_few_files_open(shards, monkeypatch):
    monkeypatch.setattr("archsr.data.stream.reader._OPEN_FILES", 1)
    made = mf.load(shards)
    all_shards = [s for split in made.splits.values() for s in split.shards]
    reader = ShardReader(shards, all_shards)
    for number in [0, 1, 2, 0, 1]:
        sample = reader.sample(number, 0)
        assert reader.image(number, sample, "gt").shape[0] == 3
        assert len(reader._files) <= 1
    reader.close()


def test_the_index_is_plain_json(shards):
    shard = mf.load(shards).splits["test"].shards[0]
    line = json.loads((shards / shard.index).read_text().splitlines()[0])
    assert set(line) == {"key", "scene", "photo", "box", "tags", "members"}
