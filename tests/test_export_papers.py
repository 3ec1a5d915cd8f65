"""Exported files have the community's names, an entry for OpenModelDB, and a card with licence, data and limits."""

import datetime
import hashlib
import json
import re
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

import archsr
from archsr.checkpoint import write_snapshot
from archsr.cli import main
from archsr.errors import UserError
from archsr.exporting import export, targets_of
from archsr.exporting.card import Rights, licence_of
from archsr.exporting.openmodeldb import architecture_of, name_of
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srresnet import SRResNet
from archsr.models.srvgg import SRVGGNetCompact
from archsr.upscaling.opening import open_model

# the required properties of OpenModelDB (src/lib/model-props.ts), with the types of its JSON
REQUIRED = {
    "name": str, "author": str, "tags": list, "description": str, "date": str, "architecture": str, "scale": int,
    "inputChannels": int, "outputChannels": int, "resources": list, "images": list,
}  # fmt: skip

CONFIG = """
name = "brick"
[model]
arch = "rrdbnet"
weights = "ncnn:realesrgan-x4plus"
[training]
global_batch = 6
stages = [{iterations = 900, lr = 1e-4}]
[data]
gt_size = 128
[degrade]
preset = "camera"
"""


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    net = RRDBNet(scale=2, features=8, growth=4, blocks=1)
    with torch.no_grad():
        net.conv_last.bias.fill_(0.5)
    safetensors.torch.save_file(net.state_dict(), tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def run(tiny, tmp_path):
    folder = tmp_path / "runs" / "brick"
    (folder / "snapshots").mkdir(parents=True)
    about = {"run": "brick", "step": 700, "weights": "ema", "fingerprint": "ab" * 32,
             "model": {"arch": "rrdbnet", "weights": "ncnn:realesrgan-x4plus"}}  # fmt: skip
    state = safetensors.torch.load_file(tiny)
    for name in ("initial", "chosen", "best"):
        write_snapshot(folder / "snapshots" / f"{name}.safetensors", state, about=about)
    (folder / "config.toml").write_text(CONFIG)
    return folder


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("brick.safetensors", "4xbrick_esrgan"),
        ("brick.fp16.safetensors", "4xbrick_esrgan"),
        ("brick-x4.pth", "4xbrick_esrgan"),  # archsr's earlier names
        ("brick-x4-fp16.pth", "4xbrick_esrgan"),
        ("4xbrick_esrgan.pth", "4xbrick_esrgan"),
        ("4xbrick_esrgan_fp16.pth", "4xbrick_esrgan"),
        ("4x-brick.pth", "4xbrick_esrgan"),
        ("RealESRGAN_x4plus", "4xRealESRGAN_x4plus_esrgan"),
        ("ncnn:realesrgan-x4plus", "4xrealesrgan-x4plus_esrgan"),
        ("v1.2.safetensors", "4xv1.2_esrgan"),
    ],
)
def test_names_are_scale_name_and_architecture(source, name):
    net = RRDBNet(scale=4, features=8, growth=4, blocks=1)
    assert [p.name for p in targets_of(source, ["pth", "ncnn"], net)] == [f"{name}.pth", f"{name}.param"]
    assert targets_of(source, ["onnx"], net, precision="fp16")[0].name == f"{name}_fp16.onnx"


def test_a_run_gives_its_own_name_into_its_own_folder(run, monkeypatch):
    net = open_model(str(run))[0]
    assert targets_of(str(run), ["onnx"], net) == [run / "export" / "2xbrick_esrgan.onnx"]
    monkeypatch.chdir(run)
    assert name_of(".") == "brick"


def test_architectures_have_the_databases_ids(tmp_path):
    from spandrel.architectures.SPAN import SPAN

    torch.save(SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4).state_dict(), tmp_path / "s.pth")
    nets = (
        RRDBNet(features=8, growth=4, blocks=1),
        SRVGGNetCompact(),
        SRResNet(),
        open_model(str(tmp_path / "s.pth"))[0],
    )
    assert [architecture_of(net) for net in nets] == ["esrgan", "compact", "sr-res-net", "span"]


# ---------------------------------------------------------------- papers


