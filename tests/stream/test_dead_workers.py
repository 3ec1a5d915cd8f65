"""However a worker ends, the run's last line names the sample."""

import os
import signal

import pytest
from small_set import small_set

from archsr.data import manifest as mf
from archsr.data.stream.loader import Stream, StreamOptions
from archsr.data.stream.plan import Slice
from archsr.errors import UserError
from archsr.images.pixels import decode_tensor
from archsr.utils.digests import agrees


def stream_of(folder, workers):
    made = mf.load(folder)
    options = StreamOptions(folder, made.splits["train"].shards, seed=0, window=2, size=32, hflip=False)
    return Stream(options, Slice(0, 2, 1, 0, 1), workers=workers, pin_memory=False)


def read_until(folder, workers, monkeypatch, act, *, key):
    """Read with a decoder that does `act` on the sample `key`, until the effect shows."""
    samples = [s for shard in mf.load(folder).splits["train"].shards for s in mf.read_index(folder, shard)]
    [wanted] = [s.members["gt"].digest for s in samples if s.key == key]

    def decode(data):

        if agrees(data, wanted):
            act()
        return decode_tensor(data)

    monkeypatch.setattr("archsr.data.stream.reader.decode_tensor", decode)
    stream = stream_of(folder, workers)
    try:
        for _ in range(30):
            stream.next()
    finally:
        stream.close()


@pytest.fixture
def folder(tmp_path):
    return small_set(tmp_path / "set", [5, 9, 4])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_is_named_with_its_sample(folder, monkeypatch, how):
    with pytest.raises(UserError) as error:
        read_until(folder, 2, monkeypatch, lambda: os.kill(os.getpid(), how), key="train-00001-00003")
    assert how.name in str(error.value)
    assert "while reading train-00001-00003 of" in str(error.value)
    assert "train-00001.tar" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_worker_that_exits(folder, monkeypatch):
    with pytest.raises(UserError, match="ended with exit code 3 while reading train-00000-00001"):
        read_until(folder, 1, monkeypatch, lambda: os._exit(3), key="train-00000-00001")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [ValueError, MemoryError, OSError])
def test_an_exception_in_decoding_is_named_with_its_sample(folder, monkeypatch, workers, kind):
    def fail():
        raise kind("no")

    with pytest.raises(UserError, match=rf"train-00002\.tar: train-00002-00000 .*{kind.__name__}: no"):
        read_until(folder, workers, monkeypatch, fail, key="train-00002-00000")


def test_an_exception_elsewhere_keeps_its_traceback_and_gets_the_sample(folder, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("archsr.data.stream.loader.crop", fail)
    stream = stream_of(folder, 1)
    with pytest.raises(ZeroDivisionError, match=r"(?s)in _read_batch.*sample \d+ of shard number \d+, position 0"):
        stream.next()
    stream.close()


def test_a_worker_killed_between_samples_while_the_process_does_other_work(folder):
    """The DataLoader's handler raises during other work; the cause is still reported."""
    stream = stream_of(folder, 1)
    stream.next()
    [worker] = stream._batches._workers
    with pytest.raises(RuntimeError):
        os.kill(worker.pid, signal.SIGKILL)
        for _ in range(10_000_000):
            pass
    assert "was killed" in str(stream.cause())
    stream.close()
