"""Whole optimisation steps beside basicsr's and realesrgan's own models, on equal weights and images.

Small networks, CPU, float32, one thread, two Adam steps each of generator and discriminator. A gradient may differ by
1e-3 of its tensor's largest. Adam divides a gradient by its own size, so one weight in a hundred, those whose gradient
is rounding error itself, may differ by more than 1e-2 of the learning rate.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from peer_tools import ask, table

from archsr.config import (
    GanLoss,
    LossConfig,
    PerceptualLoss,
    PixelLoss,
    RRDBNetConfig,
    SRResNetConfig,
    UNetConfig,
    VGGStyleConfig,
)
from archsr.degradation.apply import Pair
from archsr.models.build import build, build_discriminator
from archsr.models.vgg_discriminator import VGGStyleDiscriminator
from archsr.training.losses import gan, image_losses
from archsr.training.losses.feature_losses import Perceptual
from archsr.training.step import Parts, micro_step, update

pytestmark = pytest.mark.peers

LR = 1e-4
RRDB = RRDBNetConfig(features=8, blocks=1, growth=4)
SRRES = SRResNetConfig(arch="srresnet", features=8, blocks=2)
STYLE = VGGStyleConfig(arch="vgg", features=4)
LAYERS = {"conv1_2": 0.1, "conv2_2": 1.0}


def objective(pixel, perceptual, gan, *, kind="vanilla", sharpened=False):
    return LossConfig(
        pixel=PixelLoss(weight=pixel, sharpened=sharpened),
        perceptual=PerceptualLoss(weight=perceptual, sharpened=sharpened, layers=LAYERS),
        gan=GanLoss(weight=gan, objective=kind),
    )


CASES = {
    "esrgan": (RRDB, STYLE, objective(1e-2, 1.0, 5e-3, kind="relativistic"), 128),
    "srgan": (SRRES, STYLE, objective(1e-2, 1.0, 5e-3), 128),
    "real_esrnet": (RRDB, None, objective(1.0, 0.0, 0.0, sharpened=True), 64),
    "real_esrgan": (RRDB, UNetConfig(features=4), objective(1.0, 1.0, 0.1, sharpened=True), 64),
}


def pairs(size):
    """Two batches of two smooth random images, and their reductions."""
    rng = torch.Generator().manual_seed(size)
    coarse = torch.rand(4, 3, size // 8, size // 8, generator=rng)
    gt = F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    gt = (gt + 0.05 * torch.randn(gt.shape, generator=rng)).clamp(0, 1)
    return F.avg_pool2d(gt, 4).view(2, 2, 3, size // 4, size // 4), gt.view(2, 2, 3, size, size)


def numbered(net, prefix):
    return {f"{prefix}{k}": v.clone().numpy() for k, v in net.state_dict().items()}


def randomised(net, seed):
    """Running statistics and scales away from 0 and 1, so that a mistaken one shows."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if "bn" in name and tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=rng))
    return net


@pytest.fixture(scope="module")
def setting():
    torch.manual_seed(0)
    perceptual = Perceptual(PerceptualLoss(layers=LAYERS))
    nets = {
        name: (build(g, seed=1), build_discriminator(d, seed=2) if d else None) for name, (g, d, *_) in CASES.items()
    }
    rng = np.random.default_rng(3)
    inputs = {
        "lr": LR,
        "logits": rng.normal(0, 2, (3, 1, 5, 4)).astype(np.float32),
        "small": rng.random((2, 3, 12, 9)).astype(np.float32),
        **{k: rng.random((2, 3, 40, 48)).astype(np.float32) for k in ("sr", "gt", "ema")},
        **numbered(perceptual.vgg, "vgg/"),
    }
    for size in (128, 256):
        style = randomised(VGGStyleDiscriminator(features=4, size=size), size)
        inputs |= {f"image{size}": rng.random((2, 3, size, size)).astype(np.float32)}
        inputs |= numbered(style, f"style{size}/")
    for scale in (2, 3, 4):
        inputs |= numbered(build(SRRES.model_copy(update={"scale": scale}), seed=scale), f"srresnet{scale}/")
    for name, (net_g, net_d) in nets.items():
        inputs |= numbered(net_g, f"{name}/g/") | (numbered(net_d, f"{name}/d/") if net_d else {})
        inputs |= dict(zip((f"{name}/lq", f"{name}/gt"), (t.numpy() for t in pairs(CASES[name][3])), strict=True))
    return inputs, nets, perceptual


@pytest.fixture(scope="module")
def theirs(setting, tmp_path_factory):
    return ask("official_steps.py", tmp_path_factory.mktemp("exchange"), **setting[0])


