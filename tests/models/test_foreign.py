"""Networks of spandrel: names, sizes and results equal spandrel's own, in both directions."""

import copy

import pytest
import safetensors.torch
import torch
from spandrel import ModelLoader
from spandrel.architectures.Compact import Compact
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

from archsr.config import SpandrelConfig, TrainConfig
from archsr.config.config_file import check
from archsr.errors import UserError
from archsr.exporting import export
from archsr.models.build import build, official_state
from archsr.models.foreign import open_foreign
from archsr.models.foreign_trial import open_trained
from archsr.models.recompute import recompute_modules
from archsr.models.rrdbnet import RRDBNet
from archsr.training.layers import select
from archsr.training.memory.forecast import forecast
from archsr.training.memory.ledger import saved_bytes
from archsr.upscaling.upscaler import Upscaler, open_model


def swinir(**other):
    options = {"img_size": 16, "depths": [2, 2], "num_heads": [2, 2], "embed_dim": 12, "window_size": 8, "mlp_ratio": 2}
    return SwinIR(**{**options, "upscale": 4, "upsampler": "nearest+conv", "resi_connection": "1conv", **other})


MAKERS = {
    "SwinIR": swinir,
    "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4),
    "SAFMN": lambda: SAFMN(dim=8, n_blocks=1),  # sides must be multiples of 8
}


def stored(name, folder):
    torch.manual_seed(0)
    net = MAKERS[name]()
    path = folder / f"{name}.pth"
    torch.save({"params": net.state_dict()}, path)
    return path, net


def image(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("side", [(16, 24), (13, 21), (5, 3)])
def test_results_are_spandrels_also_of_sizes_that_must_be_padded(name, side, tmp_path):
    path, plain = stored(name, tmp_path)
    net = open_foreign(str(path)).eval()
    theirs = ModelLoader().load_from_file(path)(image(1, 3, *side))
    with torch.no_grad():
        assert torch.equal(net(image(1, 3, *side)).clamp(0, 1), theirs)
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert [n for n, _ in net.named_modules()][1:] == [n for n, _ in plain.named_modules()][1:]


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_written_spandrel_reads_again(name, tmp_path):
    path, _ = stored(name, tmp_path)
    net = open_trained(str(path), scale=4)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.01
    safetensors.torch.save_file({k: v.clone() for k, v in official_state(net).items()}, tmp_path / "s.safetensors")
    export(str(tmp_path / "s.safetensors"), tmp_path / "e.pth")
    x = image(1, 3, 16, 16)
    found = [ModelLoader().load_from_file(tmp_path / f)(x) for f in ("s.safetensors", "e.pth")]
    with torch.no_grad():
        assert torch.equal(net.eval()(x).clamp(0, 1), found[0])
    assert torch.equal(*found)
    inside = torch.load(tmp_path / "e.pth", weights_only=True)["params_ema"]
    assert inside.keys() == torch.load(path, weights_only=True)["params"].keys()


@pytest.mark.parametrize("kind", ["esrgan", "swinir"])
def test_renamed_tensors_go_back_under_the_files_names(kind, tmp_path):
    """spandrel gives ESRGAN's tensors the names of the first release, and drops a level in SwinIR's first layer."""
    torch.manual_seed(0)
    if kind == "esrgan":
        state = RRDBNet(features=8, growth=32, blocks=1).state_dict()  # biases are all alike: zero
    else:
        state = swinir(start_unshuffle=2, upscale=8, in_chans=3).state_dict()
        state = {k.replace("conv_first.", "conv_first.1."): v for k, v in state.items()}
    path = tmp_path / "x.pth"
    torch.save(state, path)
    net = open_trained(str(path), scale=4)
    assert net.state_dict().keys() != state.keys()
    back = net.in_file(net.state_dict())
    assert back.keys() == state.keys()
    assert all(torch.equal(back[k], v) for k, v in state.items())
    with torch.no_grad():
        next(iter(net.parameters())).add_(1.0)
    changed = [k for k, v in net.in_file(net.state_dict()).items() if not torch.equal(v, state[k])]
    assert changed == [{"esrgan": "conv_first.weight", "swinir": "conv_first.1.weight"}[kind]]


def test_what_draws_random_numbers_is_at_rest_in_training(tmp_path):
    path, plain = stored("SwinIR", tmp_path)
    plain.train()
    x = image(2, 3, 16, 16)
    assert not torch.equal(plain(x), plain(x))  # stochastic depth
    net = open_foreign(str(path))
    assert net.training
    assert torch.equal(net(x), net(x))


def test_parameters_without_a_gradient_are_not_chosen(tmp_path):
    net = open_trained(str(stored("SPAN", tmp_path)[0]), scale=4)
    assert net.idle == {k for k, _ in net.named_parameters() if ".eval_conv." in k}
    select(net, ["all"])
    net(image(1, 3, 8, 8)).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    with pytest.raises(UserError, match="no gradient reaches 'conv_1.eval_conv'"):
        select(net, ["conv_1.eval_conv"])


# ---------------------------------------------------------------- recomputing


@pytest.mark.parametrize(("name", "pattern"), [("SwinIR", "layers.*"), ("SwinIR", "*.blocks.*"), ("SPAN", "block_?")])
def test_recomputed_modules_give_the_same_gradients_and_keep_less(name, pattern, tmp_path):
    path = stored(name, tmp_path)[0]
    found = []
    for patterns in ([], [pattern]):
        net = open_foreign(str(path))
        names = recompute_modules(net, patterns)
        kept = saved_bytes(lambda net=net: net(image(2, 3, 16, 16)), net)
        net(image(2, 3, 16, 16)).square().sum().backward()
        found.append((kept, {k: p.grad for k, p in net.named_parameters() if p.grad is not None}))
    assert len(names) == {"layers.*": 2, "*.blocks.*": 4, "block_?": 6}[pattern]
    assert found[1][0] < 0.8 * found[0][0]
    assert found[0][1].keys() == found[1][1].keys()
    assert all(torch.equal(g, found[1][1][k]) for k, g in found[0][1].items())


def test_recomputing_works_for_our_own_networks_and_frozen_ones():
    torch.manual_seed(0)
    plain = RRDBNet(features=8, growth=4, blocks=2)
    net = copy.deepcopy(plain)
    assert recompute_modules(net, ["body.*.rdb?"]) == [f"body.{i}.rdb{k}" for i in (0, 1) for k in (1, 2, 3)]
    for one in (plain, net):
        select(one, ["body.1.rdb2", "conv_last"])
        one(image(2, 3, 8, 8)).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), net.parameters(), strict=True):
        assert a.grad is None if b.grad is None else torch.equal(a.grad, b.grad), name


