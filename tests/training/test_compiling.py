"""A compiled generator trains as the uncompiled one."""

import copy

import pytest
import torch

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srvgg import SRVGGNetCompact
from archsr.training import compiling, launch

REST = [("fp32", "none"), ("fp32", "rrdb"), ("fp32", "rdb"), ("bf16", "rdb")]


def gradients(net, lq, kind):
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
        sr = net(lq).float()
    sr.square().mean().backward()
    return sr.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize(
    ("kind", "pieces"), [("bf16", "none"), *(pytest.param(*c, marks=pytest.mark.slow) for c in REST)]
)
def test_results_and_gradients_are_those_of_the_plain_network(kind, pieces):
    agree("aot_eager", kind, pieces)


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_inductor_agrees(kind):
    agree("inductor", kind, "none")


def agree(backend, kind, pieces):
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = RRDBNet(features=8, growth=4, blocks=3)
    net.body[0].requires_grad_(False)
    other = copy.deepcopy(net)
    for each in (net, other):
        each.recompute(pieces)
    compiling.compile_blocks(other, backend=backend)
    assert net.state_dict().keys() == other.state_dict().keys()
    lq = torch.rand(2, 3, 16, 16)
    (sr, wanted), (found_sr, found) = gradients(net, lq, kind), gradients(other, lq, kind)
    close = {"fp32": 1e-5, "bf16": 2e-2}[kind]  # of the norm; the order of sums may differ
    assert (sr - found_sr).norm() <= close * sr.norm()
    for a, b in zip(wanted, found, strict=True):
        assert (a - b).norm() <= close * a.norm() + 1e-9


def test_blocks_share_their_code_and_nothing_breaks_the_graph():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    net = RRDBNet(features=8, growth=4, blocks=3)
    compiling.compile_blocks(net, backend="aot_eager")
    net(torch.rand(1, 3, 16, 16)).mean().backward()
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_a_compiled_run_validates_without_compiled_code(tiny_tables, monkeypatch):
    torch._dynamo.reset()
    real = compiling.compile_blocks
    monkeypatch.setattr("archsr.training.setup.compile_blocks", lambda net: real(net, backend="aot_eager"))
    training = {**tiny_tables["training"], "compile": True, "stages": [{"iterations": 3, "lr": 1e-3}]}
    torch._dynamo.utils.counters.clear()
    launch.run(check(TrainConfig, {**tiny_tables, "training": training}, where="test"), resume=False)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # validation has images of other sizes


def test_a_network_without_blocks_is_refused():
    with pytest.raises(UserError, match="no repeated blocks"):
        compiling.compile_blocks(SRVGGNetCompact(features=8, convs=2))
