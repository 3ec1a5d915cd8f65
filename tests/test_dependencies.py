"""What an installation brings, followed through the requirements of the installed packages."""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import tomli
import torch
from packaging.requirements import Requirement

from archsr.config import DistsLoss
from archsr.errors import UserError
from archsr.evaluation.metrics import check_names, extra
from archsr.evaluation.selection import best_perceptual
from archsr.training.losses.feature_losses import Dists

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMED = (
    "torch", "torchvision", "accelerate", "datasets", "webdataset", "timm", "lpips", "pyiqa", "einops", "tomli",
)  # fmt: skip


def closure(lines):
    """The names of all packages that are installed with these requirements on this machine."""
    found, waiting = {}, [Requirement(line) for line in lines]
    while waiting:
        one = waiting.pop()
        name, wanted = re.sub(r"[-_.]+", "-", one.name).lower(), {"", *one.extras}
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        new = wanted - found.get(name, set())
        if not new:
            continue
        found.setdefault(name, set()).update(wanted)
        try:
            more = [Requirement(line) for line in requires(one.name) or []]
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        for other in more:
            if other.marker is None or any(other.marker.evaluate({"extra": e}) for e in new):
                other.marker = None
                waiting.append(other)
    return set(found)


def test_the_base_brings_no_tools_and_one_opencv():
    base = closure(PROJECT["dependencies"])
    assert {"torch", "numpy", "pandas"} <= base  # pandas: through datasets
    assert not base & {"pytest", "pre-commit", "ruff", "pyright", "pyiqa", "bitsandbytes", "transformers", "gradio"}
    assert [name for name in base if "opencv" in name] == ["opencv-python-headless"]


def test_tests_have_every_extra_that_they_use():
    assert Requirement(PROJECT["optional-dependencies"]["test"][0]).extras == {
        "offline", "export", "app", "phone", "metrics", "codecs",
    }  # fmt: skip


def test_the_readme_names_every_librarys_job():
    jobs = (ROOT / "README.md").read_text().split("## The libraries and their jobs")[1].split("\n## ")[0]
    assert [name for name in NAMED if not re.search(rf"\b{name}\b", jobs)] == []


@pytest.fixture
def without_pyiqa(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    monkeypatch.setitem(sys.modules, "pyiqa.archs", None)


def test_without_pyiqa_its_metrics_name_the_extra(without_pyiqa):
    with pytest.raises(UserError, match=r"--metric musiq: needs pyiqa.*pip install \"archsr\[metrics\]\""):
        check_names(["ms_ssim", "lpips", "dists", "musiq"])
    check_names(["ms_ssim", "lpips", "dists"])  # what every evaluation asks for
    found, missing = extra(["ms_ssim", "dists"])
    assert [m.name for m in found] == ["ms_ssim"]
    assert missing == {"dists": 'needs pyiqa, which is not installed: pip install "archsr[metrics]"'}


def test_without_pyiqa_dists_is_no_loss_and_no_default(without_pyiqa, monkeypatch):
    with pytest.raises(UserError, match=r"losses\.dists: needs pyiqa.*\"archsr\[metrics\]\""):
        Dists(DistsLoss(weight=1.0))
    monkeypatch.setattr("archsr.evaluation.selection.cached", lambda name: name != "alexnet")
    assert best_perceptual() == "features"


def test_ms_ssim_is_pyiqas(real_photos):
    """Also on sides that do not halve evenly, but for the row of zeros that pyiqa then adds."""
    import pyiqa

    from archsr.images.pixels import pixels_to_tensor, read_photo

    pixels = read_photo(real_photos / "project_00" / "building-001_view-1.jpg").pixels
    [metric], theirs = extra(["ms_ssim"])[0], pyiqa.create_metric("ms_ssim", device="cpu")
    for height, width, off in ((256, 320, 1e-4), (277, 333, 5e-3)):
        gt = pixels_to_tensor(pixels[:height, :width].copy())
        noise = 0.1 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))
        sr = ((gt + noise).clamp(0, 1) * 255).round() / 255
        assert metric.of(sr, gt, sr) == pytest.approx(float(theirs(sr, gt)), abs=off)
        assert 0.5 < metric.of(sr, gt, sr) < 0.99
    small = gt[..., :175, :175]
    assert metric.of(small, small, small) != metric.of(small, small, small)  # NaN
