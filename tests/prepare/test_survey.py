"""CLIP's labels of photographs; without labels CLIP is not used."""

from dataclasses import replace

import numpy as np
import pytest

from archsr.config import PrepareConfig, TagsConfig
from archsr.data.prepare.survey import chunks
from archsr.data.prepare.survey.scan import ScannedFile, ScanResult
from archsr.data.prepare.survey.tags import tags_of
from archsr.errors import UserError

PIXELS = np.zeros((64, 64, 3), np.uint8)
FINDING = ScanResult(ScannedFile("a/b.jpg"), PIXELS, PIXELS[:, :, 0])
CONFIG = PrepareConfig(tags=TagsConfig(zero_shot={"interior": ("a room",), "drawing": ("a plan",)}))


def says(monkeypatch, **shares):
    class Model:
        def scores(self, images, prompts):
            assert list(prompts) == ["interior", "drawing"]
            return [shares for _ in images]

    monkeypatch.setattr(chunks, "_clip", lambda *_: Model())


def test_the_likeliest_label_is_a_tag(monkeypatch):
    says(monkeypatch, interior=0.8, drawing=0.2)
    source = chunks._labelled(FINDING, CONFIG).source
    assert source.kind == ""
    assert tags_of(source, CONFIG.tags) == ("interior",)


def test_a_drawing_is_left_out_but_for_those_allowed(monkeypatch):
    says(monkeypatch, interior=0.2, drawing=0.8)
    assert chunks._labelled(FINDING, CONFIG).source.kind == "drawing"
    allowed = CONFIG.model_copy(update={"allow": ("a/*",)})
    assert chunks._labelled(FINDING, allowed).source.kind == ""


def test_nothing_is_asked_where_nothing_is_wanted():
    assert chunks._labelled(FINDING, PrepareConfig()) is FINDING
    out = replace(FINDING, source=ScannedFile("a/b.jpg", kind="small"))
    assert chunks._labelled(out, CONFIG) is out


def test_without_the_library_or_its_weights_it_is_an_error():
    with pytest.raises(UserError, match="zero-shot"):
        chunks._labelled(FINDING, CONFIG.model_copy(update={"tags": CONFIG.tags.model_copy(
            update={"clip_weights": "no-such-tag"})}))  # fmt: skip
