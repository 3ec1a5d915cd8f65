"""archsr beside the PyPI releases of basicsr and realesrgan, on equal inputs."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from archsr.degradation import kernels as K
from archsr.degradation.canvas import full
from archsr.degradation.jpeg import jpeg
from archsr.degradation.kernels import blur
from archsr.degradation.sharpen import sharpen
from archsr.images.pixels import pixels_to_tensor, read_photo
from archsr.metrics.niqe import niqe
from archsr.metrics.psnr_ssim import psnr, ssim
from archsr.models.unet_discriminator import UNetDiscriminatorSN
from archsr.upscaling.upscaler import Upscaler, open_model

pytestmark = pytest.mark.peers

KERNELS = [  # kind, size, sigma x, sigma y, theta, beta
    (0, 9, 2.0, 0.8, 0.5, 1.0), (0, 21, 3.0, 0.2, -2.1, 1.0), (1, 9, 2.0, 0.8, 0.5, 0.7), (1, 15, 1.1, 2.9, 3.0, 3.9),
    (2, 13, 1.5, 1.5, 0.0, 1.9), (2, 7, 0.3, 2.0, 1.0, 1.0),
]  # fmt: skip
SINCS = [(7, np.pi / 3), (13, 1.9), (21, 2.0), (21, np.pi)]
QUALITIES = [30.0, 49.5, 60.5, 95.0]


@pytest.fixture(scope="module")
def inputs(real_photos, real_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("peer")
    y, x = np.meshgrid(np.arange(90), np.arange(100), indexing="ij")
    squares = 0.2 + 0.8 * ((x // 16 + y // 16) % 2)
    card = np.stack([0.5 + 0.5 * np.sin(0.1 * (c + 1) * x + 0.07 * y) * squares for c in range(3)])[None]
    photo = read_photo(real_photos / "project_00" / "building-001_view-1.jpg").pixels
    noise = np.random.default_rng(0).normal(0, 6, photo.shape)
    weights = folder / "x4plus.pth"
    stored = safetensors.torch.load_file(real_weights / "RealESRGAN_x4plus.fp16.safetensors")
    torch.save({"params_ema": {k: v.float() for k, v in stored.items()}}, weights)
    torch.manual_seed(0)
    net_d = UNetDiscriminatorSN()
    return {
        "card": np.pad(card, ((0, 0), (0, 0), (0, 6), (0, 4)), mode="edge").astype(np.float32),
        "kernels": np.array(KERNELS),
        "sincs": np.array(SINCS),
        "qualities": np.array(QUALITIES),
        "photo": photo,
        "other": np.clip(photo + noise, 0, 255).astype(np.uint8),
        "small": photo[200:260, 300:372],
        "weights": str(weights),
        **{f"d_{k}": v.numpy() for k, v in net_d.state_dict().items()},
    }


@pytest.fixture(scope="module")
def theirs(inputs, tmp_path_factory):
    python = os.environ.get("ARCHSR_PEER_PYTHON")
    if not python:
        pytest.skip("ARCHSR_PEER_PYTHON names no environment with basicsr and realesrgan (tests/peers/README.md)")
    folder = tmp_path_factory.mktemp("exchange")
    np.savez(folder / "in.npz", **inputs)
    script = Path(__file__).with_name("reference.py")
    subprocess.run([python, str(script), str(folder / "in.npz"), str(folder / "out.npz")], check=True, timeout=600)
    return np.load(folder / "out.npz")


def test_kernels(theirs):
    for i, (kind, size, sx, sy, theta, beta) in enumerate(KERNELS):
        t = lambda v: torch.tensor([v])
        mine = K.render(K.KernelParams(t(kind), t(size), t(sx), t(sy), t(theta), t(beta), t(1.0)))[0].numpy()
        edge = (21 - size) // 2
        assert np.abs(mine[edge : 21 - edge, edge : 21 - edge] - theirs[f"kernel{i}"]).max() < 1e-6
    for i, (size, cutoff) in enumerate(SINCS):
        one = torch.ones(1)
        mine = K.render(K.KernelParams(torch.tensor([K.SINC]), torch.tensor([size]), one, one, one, one,
                                       torch.tensor([cutoff])))[0].numpy()  # fmt: skip
        edge = (21 - size) // 2
        assert np.abs(mine[edge : 21 - edge, edge : 21 - edge] - theirs[f"sinc{i}"]).max() < 1e-6


def test_sharpening_filtering_and_jpeg(inputs, theirs):
    card = torch.from_numpy(inputs["card"])
    sharpened = np.abs(sharpen(card).numpy() - theirs["usm"])
    # a residual at the threshold may fall on either side: rare, and no larger than the mask's own step
    assert (sharpened > 1e-4).mean() < 1e-3
    t = lambda v: torch.tensor([v])
    params = K.KernelParams(t(0), t(9), t(2.0), t(0.8), t(0.5), t(1.0), t(1.0))
    assert np.abs(blur(full(card), params).pixels.numpy() - theirs["filtered"]).max() < 1e-5
    for quality in QUALITIES:
        mine = jpeg(full(card), torch.tensor([quality]), transposed_luma=True, black_border=True).numpy()
        difference = np.abs(mine - theirs[f"jpeg{quality:g}"])
        # a coefficient at a rounding boundary may fall on either side and moves one block
        assert (difference > 1e-4).mean() < 5e-3


def test_metrics(inputs, theirs):
    a, b = (pixels_to_tensor(inputs[k]) for k in ("photo", "other"))
    assert psnr(a, b).item() == pytest.approx(float(theirs["psnr"]), abs=1e-6)
    assert ssim(a, b).item() == pytest.approx(float(theirs["ssim"]), abs=1e-8)
    assert niqe(inputs["photo"], border=4) == pytest.approx(float(theirs["niqe"]), abs=2e-3)


@torch.no_grad()
def test_discriminator(inputs, theirs):
    net = UNetDiscriminatorSN()
    net.load_state_dict({k[2:]: torch.from_numpy(v) for k, v in inputs.items() if k.startswith("d_")})
    logits = net.eval()(torch.from_numpy(inputs["card"])).numpy()
    assert np.abs(logits - theirs["logits"]).max() < 1e-5


def test_upscaling_with_x4plus(inputs, theirs):
    net, _ = open_model(inputs["weights"])
    mine = Upscaler(net, tile=0).pixels(inputs["small"]).astype(int)
    difference = np.abs(mine - theirs["upscaled"].astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
