"""Zero-shot labels: the error without open_clip; if it is installed, the real path with untrained weights."""

import importlib.util

import numpy as np
import pytest
import torch

from archsr.data.prepare.survey.zero_shot import ZeroShot
from archsr.errors import UserError

PROMPTS = {"photograph": ["a photograph of a building", "a photo of a room"], "drawing": ["a floor plan"]}
MODEL = "ViT-S-32-alt"  # the smallest model of open_clip without other dependencies
IMAGES = [np.random.default_rng(i).integers(0, 255, (90, 120 + i, 3), dtype=np.uint8) for i in range(3)]


@pytest.mark.skipif(importlib.util.find_spec("open_clip") is not None, reason="open_clip is installed")
def test_without_the_library_the_message_says_what_to_install():
    with pytest.raises(UserError, match=r'pip install "archsr\[zero-shot\]"'):
        ZeroShot(MODEL, "laion2b").scores(IMAGES, PROMPTS)


def test_a_label_without_prompts_is_refused():
    with pytest.raises(UserError, match="at least one prompt"):
        ZeroShot(MODEL, "laion2b").scores(IMAGES, {"photograph": []})
    assert ZeroShot(MODEL, "laion2b").scores([], PROMPTS) == []


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "untrained.pt"
    torch.save(open_clip.create_model(MODEL).state_dict(), path)
    return path


def test_scores_from_a_local_file(weights):
    opened = ZeroShot(MODEL, str(weights))
    together = opened.scores(IMAGES, PROMPTS)
    assert [list(row) for row in together] == [list(PROMPTS)] * 3
    assert all(sum(row.values()) == pytest.approx(1) for row in together)
    alone = [opened.scores([image], PROMPTS)[0] for image in IMAGES]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    twice = opened.scores(IMAGES, {"a": ["a floor plan"], "b": ["a floor plan", "a floor plan"]})
    assert all(row["a"] == pytest.approx(0.5, abs=1e-5) for row in twice)


def test_errors_name_the_way_out(weights, tmp_path, monkeypatch):
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"nothing")
    with pytest.raises(UserError, match="no weights of ViT-S-32-alt"):
        ZeroShot(MODEL, str(damaged)).scores(IMAGES, PROMPTS)
    with pytest.raises(UserError, match="is no file, and no weights"):
        ZeroShot(MODEL, "no-such-tag").scores(IMAGES, PROMPTS)
    with pytest.raises(UserError, match="knows no model 'ViT-Q'"):
        ZeroShot("ViT-Q", str(weights)).scores(IMAGES, PROMPTS)


def test_weights_that_cannot_be_fetched(weights, monkeypatch):
    open_clip = pytest.importorskip("open_clip")

    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", unreachable)
    with pytest.raises(UserError, match="without network, fetch them on another machine"):
        ZeroShot("ViT-B-32", "laion2b_s34b_b79k").scores(IMAGES, PROMPTS)
