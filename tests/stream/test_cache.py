"""The cache is bounded and shared, copies are complete or absent, and copies in use stay."""

import fcntl
import multiprocessing
import os
import threading
import time

import pytest
from flaky_server import flaky
from hypothesis import given
from hypothesis import strategies as st
from small_set import small_set

from archsr.config import DataConfig
from archsr.data import manifest as mf
from archsr.data.cache import copy_of, fetch_copy, opened, read, touch
from archsr.data.remote import Remote, TransferCancelled, place_of
from archsr.data.stream.loader import Stream, StreamOptions
from archsr.data.stream.plan import Plan, Slice
from archsr.data.stream.prefetch import horizon
from archsr.errors import UserError

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("cached") / "set", [6] * 8)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("archsr.data.remote._FIRST_WAIT", 0.001)


def items(folder):
    return [s.tar_item for s in mf.load(folder).splits["train"].shards]


def held(cache):
    return sum(p.stat().st_size for p in cache.iterdir())


def place(server, tmp_path, shards):
    """Return a cache with room for this number of tars."""
    return Remote(server.url, tmp_path / "cache", shards * items(server.folder)[0].size, 4)


def test_the_longest_unused_goes_first_and_what_is_open_stays(folder, tmp_path):
    a, b, c, d, *_ = items(folder)
    with flaky(folder) as server:
        remote = place(server, tmp_path, 2)
        with opened(remote, a) as handle:
            fetch_copy(remote, b)
            fetch_copy(remote, c)
            assert copy_of(remote, a).exists()
            assert not copy_of(remote, b).exists()
            assert os.pread(handle, 5, 0)
        time.sleep(0.01)
        touch(remote, a)
        fetch_copy(remote, d)
        assert {p.name for p in remote.cache.glob("*.tar")} == {copy_of(remote, i).name for i in (a, d)}
        assert held(remote.cache) <= remote.limit


def test_files_of_the_user_are_neither_counted_nor_removed(folder, tmp_path):
    """A PDF and a table were once deleted to make room."""
    mine = {"thesis.pdf": b"a" * 10**6, "table.csv": b"1,2", "half.part": b"x", "0123.tar": b"y", "a.9.part": b"z"}
    with flaky(folder) as server:
        remote = place(server, tmp_path, 2)
        remote.cache.mkdir(parents=True)
        for name, data in mine.items():
            (remote.cache / name).write_bytes(data)
        for item in items(folder)[:4]:
            fetch_copy(remote, item)
        assert len(list(remote.cache.glob("?" * 64 + ".tar"))) == 2
        assert {name: (remote.cache / name).read_bytes() for name in mine} == mine


def test_copies_lie_in_a_folder_of_their_own(tmp_path):
    place = place_of("https://example.org/set", DataConfig(cache=str(tmp_path)))
    assert place.cache.parent == tmp_path


def test_what_is_kept_is_not_evicted_for_what_comes_later(folder, tmp_path):
    a, b, c, *_ = items(folder)
    with flaky(folder) as server:
        remote = place(server, tmp_path, 2)
        keep = {copy_of(remote, i) for i in (a, b)}
        assert fetch_copy(remote, a, keep=keep)
        assert fetch_copy(remote, b, keep=keep)
        assert not fetch_copy(remote, c, keep=keep)
        assert server.requests[c.file] == 0


def test_a_file_larger_than_the_cache_is_refused(folder, tmp_path):
    with (
        flaky(folder) as server,
        pytest.raises(UserError, match=r"train-00000\.tar: [\d,]+ bytes do not fit into the cache"),
        opened(Remote(server.url, tmp_path / "cache", 100, 1), items(folder)[0]),
    ):
        pass


def test_a_copy_that_rots_on_the_disk_is_fetched_again(folder, tmp_path):
    shard = mf.load(folder).splits["train"].shards[0]
    member = mf.read_index(folder, shard)[0].members["gt"]
    with flaky(folder) as server:
        remote = place(server, tmp_path, 8)
        where = {"digest": member.digest, "offset": member.offset, "size": member.size}
        good = read(remote, shard.tar_item, **where)
        for change in (lambda d: d[: member.offset] + b"\0" + d[member.offset + 1 :], lambda d: d[:100]):
            copy = copy_of(remote, shard.tar_item)
            copy.write_bytes(change(copy.read_bytes()))
            assert read(remote, shard.tar_item, **where) == good
        assert server.requests[shard.file] == 3
        with pytest.raises(UserError, match=r"train-00000\.tar: the bytes at 0 differ from the index"):
            read(remote, shard.tar_item, digest="0" * 64, size=3)