def ours(name, setting):
    """States and gradients after each of two steps."""
    _, nets, perceptual = setting
    net_g, net_d = nets[name]
    wanted = CASES[name][2]
    adams = [torch.optim.Adam(n.parameters(), lr=LR, betas=(0.9, 0.99)) for n in (net_g, net_d) if n]
    parts = Parts(
        Accelerator(cpu=True), net_g, net_d, net_d, wanted, *[torch.amp.GradScaler("cpu", enabled=False)] * 2,
        features={"perceptual": perceptual},
    )  # fmt: skip
    found = {}
    for number, (lq, gt) in enumerate(zip(*pairs(CASES[name][3]), strict=True)):
        micro_step(parts, Pair(lq, gt), share=1.0, last=True)
        for short, net in (("g", net_g), ("d", net_d)):
            if net is not None:
                found |= {f"{number}/{short}.grad/{k}": p.grad.clone().numpy() for k, p in net.named_parameters()}
        for adam in adams:
            update(adam, parts.scaler_g, clip=0.0)
            adam.zero_grad()
        for short, net in (("g", net_g), ("d", net_d)):
            found |= numbered(net, f"{number}/{short}/") if net is not None else {}
    return found


@pytest.mark.parametrize("name", CASES)
def test_steps(name, setting, theirs):
    mine = ours(name, setting)
    his = {k.removeprefix(f"{name}/"): v for k, v in theirs.items() if k.startswith(f"{name}/")}
    assert mine.keys() == his.keys()
    start = {k.removeprefix(f"{name}/"): v for k, v in setting[0].items() if k.startswith(f"{name}/")}
    gradients, states, moved = [], [], []
    for key, b in his.items():
        difference = np.abs(mine[key].astype(np.float64) - b)
        if ".grad/" in key:
            gradients.append(difference.max() / np.abs(b).max())
        else:
            states.append(difference.ravel() / LR)
            moved.append(np.abs(b - start[key[2:]]).max() / LR)
    share = (np.concatenate(states) > 1e-2).mean()
    header = ["tensors", "largest relative difference of a gradient", "of a weight, in rates", "share beyond 1e-2"]
    table(f"{name}: two steps", header, [[len(states), *(f"{v:.1e}" for v in (
        max(gradients), max(s.max() for s in states), share))]])  # fmt: skip
    assert min(m for m, k in zip(moved, (k for k in his if ".grad/" not in k), strict=True) if "weight" in k) > 0.5
    assert max(gradients) < 1e-3
    assert share < 1e-2


@pytest.mark.parametrize(("mine", "their"), [("vanilla", "vanilla"), ("hinge", "hinge"), ("least_squares", "lsgan")])
def test_gan_objectives(mine, their, setting, theirs):
    logits = torch.from_numpy(setting[0]["logits"]).requires_grad_()
    for real, judge in ((True, True), (False, True), (True, False)):
        if judge:
            loss = gan.discriminator_loss(mine, logits, real=real, other=None)
        else:
            loss = gan.generator_loss(mine, logits, real=None)
        name = f"gan/{their}/{real}/{judge}"
        assert loss.item() == pytest.approx(float(theirs[name]), rel=1e-6)
        assert np.abs(torch.autograd.grad(loss, logits)[0].numpy() - theirs[f"{name}/grad"]).max() < 1e-7


@torch.no_grad()
@pytest.mark.parametrize("size", [128, 256])
def test_vgg_style_discriminator(size, setting, theirs):
    net = VGGStyleDiscriminator(features=4, size=size)
    net.load_state_dict({k.removeprefix(f"style{size}/"): torch.from_numpy(v) for k, v in setting[0].items()
                         if k.startswith(f"style{size}/")})  # fmt: skip
    image = torch.from_numpy(setting[0][f"image{size}"])
    for mode in ("train", "eval"):
        mine = net.train(mode == "train")(image).numpy()
        assert np.abs(mine - theirs[f"style{size}/{mode}"]).max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_srresnet(scale, setting, theirs):
    net = build(SRRES.model_copy(update={"scale": scale}), seed=scale)
    mine = net(torch.from_numpy(setting[0]["small"])).numpy()
    assert np.abs(mine - theirs[f"srresnet{scale}/out"]).max() < 1e-6


def test_image_losses(setting, theirs):
    sr, gt, ema = (torch.from_numpy(setting[0][k]) for k in ("sr", "gt", "ema"))
    charbonnier = image_losses.charbonnier(sr, gt, image_losses.CharbonnierLoss(epsilon=1e-3))
    assert charbonnier.item() == pytest.approx(float(theirs["charbonnier"]), rel=1e-6)
    sr.requires_grad_()
    assert np.abs(image_losses.artefacts(sr, gt, ema, window=7).detach().numpy() - theirs["ldl/map"]).max() < 1e-6
    loss = image_losses.ldl(sr, gt, ema, image_losses.LdlLoss(window=7))
    assert loss.item() == pytest.approx(float(theirs["ldl/loss"]), rel=1e-5)
    largest = np.abs(theirs["ldl/grad"]).max()
    assert np.abs(torch.autograd.grad(loss, sr)[0].numpy() - theirs["ldl/grad"]).max() < 1e-5 * largest
