"""A page served once for all tests of this folder, with a run that was really trained and evaluated."""

import pytest

pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[app]'")

from serving import serving, small_network
from workers import shared

from archsr.config import TrainConfig
from archsr.config.config_file import check
from archsr.evaluation.card import EvaluationRequest, evaluate_models
from archsr.training import launch


@pytest.fixture(scope="session")
def run(shards, tmp_path_factory):
    """A tiny trained run with a score card, for all workers."""
    with shared(tmp_path_factory, "app") as (folder, missing):
        if missing:
            train_and_evaluate(shards, folder / "runs")
    return folder / "runs" / "tiny"


def train_and_evaluate(shards, runs):
    tables = {
        "name": "tiny",
        "runs": str(runs),
        "model": {"arch": "rrdbnet", "features": 8, "growth": 4, "blocks": 1, "weights": "scratch"},
        "data": {"shards": str(shards), "gt_size": 32, "workers": 0},
        "losses": {"perceptual": {"weight": 0.0}, "gan": {"weight": 0.0}},
        "training": {"layers": ["all"], "global_batch": 4, "micro_batch": 4, "precision": "fp32",
                     "stages": [{"iterations": 6, "lr": 3e-3}], "ema": {"decay": 0.5}},
        "validation": {"every": 3, "samples": 3, "images": 1},
        "log": {"every": 1, "trackers": []},
    }  # fmt: skip
    config = check(TrainConfig, tables, where="app")
    launch.run(config, resume=False)
    evaluate_models(EvaluationRequest((str(runs / config.name),), split="val"))


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    return small_network(tmp_path_factory.mktemp("network") / "small.safetensors")


@pytest.fixture(scope="session")
def server(run, network, tmp_path_factory):
    options = ("--runs", run.parent, "--max-bytes", "1MiB", "--max-pixels", "1000000")
    with serving(tmp_path_factory.mktemp("server"), run, network, options=map(str, options)) as made:
        yield made
