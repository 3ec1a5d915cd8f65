"""Runs inside the peers' environment: whole steps of basicsr's and realesrgan's own models, and their parts.

python official_steps.py INPUTS.npz OUTPUTS.npz
"""

import sys
import types
from unittest import mock

import numpy as np
import torch
from official import model_module
from torch import nn

import basicsr.archs.vgg_arch as vgg_arch  # isort: skip
import realesrgan.models.realesrnet_model as realesrnet  # isort: skip
from basicsr.archs.discriminator_arch import VGGStyleDiscriminator  # isort: skip
from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: F401  # isort: skip
from basicsr.archs.srresnet_arch import MSRResNet  # isort: skip
from basicsr.losses.basic_loss import charbonnier_loss  # isort: skip
from basicsr.losses.gan_loss import GANLoss  # isort: skip
from basicsr.losses.loss_util import get_refined_artifact_map  # isort: skip
from basicsr.models.esrgan_model import ESRGANModel  # isort: skip
from basicsr.models.sr_model import SRModel  # isort: skip
from basicsr.models.srgan_model import SRGANModel  # isort: skip

RRDB = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 4}
SRRES = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 4}
STYLE = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4}
UNET = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
# the class, how it is begun (realesrgan's own beginnings ask for a GPU), networks, weights of pixel, perceptual, GAN
CASES = {
    "esrgan": (ESRGANModel, ESRGANModel, RRDB, STYLE, (1e-2, 1.0, 5e-3)),
    "srgan": (SRGANModel, SRGANModel, SRRES, STYLE, (1e-2, 1.0, 5e-3)),
    "real_esrnet": (realesrnet.RealESRNetModel, SRModel, RRDB, None, (1.0, 0.0, 0.0)),
    "real_esrgan": (model_module.RealESRGANModel, SRGANModel, RRDB, UNET, (1.0, 1.0, 0.1)),
}


def options(network_g, network_d, weights, given):
    pixel, perceptual, gan = weights
    train = {
        "optim_g": {"type": "Adam", "lr": float(given["lr"]), "weight_decay": 0, "betas": [0.9, 0.99]},
        "optim_d": {"type": "Adam", "lr": float(given["lr"]), "weight_decay": 0, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [10**6], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": pixel, "reduction": "mean"},
    }
    if perceptual:
        layers = {"conv1_2": 0.1, "conv2_2": 1.0}
        train["perceptual_opt"] = {"type": "PerceptualLoss", "layer_weights": layers, "perceptual_weight": perceptual}
    if gan:
        train["gan_opt"] = {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": gan}
    made = {"num_gpu": 0, "is_train": True, "dist": False, "path": {}, "train": train, "network_g": dict(network_g)}
    made |= {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False}
    return made | ({"network_d": dict(network_d)} if network_d else {})


def vgg(given):
    """What stands in for torchvision.models: VGG19's first layers with the given weights instead of a download."""

    def vgg19(**_):
        layers = [nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU(True), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(64, 128, 3, 1, 1), nn.ReLU(True), nn.Conv2d(128, 128, 3, 1, 1)]
        features = nn.Sequential(*layers)
        features.load_state_dict(tensors(given, "vgg/features."))
        return types.SimpleNamespace(features=features)

    return types.SimpleNamespace(vgg19=vgg19)


def tensors(given, prefix):
    return {k.removeprefix(prefix): torch.from_numpy(given[k]) for k in given.files if k.startswith(prefix)}


def steps(name, given):
    kind, begin, network_g, network_d, weights = CASES[name]
    made = object.__new__(kind)
    begin.__init__(made, options(network_g, network_d, weights, given))
    nets = {"g": made.net_g} | ({"d": made.net_d} if network_d else {})
    for short, net in nets.items():
        net.load_state_dict(tensors(given, f"{name}/{short}/"))
    sharpen = model_module.USMSharp()
    found = {}
    for number, (lq, gt) in enumerate(zip(given[f"{name}/lq"], given[f"{name}/gt"], strict=True)):
        made.lq, made.gt = torch.from_numpy(lq), torch.from_numpy(gt)
        made.gt_usm = sharpen(made.gt)
        if name == "real_esrnet":
            made.gt = made.gt_usm  # as its feed_data does with gt_usm: True
        made.optimize_parameters(number + 1)
        for short, net in nets.items():
            found |= {f"{name}/{number}/{short}/{k}": v.clone().numpy() for k, v in net.state_dict().items()}
            found |= {f"{name}/{number}/{short}.grad/{k}": p.grad.clone().numpy() for k, p in net.named_parameters()}
    return found


def parts(given):
    """Objectives, networks and the artefact map on given numbers."""
    found = {}
    logits = torch.from_numpy(given["logits"]).requires_grad_()
    for kind in ("vanilla", "lsgan", "hinge"):
        for real in (True, False):
            for judge in (True, False):
                loss = GANLoss(kind, loss_weight=1.0)(logits, real, is_disc=judge)
                name = f"gan/{kind}/{real}/{judge}"
                found[name], found[f"{name}/grad"] = (loss.detach(), torch.autograd.grad(loss, logits)[0])
    for size in (128, 256):
        net = VGGStyleDiscriminator(3, 4, size)
        net.load_state_dict(tensors(given, f"style{size}/"))
        image = torch.from_numpy(given[f"image{size}"])
        found[f"style{size}/train"] = net.train()(image).detach()
        found[f"style{size}/eval"] = net.eval()(image).detach()
    for scale in (2, 3, 4):
        net = MSRResNet(3, 3, 8, 2, scale)
        net.load_state_dict(tensors(given, f"srresnet{scale}/"))
        found[f"srresnet{scale}/out"] = net(torch.from_numpy(given["small"])).detach()
    sr, gt, ema = (torch.from_numpy(given[k]) for k in ("sr", "gt", "ema"))
    sr.requires_grad_()
    found["charbonnier"] = charbonnier_loss(sr, gt, eps=1e-6).detach()
    weight = get_refined_artifact_map(gt, sr, ema, 7)
    loss = (weight * sr - weight * gt).abs().mean()
    found |= {"ldl/map": weight.detach(), "ldl/loss": loss.detach(), "ldl/grad": torch.autograd.grad(loss, sr)[0]}
    return {k: v.numpy() for k, v in found.items()}


def main(inputs, outputs):
    given = np.load(inputs)
    found = parts(given)
    with mock.patch.object(vgg_arch, "vgg", vgg(given)):
        for name in CASES:
            found |= steps(name, given)
    np.savez(outputs, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
