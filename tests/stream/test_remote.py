"""Shards at a URL equal local shards: whatever the network does, the same samples or a clear error."""

import re
import shutil

import pytest
from flaky_server import FAULTS, flaky
from fsspec.implementations.memory import MemoryFileSystem
from small_set import small_set
from torch import equal

from archsr.config import DataConfig
from archsr.data import manifest as mf
from archsr.data.remote import Remote, place_of
from archsr.data.stream.loader import Stream, StreamOptions, eval_pairs
from archsr.data.stream.plan import Slice
from archsr.errors import UserError
from archsr.training.data import open_data

SIZES = [7, 3, 12, 1, 5]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("archsr.data.remote._FIRST_WAIT", 0.001)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("remote") / "set", SIZES)


def remote(server, tmp_path, *, tries=8, limit=10**9):
    return Remote(server.url, tmp_path / "cache", limit, tries)


def read(place, *, workers=0, batches=14, start=0):
    made = mf.load(place)
    options = StreamOptions(place, made.splits["train"].shards, seed=0, window=2, size=32, hflip=True)
    stream = Stream(options, Slice(start, 4, 1, 0, 1), workers=workers, pin_memory=False)
    try:
        return [stream.next().clone() for _ in range(batches)]
    finally:
        stream.close()


def same(a, b):
    return len(a) == len(b) and all(x.keys == y.keys and equal(x.gt, y.gt) for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------- a bad network


@pytest.mark.parametrize("workers", [0, 2])
def test_every_fault_is_found_retried_and_shown_and_none_is_trained_on(folder, tmp_path, capfd, workers):
    """Each file meets all faults, in an order of its own, before it is delivered intact."""

    def faults(name, number):
        turn = sum(name.encode()) % len(FAULTS)
        return [*FAULTS[turn:], *FAULTS[:turn], "slow"][min(number, len(FAULTS))]

    with flaky(folder, faults) as server:
        assert same(read(remote(server, tmp_path), workers=workers), read(folder))
    said = capfd.readouterr().err
    print(said)
    injected = sum(n for fault, n in server.injected.items() if fault != "slow")
    assert len(re.findall(r"attempt \d+ of 8 failed", said)) == injected == 5 * 11
    assert said.count("arrived at attempt") == len(server.requests) == 11
    assert set(server.whole.values()) == {1}, "each file was downloaded once"


@pytest.mark.parametrize("fault", ["drop", "truncate", "corrupt", "busy", "endless"])
@pytest.mark.parametrize("workers", [0, 1])
def test_the_limit_of_tries_ends_the_run_with_one_line(folder, tmp_path, fault, workers):
    with flaky(folder, lambda name, number: fault if name == "train-00002.tar" else None) as server:
        with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+/data/train-00002\.tar: 3 attempts failed") as error:
            read(remote(server, tmp_path, tries=3), workers=workers)
        assert "\n" not in str(error.value)
        assert server.requests["train-00002.tar"] % 3 == 0
        assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize(("fault", "words"), [("denied", "refused with status 403"), ("gone", "not found")])
def test_what_no_further_try_would_change_is_said_at_once(folder, tmp_path, fault, words):
    with flaky(folder, lambda name, number: fault) as server:
        with pytest.raises(UserError, match=words):
            mf.load(remote(server, tmp_path))
        assert server.requests[mf.NAME] == 1


def test_a_server_that_falls_silent(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("archsr.data.remote._SILENCE", 0.2)
    with flaky(folder, lambda name, number: "silent" if number == 0 else None) as server:
        assert same(read(remote(server, tmp_path), batches=4), read(folder, batches=4))
        assert server.injected["silent"] >= 3


def test_nobody_answers(tmp_path):
    with pytest.raises(UserError, match=r"2 attempts failed, the last: ClientConnectorError"):
        mf.load(Remote("http://127.0.0.1:9/data", tmp_path, 10**9, 2))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace('"samples": 12', '"samples": 11', 1),
        lambda t: re.sub(r'(-00001.tar.*?"sha256": ")....', r"\g<1>0000", t, count=1, flags=re.S),
        lambda t: re.sub(r'"fingerprint": "\w{4}', '"fingerprint": "0000', t, count=1),
        lambda t: t[:-40],
    ],
)
def test_a_manifest_that_disagrees_with_itself_is_fetched_again_and_then_refused(folder, tmp_path, change):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / mf.NAME).write_text(change((copy / mf.NAME).read_text()))
    with flaky(copy) as server:
        with pytest.raises(UserError, match=r"manifest\.json: 3 attempts failed"):
            mf.load(remote(server, tmp_path, tries=3))
        assert server.requests[mf.NAME] == 3