def _read_all(remote, out):
    made = mf.load(remote)
    options = StreamOptions(remote, made.splits["train"].shards, seed=0, window=2, size=32, hflip=True)
    stream = Stream(options, Slice(0, 4, 1, 0, 1), workers=1, pin_memory=False)
    out.put([stream.next().keys for _ in range(12)])
    stream.close()


def _ran(target, *args, count):
    out = FORK.Queue()
    processes = [FORK.Process(target=target, args=(*args, out)) for _ in range(count)]
    for process in processes:
        process.start()
    results = [out.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    return results


def test_processes_share_one_download_of_each_shard(folder, tmp_path):
    with flaky(folder, lambda name, number: "slow") as server:
        results = _ran(_read_all, place(server, tmp_path, 20), count=4)
        assert all(r == results[0] for r in results)
        assert all(n == 1 for name, n in server.requests.items() if name != mf.NAME), server.requests


@pytest.mark.gate
def test_a_cache_too_small_for_all_of_them_is_slow_and_never_stuck(folder, tmp_path):
    with flaky(folder) as server:
        remote, most, over = place(server, tmp_path, 3), [0], threading.Event()

        def look():
            while not over.wait(0.002):
                if (remote.cache / ".room").exists():
                    most[0] = max(most[0], _filled(remote.cache))

        watcher = threading.Thread(target=look)
        watcher.start()
        results = _ran(_read_all, remote, count=3)
        over.set()
        watcher.join()
        assert all(r == results[0] for r in results)
        assert remote.limit / 2 < most[0] <= remote.limit


def _filled(cache):
    """Return the bytes of tars while no eviction runs: none is removed, and transfers have reserved room."""
    with (cache / ".room").open() as room:
        fcntl.flock(room, fcntl.LOCK_EX)
        return sum(p.stat().st_size for p in cache.glob("*.tar"))


def _die_while_fetching(remote, item, out):
    out.put(1)
    out.close()
    out.join_thread()
    fetch_copy(remote, item)


def test_a_process_killed_in_a_transfer_blocks_nobody_and_leaves_nothing(folder, tmp_path):
    item = items(folder)[0]
    with flaky(folder, lambda name, number: "silent" if number == 0 else None) as server:
        remote = place(server, tmp_path, 2)
        process = FORK.Process(target=_die_while_fetching, args=(remote, item, FORK.Queue()))
        process.start()
        while not list((tmp_path / "cache").glob("*.part")) if (tmp_path / "cache").is_dir() else True:
            time.sleep(0.005)
        assert not fetch_copy(remote, item), "it is under way elsewhere"
        process.kill()
        process.join()
        assert fetch_copy(remote, item)
        assert not list(remote.cache.glob("*.part"))


def test_a_transfer_that_nobody_wants_any_more_ends(folder, tmp_path):
    stop = threading.Event()
    stop.set()
    with flaky(folder) as server, pytest.raises(TransferCancelled):
        fetch_copy(place(server, tmp_path, 2), items(folder)[0], stop=stop)
    assert not list((tmp_path / "cache").glob("*.part"))


def test_eviction_leaves_a_copy_that_another_process_holds(folder, tmp_path):
    a, b, *_ = items(folder)
    with flaky(folder) as server:
        remote = place(server, tmp_path, 1)
        fetch_copy(remote, a)
        with copy_of(remote, a).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            assert not fetch_copy(remote, b)
        assert fetch_copy(remote, b)
        assert not copy_of(remote, a).exists()


# ---------------------------------------------------------------- fetching ahead

sizes = st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any).map(tuple)


@given(sizes, st.integers(0, 5), st.integers(1, 4), st.integers(0, 80))
def test_the_order_of_fetching_is_the_order_of_need(counts, seed, window, position):
    plan = Plan(counts, seed, window)
    needed = list(dict.fromkeys(plan.place(position + i).shard for i in range(2 * plan.total)))
    assert horizon(plan, [1] * len(counts), position, 10**9) == needed
    assert horizon(plan, [1] * len(counts), position, 3) == needed[:3]
    assert horizon(plan, [9] * len(counts), position, 3) == needed[:1]


def test_shards_are_there_before_they_are_needed(folder, tmp_path):
    """With slow use of each batch, only the first shards are waited for."""
    with flaky(folder) as server:
        remote = place(server, tmp_path, 6)
        made = mf.load(remote)
        options = StreamOptions(remote, made.splits["train"].shards, seed=0, window=2, size=32, hflip=True)
        stream = Stream(options, Slice(0, 6, 1, 0, 1), workers=0, pin_memory=False)
        plan = Plan((6,) * 8, 0, 2)
        late = 0
        for number in range(8):
            needed = {plan.place(6 * number + i).shard for i in range(6)}
            late += any(not copy_of(remote, options.shards[n].tar_item).exists() for n in needed)
            stream.next()
            time.sleep(0.2)
        stream.close()
    assert late == 1
