"""A full disk in the middle of a run: a clear message, the last checkpoint stays good, and the run resumes."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import safetensors.torch

from archsr.checkpoint import writing
from archsr.checkpoint.folder import newest
from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
from archsr.training import launch
from archsr.training import step as one_step

SIZE = 96 * 2**20


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 96 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "archsr-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def final(folder):
    return safetensors.torch.load_file(folder / "checkpoints" / "step-00000006" / "generator.safetensors")


def wait_for_quiet(folder):
    """Wait until nothing was written for half a second."""
    seen = []
    while len(set(seen[-10:])) != 1 or len(seen) < 10:
        time.sleep(0.05)
        seen.append(shutil.disk_usage(folder).free)


@pytest.mark.parametrize(
    ("left", "headroom", "word"),
    [
        (writing._HEADROOM, writing._HEADROOM, "checkpoint step-00000004.*disk full: .* MiB needed"),
        (400_000, -SIZE, "checkpoint step-00000004.*No space left on device"),
        (100_000, -SIZE, "the snapshot could not be written.*No space left on device"),
    ],
    ids=["foreseen", "met in a checkpoint", "met in a snapshot"],
)
def test_the_last_checkpoint_stays_and_the_run_goes_on(tiny_tables, small_disk, monkeypatch, left, headroom, word):
    monkeypatch.setattr(writing, "_HEADROOM", headroom)
    launch.run(check(TrainConfig, {**tiny_tables, "name": "unbroken"}, where="test"), resume=False)
    config = check(TrainConfig, {**tiny_tables, "runs": str(small_disk)}, where="test")
    filler, calls, real = small_disk / "somebody else's", [], one_step.micro_step

    def filling(*args, **kwargs):
        calls.append(1)
        if len(calls) == 7:  # in the fourth iteration
            wait_for_quiet(small_disk)  # what the third has handed to the writing thread
            with filler.open("wb") as out:
                os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(small_disk).free - left)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(one_step, "micro_step", filling)
        with pytest.raises(UserError, match=f"{word}.*last good checkpoint is untouched"):
            launch.run(config, resume=False)
    assert newest(small_disk / "tiny")[0].name == "step-00000002"
    filler.unlink()
    launch.run(config, resume=True)
    expected = final(Path(tiny_tables["runs"]) / "unbroken")
    found = final(small_disk / "tiny")
    assert all(found[name].equal(tensor) for name, tensor in expected.items())
