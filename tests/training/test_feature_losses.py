"""Losses on features of frozen networks equal those of their packages, and report missing weights."""

import pytest
import timm
import torch
from torchvision.models.vgg import cfgs, make_layers

from archsr.config import DistsLoss, FeaturesLoss, LossConfig, LpipsLoss, PerceptualLoss
from archsr.errors import UserError
from archsr.models.vgg_features import untrained
from archsr.training.losses.feature_losses import Dists, Lpips, Perceptual, TimmFeatureLoss, feature_losses, sources

NET = "test_resnet.r160_in1k"  # timm's own for tests: 0.5 million parameters
ALL = LossConfig(
    perceptual=PerceptualLoss(weights="scratch", layers={"conv1_2": 1.0}),
    features=FeaturesLoss(weight=1.0, network=NET, weights="scratch", distance="l1"),
    lpips=LpipsLoss(weight=1.0, network="alex", weights="scratch"),
    dists=DistsLoss(weight=1.0, weights="scratch", balance="scratch"),
)
NAMES = ["perceptual", "features", "lpips", "dists"]


@pytest.fixture(scope="module")
def losses():
    return feature_losses(ALL, size=64)


@pytest.fixture
def images():
    return torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).unbind(0)


@pytest.mark.parametrize("name", NAMES)
def test_laws_of_all(name, losses, images):
    loss, (a, b) = losses[name], images
    assert float(loss(a, a)) == pytest.approx(0, abs=1e-5)
    assert float(loss(a, b)) > 1e-4
    alone = [float(loss(x[None], y[None])) for x, y in zip(a, b, strict=True)]
    assert float(loss(a, b)) == pytest.approx(sum(alone) / 2, rel=1e-4)
    sr, gt = a.clone().requires_grad_(), b.clone().requires_grad_()
    loss(sr, gt).backward()
    assert gt.grad is None
    assert sr.grad.isfinite().all()
    assert float(sr.grad.abs().max()) > 0
    assert not any(p.requires_grad for p in loss.parameters())
    assert not any(m.training for m in loss.train().modules())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_flat_images_have_a_gradient_of_numbers(name, value, losses):
    sr = torch.full((1, 3, 64, 64), value).requires_grad_()
    losses[name](sr, torch.rand(1, 3, 64, 64)).backward()
    assert sr.grad.isfinite().all()