def test_the_entry_has_what_openmodeldb_requires(run, tmp_path):
    done = export(str(run), tmp_path / "x.pth", rights=Rights("jane", "CC-BY-4.0"))
    assert done.papers == (tmp_path / "x.pth.md", tmp_path / "x.pth.json")
    text = (tmp_path / "x.pth.json").read_text()
    entry = json.loads(text)
    assert {key: type(entry[key]) for key in REQUIRED} == REQUIRED
    assert text == json.dumps(entry, indent=4, ensure_ascii=False)  # the layout that its checks ask for
    assert entry["description"] == entry["description"].strip()
    assert datetime.date.fromisoformat(entry["date"])
    known = {key: entry[key] for key in ("name", "author", "license", "architecture", "scale", "size")}
    assert known == {"name": "brick", "author": "jane", "license": "CC-BY-4.0", "architecture": "esrgan", "scale": 2,
                     "size": ["8nf", "1nb"]}  # fmt: skip
    assert (entry["trainingIterations"], entry["trainingBatchSize"], entry["trainingHRSize"]) == (700, 6, 128)
    assert entry["pretrainedModelG"] == "4x-realesrgan-x4plus"
    assert "abababababab" in entry["dataset"]
    assert {"photo", "restoration", "jpeg", "denoise", "deblur"} <= set(entry["tags"])
    (file,) = entry["resources"]
    whole = (tmp_path / "x.pth").read_bytes()
    assert file == {"platform": "pytorch", "type": "pth", "size": len(whole), "urls": [],
                    "sha256": hashlib.sha256(whole).hexdigest()}  # fmt: skip


def test_nothing_is_made_up_about_a_file_of_unknown_origin(tiny, tmp_path):
    export(tiny, tmp_path / "x.safetensors")
    entry = json.loads((tmp_path / "x.safetensors.json").read_text())
    assert (entry["author"], entry["license"], entry["tags"]) == ("", None, ["restoration"])
    assert not [key for key in entry if key.startswith(("training", "dataset", "pretrained"))]
    card = (tmp_path / "x.safetensors.md").read_text()
    assert "## Data\n\narchsr does not know it" in card
    assert "trained on photographs of buildings" not in card


def test_formats_that_the_database_lacks_have_no_entry(tiny, tmp_path):
    assert export(tiny, tmp_path / "x.pt").papers == (tmp_path / "x.pt.md",)
    assert not (tmp_path / "x.pt.json").exists()


def test_the_card_states_licence_data_and_limits(run, tmp_path):
    for rights, licence in ((Rights(), "other"), (Rights("Jane", "CC-BY-4.0"), "cc-by-4.0")):
        export(str(run), tmp_path / "x.pth", rights=rights)
        card = (tmp_path / "x.pth.md").read_text()
        assert f"license: {licence}\n" in card
        assert f"Shards with fingerprint `{'ab' * 32}`" in card
        assert "draws detail that the input does not have" in card
        assert "degradation camera, crops of 128 pixels" in card
        assert "Real-ESRGAN's weights are under the BSD 3-Clause licence" in card
    assert "CC-BY-4.0 by Jane." in card
    assert licence_of("RealESRGAN_x4plus", Rights()) == "BSD-3-Clause"


def test_the_command_and_python_state_author_and_licence(tiny, tmp_path):
    words = ["--author", "jane", "--licence", "CC0-1.0"]
    assert main(["export", tiny, str(tmp_path / "a.pth"), *words]) == 0
    archsr.export(tiny, tmp_path / "b.pth", author="jane", licence="CC0-1.0")
    for name in ("a", "b"):
        entry = json.loads((tmp_path / f"{name}.pth.json").read_text())
        assert (entry["author"], entry["license"]) == ("jane", "CC0-1.0")


# ---------------------------------------------------------------- darktable


def test_a_darktable_package_has_what_darktable_looks_for(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    export(str(run), tmp_path / "2xBrick_esrgan.dtmodel", rights=Rights("jane", "CC-BY-4.0"))
    with zipfile.ZipFile(tmp_path / "2xBrick_esrgan.dtmodel") as package:
        assert not package.testzip()
        folder = "upscale-2xbrick-esrgan"
        assert sorted(package.namelist()) == [f"{folder}/{n}" for n in ("README.md", "config.json", "model_x2.onnx")]
        about = json.loads(package.read(f"{folder}/config.json"))
        graph, card = package.read(f"{folder}/model_x2.onnx"), package.read(f"{folder}/README.md").decode()
    assert {k: about[k] for k in ("id", "task", "backend", "tiling")} == {
        "id": folder, "task": "upscale", "backend": "onnx", "tiling": True,
    }  # fmt: skip
    assert about["name"]
    assert (about["license"], about["version"]) == ("CC-BY-4.0", "1.0")
    assert "## Limits" in card
    assert "## Data" in card
    assert re.search(r"`model_x2.onnx`, SHA-256 `[0-9a-f]{64}`", card)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [v.name for v in (*session.get_inputs(), *session.get_outputs())] == ["input", "output"]
    for size in ((18, 26), (32, 20)):
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], open_model(str(run))[0](x), atol=1e-5)


def test_darktable_has_no_place_for_other_scales(tmp_path):
    torch.manual_seed(0)
    torch.save({"params": SRVGGNetCompact(scale=3, features=8, convs=1).state_dict()}, tmp_path / "three.pth")
    with pytest.raises(UserError, match="darktable upscales 2 or 4 times, this network 3 times"):
        export(str(tmp_path / "three.pth"), tmp_path / "x.dtmodel")
