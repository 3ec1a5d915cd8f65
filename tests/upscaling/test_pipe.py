"""Rows on their way to an encoder: bounded in bytes, shared by images, and given back whatever happens."""

import os
import threading
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import pyvips
import torch
from PIL import Image

from archsr.config import RRDBNetConfig
from archsr.models.build import build
from archsr.upscaling import files, one_image
from archsr.upscaling.devices import writers_for
from archsr.upscaling.files import upscale_files
from archsr.upscaling.pipe import Pipe, Room, StoppedError
from archsr.upscaling.upscaler import Upscaler


def rows(height=64, width=50, bits=8):
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(0).integers(0, 2**bits, (height, width, 3), dtype=kind)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_reader_gets_the_rows_that_were_put(bits):
    room, image = Room(1000), rows(bits=bits)
    pipe = Pipe(64, 50, 3, bits=bits, room=room)
    writer = threading.Thread(target=lambda: [pipe.put(image[n : n + 1]) for n in range(64)])
    writer.start()
    read = pipe.image().numpy()
    writer.join()
    assert np.array_equal(read, image)
    assert room.take(1000, timeout=0)


def test_rows_wait_for_room():
    room, image = Room(1000), rows()
    pipe = Pipe(64, 50, 3, bits=8, room=room)
    pipe.put(image[:5])  # 151 bytes a row
    assert room.take(245, timeout=0)
    assert not room.take(1, timeout=0)
    room.leave(245)
    threading.Timer(0.1, pipe.abandon).start()
    with pytest.raises(StoppedError):
        pipe.put(image[5:])
    assert room.take(1000, timeout=0)


def test_an_incomplete_image_ends_at_once_and_gives_its_room_back():
    room = Room(10_000)
    pipe = Pipe(64, 50, 3, bits=8, room=room)
    pipe.put(rows()[:60])
    pipe.close()
    assert room.take(10_000, timeout=0)
    with pytest.raises(pyvips.Error):
        pipe.image().numpy()


def test_many_images_are_encoded_at_a_time_on_a_gpu(tmp_path, monkeypatch):
    """The encoders meet before the first one begins, so all images are restored and encoded at the same time."""
    monkeypatch.setattr(files, "writers_for", lambda device: (6, 10**6))
    all_here, plain = threading.Barrier(6), one_image.write_image

    def meeting(image, path, quality):
        all_here.wait(20)
        plain(image, path, quality)

    monkeypatch.setattr(one_image, "write_image", meeting)
    pairs = [(tmp_path / f"{n}.png", tmp_path / "out" / f"{n}.png") for n in range(6)]
    (tmp_path / "out").mkdir()
    for source, _ in pairs:
        Image.fromarray(rows(16, 16)).save(source)
    outcome = upscale_files(pairs, Upscaler(build(RRDBNetConfig(features=8, blocks=1, growth=4)).eval()), show=False)
    assert outcome.written == [target for _, target in pairs]
    assert all(Image.open(target).size == (64, 64) for _, target in pairs)


def test_a_gpu_has_a_writer_per_core_and_a_quarter_of_the_memory(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(24)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=40 * 2**30))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert writers_for(torch.device("cuda")) == (16, 10 * 2**30)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert writers_for(torch.device("cuda")) == (12, 5 * 2**30)
    assert writers_for(torch.device("cpu")) == (2, 2**25)
