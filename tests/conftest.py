"""Shared fixtures: a small drawn dataset, a tiny run, and the workspace's real data where it is present."""

import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # ranks.py, from every folder

# threads that wait sleep: on a machine that others use too, spinning ones made a test of seconds last for minutes
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# and each process computes with one: two threads on cores that are busy wait 4 ms for each other in every operation
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ARCHSR_THREADS", "1")
os.environ.setdefault("ARCHSR_CACHE", str(Path(__file__).parent / ".no-cache"))  # tests never see the user's weights

import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import settings
from workers import shared

from archsr.config import PrepareConfig, TagRule, TagsConfig, TrainConfig
from archsr.config.config_file import check, dump
from archsr.data.drawn_photos import draw_photos
from archsr.data.prepare.pipeline import prepare
from archsr.data.versions import current

torch.set_num_threads(1)
settings.register_profile("archsr", deadline=None)  # no test is about time: other programs may use the cores
settings.load_profile("archsr")
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def no_left_over_accelerator():
    """accelerate keeps its state for the life of the process; each test begins without."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def signals_as_before():
    """A command that was stopped in this process hears no second Ctrl-C; nor would the processes of later tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def curves():
    """For tests that look at curves.png; it is not drawn in the others, as it takes as long as their few iterations."""


@pytest.fixture(autouse=True)
def no_curves(request, monkeypatch):
    if "curves" not in request.fixturenames:
        monkeypatch.setattr("archsr.training.hooks.draw_curves", lambda run: None)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Eight drawn projects of one image each, and a floor plan."""
    with shared(tmp_path_factory, "photos") as (folder, missing):
        if missing:
            draw_photos(folder, projects=8, views=1, plans=1)
    return folder


@pytest.fixture(scope="session")
def prepare_config():
    tags = TagsConfig(rules=(TagRule(tag="facade", match="*facade*"), TagRule(tag="wall", match="*wall*")))
    return PrepareConfig(val=0.15, test=0.08, tile=160, min_side=120, pair_size=64, samples_per_shard=16, tags=tags)


@pytest.fixture(scope="session")
def shards(photos, prepare_config, tmp_path_factory):
    """The drawn photographs as a dataset."""
    with shared(tmp_path_factory, "dataset") as (folder, missing):
        if missing:
            prepare(photos, folder / "shards", prepare_config)
    return current(folder / "shards")


@pytest.fixture
def tiny_tables(shards, tmp_path):
    """A training config of a few seconds, as plain tables."""
    return {
        "name": "tiny",
        "runs": str(tmp_path / "runs"),
        "model": {"arch": "rrdbnet", "features": 8, "growth": 4, "blocks": 2, "weights": "scratch"},
        "discriminator": {"features": 4, "weights": "scratch"},
        "data": {"shards": str(shards), "gt_size": 32, "workers": 0},
        "degrade": {"pool_batches": 2},
        "losses": {"perceptual": {"weight": 0.0}},
        "training": {
            "layers": ["all"],
            "global_batch": 4,
            "micro_batch": 2,
            "precision": "fp32",
            "stages": [{"iterations": 6, "lr": 1e-3}],
        },
        "validation": {"every": 3, "samples": 2, "images": 1, "strength": False},
        "checkpoint": {"every": 2, "keep": 2},
        "log": {"every": 1, "trackers": [], "keys": True},
    }


@pytest.fixture
def tiny(tiny_tables):
    return check(TrainConfig, tiny_tables, where="tiny")


@pytest.fixture
def unbroken(tiny, tmp_path_factory):
    """The folder of a finished `tiny` run: a copy of the one that all workers share."""
    from archsr.training import launch

    folder = Path(tiny.runs) / tiny.name
    with shared(tmp_path_factory, "trained") as (kept, missing):
        if missing:
            launch.run(tiny, resume=False)
            shutil.copytree(folder, kept)
            return folder
    shutil.copytree(kept, folder)
    (folder / "config.toml").write_text(dump(tiny))  # its `runs` is this test's
    return folder


def in_workspace(what, name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the workspace's real {what} (../shared/{name}) are not here")
    return folder


@pytest.fixture(scope="session")
def real_photos():
    return in_workspace("photographs", "data/photos")


@pytest.fixture(scope="session")
def real_facades():
    return in_workspace("façades", "data/facades")


@pytest.fixture(scope="session")
def real_weights():
    return in_workspace("weights", "weights")


@pytest.fixture
def card():
    """The test card T of the goldens: (1, 3, 96, 112)."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(112.0), indexing="ij")
    squares = 0.2 + 0.8 * ((x // 16 + y // 16) % 2)
    return torch.stack([0.5 + 0.5 * torch.sin(0.10 * (c + 1) * x + 0.07 * y) * squares for c in range(3)])[None]
