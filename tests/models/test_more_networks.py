"""SRResNet, the VGG-style and the patch discriminator: published sizes, names, laws."""

import pytest
import torch
from torch import nn

from archsr.config import PatchConfig, SRResNetConfig, UNetConfig, VGGStyleConfig
from archsr.models.build import build, build_discriminator, parameter_count
from archsr.models.patch_discriminator import PatchDiscriminator
from archsr.models.srresnet import SRResNet
from archsr.models.vgg_discriminator import VGGStyleDiscriminator
from archsr.training.layers import select
from archsr.training.memory.ledger import saved_bytes

JUDGES = [
    (UNetConfig(features=4), 64),
    (VGGStyleConfig(arch="vgg", features=4), 128),
    (VGGStyleConfig(arch="vgg", features=4, input_size=256), 256),
    (PatchConfig(arch="patch", features=4), 64),
    (PatchConfig(arch="patch", features=4, norm="batch", layers=2), 40),
    (PatchConfig(arch="patch", features=4, norm="none", layers=1), 35),
]


def test_sizes_are_those_of_the_published_networks():
    with torch.device("meta"):
        assert parameter_count(SRResNet()) == 1_517_571
        assert parameter_count(VGGStyleDiscriminator()) == 14_499_401
        assert parameter_count(PatchDiscriminator(norm="none")) == 2_764_737
        assert parameter_count(PatchDiscriminator(norm="batch")) == 2_765_633


def test_names():
    with torch.device("meta"):
        style = VGGStyleDiscriminator(size=256).state_dict()
    assert {"conv0_0.bias", "conv0_1.weight", "bn0_1.running_var", "bn5_0.weight", "linear1.weight"} <= style.keys()
    assert not {"bn0_0.weight", "conv0_1.bias", "conv6_0.weight"} & style.keys()
    assert style["linear1.weight"].shape == (100, 8192)
    with torch.device("meta"):
        net = SRResNet(scale=3).state_dict()
    assert {"body.15.conv2.bias", "upconv1.weight", "conv_hr.bias"} <= net.keys()
    assert "upconv2.weight" not in net
    assert net["upconv1.weight"].shape == (576, 64, 3, 3)


@pytest.mark.parametrize("layers", [["conv_last"], ["body.1.conv2"], ["body.0", "upconv1"], ["all"]])
def test_recomputing_changes_memory_and_nothing_else(layers):
    net = build(SRResNetConfig(arch="srresnet", features=8, blocks=4))
    select(net, layers)
    x = torch.rand(2, 3, 9, 8)
    gradients, kept = [], []
    for pieces in ("none", "rrdb"):
        net.recompute(pieces)
        kept.append(saved_bytes(lambda: net(x), net))
        net.zero_grad()
        net(x).square().mean().backward()
        gradients.append({k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == {k for k, p in net.named_parameters() if p.requires_grad}
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name
    if layers == ["all"]:  # of a frozen block less is kept anyway than its input, of which recomputing begins
        assert kept[1] < kept[0]


@pytest.mark.parametrize(("config", "size"), JUDGES)
def test_every_image_is_judged_and_every_weight_learns(config, size):
    net = build_discriminator(config, seed=1).train()
    x = torch.rand(2, 3, size, size, requires_grad=True)
    logits = net(x)
    assert logits.shape[:2] == (2, 1)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert x.grad.abs().sum((1, 2, 3)).min() > 0
    for a, b in zip(net.state_dict().values(), build_discriminator(config, seed=1).train().state_dict().values(),
                    strict=True):  # fmt: skip
        assert a.shape == b.shape


def test_the_patch_of_three_layers_is_70_pixels():
    net = PatchDiscriminator(features=4, norm="none").eval()
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    logits = net(x)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    rows, columns = x.grad.abs().sum((0, 1)).nonzero().unbind(1)
    assert rows.max() - rows.min() + 1 == 70
    assert columns.max() - columns.min() + 1 == 70


def test_spectral_norm_is_of_the_inner_layers_only():
    net = PatchDiscriminator(features=4, norm="spectral")
    normalised = {name for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and hasattr(m, "weight_orig")}
    assert normalised == {"conv1", "conv2", "conv3"}
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
