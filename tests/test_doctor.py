"""Each of the doctor's lines is provoked once, and a sound machine has none that is wrong."""

import os
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from archsr.cli import main
from archsr.config import TrainConfig
from archsr.config_file import check
from archsr.doctor import examine, machine, supplies
from archsr.doctor.launch import _steps
from archsr.models.download import OFFICIAL


@pytest.fixture
def sound(tiny_tables):
    return check(TrainConfig, tiny_tables, where="test")


def only(lines, about):
    found = [line for line in lines if line.about.startswith(about)]
    assert len(found) == 1, lines
    return found[0]


def test_a_sound_set_up_has_no_wrong_line(sound):
    lines = list(examine(sound, processes=2, every=True))
    assert [line for line in lines if line.state == "wrong"] == []
    assert "each once" in only(lines, "samples, 2 processes").what


def test_an_old_or_new_python():
    assert machine.python((3, 10)).state == "wrong"
    assert machine.python((3, 14)).state == "warning"
    assert machine.python((3, 12)).state == "ok"


def test_an_old_torch():
    line = machine.torch_and_vision("2.9.1+cu128")
    assert line.state == "wrong"
    assert "needed is 2.11" in line.what


def test_a_torchvision_made_for_another_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    line = machine.torch_and_vision()
    assert line.state == "wrong"
    assert "pip install" in line.mend


def test_a_driver_that_torch_cannot_use(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 470.82.01\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = machine.gpus()
    assert line.state == "wrong"
    assert "470.82.01" in line.what


def test_no_gpu_at_all(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "_driver", lambda: None)
    assert machine.gpus().state == "warning"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a tmpfs")
def test_a_full_disk(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        line = machine.disk(small / "runs", "disk")
        assert line.state == "wrong"
        assert "0.00 GB free" in line.what
        assert machine.shared_memory(10 * 2**20, small).state == "wrong"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_slow_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_speed", lambda folder: 12.0)
    line = machine.disk(tmp_path, "disk")
    assert line.state == "warning"
    assert "12 MB/s" in line.what
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_does_not_work(monkeypatch):
    monkeypatch.setattr("archsr.images.decode_tensor", lambda data: (_ for _ in ()).throw(RuntimeError("no webp")))
    assert "JPEG" in machine.decoders().what
    assert machine.decoders().state == "wrong"


def test_missing_and_altered_weights(tmp_path, sound, monkeypatch):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    name = next(n for n in OFFICIAL if OFFICIAL[n].sha256)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    line = supplies._weights("weights", name)
    assert (line.state, line.mend) == ("warning", f"archsr weights {name}")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / OFFICIAL[name].file).write_bytes(b"something else")
    assert supplies._weights("weights", name).state == "wrong"
    assert supplies._weights("weights", "nowhere.pth").state == "wrong"
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    assert supplies._weights("weights", str(tmp_path / "x.safetensors")).state == "ok"


def test_no_shards(sound, tmp_path):
    config = sound.model_copy(update={"data": sound.data.model_copy(update={"shards": str(tmp_path / "none")})})
    lines = list(examine(config))
    assert only(lines, "shards").state == "wrong"
    assert "archsr prepare" in only(lines, "shards").mend


def test_a_shard_with_a_wrong_hash(sound, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(sound.data.shards, copy)
    tar = next(copy.rglob("train*.tar"))
    content = bytearray(tar.read_bytes())
    content[len(content) // 2] ^= 1
    tar.write_bytes(content)
    config = sound.model_copy(update={"data": sound.data.model_copy(update={"shards": str(copy)})})
    line = only(supplies.shards(config, every=True), "shards, hashes")
    assert line.state == "wrong"
    assert str(tar) in line.what


def test_too_few_shards(sound):
    config = sound.model_copy(update={"data": sound.data.model_copy(update={"window": 999})})
    assert only(supplies.shards(config, every=False), "shards, number").state == "warning"


def test_processes_that_do_not_divide_the_batch(sound):
    assert supplies.sharing(sound, 7).state == "wrong"


def test_a_slow_process_and_one_without_memory():
    assert _steps([1.0, 1.1]).state == "ok"
    assert _steps([1.0, 1.6]).state == "warning"
    line = _steps([1.0, "CUDA out of memory"])
    assert (line.state, line.what) == ("wrong", "rank 1: CUDA out of memory")


def test_the_command_tells_all_and_its_exit_code_says_whether_something_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "Python" in said
    assert "0 wrong" in said
    monkeypatch.setattr(machine, "_speed", lambda folder: 12.0)
    monkeypatch.setattr(machine, "_FEW", 1e9)
    assert main(["doctor"]) == 1
    assert "→ make room" in capsys.readouterr().out
