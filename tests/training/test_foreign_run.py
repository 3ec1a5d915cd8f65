"""Fine-tune spandrel networks in whole runs on synthetic photographs, and read the results with spandrel."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from spandrel import ModelLoader
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR

from archsr.cli import main
from archsr.config import TrainConfig
from archsr.config.config_file import check, with_overrides
from archsr.errors import UserError
from archsr.training import launch
from archsr.training.logging.log import read_log
from archsr.upscaling.upscaler import Upscaler, open_model

MAKERS = {
    "SwinIR": lambda: SwinIR(
        img_size=16, depths=[2, 2], num_heads=[2, 2], embed_dim=12, window_size=8, mlp_ratio=2, upscale=4,
        upsampler="nearest+conv", resi_connection="1conv",
    ),
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4),
}  # fmt: skip
RECOMPUTED = {"SwinIR": "training.recompute=['layers.*']", "SPAN": "training.recompute=['block_?']"}
TEN = ["training.stages=[{iterations=10, lr=1e-3}]", "validation.every=10", "checkpoint.every=5", "losses.gan.weight=0"]


def tables(tiny, folder, name, *overrides):
    path = folder / f"{name}.pth"
    if not path.exists():
        torch.manual_seed(0)
        torch.save({"params": MAKERS[name]().state_dict()}, path)
    plain = {**tiny, "model": {"arch": "spandrel", "file": str(path)}}
    return with_overrides(plain, [*TEN, f"name={name}", "validation.samples=2", "log.every=5", *overrides])


def run(plain, *overrides, resume=False):
    plain = with_overrides(plain, list(overrides))
    launch.run(check(TrainConfig, plain, where="test"), resume=resume)
    return Path(plain["runs"]) / plain["name"]


def equal_checkpoints(a, b, *, step):
    for path in (a / "checkpoints" / f"step-{step:08d}").glob("*.safetensors"):
        one = safetensors.torch.load_file(path)
        two = safetensors.torch.load_file(b / "checkpoints" / f"step-{step:08d}" / path.name)
        assert one.keys() == two.keys()
        assert all(torch.equal(t, two[k]) for k, t in one.items()), path.name


@pytest.mark.parametrize("name", MAKERS)
def test_ten_steps_and_back_into_spandrel(name, tiny_tables, tmp_path, capsys):
    folder = run(tables(tiny_tables, tmp_path, name, "training.layers=['all']"))
    validated = [e["psnr"] for e in read_log(folder) if e["event"] == "validation"]
    assert validated[-1] > validated[0] + 0.2
    assert ("SwinIR pads 8 pixels to 16" in capsys.readouterr().out) == (name == "SwinIR")
    snapshot = folder / "snapshots" / "last.safetensors"
    original = torch.load(tmp_path / f"{name}.pth", weights_only=True)["params"]
    stored = safetensors.torch.load_file(snapshot)
    assert {k: (v.shape, v.dtype) for k, v in stored.items()} == {k: (v.shape, v.dtype) for k, v in original.items()}
    assert main(["export", str(snapshot), str(tmp_path / "out.pth")]) == 0
    net, config = open_model(str(snapshot))
    assert (config.arch, config.scale) == ("spandrel", 4)
    x = torch.rand(1, 3, 13, 21, generator=torch.Generator().manual_seed(1))
    ours = Upscaler(net, device=torch.device("cpu"), tile=0).restore(x)
    for path in (snapshot, tmp_path / "out.pth"):
        assert torch.equal(ours, ModelLoader().load_from_file(path)(x))
    assert not torch.equal(ours, ModelLoader().load_from_file(tmp_path / f"{name}.pth")(x))


@pytest.mark.slow
def test_evaluate_and_upscale_take_the_run(tiny_tables, tmp_path):
    folder = run(tables(tiny_tables, tmp_path, "SwinIR"), "training.layers=['conv_last']")
    assert main(["evaluate", str(folder), "--offline", "--limit", "2", "--weights", "last", "--split", "val"]) == 0
    report = next((folder / "evaluation").rglob("report.md")).read_text()
    assert "SwinIR.pth" in report
    Image.fromarray(np.full((19, 33, 3), 90, np.uint8)).save(tmp_path / "a.png")
    target = tmp_path / "b.png"
    assert main(["upscale", str(tmp_path / "a.png"), str(target), "--model", str(folder), "--tile", "16"]) == 0
    assert Image.open(target).size == (132, 76)
    assert (
        main(["upscale", str(tmp_path / "a.png"), str(target.with_stem("c")), "--model", str(tmp_path / "SwinIR.pth")])
        == 0
    )


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "SPAN" else pytest.mark.slow) for n in MAKERS])
def test_adapters_resumed_and_recomputed_are_the_unbroken_run(name, tiny_tables, tmp_path):
    layers = {"SwinIR": "training.layers=[{names=['layers.*'], rank=2}, 'conv_last']",
              "SPAN": "training.layers=[{names=['block_*'], rank=2}, 'conv_cat']"}[name]  # fmt: skip
    plain = tables(tiny_tables, tmp_path, name, layers, "training.stages.0.iterations=4", "checkpoint.every=2")
    unbroken = run(plain, "name=unbroken")
    run(plain, "name=resumed", "training.stages.0.iterations=2")
    resumed = run(plain, "name=resumed", RECOMPUTED[name], resume=True)
    equal_checkpoints(unbroken, resumed, step=4)
    stored = safetensors.torch.load_file(resumed / "snapshots" / "last_raw.safetensors")
    original = torch.load(tmp_path / f"{name}.pth", weights_only=True)["params"]
    assert stored.keys() == original.keys()
    changed = {k for k, v in stored.items() if not torch.equal(v, original[k])}
    inside = {"SwinIR": "layers.1.residual_group.blocks.0.attn.qkv.weight", "SPAN": "block_3.c2_r.sk.weight"}[name]
    assert inside in changed
    # what SPAN merges for use is made anew at each use
    assert all(k.startswith(("layers.", "block_", "conv_last.", "conv_cat.")) or ".eval_conv." in k for k in changed)


def test_what_does_not_fit_is_said_before_anything_begins(tiny_tables, tmp_path, capsys):
    plain = tables(tiny_tables, tmp_path, "SwinIR")
    with pytest.raises(UserError, match="no module 'layer.*'"):
        run(plain, "training.recompute=['layer.*']")
    with pytest.raises(UserError, match="spandrel.s networks.*training.recompute"):
        run(plain, "training.gradient_checkpointing=rrdb")
    config = check(TrainConfig, with_overrides(plain, ["training.layers=['layers.1']"]), where="test")
    assert launch.dry_run(config, resume=False)
    assert "layers.1" in capsys.readouterr().out
