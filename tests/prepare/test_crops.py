"""Where tiles are cut, which are dropped, and what is stored of them."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archsr.config import PrepareConfig
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.prepare.writing.crops import detail, detail_tag, reference_boxes, reference_sizes, worth_keeping
from archsr.data.prepare.writing.samples import cut

NOISE = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)


def test_reference_copies_are_those_of_the_multi_scale_script():
    assert reference_sizes(2040, 1356) == [(2040, 1356), (1530, 1017), (1020, 678), (680, 452), (601, 400)]


@given(st.integers(1, 1500), st.integers(1, 1500))
def test_reference_pieces_cover_the_copy_to_its_edges(width, height):
    boxes = reference_boxes(width, height)
    if min(width, height) < 400:
        assert boxes == []
        return
    covered = np.zeros((height, width), bool)
    for left, top, w, h in boxes:
        assert (w, h) == (400, 400)
        covered[top : top + h, left : left + w] = True
    assert covered.all()


def test_a_sky_is_flat_and_a_facade_is_not():
    rng = np.random.default_rng(0)
    ramp = np.linspace(150, 220, 512)[:, None, None] * np.ones((1, 512, 3))
    sky = np.clip(ramp + rng.normal(0, 4, ramp.shape), 0, 255).astype(np.uint8)
    assert detail(sky) < 0.02
    facade = sky.copy()
    facade[300:500:20, ::3] = 40
    assert detail(facade) > 0.15
    assert detail(np.zeros((7, 7, 3), np.uint8)) == 0


def test_a_tile_is_tagged_by_its_share_of_structured_blocks():
    assert [detail_tag(share) for share in (0.0, 0.49, 0.5, 0.79, 0.8, 1.0)] == [
        "detail:low", "detail:low", "detail:medium", "detail:medium", "detail:high", "detail:high",
    ]  # fmt: skip
    settings = PrepareConfig(tile=512, min_detail=0)
    wall, noise = cut(ScannedFile("a.jpg"), flat_and_full(), "train", settings)
    assert (wall.extra["detail"], noise.extra["detail"]) == (0, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0, 1))
def test_no_photograph_loses_all_its_tiles(details, least):
    kept = worth_keeping(details, least)
    assert kept
    assert all(details[i] >= least for i in kept) or (len(kept) == 1 and details[kept[0]] == max(details))


def flat_and_full():
    pixels = np.full((512, 1024, 3), 180, np.uint8)
    pixels[:, 512:] = NOISE[:512, :512]
    return pixels


def test_flat_tiles_are_dropped_and_the_others_keep_their_numbers():
    settings = PrepareConfig(tile=512)
    keys = {e.key[-3:] for e in cut(ScannedFile("a.jpg"), flat_and_full(), "train", settings)}
    assert keys == {"001"}
    everything = settings.model_copy(update={"min_detail": 0.0})
    assert len(list(cut(ScannedFile("a.jpg"), flat_and_full(), "train", everything))) == 2


@pytest.mark.parametrize(("encoding", "ending", "most"), [("webp", "webp", 0), ("png", "png", 0), ("jpeg", "jpg", 60)])
def test_encodings(encoding, ending, most):
    smooth = np.asarray(Image.fromarray(NOISE).resize((30, 20)).resize((600, 400)))
    settings = PrepareConfig(tile=400, encoding=encoding)
    for made in cut(ScannedFile("a.jpg"), smooth, "train", settings):
        left, top, width, height = made.box
        got = np.asarray(Image.open(io.BytesIO(made.members[f"gt.{ending}"])).convert("RGB")).astype(int)
        assert np.abs(got - smooth[top : top + height, left : left + width]).max() <= most


def test_reference_crops_of_a_photograph():
    made = list(cut(ScannedFile("a.jpg"), NOISE, "train", PrepareConfig(crops="reference")))
    assert len({e.key for e in made}) == len(made)
    sizes = {tuple(e.extra.get("copy", (900, 600))) for e in made}
    assert sizes == {(900, 600), (675, 450), (600, 400)}
    assert all(e.box[2:] == (400, 400) for e in made)
    small = list(cut(ScannedFile("a.jpg"), NOISE[:300, :350], "train", PrepareConfig(crops="reference")))
    assert {e.box[2:] for e in small} == {(400, 400)} or [e.box for e in small] == [(0, 0, 350, 300)]
