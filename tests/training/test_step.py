"""One iteration against a plain transcription of the reference's order, and accumulation against the whole batch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from archsr.config import GanLoss, LossConfig, PatchConfig, PerceptualLoss, PixelLoss
from archsr.degradation.apply import Pair
from archsr.degradation.sharpen import sharpen
from archsr.models.build import build_discriminator
from archsr.models.rrdbnet import RRDBNet
from archsr.models.unet_discriminator import UNetDiscriminatorSN
from archsr.training.losses.feature_losses import Perceptual
from archsr.training.step import Parts, discriminator_step, micro_step, update

LOSSES = LossConfig(
    pixel=PixelLoss(weight=1.0), perceptual=PerceptualLoss(weight=0.5, layers={"conv1_2": 1.0}), gan=GanLoss(weight=0.1)
)


@pytest.fixture
def nets():
    torch.manual_seed(0)
    return RRDBNet(features=8, blocks=1, growth=4), UNetDiscriminatorSN(features=4), Perceptual(LOSSES.perceptual)


@pytest.fixture
def pair():
    rng = torch.Generator().manual_seed(1)
    gt = torch.rand(4, 3, 32, 32, generator=rng)
    return Pair(F.avg_pool2d(gt, 4), gt)


def parts(net_g, net_d, perceptual, *, train_d=True):
    scalers = [torch.amp.GradScaler("cpu", enabled=False) for _ in range(2)]
    return Parts(
        accelerator=Accelerator(cpu=True),
        net_g=net_g,
        net_d=net_d if train_d else None,
        raw_d=net_d,
        losses=LOSSES,
        scaler_g=scalers[0],
        scaler_d=scalers[1],
        features={"perceptual": perceptual},
    )


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.99))


def reference_iteration(net_g, net_d, perceptual, optim_g, optim_d, pair):
    """Generator step with the discriminator frozen, then the discriminator on real and on the same fake."""
    bce = F.binary_cross_entropy_with_logits
    gt_usm = sharpen(pair.gt)
    for p in net_d.parameters():
        p.requires_grad = False
    optim_g.zero_grad()
    sr = net_g(pair.lq)
    total = F.l1_loss(sr, gt_usm) + 0.5 * perceptual(sr, gt_usm)
    fake = net_d(sr)
    (total + 0.1 * bce(fake, torch.ones_like(fake))).backward()
    optim_g.step()
    for p in net_d.parameters():
        p.requires_grad = True
    optim_d.zero_grad()
    real = net_d(pair.gt)
    bce(real, torch.ones_like(real)).backward()
    fake = net_d(sr.detach())
    bce(fake, torch.zeros_like(fake)).backward()
    optim_d.step()


def test_iterations_equal_the_references(nets, pair):
    net_g, net_d, perceptual = nets
    their_g, their_d = copy.deepcopy(net_g), copy.deepcopy(net_d)
    ours, theirs = (adam(net_g), adam(net_d)), (adam(their_g), adam(their_d))
    own = parts(net_g, net_d, perceptual)
    for _ in range(3):
        micro_step(own, pair, share=1.0, last=True)
        update(ours[0], own.scaler_g, clip=0.0)
        update(ours[1], own.scaler_d, clip=0.0)
        for optimizer in ours:
            optimizer.zero_grad()
        reference_iteration(their_g, their_d, perceptual, *theirs, pair)
    for mine, other in ((net_g, their_g), (net_d, their_d)):
        for (name, a), b in zip(mine.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


def test_accumulated_halves_have_the_gradient_of_the_whole(pair):
    """Without the discriminator, because its spectral norm makes one power iteration per forward."""
    torch.manual_seed(0)
    net = RRDBNet(features=8, blocks=1, growth=4).double()
    doubles = Pair(pair.lq.double(), pair.gt.double())
    losses = LossConfig(
        pixel=PixelLoss(sharpened=False), perceptual=PerceptualLoss(weight=0.0), gan=GanLoss(weight=0.0)
    )
    gradients = []
    for pieces in (1, 2, 4):
        own = copy.deepcopy(net)
        p = Parts(Accelerator(cpu=True), own, None, None, losses, *[torch.amp.GradScaler("cpu", enabled=False)] * 2)
        size = 4 // pieces
        for i in range(pieces):
            part = Pair(doubles.lq[i * size : (i + 1) * size], doubles.gt[i * size : (i + 1) * size])
            micro_step(p, part, share=1 / pieces, last=i == pieces - 1)
        gradients.append([q.grad for q in own.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-9)


def test_accumulated_halves_have_the_discriminators_gradient_of_the_whole(pair):
    """A discriminator without normalisation handles each sample independently."""
    torch.manual_seed(0)
    net_g = RRDBNet(features=8, blocks=1, growth=4)
    net_d = build_discriminator(PatchConfig(arch="patch", features=4, layers=1, norm="none"))
    losses = LossConfig(perceptual=PerceptualLoss(weight=0.0), gan=GanLoss(weight=0.1))
    gradients = []
    for pieces in (1, 2, 4):
        judge = copy.deepcopy(net_d)
        scalers = [torch.amp.GradScaler("cpu", enabled=False)] * 2
        p = Parts(Accelerator(cpu=True), copy.deepcopy(net_g), judge, judge, losses, *scalers)
        for lq, gt in zip(pair.lq.chunk(pieces), pair.gt.chunk(pieces), strict=True):
            micro_step(p, Pair(lq, gt), share=1 / pieces, last=True)
        gradients.append([q.grad for q in judge.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)


def test_in_an_iteration_of_the_discriminators_own_only_it_learns(nets, pair):
    """It learns as beside the generator, which has no gradient and no graph."""
    both, alone = [[copy.deepcopy(net) for net in nets] for _ in range(2)]
    micro_step(parts(*both), pair, share=1.0, last=True)
    terms = discriminator_step(parts(*alone), pair, share=1.0, last=True)
    assert all(p.grad is None for p in alone[0].parameters())
    assert set(terms) >= {"d_real", "d_fake"}
    assert "pixel" not in terms
    for a, b in zip(alone[1].parameters(), both[1].parameters(), strict=True):
        assert a.grad.shape == b.grad.shape
        assert float(a.grad.abs().sum()) > 0


def test_a_frozen_discriminator_judges_but_does_not_learn(nets, pair):
    net_g, net_d, perceptual = nets
    net_d.requires_grad_(False).eval()
    before = copy.deepcopy(net_d.state_dict())
    terms = micro_step(parts(net_g, net_d, perceptual, train_d=False), pair, share=1.0, last=True)
    assert set(terms) == {"pixel", "perceptual", "gan", "total", "colour_drift"}
    assert all(p.grad is None for p in net_d.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net_d.state_dict().items())
    assert all(p.grad is not None for p in net_g.parameters())


def test_terms_are_reported_without_their_graph(nets, pair):
    terms = micro_step(parts(*nets), pair, share=1.0, last=True)
    assert {"d_real", "d_fake", "d_real_logit", "d_fake_logit", "d_real_accuracy", "d_fake_accuracy"} <= set(terms)
    assert not any(t.requires_grad for t in terms.values())
    total = terms["pixel"] + 0.5 * terms["perceptual"] + 0.1 * terms["gan"]
    assert float(terms["total"]) == pytest.approx(float(total), rel=1e-5)
