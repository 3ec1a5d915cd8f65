"""A small network in float64, and its gradients by plain operations of torch, for comparisons in and out of DDP."""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent.parent / "models"))  # where pytest finds it by itself
import plain_networks

from archsr.models.rrdbnet import RRDBNet
from archsr.training.layers import select

LAYER_SEED = 5


def network(seed):
    torch.manual_seed(seed)
    net = RRDBNet(features=6, growth=3, blocks=3).double()
    for p in net.parameters():  # of a usual size, so that no gradient vanishes
        p.data += 0.05 * torch.randn_like(p)
    return net


def images():
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(4, 3, 9, 7, generator=rng, dtype=torch.float64)
    return x, torch.rand(4, 3, 36, 28, generator=rng, dtype=torch.float64)


def loss_of(sr, target):
    """A mean over samples, so that the mean over processes is that of the whole batch."""
    return (sr - target).square().mean()


def plain_gradients(layers):
    net = network(LAYER_SEED)
    select(net, layers)
    x, target = images()
    loss_of(plain_networks.rrdbnet(net, x), target).backward()
    return {k: p.grad for k, p in net.named_parameters() if p.grad is not None}


def compare(found, wanted):
    """Relative 1e-9 and absolute 1e-12: sums of float64 in another order."""
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-12, msg=name)
