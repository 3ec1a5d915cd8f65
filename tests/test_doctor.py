"""Each fault that the doctor reports is provoked once, and a sound machine has none."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import tomli_w
import torch
from ranks import Ranks

from archsr.cli import main
from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.data.stream.loader import Stream
from archsr.data.stream.plan import Slice
from archsr.doctor import assets, examine, machine
from archsr.doctor import launch as launching
from archsr.errors import UserError
from archsr.models.download import OFFICIAL
from archsr.training import debug
from archsr.training.data import open_data
from archsr.training.pairs import options_of
from archsr.utils.world import World

ROOT = Path(__file__).resolve().parent.parent


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
    assert "each once" in only(lines, "samples for 2").what


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
    monkeypatch.setattr(
        "archsr.images.pixels.decode_tensor", lambda data: (_ for _ in ()).throw(RuntimeError("no webp"))
    )
    assert "JPEG" in machine.decoders().what
    assert machine.decoders().state == "wrong"


def test_missing_and_altered_weights(tmp_path, sound, monkeypatch):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    name = next(n for n in OFFICIAL if OFFICIAL[n].sha256)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    line = assets._weights("weights", name)
    assert line.state == "warning"
    assert f"archsr weights {name}; offline: copy {OFFICIAL[name].file} into {tmp_path}" in line.mend
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / OFFICIAL[name].file).write_bytes(b"something else")
    assert assets._weights("weights", name).state == "wrong"
    assert assets._weights("weights", "nowhere.pth").state == "wrong"
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    assert assets._weights("weights", str(tmp_path / "x.safetensors")).state == "ok"


@pytest.mark.parametrize("source", ["efficientnet-lite0", "ncnn:realesrgan-x4plus"])
def test_missing_weights_of_a_wheel(tmp_path, monkeypatch, source):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.files", lambda package: None)
    line = assets._weights("weights", source)
    assert (line.state, line.mend) == ("wrong", f"archsr weights {source}")
    assert not debug._is_local(source)


def test_weights_without_a_config(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(assets, "local_file", lambda name: None)
    [line] = assets.available_weights()
    assert (line.state, "archsr weights RealESRGAN_x4plus" in line.mend) == ("warning", True)
    monkeypatch.setattr(assets, "local_file", lambda name: Path(name))
    [line] = assets.available_weights()
    assert (line.state, "ncnn:realesrgan-x4plus" in line.what) == ("ok", True)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / OFFICIAL["vgg19"].file).write_bytes(b"half of it")
    assert [line.state for line in assets.available_weights()] == ["wrong", "ok"]


def test_no_shards(sound, tmp_path):
    config = sound.model_copy(update={"data": sound.data.model_copy(update={"shards": str(tmp_path / "none")})})
    lines = list(examine(config))
    assert only(lines, "shards").state == "wrong"
    assert "archsr prepare" in only(lines, "shards").what


def test_a_shard_with_a_wrong_hash(sound, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(sound.data.shards, copy)
    tar = next(copy.rglob("train*.tar"))
    content = bytearray(tar.read_bytes())
    content[len(content) // 2] ^= 1
    tar.write_bytes(content)
    config = sound.model_copy(update={"data": sound.data.model_copy(update={"shards": str(copy)})})
    line = only(assets.shards(config, every=True), "shards, hashes")
    assert line.state == "wrong"
    assert str(tar) in line.what


def at(config, **data):
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def test_too_few_shards(sound, tmp_path):
    """Few shards do no harm in a folder; from a URL a whole window must arrive before the first batch."""
    url = f"file://{sound.data.shards}"
    far = at(sound, shards=url, cache=str(tmp_path / "cache"), window=999)
    assert only(assets.shards(at(sound, window=999), every=False), "shards, number").state == "ok"
    assert only(assets.shards(far, every=False), "shards, number").state == "warning"
    assert only(assets.shards(at(far, window=1), every=False), "shards, number").state == "ok"
    assert "verified when it arrives" in only(assets.shards(far, every=False), "shards, hashes").what


def test_layers_that_are_not_there(sound):
    training = sound.training.model_copy(update={"layers": ("bodyy.3",)})
    line = assets.layers(sound.model_copy(update={"training": training}))
    assert (line.state, "bodyy.3" in line.what) == ("wrong", True)
    assert "of 25,387 parameters are trained" in assets.layers(sound).what


def test_what_stops_no_run_and_is_probably_not_meant(sound):
    """Two validation scenes, two test scenes, and crops larger than the tiles."""
    lines = list(assets.shards(at(sound, gt_size=1024), every=False))
    used = [line for line in lines if line.about == "shards, use"]
    assert {line.state for line in used} == {"warning"}
    assert "data.gt_size 1024 is larger than the tiles" in used[0].what
    assert "8 pairs of 2 scenes" in used[1].what
    assert "no verdict on fewer than" in only(lines, "shards, test").what


def test_one_validation_scene_chooses_the_weights_and_is_named(sound):
    data = open_data(sound)
    val = data.manifest.splits["val"].model_copy(update={"scenes": 1})
    one = data.manifest.model_copy(update={"splits": {**data.manifest.splits, "val": val}})
    [(what, mend)] = replace(data, manifest=one).warnings(sound)
    assert what == "validation has one scene (8 pairs): the weights are chosen for one building"
    assert "val=0.2" in mend


def test_too_few_samples(sound):
    training = sound.training.model_copy(update={"global_batch": 10**6})
    line = only(assets.shards(sound.model_copy(update={"training": training}), every=False), "shards")
    assert (line.state, "fewer than one global batch" in line.what) == ("wrong", True)


def test_a_cache_larger_than_its_disk(sound, tmp_path):
    far = at(sound, shards="https://example.invalid/shards", cache=str(tmp_path), cache_gb=1e9)
    assert assets.room(far).state == "warning"
    assert assets.room(at(far, cache_gb=1e-6)).state == "ok"


def test_processes_that_do_not_divide_the_batch(sound):
    assert assets.sharing(sound, 7).state == "wrong"


def test_more_readers_than_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert machine.readers(2, 4).state == "ok"
    line = machine.readers(3, 4)
    assert (line.state, line.mend) == ("warning", "--set data.workers=2")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_shared_memory_is_what_a_stream_takes(sound, workers):
    config = sound.model_copy(update={"data": sound.data.model_copy(update={"workers": workers})})
    part = Slice(0, config.training.micro_batch, 1, 0, 1)
    stream = Stream(options_of(config, open_data(config), 1.0), part, workers=workers, pin_memory=False)
    try:
        taken = sum(memory.numel() for memory in stream._slots._memory)
    finally:
        stream.close()
    assert assets.batches_in_memory(config) == taken


def test_pyvips_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    assert machine.decoders().state == "wrong"
    assert "pyvips" in machine.decoders().mend


def test_a_gpu_that_torch_has_no_kernels_for(monkeypatch):
    def none(_number):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(machine, "_gpu", none)
    line = machine.gpus()
    assert line.state == "wrong"
    assert "no kernel image" in line.what
    assert "more" not in line.what


# ---------------------------------------------------------------- all processes of a launcher


def step(**changes):
    return launching.Step(
        **{"read": 0.1, "computed": 1.0, "loss": 0.5, "usable": True, "weights": "a", "memory": 0, **changes}
    )


def test_a_step_on_all_ranks():
    assert "the same weights on all" in launching._agreed([step(), step()], [1.0, 1.1]).what
    slow = launching._agreed([step(), step()], [1.0, 1.8])
    assert (slow.state, "rank 1 trains in 1.80 s" in slow.what) == ("warning", True)
    disk = launching._agreed([step(read=3.0), step()], [1.0, 1.0])
    assert (disk.state, "rank 0 reads in 3.00 s" in disk.what) == ("warning", True)
    apart = launching._agreed([step(), step(weights="b")], [1.0, 1.0])
    assert (apart.state, "different weights" in apart.what) == ("wrong", True)
    nan = launching._agreed([step(), step(loss=float("nan"))], [1.0, 1.0])
    assert (nan.state, "no number on rank 1" in nan.what) == ("wrong", True)
    gradient = launching._agreed([step(usable=False), step(usable=False)], [1.0, 1.0])
    assert (gradient.state, gradient.what) == ("wrong", "a loss term or a gradient is no number")


def test_processes_that_are_not_alike():
    rank = {"where": "a:cuda:0", "versions": "torch 2.11", "chip": "A100"}
    assert launching._alike([rank, {**rank, "where": "b:cuda:0"}]).state == "ok"
    assert launching._alike([rank, {**rank, "chip": "T4"}]).state == "warning"
    line = launching._alike([rank, rank, {**rank, "where": "b:cuda:0", "versions": "torch 2.12"}])
    assert (line.state, line.what) == ("wrong", "rank 0 has torch 2.11, rank 2 (b:cuda:0) torch 2.12")


def test_a_connection_that_alters_numbers_and_one_that_breaks(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "_SECONDS", 0.0)
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert launching._sums(torch.device("cpu"), World()).state == "ok"
        real = torch.distributed.all_reduce

        def altering(tensor, **kw):
            real(tensor, **kw)
            tensor[1:2] += 1e-3  # not the flag by which all ranks agree to go on

        monkeypatch.setattr(torch.distributed, "all_reduce", altering)
        assert launching._sums(torch.device("cpu"), World()).state == "wrong"

        def broken(_tensor, **_kw):
            raise RuntimeError("Connection closed by peer")

        monkeypatch.setattr(torch.distributed, "all_reduce", broken)
        with pytest.raises(UserError, match=r"rank 0 lost the others \(Connection closed by peer\)"):
            launching._sums(torch.device("cpu"), World())
    finally:
        torch.distributed.destroy_process_group()


def launched(tmp_path, tables, *words):
    """Run two processes on the CPU with sums for half a second instead of ten; return outputs and exit code."""
    (tmp_path / "c.toml").write_text(tomli_w.dumps(tables))
    planted = ROOT / "tests" / "planted_doctor.py"
    done = Ranks(2, planted, *words, "doctor", tmp_path / "c.toml", "--launch", folder=tmp_path).wait(together=False)
    return done.stdout, done.stderr, done.returncode


def test_two_processes_sum_and_train_a_step_and_write_nothing(tmp_path, tiny_tables):
    said, told, code = launched(tmp_path, tiny_tables)
    assert code == 0, said
    assert re.search(r"ok +sums +\d+ of 16 MiB in 0.5 s by gloo: \d+ MB/s", said)
    assert re.search(r"(ok|warning) +training step +read in ", said)
    assert re.search(r"ok +samples for 2", said)
    parts = ("summing over 2 processes for 0.5 s", "opening data and networks", "on each process alone, twice",
             "training a whole iteration, ")  # fmt: skip
    places = [told.index(part) for part in parts]
    assert places == sorted(places)
    assert told.count("training a whole iteration") == 1
    assert not (tmp_path / "runs").exists()


def test_one_process_without_memory_keeps_nobody_waiting(tmp_path, tiny_tables):
    said, _, code = launched(tmp_path, tiny_tables, "full-on-rank-1")
    assert code == 1
    assert re.search(r"wrong +training step +rank 1: CUDA out of memory", said)


def test_alone_and_without_shards(tmp_path, tiny_tables, capsys):
    tables = {**tiny_tables, "data": {**tiny_tables["data"], "shards": str(tmp_path / "none")}}
    (tmp_path / "c.toml").write_text(tomli_w.dumps(tables))
    assert main(["doctor", str(tmp_path / "c.toml"), "--launch"]) == 1
    assert re.search(r"wrong +training step .*none", capsys.readouterr().out)
    assert main(["doctor", "--launch"]) == 2
    assert "needs a config" in capsys.readouterr().err


def test_the_command_tells_all_and_its_exit_code_says_whether_something_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "Python" in said
    assert "0 wrong" in said
    monkeypatch.setattr(machine, "_speed", lambda folder: 12.0)
    monkeypatch.setattr(machine, "_FEW", 1e9)
    assert main(["doctor"]) == 1
    assert "→ free space" in capsys.readouterr().out


def test_a_config_that_would_train_a_sharpener(tiny_tables):
    assert assets.targets(check(TrainConfig, tiny_tables, where="test")).state == "ok"
    tables = {**tiny_tables, "degrade": {"preset": "bicubic"}, "losses": {"pixel": {"sharpened": True}}}
    line = assets.targets(check(TrainConfig, tables, where="test"))
    assert line.state == "wrong"
    assert "degrade.sharpen_gt = false" in line.what
    assert line.mend == "--set losses.pixel.sharpened=auto"