@torch.no_grad()
def test_they_are_what_the_packages_compute(losses, images):
    a, b = images
    theirs = losses["lpips"].net(a * 2 - 1, b * 2 - 1).mean()
    assert float(losses["lpips"](a, b)) == pytest.approx(float(theirs), rel=1e-4)
    assert float(losses["dists"](a, b)) == pytest.approx(float(losses["dists"].net(a, b).mean()))
    net = losses["features"]
    mean, std = (torch.tensor(net.net.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    pairs = zip(net.net((a - mean) / std), net.net((b - mean) / std), strict=True)
    assert float(net(a, b)) == pytest.approx(float(sum((x - y).abs().mean() for x, y in pairs)), rel=1e-5)


def test_an_untrained_network_is_torchvisions_but_for_its_numbers():
    """Kaiming's scale keeps the size of the values through each convolution."""
    net, theirs = untrained("vgg16").features, make_layers(cfgs["D"])
    assert [(type(a), getattr(a, "weight", None) is None) for a in net] == [
        (type(a), getattr(a, "weight", None) is None) for a in theirs
    ]
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    deep = net(torch.rand(1, 3, 64, 64)).detach()
    assert 0.01 < float(deep.abs().mean()) < 100


def test_the_same_untrained_networks_every_time(losses):
    for name, again in feature_losses(ALL, size=64).items():
        for a, b in zip(losses[name].parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b), name


def test_weights_from_files(tmp_path, images):
    """Whole networks as published: torchvision's names for LPIPS and DISTS, timm's for features."""
    torch.manual_seed(5)
    a, b = images
    nets = {"alex": untrained("alexnet"), "vgg16": untrained("vgg16")}
    balance = {"alpha": torch.rand(1, 1475, 1, 1), "beta": torch.rand(1, 1475, 1, 1)}
    for name, state in {**{k: n.state_dict() for k, n in nets.items()}, "balance": balance}.items():
        torch.save(state, tmp_path / f"{name}.pth")
    lpips = Lpips(LpipsLoss(network="alex"))
    before = float(lpips(a, b))
    lpips.load(LpipsLoss(network="alex", weights=str(tmp_path / "alex.pth")))
    assert torch.equal(lpips.net.net.get_submodule("slice3.6").weight, nets["alex"].features[6].weight)
    assert float(lpips(a, b)) != before
    dists = Dists(DistsLoss())
    dists.load(DistsLoss(weights=str(tmp_path / "vgg16.pth"), balance=str(tmp_path / "balance.pth")))
    assert torch.equal(dists.net.get_submodule("stage5.28").weight, nets["vgg16"].features[28].weight)
    assert torch.equal(dists.net.beta, balance["beta"])
    whole = timm.create_model(NET, pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "timm.pth")
    features = TimmFeatureLoss(FeaturesLoss(network=NET))
    features.load(FeaturesLoss(network=NET, weights=str(tmp_path / "timm.pth")))
    assert torch.equal(next(features.net.parameters()), next(whole.parameters()))


def test_anothers_weights_are_refused(tmp_path):
    torch.save(timm.create_model("test_vit.r160_in1k").state_dict(), tmp_path / "other.pth")
    file = str(tmp_path / "other.pth")
    for config, word in (
        (LossConfig(features=FeaturesLoss(weight=1.0, network=NET, weights=file)), "another network"),
        (LossConfig(lpips=LpipsLoss(weight=1.0, weights=file)), "missing"),
        (LossConfig(dists=DistsLoss(weight=1.0, weights=file)), "missing"),
        (LossConfig(dists=DistsLoss(weight=1.0, weights="scratch", balance=file)), "missing"),
    ):
        alone = config.model_copy(update={"perceptual": PerceptualLoss(weight=0.0)})
        with pytest.raises(UserError, match=word):
            feature_losses(alone, size=64)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"network": "resnett18"}, ["timm has no such network", "'resnet18'"]),
        ({"network": NET, "layers": {"layer9": 1.0}}, ["no features 'layer9'", "layer4"]),
        ({"network": "vit_tiny_patch16_224"}, ["cannot process data.gt_size = 64"]),
    ],
)
def test_what_timm_cannot_do_is_said(features, words):
    config = LossConfig(perceptual=PerceptualLoss(weight=0.0), features=FeaturesLoss(
        weight=1.0, weights="scratch", **features))  # fmt: skip
    with pytest.raises(UserError) as error:
        feature_losses(config, size=64)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["perceptual", "lpips", "dists", "features"])
def test_without_network_the_error_says_what_to_do(name, monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    monkeypatch.setenv("ARCHSR_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    kinds = {"lpips": LpipsLoss(weight=1.0), "dists": DistsLoss(weight=1.0), "perceptual": PerceptualLoss(layers={
        "conv1_2": 1.0}), "features": FeaturesLoss(weight=1.0, network=NET, weights="timm")}  # fmt: skip
    config = LossConfig(**{"perceptual": PerceptualLoss(weight=0.0), name: kinds[name]})
    with pytest.raises(UserError) as error:
        feature_losses(config, size=64)
    for word in (f"losses.{name} needs", f"losses.{name}.weights", f"--set losses.{name}.weight=0"):
        assert word in str(error.value)


def test_sources_name_every_file():
    config = LossConfig(lpips=LpipsLoss(weight=1.0, network="alex"), dists=DistsLoss(weight=1.0))
    assert sources(config) == {"VGG19": "vgg19", "LPIPS": "alexnet", "DISTS": "vgg16", "DISTS balance": "dists"}
    assert isinstance(feature_losses(ALL, size=64, weights=False)["perceptual"], Perceptual)
