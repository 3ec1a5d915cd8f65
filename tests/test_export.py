"""Exported files give the same results in other libraries as the model in torch."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from spandrel import ModelLoader

from archsr.checkpoint import write_snapshot
from archsr.cli import main
from archsr.errors import UserError
from archsr.exporting import export
from archsr.exporting import graphs as module
from archsr.models.rrdbnet import RRDBNet
from archsr.upscaling.upscaler import open_model


@pytest.fixture
def tiny(tmp_path):
    """Return a ×2 network, which unshuffles pixels first, with results in the range of images."""
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


@pytest.mark.parametrize(("precision", "least"), [("fp32", 80), pytest.param("fp16", 50, marks=pytest.mark.slow)])
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


@pytest.mark.slow
def test_the_true_x4plus_by_onnxruntime(real_weights, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    source = str(real_weights / "RealESRGAN_x4plus.fp16.safetensors")
    export(source, tmp_path / "x.onnx")
    x = torch.rand(1, 3, 21, 34, generator=torch.Generator().manual_seed(1))
    assert psnr(of_onnx(tmp_path / "x.onnx", x.numpy()), open_model(source)[0](x).numpy()) >= 80


def test_a_graph_takes_any_batch_and_says_what_its_sides_are(tiny, tmp_path):
    onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
    export(tiny, tmp_path / "x.onnx")
    x = torch.rand(3, 3, 18, 26, generator=torch.Generator().manual_seed(1))
    assert psnr(of_onnx(tmp_path / "x.onnx", x.numpy()), open_model(tiny)[0](x).numpy()) >= 80
    graph = onnx.load(str(tmp_path / "x.onnx")).graph
    sides = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert sides[0] == ["batch", 3, "height", "width"]
    assert sides[1][:2] == ["batch", 3]
    assert "height" in str(sides[1][2])
    assert "width" in str(sides[1][3])


@pytest.mark.gate
def test_a_network_of_spandrels_is_drawn_in_a_process_of_its_own(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    from spandrel.architectures.PLKSR import PLKSR

    torch.manual_seed(0)
    torch.save(PLKSR(dim=16, n_blocks=2, upscaling_factor=4).state_dict(), tmp_path / "net.pth")
    source = str(tmp_path / "net.pth")
    monkeypatch.setattr(module, "_record", None)  # not in this one
    export(source, tmp_path / "x.onnx")
    x = torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(1))
    assert psnr(of_onnx(tmp_path / "x.onnx", x.numpy()), open_model(source)[0](x).numpy()) >= 80


@pytest.mark.parametrize(
    ("ending", "match"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended with signal 11"),
        ("raise SystemExit('no such operator')", "no such op"),
    ],
)
def test_an_exporter_that_crashes_is_one_line(tmp_path, monkeypatch, ending, match):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    from spandrel.architectures.SAFMN import SAFMN

    torch.save(SAFMN(dim=8, n_blocks=1, upscaling_factor=4).state_dict(), tmp_path / "net.pth")
    monkeypatch.setattr(module, "_RECORD", ending)
    with pytest.raises(UserError, match=f"SAFMN cannot be exported to ONNX: .*{match}"):
        export(str(tmp_path / "net.pth"), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_a_graph_that_onnxruntime_cannot_run_is_one_line(tiny, tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    monkeypatch.setattr(module, "_record", lambda net, path, width: path.write_bytes(b"no graph"))
    monkeypatch.setattr(module, "_name_dimensions", lambda path: None)
    with pytest.raises(UserError, match="onnxruntime cannot run the exported graph"):
        export(tiny, tmp_path / "x.onnx")


@pytest.mark.gate
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
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.safetensors"]  # and no card


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


# ---------------------------------------------------------------- other forms


def of_ncnn(param, x):
    """Run the ncnn library itself, not the code with which the export checks itself."""
    ncnn = pytest.importorskip("ncnn", reason="the extra `export` is not installed")
    net = ncnn.Net()
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))
    image = np.ascontiguousarray(x[0])
    run = net.create_extractor()
    run.input("data", ncnn.Mat(image))
    return np.array(run.extract("output")[1])[None]


@pytest.mark.parametrize(("precision", "least"), [("fp32", 80), ("fp16", 50)])
def test_ncnn_gives_torchs_results(tiny, tmp_path, precision, least):
    pytest.importorskip("pnnx", reason="the extra `export` is not installed")
    export(tiny, tmp_path / "x.param", precision=precision)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.safetensors", "x.bin", "x.param", "x.param.md"]
    x = torch.rand(1, 3, 22, 38, generator=torch.Generator().manual_seed(1))
    found = of_ncnn(tmp_path / "x.param", x.numpy())
    assert found.shape == (1, 3, 44, 76)
    assert psnr(found, open_model(tiny)[0](x).numpy()) >= least


def test_a_deep_network_becomes_no_larger_than_it_is(tmp_path):
    """pnnx would repeat sums of sums for every user: twice as much with each block."""
    pytest.importorskip("pnnx", reason="the extra `export` is not installed")
    torch.manual_seed(0)
    net = RRDBNet(scale=4, features=8, growth=4, blocks=8)
    safetensors.torch.save_file(net.state_dict(), tmp_path / "deep.safetensors")
    export(str(tmp_path / "deep.safetensors"), tmp_path / "x.param")
    layers, blobs = map(int, (tmp_path / "x.param").read_text().split("\n")[1].split())
    lines = (tmp_path / "x.param").read_text().splitlines()[2:]
    assert layers == len(lines) < 8 * 3 * 20
    assert blobs == sum(int(line.split()[3]) for line in lines)
    assert not any(line.startswith("Clip") for line in lines)


def test_torchscript_needs_only_torch(tiny, tmp_path):
    assert main(["export", tiny, str(tmp_path / "x.pt")]) == 0
    x = torch.rand(2, 3, 22, 38, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.jit.load(str(tmp_path / "x.pt"))(x), open_model(tiny)[0](x))
    with pytest.raises(UserError, match="TorchScript is written in fp32"):
        export(tiny, tmp_path / "y.pt", precision="fp16")


def test_the_card_says_what_it_is_and_its_hash(tiny, tmp_path):
    export(tiny, tmp_path / "out" / "x.pth")
    card = (tmp_path / "out" / "x.pth.md").read_text()
    assert hashlib.sha256((tmp_path / "out" / "x.pth").read_bytes()).hexdigest() in card
    assert "Enlarges photographs 2 times" in card
    assert "Network: RRDBNet (ESRGAN, Real-ESRGAN), features 8, blocks 1, growth 4." in card
    assert "license: unknown" in card
    assert "tiny.safetensors, unchanged: nothing was trained" in card
    assert "Fine-tuned" not in card
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["x.pth", "x.pth.json", "x.pth.md"]


@pytest.fixture
def judged_run(tiny, tmp_path):
    """Write a run whose chosen weights, of strength 0.5, were evaluated on few scenes."""
    run = tmp_path / "run"
    (run / "snapshots").mkdir(parents=True)
    (run / "evaluation" / "test").mkdir(parents=True)
    whole = safetensors.torch.load_file(tiny)
    about = {"run": "run", "step": 7, "weights": "ema", "model": {"arch": "rrdbnet", "weights": "RealESRGAN_x2plus"}}
    for name, share in (("initial", 0.0), ("chosen", 0.5), ("best", 1.0)):
        state = {k: v * (1 + share) for k, v in whole.items()}
        write_snapshot(run / "snapshots" / f"{name}.safetensors", state, about={**about, "strength": share or 1})
    (run / "config.toml").write_text('name = "run"\n[training]\nstages = [{iterations = 9, lr = 1e-4}]\n')
    figures = {"mean": 0.5, "low": None, "high": None, "scenes": 3, "verdict": "too few scenes"}
    exact = {"mean": None, "low": 0.1, "high": 0.2, "scenes": 8, "verdict": "better"}
    digest = hashlib.sha256((run / "snapshots" / "chosen.safetensors").read_bytes()).hexdigest()
    scores = {"models": {"original": "original (x)"}, "baseline": "original", "protocol": "Protocol.",
              "judged": {"fine-tuned": digest},
              "differences": {"fine-tuned": {"psnr": figures, "ssim": exact}}}  # fmt: skip
    (run / "evaluation" / "test" / "scores.json").write_text(json.dumps(scores))
    return run


def test_the_card_of_a_run_judged_on_few_scenes_says_so(judged_run, tmp_path):
    export(str(judged_run), tmp_path / "x.pth")
    card = (tmp_path / "x.pth.md").read_text()
    assert "| psnr | +0.5000 | too few scenes (3) | too few scenes |" in card
    assert "| ssim | – | +0.1000 to +0.2000 | better |" in card
    assert "Fine-tuned from: RealESRGAN_x2plus" in card
    assert "Strength 0.5" in card
    assert "license: other" in card
    assert "BSD 3-Clause" in card


@pytest.mark.parametrize("strength", [0.7, 1.0])
def test_weights_of_another_strength_do_not_borrow_the_score(judged_run, tmp_path, strength):
    export(str(judged_run), tmp_path / "x.pth", strength=strength)
    card = (tmp_path / "x.pth.md").read_text()
    assert "These weights were not evaluated" in card
    assert "| psnr |" not in card


def test_the_score_of_the_whole_fine_tuning_is_that_of_no_share_of_it(judged_run, tmp_path):
    file = judged_run / "evaluation" / "test" / "scores.json"
    digest = hashlib.sha256((judged_run / "snapshots" / "best.safetensors").read_bytes()).hexdigest()
    file.write_text(json.dumps({**json.loads(file.read_text()), "judged": {"fine-tuned": digest}}))
    export(str(judged_run), tmp_path / "whole.pth", strength=1.0)
    export(str(judged_run), tmp_path / "part.pth", strength=0.7)
    assert "| psnr |" in (tmp_path / "whole.pth.md").read_text()
    assert "| psnr |" not in (tmp_path / "part.pth.md").read_text()


def test_a_network_of_spandrels_is_called_by_its_name_and_not_real_esrgan(tmp_path):
    from spandrel.architectures.SPAN import SPAN

    torch.save(SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4).state_dict(), tmp_path / "span.pth")
    export(str(tmp_path / "span.pth"), tmp_path / "out.safetensors")
    card = (tmp_path / "out.safetensors.md").read_text()
    assert "Network: SPAN." in card
    assert "license: unknown" in card
    assert "BSD" not in card
    assert "real-esrgan" not in card


def test_names_say_fp16_where_the_tensors_are_and_only_there(tiny, tmp_path, monkeypatch):
    shutil.copy(tiny, tmp_path / "tiny.fp16.safetensors")
    monkeypatch.chdir(tmp_path)
    assert main(["export", "tiny.fp16.safetensors"]) == 0
    assert main(["export", "tiny.fp16.safetensors", "--precision", "fp16"]) == 0
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["2xtiny_esrgan.pth", "2xtiny_esrgan_fp16.pth"]
    widths = {torch.load(p, weights_only=True)["params_ema"]["conv_last.bias"].dtype for p in tmp_path.glob("*16.pth")}
    assert widths == {torch.float16}
    assert main(["export", "tiny.fp16.safetensors", "small-fp16.pth"]) == 2
    assert not (tmp_path / "small-fp16.pth").exists()


def test_several_formats_by_name_go_beside_the_run(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", tiny, "--to", "pth", "--to", "safetensors"]) == 0
    assert {p.name for p in tmp_path.glob("2xtiny*")} == {
        f"2xtiny_esrgan.{e}{papers}" for e in ("pth", "safetensors") for papers in ("", ".md", ".json")
    }


def test_pushed_files_arrive_and_the_card_is_the_readme(tiny, tmp_path, monkeypatch):
    import huggingface_hub

    arrived = []

    class Hub:
        def create_repo(self, name, *, private, exist_ok):
            arrived.append((name, private))
            return f"https://hub/{name}"

        def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id):
            arrived.append((path_in_repo, path_or_fileobj.read_bytes()))

    monkeypatch.setattr("archsr.exporting.hub.HfApi", Hub)
    monkeypatch.setenv("HF_TOKEN", "x")
    assert huggingface_hub.get_token() == "x"
    assert main(["export", tiny, str(tmp_path / "x.pth"), "--push", "me/model"]) == 0
    pth, card, entry = ((tmp_path / f"x.pth{papers}").read_bytes() for papers in ("", ".md", ".json"))
    assert arrived == [("me/model", True), ("x.pth", pth), ("README.md", card), ("x.pth.json", entry)]


def test_without_a_token_nothing_is_pushed(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("archsr.exporting.hub.get_token", lambda: None)
    assert main(["export", tiny, str(tmp_path / "x.pth"), "--push", "me/model"]) == 2
    assert "no Hugging Face token" in capsys.readouterr().err


class NoConnectionError(Exception):
    """As of an HTTP library that is not requests: no OSError."""


@pytest.mark.parametrize("error", [ValueError, NoConnectionError])
def test_a_hub_that_says_nothing_is_told_by_its_error(error, tiny, tmp_path, monkeypatch, capsys):
    class Hub:
        def create_repo(self, name, **_):
            raise error

    monkeypatch.setattr("archsr.exporting.hub.HfApi", Hub)
    monkeypatch.setenv("HF_TOKEN", "x")
    assert main(["export", tiny, str(tmp_path / "x.pth"), "--push", "me/model"]) == 2
    assert f"me/model: upload failed: {error.__name__}\n" in capsys.readouterr().err