def test_a_manifest_of_another_archsr_is_said_so_at_once(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / mf.NAME).write_text((copy / mf.NAME).read_text().replace(mf.SCHEMA, "archsr-shards/1"))
    with flaky(copy) as server:
        with pytest.raises(UserError, match="another schema: got 'archsr-shards/1'"):
            mf.load(remote(server, tmp_path))
        assert server.requests[mf.NAME] == 1


# ---------------------------------------------------------------- other places


def test_any_file_system_that_fsspec_knows(folder, tmp_path):
    MemoryFileSystem().put(str(folder), "/bucket/sets/one", recursive=True)
    place = Remote("memory://bucket/sets/one", tmp_path / "cache", 10**9, 1)
    assert same(read(place, workers=0), read(folder))
    [pair] = eval_pairs(place, mf.load(place).splits["val"])
    assert pair.gt.shape == (3, 40, 40)


@pytest.mark.slow
def test_a_server_that_speaks_s3(folder, tmp_path, monkeypatch):
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'archsr[s3]'")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    here = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    here.start()
    try:
        host, port = here.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3 = s3fs.S3FileSystem()
        s3.mkdir("bucket")
        s3.put(str(folder), "bucket/one", recursive=True)
        place = Remote("s3://bucket/one", tmp_path / "cache", 10**9, 2)
        assert same(read(place, workers=2), read(folder))
        with pytest.raises(UserError, match=r"s3://bucket/two/manifest\.json: not found"):
            mf.load(Remote("s3://bucket/two", tmp_path / "cache", 10**9, 2))
    finally:
        here.stop()


def test_places_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    place = place_of("https://me:secret@host/sets/one/", DataConfig(cache="$SOMEWHERE/c", cache_gb=0.5, retries=2))
    assert place == Remote("https://me:secret@host/sets/one", tmp_path / "c" / "archsr-shards", 500_000_000, 3)
    assert str(place / "a.tar") == "https://host/sets/one/a.tar"
    assert place.name == "one"
    with pytest.raises(UserError, match=r"^https://host/a: a dataset's URL must not contain \?"):
        place_of("https://host/a?token=1", DataConfig())
    with pytest.raises(UserError, match="fsspec does not support nonsense://"):
        mf.load(Remote("nonsense://a/b", tmp_path, 1, 3))
    with pytest.raises(UserError, match="needs another package: pip install"):
        mf.load(Remote("dropbox://a/b", tmp_path, 1, 3))


def test_a_cache_of_less_than_two_windows_is_refused(tiny, folder, tmp_path):
    with flaky(folder) as server:
        changes = {"shards": server.url, "cache": str(tmp_path), "window": 2, "cache_gb": 1e-5}
        config = tiny.model_copy(update={"data": tiny.data.model_copy(update=changes)})
        with pytest.raises(UserError, match=r"data\.cache_gb \(1e-05\) is too small: two windows of 2 shards need"):
            open_data(config)
        changes["cache_gb"] = 1.0
        config = tiny.model_copy(update={"data": tiny.data.model_copy(update=changes)})
        assert open_data(config).samples == sum(SIZES)
