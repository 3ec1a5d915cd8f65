"""Unit tests of layers, losses, averages, optimisers and the memory forecast."""

import pytest
import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from archsr.config import EmaConfig, LayerGroup, LossConfig, OptimizerConfig, PerceptualLoss, TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
from archsr.models.build import build
from archsr.models.rrdbnet import RRDBNet
from archsr.models.srvgg import SRVGGNetCompact
from archsr.training.ema import Ema
from archsr.training.layers import select, table
from archsr.training.losses.feature_losses import Perceptual, feature_losses
from archsr.training.memory.forecast import forecast
from archsr.training.memory.ledger import saved_bytes
from archsr.training.optim import make_optimizer, pack, set_lr, unpack

# ---------------------------------------------------------------- layers


@pytest.fixture
def net():
    return RRDBNet(features=8, blocks=23, growth=4)


def chosen(net, layers):
    select(net, layers)
    return {n for n, p in net.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["conv_last"], {"conv_last.weight", "conv_last.bias"}),
        (["conv_last.bias"], {"conv_last.bias"}),
        (["body.2.rdb3.conv5"], {"body.2.rdb3.conv5.weight", "body.2.rdb3.conv5.bias"}),
        (["conv_up*"], {f"conv_up{i}.{k}" for i in (1, 2) for k in ("weight", "bias")}),
        (["body.*.rdb1.conv1.bias"], {f"body.{i}.rdb1.conv1.bias" for i in range(23)}),
        (["body.20-22.rdb3.conv1.bias"], {f"body.{i}.rdb3.conv1.bias" for i in (20, 21, 22)}),
        ([LayerGroup(names=("conv_hr.bias", "conv_last.bias"))], {"conv_hr.bias", "conv_last.bias"}),
    ],
)
def test_names_globs_and_ranges(net, layers, expected):
    assert chosen(net, layers) == expected


def test_whole_blocks_and_everything(net):
    assert len(chosen(net, ["body.20-22"])) == 3 * 30
    assert len(chosen(net, ["all"])) == 702
    assert len(chosen(SRVGGNetCompact(features=8, convs=4), ["body.0-2"])) == 2 + 1 + 2


def test_one_name_does_not_match_the_start_of_another(net):
    assert chosen(net, ["body.2"]) == {n for n, _ in net.named_parameters() if n.startswith("body.2.")}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["conv_lst"], ["no layer 'conv_lst'", "'conv_last'"]),
        (["body.2.rdb3.conv6"], ["'body.2.rdb3.conv6'", "'body.2.rdb3.conv5'"]),
        (["body.20-25"], ["no layer 'body.23"]),
        (["body.9-3"], ["is descending"]),
        (["xyz*"], ["no layer 'xyz*'", "conv_first, body, conv_body"]),
        (["conv_last", "conv_*"], ["chosen twice", "'conv_last'", "'conv_*'"]),
    ],
)
def test_wrong_names_are_named(net, layers, words):
    with pytest.raises(UserError) as error:
        select(net, layers)
    for word in words:
        assert word in str(error.value)


def test_the_table_counts_what_is_trained():
    with torch.device("meta"):
        full = RRDBNet()
        text = table(full, select(full, ["conv_last", LayerGroup(names=("body.2.rdb3.conv5",), lr_scale=0.1)]))
    assert "1,731" in text
    assert "110,656" in text
    assert "16,697,987" in text
    assert "112,387  (0.67%)" in text


# ---------------------------------------------------------------- losses


def test_perceptual_is_zero_for_equals_and_grows():
    loss = Perceptual(PerceptualLoss(layers={"conv1_2": 0.1, "conv2_2": 1.0}))
    a = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    values = [float(loss(a + s * noise, a)) for s in (0.0, 0.01, 0.1)]
    assert values[0] == 0
    assert values == sorted(values)


def test_perceptual_is_what_it_says():
    loss = Perceptual(PerceptualLoss(layers={"conv1_2": 0.25, "conv2_2": 2.0}))
    a, b = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).unbind(0)
    fa, fb = loss.vgg(a), loss.vgg(b)
    expected = 0.25 * (fa["conv1_2"] - fb["conv1_2"]).abs().mean() + 2 * (fa["conv2_2"] - fb["conv2_2"]).abs().mean()
    assert float(loss(a, b)) == pytest.approx(float(expected), rel=1e-6)


def test_only_the_prediction_gets_a_gradient():
    loss = Perceptual(PerceptualLoss(layers={"conv1_2": 1.0}))
    sr, gt = torch.rand(2, 1, 3, 16, 16).unbind(0)
    loss(sr.requires_grad_(), gt.requires_grad_()).backward()
    assert sr.grad is not None
    assert gt.grad is None


