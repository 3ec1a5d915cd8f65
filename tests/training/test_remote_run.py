"""A run and its evaluation on shards at a URL equal those on the same shards in a folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "stream"))
from flaky_server import FAULTS, flaky
from safetensors.torch import load_file
from torch import equal

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.data import manifest as mf
from archsr.errors import UserError
from archsr.evaluation.card import EvaluationRequest, evaluate_models
from archsr.training import launch


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("archsr.data.remote._FIRST_WAIT", 0.001)


def run(tables, name, shards, cache, **data):
    data = {**tables["data"], "shards": str(shards), "cache": str(cache), **data}
    launch.run(check(TrainConfig, {**tables, "name": name, "data": data}, where=name), resume=False)
    return Path(tables["runs"]) / name


def test_the_same_weights_the_same_scores_and_the_same_tags(tiny_tables, tmp_path):
    folder = Path(tiny_tables["data"]["shards"])
    tags = {"only": ["facade"]}
    with flaky(folder, lambda name, number: FAULTS[(len(name) + number) % 5] if number < 2 else None) as server:
        there = run(tiny_tables, "there", server.url, tmp_path / "cache", workers=1, tags=tags)
        here = run(tiny_tables, "here", folder, tmp_path / "none", tags=tags)
        assert not (tmp_path / "none").exists()
        a, b = (load_file(r / "snapshots" / "last.safetensors") for r in (there, here))
        assert a.keys() == b.keys()
        assert all(equal(a[k], b[k]) for k in a)
        text = [
            (evaluate_models(EvaluationRequest((str(r),), limit=1)).folder / "scores.json").read_text()
            for r in (there, here)
        ]
        assert text[0].split('"protocol"')[0] == text[1].split('"protocol"')[0]
        assert set(FAULTS) <= set(server.injected)
        assert (evaluate_models(EvaluationRequest((str(here),), on=server.url, limit=1)).folder / "report.md").is_file()


def test_a_dataset_that_is_not_there_is_one_line(tiny_tables, tmp_path):
    with (
        flaky(tmp_path) as server,
        pytest.raises(UserError, match=rf"data/{mf.NAME}: not found; data\.shards must be the URL"),
    ):
        run(tiny_tables, "nowhere", server.url, tmp_path / "cache")
