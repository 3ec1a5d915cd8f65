"""`precision = "auto"` chooses by device and stays the same for the whole run."""

import json
from pathlib import Path

import pytest
import torch

from archsr.config import RRDBNetConfig, TrainConfig
from archsr.config.config_file import check, with_overrides
from archsr.errors import UserError
from archsr.models.build import build
from archsr.training import launch, precision
from archsr.training.precision import disagreement, with_precision
from archsr.utils.world import World


def config(tables, *overrides):
    return check(TrainConfig, with_overrides(tables, ["training.precision=auto", *overrides]), where="test")


@pytest.mark.parametrize(("able", "found"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_takes_bf16_only_where_it_has_instructions_for_it(tiny_tables, monkeypatch, able, found):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: able)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert with_precision(config(tiny_tables)).training.precision == found
    assert with_precision(config(tiny_tables, "training.precision=bf16")).training.precision == "bf16"


def test_a_run_goes_on_in_the_precision_it_had(tiny_tables, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    launch.run(config(tiny_tables, "training.stages.0.iterations=2"), resume=False)
    folder = Path(tiny_tables["runs"]) / "tiny"
    state = json.loads((folder / "checkpoints" / "step-00000002" / "state.json").read_text())
    assert state["precision"] == "fp32"
    assert 'precision = "fp32"' in (folder / "config.toml").read_text()
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    assert with_precision(config(tiny_tables), resume=True).training.precision == "fp32"
    launch.run(config(tiny_tables), resume=True)


def test_ranks_that_settled_for_unlike_types_are_refused(tiny_tables):
    class Two(World):
        def gather(self, value):
            return [value, "fp32"]

    with pytest.raises(UserError, match="chose different types"):
        launch._check_alike(config(tiny_tables, "training.precision=bf16"), Two(0, 2))


def test_the_disagreement_is_in_levels_and_infinite_where_it_overflows():
    net = build(RRDBNetConfig(features=8, blocks=1, growth=4), seed=1)
    assert 0 < disagreement(net, "bf16", torch.device("cpu")) < 20
    with torch.no_grad():
        net.conv_last.weight.fill_(float("nan"))
    assert disagreement(net, "bf16", torch.device("cpu")) == float("inf")