def test_without_vgg_weights_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    monkeypatch.setenv("ARCHSR_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError) as error:
        feature_losses(LossConfig(), size=64)
    for word in ("VGG19", "vgg19-dcbb9e9d.pth", "losses.perceptual.weights", "--set losses.perceptual.weight=0"):
        assert word in str(error.value)
    assert feature_losses(LossConfig(perceptual=PerceptualLoss(weight=0.0)), size=64) == {}


# ---------------------------------------------------------------- moving average


def test_the_average_follows_the_warmed_up_rule():
    parameter = nn.Parameter(torch.zeros(1))
    ema = Ema({"p": parameter}, EmaConfig(decay=0.999, warmup=True))
    expected = 0.0
    for step in range(1, 8):
        parameter.data.fill_(step)
        ema.update(step)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert ema.average["p"].item() == pytest.approx(expected, rel=1e-6)


def test_without_warm_up_500_steps_keep_61_percent_of_the_start():
    parameter = nn.Parameter(torch.ones(1))
    ema = Ema({"p": parameter}, EmaConfig(decay=0.999, warmup=False))
    parameter.data.zero_()
    for step in range(1, 501):
        ema.update(step)
    assert ema.average["p"].item() == pytest.approx(0.999**500, rel=1e-4)


def test_in_place_puts_the_live_weights_back_also_after_an_error():
    parameter = nn.Parameter(torch.ones(2))
    ema = Ema({"p": parameter}, EmaConfig())
    parameter.data.fill_(5)
    with pytest.raises(RuntimeError), ema.in_place():
        assert parameter.tolist() == [1, 1]
        raise RuntimeError
    assert parameter.tolist() == [5, 5]


# ---------------------------------------------------------------- optimisers and stages


@pytest.mark.parametrize(
    "name", ["adam", "adamw", "lion", "muon", "adamuon", "nadamw", "radam", "sgd", "adafactor", "adopt"]
)
def test_a_packed_optimiser_goes_on_as_the_unbroken_one(name):
    def train(net, optimizer, steps, offset=0):
        for i in range(steps):
            optimizer.zero_grad()
            x = torch.linspace(0, 1, 18).view(1, 2, 3, 3) * (i + 1 + offset)
            net(x).square().mean().backward()
            optimizer.step()

    nets = [nn.Conv2d(2, 3, 3) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    settings = OptimizerConfig(name=name)

    def fresh(net):
        return make_optimizer(select(net, ["weight", "bias"]), settings, lr=1e-2)

    unbroken = fresh(nets[0])
    train(nets[0], unbroken, 6)
    first = fresh(nets[1])
    train(nets[1], first, 3)
    tensors, plain = pack(first)
    second = fresh(nets[1])
    unpack(second, {k: v.clone() for k, v in tensors.items()}, plain)
    train(nets[1], second, 3, offset=3)
    assert torch.equal(nets[0].weight, nets[1].weight)


def test_unknown_optimisers_and_settings_are_named():
    groups = select(nn.Conv2d(2, 3, 3), ["weight"])
    with pytest.raises(UserError, match="'adam'"):
        make_optimizer(groups, OptimizerConfig(name="adamm"), lr=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("args", [{}, {"amsgrad": True, "eps": 1e-6}])
def test_adam_is_the_one_timm_makes(name, args):
    groups = select(nn.Conv2d(2, 3, 3), ["weight", "bias"])
    settings = OptimizerConfig(name=name, weight_decay=0.02, betas=(0.8, 0.95), args=args)
    ours = make_optimizer(groups, settings, lr=1e-3)
    timms = create_optimizer_v2(
        ours.param_groups[0]["params"], opt=name, lr=1e-3, weight_decay=0.02, betas=(0.8, 0.95), **args
    )
    assert type(ours) is type(timms)
    assert ours.defaults == timms.defaults


def test_a_setting_that_adam_does_not_have_is_named():
    with pytest.raises(UserError, match="momentum"):
        make_optimizer(select(nn.Conv2d(2, 3, 3), ["weight"]), OptimizerConfig(args={"momentum": 0.9}), lr=1e-3)


@pytest.mark.parametrize("name", ["lamb", "adahessian", "adan", pytest.param("kron", marks=pytest.mark.slow)])
def test_an_optimiser_that_cannot_be_stored_or_run_is_refused_at_the_start(name):
    groups = select(nn.Conv2d(2, 3, 3), ["weight"])
    with pytest.raises(UserError, match=f"{name} cannot be used here"):
        make_optimizer(groups, OptimizerConfig(name=name), lr=1e-3)


def test_groups_learn_at_their_share_of_the_stages_rate(net):
    groups = select(net, ["conv_last", LayerGroup(names=("body.22",), lr_scale=0.1)])
    optimizer = make_optimizer(groups, OptimizerConfig(), lr=1e-4)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-4, 1e-5])
    set_lr(optimizer, 1e-6)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-6, 1e-7])


# ---------------------------------------------------------------- memory


