"""Float64 gradients equal those of plain operations: recomputed, channels last, frozen front, two processes."""

from pathlib import Path

import pytest
import torch
from plain_gradients import LAYER_SEED, compare, images, loss_of, network, plain_gradients
from ranks import Ranks

from archsr.config import DistsLoss, FeaturesLoss, LossConfig, LpipsLoss, PerceptualLoss, PixelLoss
from archsr.models.unet_discriminator import UNetDiscriminatorSN
from archsr.training.layers import select
from archsr.training.losses.feature_losses import feature_losses
from archsr.training.memory.ledger import saved_bytes

LAYERS = [["all"], ["conv_last"], ["body.1.rdb2.conv3"], ["body.1-2", "conv_hr"], ["conv_first", "body.2.rdb3"]]


@pytest.mark.parametrize("pieces", ["none", "rrdb", "rdb", 2, 3])
@pytest.mark.parametrize("last", [False, True], ids=["", "channels_last"])
@pytest.mark.parametrize("layers", LAYERS)
def test_the_generators_gradients_are_those_of_plain_operations(layers, last, pieces):
    net = network(LAYER_SEED)
    select(net, layers)
    net.recompute(pieces)
    if last:
        net.to(memory_format=torch.channels_last)
    x, target = images()
    loss_of(net(x), target).backward()
    compare({k: p.grad for k, p in net.named_parameters() if p.grad is not None}, plain_gradients(layers))


@pytest.mark.parametrize(("pieces", "layers"), [("rdb", LAYERS[2]), ("2", LAYERS[0])])
def test_two_processes_have_the_gradients_of_the_whole_batch(tmp_path, pieces, layers):
    out = tmp_path / "gradients.pt"
    script = Path(__file__).with_name("ddp_gradients.py")
    done = Ranks(2, script, str(out), pieces, *layers, folder=tmp_path).wait()
    assert done.returncode == 0, done.stderr[-3000:]
    compare(torch.load(out), plain_gradients(layers))


@pytest.mark.parametrize("layers", LAYERS[1:4])
@pytest.mark.parametrize("pieces", ["none", "rrdb", "rdb", 3])
def test_the_frozen_front_runs_without_a_graph_and_once(layers, pieces):
    """The layers before the first trained one are neither kept nor recomputed."""
    net = network(LAYER_SEED)
    select(net, layers)
    net.recompute(pieces)
    learns, calls = {}, dict.fromkeys(range(3), 0)

    def note(number, out):
        learns[number] = out.requires_grad
        calls[number] += 1

    for number, block in enumerate(net.body):
        block.register_forward_hook(lambda _m, _i, out, n=number: note(n, out))
    net(images()[0]).sum().backward()
    front = next((n for n, b in enumerate(net.body) if any(p.requires_grad for p in b.parameters())), 3)
    assert [learns[n] for n in range(3)] == [n >= front for n in range(3)]
    assert all(calls[n] == 1 for n in range(front))


def discriminator_step(recompute):
    torch.manual_seed(0)
    net = UNetDiscriminatorSN(features=4).double().train()
    net.recompute = recompute
    x = torch.rand(2, 3, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for _ in range(2):
        net(x).sin().sum().backward()
    return {"x": x.grad, **{k: p.grad for k, p in net.named_parameters()}, **dict(net.named_buffers())}


def test_a_recomputed_discriminator_makes_no_other_power_iterations():
    plain, again = discriminator_step(False), discriminator_step(True)
    assert all(torch.equal(plain[name], again[name]) for name in plain)


OFF = {"pixel": PixelLoss(weight=1.0), "perceptual": PerceptualLoss(weight=0.0)}
FEATURES = {
    "perceptual": PerceptualLoss(weights="scratch"),
    "features": FeaturesLoss(weight=1.0, network="resnet10t", weights="scratch"),
    "lpips": LpipsLoss(weight=1.0, weights="scratch"),
    "dists": DistsLoss(weight=1.0, weights="scratch", balance="scratch"),
}


def feature_loss(name, recompute):
    losses = LossConfig(**{**OFF, name: FEATURES[name]})
    return feature_losses(losses, size=64, recompute=recompute)[name]


def two_images():
    rng = torch.Generator().manual_seed(2)
    return (torch.rand(1, 3, 64, 64, generator=rng) for _ in range(2))


@pytest.mark.parametrize("name", FEATURES)
def test_recomputed_feature_losses_have_the_same_gradients_and_keep_less(name):
    found, kept = [], []
    for recompute in (False, True):
        loss = feature_loss(name, recompute)
        sr, target = two_images()
        kept.append(saved_bytes(lambda: loss(sr.requires_grad_(), target), loss))  # noqa: B023
        sr, target = two_images()
        value = loss(sr.requires_grad_(), target)
        value.backward()
        found.append((value.detach(), sr.grad))
    for plain, again in zip(*found, strict=True):
        assert torch.equal(plain, again)
    assert kept[1] < kept[0]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", FEATURES)
def test_the_ground_truths_features_have_no_graph(name, recompute):
    sr, target = two_images()
    assert not feature_loss(name, recompute)(sr, target.requires_grad_()).requires_grad
