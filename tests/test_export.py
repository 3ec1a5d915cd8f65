"""Exported files: what other libraries make of them is what torch makes of the model."""

import numpy as np
import pytest
import safetensors.torch
import torch
from spandrel import ModelLoader

from archsr import export as module
from archsr.cli import main
from archsr.errors import UserError
from archsr.export import export
from archsr.models.rrdbnet import RRDBNet
from archsr.upscale.upscaler import open_model


@pytest.fixture
def tiny(tmp_path):
    """A ×2 network, which folds pixels first, with results as large as pictures."""
    torch.manual_seed(0)
    net = RRDBNet(scale=2, features=8, growth=4, blocks=1)
    with torch.no_grad():
        net.conv_last.bias.fill_(0.5)
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(net.state_dict(), path)
    return str(path)


def psnr(a, b):
    return -10 * np.log10(np.square(np.float64(a) - np.float64(b)).mean())


def of_onnx(path, x):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"lq": x})[0]


@pytest.mark.parametrize(("precision", "least"), [("fp32", 80), ("fp16", 50)])
def test_onnxruntime_gives_torchs_results_for_sizes_it_was_not_drawn_with(tiny, tmp_path, precision, least):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    target = tmp_path / "x.onnx"
    assert main(["export", tiny, str(target), "--precision", precision]) == 0
    net, _ = open_model(tiny)
    for size in [(18, 50), (64, 22)]:
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        expected = net(x).numpy()
        assert expected.std() > 0.01
        found = of_onnx(target, x.numpy().astype(np.float16 if precision == "fp16" else np.float32))
        assert found.shape == (1, 3, 2 * size[0], 2 * size[1])
        assert psnr(found, expected) >= least


def test_the_true_x4plus_by_onnxruntime(real_weights, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    source = str(real_weights / "RealESRGAN_x4plus.fp16.safetensors")
    export(source, tmp_path / "x.onnx")
    x = torch.rand(1, 3, 21, 34, generator=torch.Generator().manual_seed(1))
    assert psnr(of_onnx(tmp_path / "x.onnx", x.numpy()), open_model(source)[0](x).numpy()) >= 80


def test_a_graph_that_differs_is_not_left_behind(tiny, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    real = module._record

    def spoiled(net, path, width):
        with torch.no_grad():
            net.conv_last.bias.add_(0.01)
        real(net, path, width)

    monkeypatch.setattr(module, "_record", spoiled)
    with pytest.raises(UserError, match="onnxruntime gives 40.0 dB against torch, expected 80"):
        export(tiny, tmp_path / "x.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_the_releases_own_form_is_read_by_spandrel(real_weights, tmp_path):
    source = str(real_weights / "RealESRGAN_x4plus.fp16.safetensors")
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = open_model(source)[0](x).clamp(0, 1)
    for name in ("x.pth", "x.safetensors"):
        export(source, tmp_path / name)
        assert psnr(ModelLoader().load_from_file(tmp_path / name)(x).numpy(), expected.numpy()) > 100
    assert torch.load(tmp_path / "x.pth", weights_only=True).keys() == {"params_ema"}


def test_what_cannot_be_written_is_said(tiny, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"got the ending \.bin, expected \.pth, \.safetensors, \.onnx"):
        export(tiny, tmp_path / "x.bin")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UserError, match=r"needs onnxscript: pip install 'archsr\[export\]'"):
        export(tiny, tmp_path / "x.onnx")