def run(layers, checkpointing, precision="fp32", **model):
    tables = {
        "name": "m",
        "model": {"arch": "rrdbnet", **model},
        "training": {
            "layers": layers,
            "gradient_checkpointing": checkpointing,
            "precision": precision,
            "stages": [{"iterations": 1, "lr": 1e-4}],
        },
    }
    return check(TrainConfig, tables, where="m")


@pytest.mark.parametrize(
    ("layers", "checkpointing", "gib"),
    [(["conv_last"], False, 0.19), (["body.2.rdb3.conv5"], False, 0.49), (["all"], False, 3.1), (["all"], True, 0.94)],
)
def test_the_activations_of_x4plus_at_batch_12(layers, checkpointing, gib):
    found = forecast(run(layers, checkpointing)).parts["generator: activations"] / 2**30
    assert found == pytest.approx(gib, rel=0.02)  # of plain operations: 0.2, 9.3, 10.6 and 1.6


@pytest.mark.parametrize("layers", [["conv_last"], ["body.1.rdb2.conv3"], ["conv_up1", "conv_hr"], ["all"]])
def test_the_forecast_is_what_autograd_really_keeps(layers):
    config = run(layers, False, features=8, growth=4, blocks=3)
    config = config.model_copy(
        update={
            "data": config.data.model_copy(update={"gt_size": 64}),
            "training": config.training.model_copy(update={"micro_batch": 2}),
        }
    )
    net = RRDBNet(features=8, growth=4, blocks=3)
    select(net, layers)
    measured = saved_bytes(lambda: net(torch.rand(2, 3, 16, 16)), net)
    assert forecast(config).parts["generator: activations"] == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("layers", [["conv_last"], ["body.1.conv2"], ["all"]])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_forecast_of_srresnet_and_its_judges(layers, checkpointing):
    small = {"data": {"gt_size": 128}, "losses": {"perceptual": {"weight": 0.0}}}
    config = run(layers, checkpointing, arch="srresnet", features=8, blocks=5)
    config = check(
        TrainConfig, {**config.model_dump(mode="json"), **small, "discriminator": {"arch": "vgg"}}, where="m"
    )
    net = build(config.model)
    select(net, layers)
    net.recompute("rrdb" if checkpointing else "none")
    measured = saved_bytes(lambda: net(torch.rand(12, 3, 32, 32)), net)
    found = forecast(config).parts
    assert found["generator: activations"] == pytest.approx(measured, rel=0.02)
    assert found["discriminator: weights, gradients, Adam"] == 16 * 14_499_401
    patch = check(TrainConfig, {**config.model_dump(mode="json"), "discriminator": {"arch": "patch"}}, where="m")
    assert 0 < forecast(patch).parts["discriminator: activations"] < found["discriminator: activations"] * 2


def test_the_forecast_counts_the_whole_perceptual_loss():
    config = run(["conv_last"], False)
    tables = {"gt_size": 64}, {"micro_batch": 2}
    config = config.model_copy(
        update={
            "data": config.data.model_copy(update=tables[0]),
            "training": config.training.model_copy(update=tables[1]),
        }
    )
    loss = Perceptual(config.losses.perceptual)
    sr, gt = torch.rand(2, 2, 3, 64, 64).unbind(0)
    measured = saved_bytes(lambda: loss(sr.requires_grad_(), gt), loss)
    assert forecast(config).parts["VGG19: activations"] == pytest.approx(measured, rel=0.02)


def test_half_the_width_is_half_the_activations():
    parts = [forecast(run(["all"], False, p)).parts["generator: activations"] for p in ("fp32", "bf16")]
    assert parts[0] == pytest.approx(2 * parts[1], rel=0.01)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_state_moves_between_fused_and_plain_optimisers(name):
    """As between runs on a GPU and on a CPU: the state is kept, the kernels are chosen anew."""
    args = {"momentum": 0.9} if name == "sgd" else {}
    for before, after in ((True, False), (False, True)):
        nets = [nn.Conv2d(2, 3, 3) for _ in range(2)]
        optimizers = [
            make_optimizer(select(net, ["weight"]), OptimizerConfig(name=name, args={**args, "fused": fused}), lr=1e-2)
            for net, fused in zip(nets, (before, after), strict=True)
        ]
        nets[0](torch.ones(1, 2, 5, 5)).square().mean().backward()
        optimizers[0].step()
        tensors, plain = pack(optimizers[0])
        assert "fused" not in plain["param_groups"][0]
        unpack(optimizers[1], {k: v.clone() for k, v in tensors.items()}, plain)
        assert optimizers[1].param_groups[0]["fused"] is after
        nets[1](torch.ones(1, 2, 5, 5)).square().mean().backward()
        optimizers[1].step()
        moved, _ = pack(optimizers[1])
        assert moved.keys() == tensors.keys()
        assert all(value == 2 for key, value in moved.items() if key.endswith(".step"))
