"""Low-rank adapters start at zero, have the gradient of the formula, and merge into equivalent snapshots."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from spandrel import ModelLoader
from torch import nn

from archsr.checkpoint import about_snapshot
from archsr.config import LayerGroup, RRDBNetConfig, TrainConfig
from archsr.config.config_file import check, with_overrides
from archsr.errors import UserError
from archsr.models.adapters import adapt, merged_state
from archsr.models.build import build, load_state
from archsr.training import launch
from archsr.training.layers import select, table
from archsr.training.memory.forecast import forecast

SMALL = RRDBNetConfig(features=8, blocks=2, growth=4)
ADAPTED = LayerGroup(names=("body.1", "conv_last"), rank=3, alpha=6.0)


@pytest.fixture
def net():
    return build(SMALL, seed=1).double()


def stirred(net):
    """Change the network as training would."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("weight.0.up"):
                parameter.normal_(std=0.1)
    return net


def test_an_adapted_network_begins_as_the_original(net):
    x = torch.rand(1, 3, 8, 8).double()
    before = net(x)
    groups = select(net, [ADAPTED])
    assert torch.equal(net(x), before)
    trained = {k for k, p in net.named_parameters() if p.requires_grad}
    assert trained == set(groups[0].parameters)
    assert len(trained) == 2 * 16
    assert all(".parametrizations.weight.0." in k for k in trained)
    assert "rank 3" in table(net, groups)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(6, 4, 3), nn.Conv2d(6, 4, 3, groups=2), nn.Conv2d(6, 4, 1), nn.Linear(6, 4)]
)
def test_the_gradient_is_that_of_the_formula(layer):
    torch.manual_seed(0)
    layer = layer.double().requires_grad_(False)
    weight, bias = layer.weight.clone(), layer.bias.clone()
    added = adapt(layer, rank=2, alpha=3.0)
    nn.init.normal_(added.up)
    x = torch.rand(2, 6, 5, 5).double() if weight.ndim == 4 else torch.rand(2, 6).double()
    layer(x).square().sum().backward()
    up, down = (p.detach().clone().requires_grad_() for p in (added.up, added.down))
    summed = weight + 1.5 * (up @ down).view_as(weight)
    plain = F.linear(x, summed, bias) if weight.ndim == 2 else F.conv2d(x, summed, bias, groups=layer.groups)
    plain.square().sum().backward()
    assert torch.allclose(added.up.grad, up.grad, rtol=1e-12)
    assert torch.allclose(added.down.grad, down.grad, rtol=1e-12)


def test_the_merged_network_is_the_adapted_one(net):
    select(net, [ADAPTED])
    x = torch.rand(2, 3, 8, 8).double()
    merged = build(SMALL).double()
    load_state(merged, merged_state(stirred(net)), where="merged")
    assert torch.allclose(merged(x), net(x), rtol=1e-12)
    assert not torch.allclose(merged(x), build(SMALL, seed=1).double()(x))


def test_recomputing_gives_the_same_gradients(net):
    groups = select(net, [ADAPTED])
    stirred(net)
    x = torch.rand(2, 3, 8, 8).double()
    gradients = []
    for recompute in (False, True):
        net.checkpointing = recompute
        net.zero_grad()
        net(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in groups[0].parameters.values()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_adapters_beside_whole_layers_and_what_has_none(net):
    groups = select(net, [LayerGroup(names=("body.*",), rank=2), "conv_last"])
    assert set(groups[1].parameters) == {"conv_last.weight", "conv_last.bias"}
    with pytest.raises(UserError, match=r"conv_last.bias \(rank 2\): no convolution"):
        select(build(SMALL), [LayerGroup(names=("conv_last.bias",), rank=2)])
    with pytest.raises(UserError, match="chosen twice"):
        select(build(SMALL), [LayerGroup(names=("body.*",), rank=2), "body.0.rdb1"])


def config(tables, *overrides):
    layers = 'training.layers=[{names=["body.*"], rank=2}, "conv_last"]'
    # spandrel reads growth 32 only
    return check(TrainConfig, with_overrides(tables, [layers, "model.growth=32", *overrides]), where="x")


def test_a_run_trains_adapters_only_resumes_exactly_and_leaves_plain_snapshots(tiny_tables):
    launch.run(config(tiny_tables, "name=whole"), resume=False)
    launch.run(config(tiny_tables, "name=broken", "training.stages.0.iterations=2"), resume=False)
    launch.run(config(tiny_tables, "name=broken"), resume=True)
    runs = Path(tiny_tables["runs"])
    for name in ("generator", "ema", "optimizer_g"):
        one, two = (runs / run / f"checkpoints/step-00000006/{name}.safetensors" for run in ("whole", "broken"))
        assert one.read_bytes() == two.read_bytes()
    path = runs / "whole" / "snapshots" / "last.safetensors"
    assert about_snapshot(path)["weights"] == "ema"
    loaded = ModelLoader().load_from_file(path)
    assert loaded.architecture.id == "ESRGAN"
    first = ModelLoader().load_from_file(path.with_name("initial.safetensors"))
    changed = {
        k for (k, a), b in zip(loaded.model.state_dict().items(), first.model.state_dict().values(), strict=True)
        if not torch.equal(a, b)
    }  # fmt: skip
    assert len(changed) > 10


def test_the_forecast_counts_adapters(tiny_tables):
    whole = check(TrainConfig, with_overrides(tiny_tables, ['training.layers=["all"]', "model.growth=32"]), where="x")
    part = "generator: gradients, Adam, EMA"
    assert 0 < forecast(config(tiny_tables)).parts[part] < forecast(whole).parts[part]


def test_alpha_goes_with_rank(tiny_tables):
    with pytest.raises(UserError, match="alpha needs rank"):
        check(TrainConfig, with_overrides(tiny_tables, ['training.layers=[{names=["all"], alpha=2.0}]']), where="x")
