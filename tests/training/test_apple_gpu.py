"""Apple's GPUs (MPS), without one: what is chosen, and what of an iteration PyTorch declares for them.

A run on the CPU records every operation on images and networks. PyTorch's own table of operations
(`native_functions.yaml`, in its wheel) says which have a kernel for MPS; float64 exists there for none.
"""

from functools import lru_cache, wraps
from importlib.resources import files

import pytest
import torch
import yaml
from test_objectives_run import tables
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from archsr.config import DegradeConfig, TrainConfig
from archsr.config.config_file import check
from archsr.degradation.apply import Pair, apply
from archsr.degradation.recipe import draw
from archsr.degradation.sheet import psnrs
from archsr.doctor import machine
from archsr.errors import UserError
from archsr.models.rrdbnet import RRDBNet
from archsr.training import launch, loop, pairs
from archsr.training.precision import with_precision
from archsr.upscaling import devices, transfer
from archsr.utils.devices import best_device, check_training_precision
from archsr.utils.seeds import generator

MPS = torch.device("mps")


@lru_cache(maxsize=1)
def on_mps():
    """The names of PyTorch's operations that have a kernel for MPS, or are made of others that have."""
    table = yaml.load((files("torchgen") / "packaged/ATen/native/native_functions.yaml").read_text(), yaml.CSafeLoader)
    found, delegates = set(), {}
    for entry in table:
        name, keys = entry["func"].split("(")[0], str(list(entry.get("dispatch", {"CompositeImplicitAutograd": ""})))
        if "structured_delegate" in entry:
            delegates[name] = entry["structured_delegate"]
        elif "MPS" in keys or "Composite" in keys:
            found.add(name)
    return found | {name for name, other in delegates.items() if other in found}


class Recorder(TorchDispatchMode):
    """Records the operations inside it, and those that take or make float64."""

    def __init__(self):
        super().__init__()
        self.names, self.wide, self.wide_on = set(), set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        library, name = func.name().split("::")
        if library == "aten":  # not decoders and marks for profilers
            self.names.add(name)
        tensors = [t for t in pytree.tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        if wide := [t.device.type for t in tensors if t.dtype == torch.float64 and t.ndim]:
            self.wide.add(name)
            self.wide_on.update(wide)
        return out


@pytest.fixture
def apple(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def test_torchs_table_knows_what_mps_lacks():
    table = on_mps()
    assert {"convolution", "add.Tensor", "_fft_r2c", "_foreach_lerp_.Scalar"} <= table
    assert not {"_thnn_fused_lstm_cell", "ormqr", "segment_reduce"} & table


LOSSES = [f"losses.{name}.weight=1" for name in ("pixel", "frequency", "gradient", "colour", "charbonnier", "ldl")]


@pytest.mark.parametrize("judge", ["unet", "vgg", "patch"])
def test_every_operation_of_an_iteration_has_a_kernel_for_mps(judge, tiny_tables, monkeypatch):
    """All iterations of a run with a discriminator and many losses, without the degradation, which the CPU computes."""
    recorder, step = Recorder(), loop.train_step

    @wraps(pairs.pair_of)
    def on_the_cpu(*args, made=pairs.pair_of, **kwargs):
        with _disable_current_modes():
            return made(*args, **kwargs)

    def recorded(*args, **kwargs):
        with recorder:
            return step(*args, **kwargs)

    monkeypatch.setattr(loop, "train_step", recorded)
    monkeypatch.setattr(loop, "pair_of", on_the_cpu)
    monkeypatch.setattr(loop.sheets, "show_degradation", lambda *_: None)  # below
    plain = tables("esrgan", tiny_tables, "training.stages=[{iterations=2, lr=1e-3}]", "validation.samples=1", *LOSSES)
    plain["losses"] |= {"lpips": {"weight": 1.0, "weights": "scratch"}}
    plain["discriminator"] = {"arch": judge, "features": 4, "weights": "scratch"} | (
        {"input_size": 128} if judge == "vgg" else {}
    )
    launch.run(check(TrainConfig, plain, where="test"), resume=False)
    assert {"convolution", "convolution_backward"} <= recorder.names
    assert not recorder.wide
    assert sorted(name for name in recorder.names if name not in on_mps()) == []


def test_the_degradation_needs_float64_so_the_cpu_computes_it():
    recipe = draw(DegradeConfig(), generator(0, "apple"), 2, scale=4, gt_size=64)
    gt = torch.rand(2, 3, 96, 96, generator=generator(1, "apple"))
    with Recorder() as recorder:
        apply(gt, recipe)
    assert recorder.wide
    seen = []

    def spied(image, recipe):
        seen.append(image.device.type)
        return Pair(image[:, :, ::4, ::4], image)

    with FakeTensorMode(allow_non_fake_inputs=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr("archsr.degradation.apply._pair", spied)
        pair = apply(torch.empty(2, 3, 96, 96, device=MPS), recipe)
    assert seen == ["cpu"]
    assert (pair.lq.device.type, pair.gt.device.type) == ("mps", "mps")


def test_the_first_pairs_are_measured_on_the_host():
    """In float64, on copies."""
    with FakeTensorMode() as mode, Recorder() as recorder:
        pair = Pair(torch.empty(1, 3, 16, 16, device=MPS), torch.empty(1, 3, 64, 64, device=MPS))
        with pytest.raises(DataDependentOutputException):  # its numbers, which a tensor without values does not have
            psnrs(pair)
    assert mode
    assert "log10" in recorder.wide
    assert recorder.wide_on == {"cpu"}


def test_networks_stay_channels_first_on_mps(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda net, **kwargs: asked.append(kwargs) or net)
    for device in (MPS, torch.device("cuda")):
        devices.place_network(RRDBNet(blocks=1), device, "fp32", alone=True)
    assert [kwargs["memory_format"] for kwargs in asked] == [torch.preserve_format, torch.channels_last]


@pytest.mark.parametrize("kind", ["to", "from"])
def test_copies_to_and_from_mps_wait(kind, monkeypatch):
    """PyTorch reads memory that was given back meanwhile, if the host does not wait."""
    asked = []

    def to(tensor, *args, **kwargs):
        asked.append(kwargs.get("non_blocking", False))
        return tensor

    with FakeTensorMode():
        host, there = torch.empty(2), torch.empty(2, device=MPS)
        monkeypatch.setattr(torch.Tensor, "to", to)
        if kind == "to":
            pairs._moved(host, MPS)
        else:
            transfer.Arriving(there)
    assert asked
    assert not any(asked)


def test_the_device_is_chosen(apple, monkeypatch):
    assert best_device() == MPS
    assert devices.devices_of("all") == [MPS]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert best_device() == torch.device("cpu")
    with pytest.raises(UserError, match="--device mps: this machine has no GPU of Apple"):
        devices.devices_of("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == torch.device("cuda")


def test_it_trains_in_fp32(apple, tiny):
    auto = tiny.model_copy(update={"training": tiny.training.model_copy(update={"precision": "auto"})})
    assert with_precision(auto).training.precision == "fp32"
    check_training_precision("fp32", MPS)
    for narrow in ("bf16", "fp16"):
        with pytest.raises(UserError, match=f"{narrow} is not supported on Apple's GPUs; use fp32"):
            check_training_precision(narrow, MPS)


def test_the_doctor_says_untested(apple, monkeypatch):
    line = machine.gpus()
    assert (line.state, "untested" in line.what, "MPS" in line.what) == ("warning", True, True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", "7.1")
    line = machine.gpus()
    assert (line.state, "ROCm 7.1" in line.what, "untested" in line.what) == ("warning", True, True)
