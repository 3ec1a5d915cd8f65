"""Datasets, runs, configs and commands of an earlier archsr still work."""

import json
import tarfile
import tomllib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from archsr.cli import main, parser
from archsr.config import PrepareConfig, TrainConfig, config_file
from archsr.config.study import StudyConfig

ARCHIVE = Path(__file__).parent / "stored" / "2026-11-30.tar.xz"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def stored(unpacked, monkeypatch):
    monkeypatch.chdir(unpacked)
    return unpacked


def test_a_stopped_run_goes_on_to_the_weights_of_the_unbroken_one(stored):
    from archsr.training import launch

    config = config_file.load(TrainConfig, stored / "runs" / "stopped" / "config.toml")
    launch.run(config, resume=True)
    resumed, unbroken = (
        safetensors.torch.load_file(stored / "runs" / name / "snapshots" / "last_raw.safetensors")
        for name in ("stopped", "tiny")
    )
    assert resumed.keys() == unbroken.keys()
    for name, tensor in unbroken.items():  # other processors round otherwise; what a step changes is a thousandth
        assert torch.allclose(resumed[name], tensor, atol=2e-4), name
    seen = [json.loads(line) for line in (stored / "runs" / "stopped" / "log.jsonl").read_text().splitlines()]
    assert "resume" in [event["event"] for event in seen]


def test_its_run_is_evaluated_listed_used_and_exported(stored, capsys):
    assert main(["evaluate", "runs/tiny", "--offline"]) == 0
    assert main(["runs", "runs"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert main(["inspect", "shards/photos"]) == 0
    assert main(["export", "runs/tiny", "exported.safetensors"]) == 0
    assert (stored / "exported.safetensors").is_file()


def _kind(path):
    tables = tomllib.loads(path.read_text())
    if "study" in tables or "candidates" in tables:
        return StudyConfig
    return TrainConfig if "training" in tables or "model" in tables else PrepareConfig


def test_its_configs_are_read(stored):
    for path in sorted((stored / "configs").glob("*.toml")):
        config_file.load(_kind(path), path)


def test_every_verb_and_flag_is_still_there(stored):
    [verbs] = [a.choices for a in parser()._actions if isinstance(a.choices, dict)]
    for verb, flags in json.loads((stored / "commands.json").read_text()).items():
        now = {word for a in verbs[verb]._actions for word in (a.option_strings or [a.dest])}
        assert set(flags) <= now, verb
