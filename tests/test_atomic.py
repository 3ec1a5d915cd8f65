import os
from pathlib import Path

import pytest
import torch

from archsr import checkpoint
from archsr.data.versions import add_version, make_current
from archsr.utils.atomic import replacing, write_bytes
from archsr.utils.world import World


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.fixture
def told(monkeypatch):
    """What the system is told, in order: ("flush", path, bytes of a file) and ("rename", from, to)."""
    said = []
    real_fsync, real_rename, real_replace = os.fsync, Path.rename, Path.replace

    def fsync(handle):
        path = Path(f"/proc/self/fd/{handle}").resolve()
        said.append(("flush", path, path.read_bytes() if path.is_file() else None))
        real_fsync(handle)

    def moving(real):
        def move(self, target):
            said.append(("rename", self, Path(target)))
            return real(self, target)

        return move

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", moving(real_rename))
    monkeypatch.setattr(Path, "replace", moving(real_replace))
    return said


def test_a_file_is_flushed_before_it_gets_its_name_and_its_folder_after(told, tmp_path):
    """Without the first, a power cut leaves the name with no bytes; without the second, perhaps no name."""
    path = tmp_path / "a.bin"
    write_bytes(path, b"content")
    (_, temporary, content), rename, folder = told
    assert content == b"content"
    assert rename == ("rename", temporary, path)
    assert folder == ("flush", tmp_path, None)


def test_a_version_is_flushed_before_it_gets_its_name_and_the_name_before_it_counts(told, tmp_path):
    finished = tmp_path / "finished"
    finished.mkdir()
    version = add_version(tmp_path, finished)
    make_current(version)
    *first, (_, temporary, content), pointer, last = told
    assert first == [("flush", finished, None), ("rename", finished, version), ("flush", tmp_path, None)]
    assert (content, pointer, last) == (b"v1\n", ("rename", temporary, tmp_path / "current"), ("flush", tmp_path, None))


def test_every_file_of_a_checkpoint_is_flushed_before_it_gets_its_name(told, tmp_path):
    tensors = {"w": torch.arange(4.0)}
    made = checkpoint.save(
        tmp_path, 3, checkpoint.Contents({"generator": tensors}, {"x": 1}, tensors), world=World(),
        keep=checkpoint.Keep(),
    )  # fmt: skip
    named = next(n for n, (what, _, to) in enumerate(told) if what == "rename" and to == made)
    whole = {path.name: content for what, path, content in told[:named] if what == "flush"}
    assert {p.name: p.read_bytes() for p in made.iterdir()}.items() <= whole.items()
    assert told[named - 1] == ("flush", told[named][1], None), "the folder with the names of its files"
    assert ("flush", made.parent, None) in told[named:]
