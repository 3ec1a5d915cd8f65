"""What networks report is true: receptive field, blocks, and accepted sizes."""

import pytest
import torch
from torch.nn.utils import parametrize

from archsr.config import LayerGroup, RRDBNetConfig, SpandrelConfig, SRResNetConfig, SRVGGConfig
from archsr.errors import UserError
from archsr.models.base import ENOUGH
from archsr.models.build import GENERATORS, build, infer, load_state, official_state
from archsr.models.foreign import foreign_of
from archsr.training.layers import select

SMALL = [
    RRDBNetConfig(features=4, blocks=1, growth=2),
    RRDBNetConfig(scale=2, features=8, blocks=2, growth=4),
    RRDBNetConfig(scale=1, features=4, blocks=3, growth=2),
    SRVGGConfig(arch="srvgg", scale=1, features=4, convs=1),
    SRVGGConfig(arch="srvgg", scale=2, features=4, convs=4),
    SRVGGConfig(arch="srvgg", scale=3, features=4, convs=3),
    SRVGGConfig(arch="srvgg", features=4, convs=2),
    SRResNetConfig(arch="srresnet", scale=2, features=4, blocks=2),
    SRResNetConfig(arch="srresnet", scale=3, features=8, blocks=1),
    SRResNetConfig(arch="srresnet", features=4, blocks=3),
]
NAMES = [f"{c.arch} x{c.scale}" for c in SMALL]


def sight(net):
    """Return how many input pixels to the left and right of one the network sees."""
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():  # positive: nothing cancels, no ReLU is shut, and the farthest shows
            parameter.copy_(parameter.abs() + 0.1)
    side, unit = 4 * net.halo() + 8 * net.unshuffle, net.unshuffle
    middle = side // 2 // unit * unit
    x = torch.rand(1, 3, unit, side, dtype=torch.double, requires_grad=True)
    net(x)[..., middle * net.scale : (middle + unit) * net.scale].sum().backward()
    seen = x.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    return max(middle - int(seen.min()), int(seen.max()) - (middle + unit - 1))


@pytest.mark.parametrize("config", SMALL, ids=NAMES)
def test_a_network_enlarges_and_is_told_from_its_tensors(config):
    net = build(config, seed=3)
    x = torch.rand(2, 3, 8, 12)
    assert net(x).shape == (2, 3, 8 * config.scale, 12 * config.scale)
    found = infer(net.state_dict(), where="file")
    assert found == config.model_copy(update={"weights": "file"})
    again = build(found)
    load_state(again, net.state_dict(), where="file")
    assert torch.equal(again(x), net(x))


@pytest.mark.parametrize("config", SMALL, ids=NAMES)
def test_a_halo_is_what_the_network_sees(config):
    net = build(config, seed=1)
    seen = sight(net)
    assert net.halo() - 2 * net.unshuffle <= seen <= net.halo() < ENOUGH * net.unshuffle


def test_a_deep_network_needs_no_more_than_was_measured_to_be_enough():
    with torch.device("meta"):
        assert build(RRDBNetConfig()).halo() == ENOUGH
        assert build(RRDBNetConfig(scale=2)).halo() == 2 * ENOUGH
        assert build(SRVGGConfig(arch="srvgg", convs=200)).halo() == ENOUGH
        assert build(SRResNetConfig(arch="srresnet", blocks=100)).halo() == ENOUGH


@pytest.mark.parametrize("config", SMALL, ids=NAMES)
@pytest.mark.parametrize("pieces", ["rrdb", "rdb", 1])
def test_a_config_refuses_the_pieces_that_its_network_lacks(config, pieces):
    net = build(config)
    if config.problem_with(pieces) is None:
        net.recompute(pieces)
        assert net.blocks()
    else:
        with pytest.raises(ValueError, match="no pieces"):
            net.recompute(pieces)
    net.recompute("none")
    assert net.together == 0


@pytest.mark.parametrize("config", SMALL, ids=NAMES)
def test_in_little_memory_the_result_is_the_same(config):
    net = build(config, seed=2)
    x = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.allclose(net.frugal(x), net(x), atol=1e-6)


def test_every_network_of_a_config_is_built_and_named():
    assert {c.arch for c in SMALL} | {"spandrel"} == GENERATORS.keys()
    with torch.device("meta"):
        titles = {(c.arch, build(c).title) for c in SMALL}
    assert len(titles) == len({title for _, title in titles}) == len(GENERATORS) - 1


def test_own_networks_take_every_precision_and_others_say_which():
    net = build(SMALL[0])
    for precision in ("auto", "fp32", "bf16", "fp16"):
        net.check_precision(precision)
    net.supported_precisions = ("fp32", "bf16")
    net.check_precision("bf16")
    with pytest.raises(UserError, match="does not work in fp16; use fp32 or bf16"):
        net.check_precision("fp16")


def test_modules_of_a_network_may_be_called_as_methods_are():
    """MoESR has a module called `blocks`."""
    from spandrel.architectures.MoESR import MoESR

    torch.manual_seed(0)
    plain = MoESR(in_ch=3, out_ch=3, scale=4, dim=8, n_blocks=1, n_block=1)
    net = foreign_of(plain.state_dict(), where="moesr")
    assert net.blocks() == []
    assert net.get_submodule("blocks.0") is net._modules["blocks"][0]
    assert net.get_submodule("") is net
    name = next(n for n, m in net.named_modules() if n.startswith("blocks.") and isinstance(m, torch.nn.Conv2d))
    (group,) = select(net, [LayerGroup(names=(name,), rank=1)])
    assert all(key.startswith(name) for key in group.parameters)
    assert parametrize.is_parametrized(net.get_submodule(name))
    assert official_state(net).keys() == plain.state_dict().keys()


def test_the_table_of_a_file_brings_its_weights():
    assert SpandrelConfig(arch="spandrel", file="x.pth").complete
    assert not any(config.complete for config in SMALL)
