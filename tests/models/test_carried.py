"""What the docs say about files without internet is what the code knows, and files carried by hand are found."""

import hashlib
import re
from pathlib import Path

import pytest
import torch

from archsr.config import TrainConfig, config_file
from archsr.doctor import assets
from archsr.evaluation import metrics
from archsr.models.download import OFFICIAL, Official
from archsr.models.imagenet import LITE0
from archsr.models.ncnn import NCNN
from archsr.training.losses import feature_losses

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "configs" / "README.md").read_text().split("## Without internet\n")[1].split("\n## ")[0]
ROWS = re.findall(r"^\| `(\S+)` \| \[`(\S+)`\]\((\S+)\) \| .+ \| .+ \|$", SECTION, re.MULTILINE)
CONFIGS = ("last_layer", "tail", "full")


def test_the_table_lists_every_file_that_the_code_downloads_with_its_address():
    assert {name: (file, url) for name, file, url in ROWS} == {n: (o.file, o.url) for n, o in OFFICIAL.items()}
    assert len(ROWS) == len(OFFICIAL)


def test_the_packages_with_weights_are_named():
    assert set(re.findall(r"`(ncnn:\S+|efficientnet-lite0)`", SECTION)) == {*NCNN, LITE0}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_first_three_are_what_the_usual_configs_need_and_what_is_carried(name):
    config = config_file.load(TrainConfig, ROOT / "configs" / f"{name}.toml")
    needed = {config.model.weights, config.discriminator.weights, *feature_losses.sources(config.losses).values()}
    assert [row[0] for row in ROWS[:3]] == [n for n in OFFICIAL if n in needed]
    assert len(needed) == 3
    assert re.findall(r"^curl -LO (\S+)$", SECTION, re.MULTILINE) == [row[2] for row in ROWS[:3]]


def test_a_carried_file_is_found_where_the_docs_say_and_doctor_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ARCHSR_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    content = b"weights"
    mine = Official("https://example.org/mine.pth", hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(OFFICIAL, "vgg19", mine)
    folder = tmp_path / re.search(r"mkdir -p ~/(\S+)", SECTION)[1]
    folder.mkdir(parents=True)
    (folder / mine.file).write_bytes(content)
    here = [line for line in assets.available_weights() if "vgg19" in line.what]
    assert [(line.state, "SHA-256 verified" in line.what) for line in here] == [("ok", True)]


def test_metrics_find_the_files_of_archsrs_folder(tmp_path, monkeypatch):
    """lpips and pyiqa look into torch.hub's folder only."""
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    content = b"alexnet"
    monkeypatch.setitem(
        OFFICIAL,
        "alexnet",
        Official("https://example.org/alexnet-owt-7be5be79.pth", hashlib.sha256(content).hexdigest()),
    )
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "alexnet-owt-7be5be79.pth").write_bytes(content)
    metrics.extra(["lpips"])  # these are no weights, so it fails after it has looked
    assert (tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth").read_bytes() == content