@pytest.mark.parametrize(
    ("pattern", "words"), [("layer.*", ["no module 'layer.*'"]), ("layers", ["list of modules", "'layers.*'"])]
)
def test_patterns_that_fit_nothing_are_named(pattern, words, tmp_path):
    net = open_foreign(str(stored("SwinIR", tmp_path)[0]))
    with pytest.raises(UserError) as error:
        recompute_modules(net, [pattern])
    assert all(word in str(error.value) for word in words)


# ---------------------------------------------------------------- memory


def config(path, **training):
    stages = [{"iterations": 1, "lr": 1e-4}]
    return check(
        TrainConfig,
        {
            "name": "m",
            "model": {"arch": "spandrel", "file": str(path)},
            "data": {"gt_size": 64},
            "training": {"layers": ["all"], "micro_batch": 2, "precision": "fp32", "stages": stages, **training},
            "losses": {"perceptual": {"weight": 0}, "gan": {"weight": 0}},
        },
        where="m",
    )


@pytest.mark.parametrize("name", MAKERS)
def test_the_forecast_is_what_autograd_really_keeps(name, tmp_path):
    wanted = config(stored(name, tmp_path)[0])
    net = build(wanted.model)
    measured = saved_bytes(lambda: net(image(2, 3, 16, 16)), net)
    found = forecast(wanted)
    assert not found.unknown
    assert found.parts["generator: activations"] == pytest.approx(measured, rel=0.02)
    assert found.parts["generator: weights"] == 4 * sum(p.numel() for p in net.parameters())


def test_where_it_cannot_be_forecast_that_is_said(tmp_path, monkeypatch):
    wanted = config(stored("SwinIR", tmp_path)[0])
    real = SwinIR.forward

    def asking(self, x):
        assert float(x.sum()) > -1
        return real(self, x)

    monkeypatch.setattr(SwinIR, "forward", asking)
    found = forecast(wanted)
    assert "SwinIR cannot be run on shapes alone" in found.unknown
    assert "UNKNOWN" in found.table()


# ---------------------------------------------------------------- bad files


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def test_files_that_cannot_be_are_refused_in_a_line(tmp_path, capsys):
    torch.save({"params": {"a.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    torch.save({"params": Compact(num_in_ch=1, num_out_ch=1, num_feat=4, num_conv=1, upscale=4).state_dict()},
               tmp_path / "grey.pth")  # fmt: skip
    torch.save({"params": swinir(upscale=1, upsampler="").state_dict()}, tmp_path / "denoise.pth")
    torch.save({"a": Harm()}, tmp_path / "harm.pth")
    (tmp_path / "half.safetensors").write_bytes(b"abc")
    for name, words in {
        "none.pth": "no such weights file",
        "other.pth": "not a network that spandrel knows; its first tensors are a.weight",
        "grey.pth": "from 1 to 1 channels",
        "denoise.pth": "SwinIR for Restoration",
        "harm.pth": "only plain tensors are accepted",
        "half.safetensors": "not a readable safetensors file",
    }.items():
        with pytest.raises(UserError, match=words) as error:
            open_trained(str(tmp_path / name), scale=4)
        assert "\n" not in str(error.value)
    assert "harm" not in capsys.readouterr().out
    with pytest.raises(UserError, match=r"SwinIR upscales by 4, but model\.scale is 2"):
        build(SpandrelConfig(arch="spandrel", scale=2, file=str(stored("SwinIR", tmp_path)[0])))


def test_precisions_that_an_architecture_cannot_are_refused(tmp_path):
    net, _ = open_model(str(stored("SwinIR", tmp_path)[0]))
    with pytest.raises(UserError, match="SwinIR does not work in fp16; use fp32 or bf16"):
        Upscaler(net, precision="fp16")


def test_a_network_that_draws_is_refused(tmp_path, monkeypatch):
    path = stored("SAFMN", tmp_path)[0]
    real = SAFMN.forward
    monkeypatch.setattr(SAFMN, "forward", lambda self, x: real(self, nn.functional.dropout(x, 0.5, self.training)))
    with pytest.raises(UserError, match="SAFMN uses random numbers in training"):
        open_trained(str(path), scale=4)
