"""Memory-efficient convolutions have the values and gradients of plain ones, and keep less."""

import copy
import itertools

import plain_networks
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archsr.models.cast_weights import CastWeights, cast_of
from archsr.models.memory_efficient import conv_act, halved, l1, lean_conv, relu
from archsr.models.rrdbnet import RRDBNet
from archsr.models.unet_discriminator import UNetDiscriminatorSN
from archsr.models.vgg_features import VGG19Features
from archsr.training.layers import select
from archsr.training.memory.ledger import saved_bytes

torch.set_num_threads(1)


def make(frozen=False, bias=True, stride=1, kernel=3, dtype=torch.float64):
    torch.manual_seed(0)
    conv = nn.Conv2d(7, 5, kernel, stride, 1, bias=bias).to(dtype)
    return conv.requires_grad_(not frozen)


def parts(dtype=torch.float64, learn=(True, False, True)):
    rng = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, c, 8, 6, generator=rng, dtype=dtype).requires_grad_(need)
        for c, need in zip((3, 1, 3), learn, strict=True)
    ]


def plain(pieces, conv, slope):
    out = conv(torch.cat(pieces, 1))
    return out if slope is None else F.leaky_relu(out, slope)


def gradients(function, pieces, conv, slope):
    out = function(pieces, conv, slope)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(out.dtype)
    wanted = [t for t in [*pieces, *conv.parameters()] if t.requires_grad]
    return out.detach(), torch.autograd.grad((out * weights).sum(), wanted)


def lean(pieces, conv, slope):
    return conv_act(pieces, conv, slope=slope)


@pytest.mark.parametrize(
    ("frozen", "bias", "shape", "slope", "learn"),
    list(
        itertools.product(
            [False, True], [True, False], [(1, 3), (2, 4)], [None, 0.2], [(True, False, True), (False, True, False)]
        )
    ),
)
def test_values_and_gradients_are_those_of_the_plain_operations(frozen, bias, shape, slope, learn):
    conv = make(frozen, bias, *shape)
    out, found = gradients(lean, parts(learn=learn), conv, slope)
    expected, wanted = gradients(plain, parts(learn=learn), conv, slope)
    assert torch.equal(out, expected)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_gradcheck():
    pieces, conv = parts(), make()
    assert torch.autograd.gradcheck(
        lambda w, b, *p: lean_conv(p, w, b, stride=1, padding=1, slope=0.2), (conv.weight, conv.bias, *pieces)
    )


@pytest.mark.parametrize("frozen", [False, True])
def test_the_same_under_autocast(frozen):
    conv, pieces = make(frozen, dtype=torch.float32), parts(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, found = gradients(lean, pieces, conv, 0.2)
        expected, wanted = gradients(plain, pieces, conv, 0.2)
    assert out.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(out, expected)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_kept(frozen):
    conv, pieces = make(frozen, dtype=torch.float32), parts(torch.float32, learn=(True, True, True))
    kept = saved_bytes(lambda: conv_act(pieces, conv, slope=0.2), conv)
    values = 2 * 8 * 6
    assert kept == (values * 5 if frozen else 4 * values * (7 + 5))


def test_without_gradients_nothing_is_kept():
    conv, pieces = make(), parts(learn=(False, False, False))
    with torch.no_grad():
        assert conv_act(pieces, conv, slope=0.2).grad_fn is None
    assert conv_act(pieces, make(frozen=True), slope=0.2).grad_fn is None


@pytest.mark.parametrize(
    ("small", "usual", "kept"),
    [
        (relu, F.relu, 2 * 3 * 9 * 7),
        (halved, lambda x: F.max_pool2d(x, 2), 2 * 3 * 4 * 3),
        (lambda x: l1(x, torch.full_like(x, 0.1)), lambda x: F.l1_loss(x, torch.full_like(x, 0.1)), 2 * 3 * 9 * 7),
    ],
    ids=["relu", "halved", "l1"],
)
def test_the_other_operations_too(small, usual, kept):
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    out, expected = small(x), usual(x)
    torch.testing.assert_close(out, expected, rtol=1e-14, atol=0)
    weights = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found, wanted = (torch.autograd.grad((o * weights).sum(), x)[0] for o in (out, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=0)
    assert saved_bytes(lambda: small(x), nn.Identity()) == kept


def trained(net, x, function):
    """Return the result, and the gradients of the trained parameters and of the image, by name."""
    x = x.clone().requires_grad_()
    out = function(net, x)
    total = sum((o * torch.sin(torch.arange(o.numel()).view(o.shape) * 0.7)).sum() for o in out)
    named = {k: p for k, p in net.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(total, [x, *named.values()])
    return out, dict(zip(["x", *named], found, strict=True))


def same(net, x, small, usual):
    out, found = trained(net, x, small)
    expected, wanted = trained(net, x, usual)
    for a, b in zip(out, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize(
    "layers", [["all"], ["body.0.rdb2.conv3"], ["conv_up1", "body.1.rdb1.conv1"], ["conv_last.bias"]]
)
@pytest.mark.parametrize("checkpointing", ["none", "rrdb", "rdb", 2])
def test_the_generator_in_plain_operations(layers, checkpointing):
    net = RRDBNet(features=6, growth=3, blocks=2).double()
    select(net, layers)
    net.recompute(checkpointing)
    same(
        net,
        torch.rand(1, 3, 7, 9, dtype=torch.float64),
        lambda n, x: [n(x)],
        lambda n, x: [plain_networks.rrdbnet(n, x)],
    )


@pytest.mark.parametrize("frozen", [False, True])
def test_the_discriminator_in_plain_operations(frozen):
    torch.manual_seed(0)
    net = UNetDiscriminatorSN(features=4).double().eval().requires_grad_(not frozen)  # no power iterations between
    same(
        net,
        torch.rand(1, 3, 16, 24, dtype=torch.float64),
        lambda n, x: [n(x)],
        lambda n, x: [plain_networks.unet(n, x)],
    )


def test_vgg_in_plain_operations():
    torch.manual_seed(0)
    net = VGG19Features(["conv1_2", "conv3_4", "conv5_4"]).double()
    x = torch.rand(1, 3, 38, 33, dtype=torch.float64)
    same(net, x, lambda n, x: list(n(x).values()), lambda n, x: list(plain_networks.vgg(n, x).values()))


@pytest.mark.parametrize("trained", [True, False])
def test_copies_of_weights_change_no_bit_and_are_never_old(trained):
    """Under autocast `conv_act` takes the copies, unless the weights changed since they were made."""
    torch.manual_seed(0)
    net = RRDBNet(features=8, growth=4, blocks=1).requires_grad_(trained)
    plain, copies = copy.deepcopy(net), CastWeights(net, torch.bfloat16)
    lq = torch.rand(1, 3, 16, 16)

    def passed(each):
        each.zero_grad()
        image = lq.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            sr = each(image)
        sr.float().square().mean().backward()
        return [sr.detach(), image.grad, *(p.grad for p in each.parameters() if p.grad is not None)]

    for renewed in (True, False, True):
        if renewed:
            copies.renew()
            assert cast_of(net.conv_first) is None  # without autocast
        with torch.autocast("cpu", torch.bfloat16):
            assert (cast_of(net.conv_first) is not None) is renewed
        for a, b in zip(passed(net), passed(plain), strict=True):
            assert torch.equal(a, b)
        with torch.no_grad():
            for each in (net, plain):
                for parameter in each.parameters():
                    parameter.mul_(0.9)
