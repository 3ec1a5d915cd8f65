"""Degrading a batch never waits for the device, but for the one step that works on the host."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from archsr.config import PrepareConfig
from archsr.config.config_file import check
from archsr.config.presets import laid_over
from archsr.degradation import apply as degradation
from archsr.degradation.canvas import full
from archsr.degradation.jpeg import jpeg
from archsr.degradation.pool import PairPool
from archsr.degradation.recipe import draw
from archsr.degradation.sharpen import sharpen
from archsr.utils.seeds import generator

SOME_OF_EACH = {"yuv420": 0.25, "yuv422": 0.25, "yuv440": 0.25, "yuv444": 0.25}
FURTHER = {
    "steps": [
        "aberration",
        "sensor",
        "blur1",
        "resize1",
        "noise1",
        "jpeg1",
        "blur2",
        "resize2",
        "noise2",
        "sharpen",
        "finish",
    ],
    "final_modes": {"lanczos": 0.3, "nearest": 0.3},
    "first": {"blur": {"defocus": 0.3, "motion": 0.3}, "jpeg": {"sampling": SOME_OF_EACH, "interpolated": 0.5}},
    "second": {"jpeg": {"sampling": SOME_OF_EACH}},
}  # fmt: skip
SAVED = {
    "steps": ["blur1", "saves", "levels", "reduce"],
    "saves": {"low": 1, "high": 6, "tables": {"standard": 0.5, "flat": 0.5}},
}
WAITS = {"steps": ["reduce", "codec"]}  # real encoders work on the host
KINDS = [
    {"fidelity": "fixed"},
    {"fidelity": "faithful"},
    {"fidelity": "fixed", "antialias": 0.5},
    {"preset": "bsrgan"},
    {"preset": "camera"},
    {"preset": "bicubic"},
    FURTHER,
    SAVED,
]


def recipe(table, seed):
    config = check(PrepareConfig, {"degrade": table}, where="test").degrade
    return draw(config, generator(seed, "no waiting"), 12, scale=4, gt_size=64)


class Copies(TorchDispatchMode):
    """Counts copies from the CPU to another device."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu" and out.device.type != "cpu":
            self.seen.append((tuple(out.shape), (kwargs or {}).get("non_blocking", False)))
        return out


@pytest.mark.parametrize("table", KINDS, ids=str)
def test_nothing_depends_on_what_lies_on_the_device(table, monkeypatch):
    """Tensors on the meta device have no values, so reading one raises.

    The recipe is sent in one copy, with the lists of samples that share a kind of noise, without waiting.
    """
    monkeypatch.setattr(degradation, "_noise_rng", lambda device, seed: None)
    gt = torch.empty(12, 3, 96, 96, device="meta")
    pool = PairPool(12)
    for seed in range(2):
        made = recipe(table, seed)
        degradation._pair(gt, made)  # constants are made at the first use
        with Copies() as copies:
            pair = degradation._pair(gt, made)
        assert pair.lq.shape == (12, 3, 16, 16)
        assert pair.lq.is_meta
        assert all(waits_not for _, waits_not in copies.seen)
        assert len(copies.seen) <= 1 + 8 + 3, copies.seen
        pool.swap(pair, generator(seed, "pool"))


def test_only_the_step_codec_reads_what_lies_on_the_device(monkeypatch):
    monkeypatch.setattr(degradation, "_noise_rng", lambda device, seed: None)
    gt = torch.empty(12, 3, 96, 96, device="meta")
    with pytest.raises(NotImplementedError, match="no data"):
        degradation._pair(gt, recipe(WAITS, 0))
    without = recipe({**WAITS, "codec": {"probability": 0.0}}, 0)
    assert degradation._pair(gt, without).lq.is_meta, "if no sample is saved, nothing waits"


@pytest.mark.gpu
def test_codec_waits_once_and_agrees_with_the_cpu():
    gt = torch.nn.functional.avg_pool2d(torch.rand(12, 3, 576, 576, generator=torch.Generator().manual_seed(0)), 2)
    made = recipe(WAITS, 0)
    there = gt.cuda()
    off = ((degradation.apply(gt, made).lq - degradation.apply(there, made).lq.cpu()).abs() * 255).round()
    assert (off > 1).float().mean() < 0.05
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as waits:
            degradation.apply(there, made)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in waits if "synchroniz" in str(w.message)]) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("table", KINDS, ids=str)
def test_no_synchronisation_on_cuda(table):
    gt = torch.rand(12, 3, 288, 288, device="cuda")
    made = recipe(table, 0)
    degradation.apply(gt, made)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for seed in range(8):
            degradation.apply(gt, recipe(table, seed))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("table", KINDS, ids=str)
def test_cuda_agrees_with_the_cpu(table):
    """Without noise, which each device draws for itself. A JPEG's rounding may differ by one level."""
    quiet = {name: {"noise": {"probability": 0.0}} for name in ("first", "second")} | {"sensor": {"probability": 0.0}}
    coarse = torch.rand(12, 3, 36, 36, generator=torch.Generator().manual_seed(0))
    gt = torch.nn.functional.interpolate(coarse, size=(288, 288), mode="bicubic").clamp(0, 1)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # as in training: TF32 must not reach the degradation
    try:
        for seed in range(4):
            made = recipe(laid_over(table, quiet), seed)
            here, there = degradation.apply(gt, made), degradation.apply(gt.cuda(), made)
            assert torch.equal(here.gt, there.gt.cpu())
            off = ((here.lq - there.lq.cpu()).abs() * 255).round()
            assert (off > 1).float().mean() < 1e-3
            assert off.max() <= 8
        assert torch.allclose(sharpen(gt), sharpen(gt.cuda()).cpu(), atol=5e-4)
        quality = torch.full((12,), 60.0)
        assert (jpeg(full(gt), quality) - jpeg(full(gt.cuda()), quality.cuda()).cpu()).abs().max() < 0.05
    finally:
        torch.set_float32_matmul_precision(before)
