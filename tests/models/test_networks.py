import pytest
import torch

from archsr.config import RRDBNetConfig
from archsr.errors import UserError
from archsr.models.build import build, infer, load_state, parameter_count
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srvgg import SRVGGNetCompact
from archsr.models.unet_discriminator import UNetDiscriminatorSN
from archsr.models.vgg_features import CONVS, VGG19Features


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (lambda: RRDBNet(), 16_697_987),
        (lambda: RRDBNet(blocks=6), 4_467_779),
        (lambda: SRVGGNetCompact(convs=16), 621_424),
        (lambda: SRVGGNetCompact(convs=32), 1_213_296),
        (lambda: UNetDiscriminatorSN(), 4_376_897),
    ],
)
def test_official_parameter_counts(net, count):
    with torch.device("meta"):
        assert parameter_count(net()) == count


def filled(net):
    """Fill every tensor with sines, as when the goldens were made."""
    for name, tensor in net.state_dict().items():
        values = torch.sin(1.3 * torch.arange(1, tensor.numel() + 1, dtype=torch.float64))
        if name.endswith(("_u", "_v")):
            values = values / values.norm()
        elif tensor.dim() == 4:
            values = values * 0.5 / (tensor[0].numel() ** 0.5)
        else:
            values = values * 0.01
        tensor.copy_(values.view(tensor.shape))
    return net.double().eval()


@torch.no_grad()
def test_discriminator_golden():
    net = filled(UNetDiscriminatorSN().double())
    image = torch.sin(0.37 * torch.arange(3 * 32 * 40, dtype=torch.float64)).view(1, 3, 32, 40) * 0.5 + 0.5
    logits = net(image)
    assert logits.shape == (1, 1, 32, 40)
    assert logits.mean().item() == pytest.approx(0.0111775696, abs=1e-9)
    # realesrgan 0.3.0 itself gives this value on the same fill, to the last bit
    assert logits[0, 0, 5, 7].item() == pytest.approx(0.0101681490, abs=1e-9)
    assert len(net.state_dict()) == 28


@torch.no_grad()
def test_srvgg_golden():
    net = filled(SRVGGNetCompact().double())
    image = torch.sin(0.37 * torch.arange(3 * 24 * 20, dtype=torch.float64)).view(1, 3, 24, 20) * 0.5 + 0.5
    out = net(image)
    assert out.mean().item() == pytest.approx(0.5007845586, abs=1e-8)
    assert out[0, :, 5, 7].tolist() == pytest.approx([0.98981692, 0.48974543, 0.01330883], abs=1e-7)


def test_checkpointing_changes_no_gradient():
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    gradients = []
    for checkpointing in ("none", "rrdb", "rdb", 2):
        net = build(RRDBNetConfig(features=8, blocks=3, growth=4)).double()
        net.recompute(checkpointing)
        net.requires_grad_(False)
        net.body[1].rdb2.conv3.requires_grad_(True)
        net(x).square().mean().backward()
        gradients.append({k: p.grad for k, p in net.named_parameters() if p.grad is not None})
    assert set(gradients[0]) == {"body.1.rdb2.conv3.weight", "body.1.rdb2.conv3.bias"} == set(gradients[1])
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            assert torch.equal(gradient, other[name])


@pytest.mark.parametrize("checkpointing", ["none", "rrdb", "rdb", 2])
def test_frozen_blocks_in_front_keep_nothing(checkpointing):
    net = RRDBNet(features=8, blocks=4, growth=4).requires_grad_(False)
    net.recompute(checkpointing)
    net.conv_last.requires_grad_(True)
    seen = []
    for block in net.body:
        block.register_forward_hook(lambda _m, _i, out: seen.append(out.requires_grad))
    assert net(torch.rand(1, 3, 8, 8)).requires_grad
    assert seen == [False] * 4


def test_building_depends_on_the_seed_and_nothing_else():
    before = torch.get_rng_state()
    a, b = (build(RRDBNetConfig(features=8, blocks=1, growth=4), seed=3) for _ in range(2))
    other = build(RRDBNetConfig(features=8, blocks=1, growth=4), seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.conv_last.weight, b.conv_last.weight)
    assert not torch.equal(a.conv_last.weight, other.conv_last.weight)


def test_foreign_tensors_are_refused():
    with pytest.raises(UserError, match="not the weights of"):
        infer({"layer.weight": torch.zeros(3)}, where="x.pth")
    net = build(RRDBNetConfig(features=8, blocks=1, growth=4))
    other = build(RRDBNetConfig(features=8, blocks=2, growth=8))
    with pytest.raises(UserError) as error:
        load_state(net, other.state_dict(), where="x.pth")
    for word in (
        "x.pth",
        "another network",
        "body.1.rdb1.conv1.weight (8, 8, 3, 3)",
        "body.0.rdb1.conv1.weight is (8,",
    ):
        assert word in str(error.value)


def test_vgg_taps_stand_before_relu():
    assert {k: CONVS[k] for k in ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")} == {
        "conv1_2": 2, "conv2_2": 7, "conv3_4": 16, "conv4_4": 25, "conv5_4": 34,
    }  # fmt: skip
    net = VGG19Features(["conv1_2", "conv2_2"])
    features = net(torch.rand(1, 3, 16, 16))
    assert {k: tuple(v.shape) for k, v in features.items()} == {"conv1_2": (1, 64, 16, 16), "conv2_2": (1, 128, 8, 8)}
    assert features["conv1_2"].min() < 0
    assert len(net.features) == 8
    assert not any(p.requires_grad for p in net.parameters())


@torch.no_grad()
def test_x4plus_golden(real_weights):
    from archsr.models.weights import load_weights

    net = build(RRDBNetConfig()).eval()
    load_weights(net, str(real_weights / "RealESRGAN_x4plus.fp16.safetensors"))
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    image = torch.stack([0.5 + 0.4 * torch.sin(0.35 * x * (c + 1) / 2 + 0.2 * y) for c in range(3)])[None]
    out = net(image)
    assert out.mean((0, 2, 3)).tolist() == pytest.approx([0.454337, 0.473459, 0.483019], abs=1e-3)
    assert out[0, :, 48, 48].tolist() == pytest.approx([0.176847, 0.514949, 0.905703], abs=1e-3)
    assert out[0, :, 10, 80].tolist() == pytest.approx([0.191431, 0.809972, 0.094855], abs=1e-3)
