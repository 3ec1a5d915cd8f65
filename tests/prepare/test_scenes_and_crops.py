import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsr.config import PrepareConfig
from archsr.data.prepare.scenes import Scenes, assign, scene_of, split_of, title_of
from archsr.data.prepare.writing.crops import pair_boxes, tiles
from archsr.errors import UserError

CONFIG = PrepareConfig()


def as_scenes(names):
    return Scenes({n: n for n in names}, {n: [n] for n in names})


@pytest.mark.parametrize(
    ("path", "scene"),
    [
        ("villa savoye/a.jpg", "villa savoye"),
        ("style/villa savoye/a.jpg", "style/villa savoye"),
        ("villa-01.jpg", "title:villa"),
        ("villa-02.JPG", "title:villa"),
        ("building-005_view-1.jpg", "title:building-005"),
        ("building-005_view-2.jpg", "title:building-005"),
        ("Lobby (3).png", "title:lobby"),
        ("lobby copy.png", "title:lobby"),
        ("IMG_2231.jpg", "title:img_2231"),
        ("DSC01234.jpg", "title:dsc01234"),
        ("12.jpg", "title:12"),
        ("café ÷ bar 2.jpg", "title:café ÷ bar"),
    ],
)
def test_scenes_are_folders_or_titles(path, scene):
    assert scene_of(path) == scene


@given(st.text(min_size=1, max_size=30))
def test_a_title_is_never_empty_for_a_name(stem):
    if stem.casefold().strip():
        assert title_of(stem)


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40),
    st.lists(st.text(min_size=1, max_size=8), max_size=40),
)
def test_adding_scenes_never_moves_old_ones(old, new):
    before = {s: split_of(s, CONFIG) for s in old}
    both = {s: split_of(s, CONFIG) for s in [*new, *old]}
    assert all(both[s] == before[s] for s in old)


def test_raising_one_fraction_moves_scenes_to_that_side_only():
    scenes = [f"scene {i}" for i in range(500)]
    less, more = PrepareConfig(val=0.1), PrepareConfig(val=0.2)
    for scene in scenes:
        a, b = split_of(scene, less), split_of(scene, more)
        assert a == b or (a, b) == ("train", "val")


def test_fractions_are_met_on_average():
    sides = [split_of(f"scene {i}", CONFIG) for i in range(4000)]
    assert sides.count("val") == pytest.approx(400, abs=60)
    assert sides.count("test") == pytest.approx(400, abs=60)


def test_too_few_scenes_say_so():
    with pytest.raises(UserError, match=r"too few scenes for three splits: found 2 \(a, b\)"):
        assign(as_scenes(["a", "b"]), {}, CONFIG)


def test_an_empty_side_names_fractions_that_work():
    scenes = [f"p{i}" for i in range(4)]
    with pytest.raises(UserError) as error:
        assign(as_scenes(scenes), {}, CONFIG)
    words = str(error.value).split("--set ")
    options = {w.split("=")[0]: float(w.split("=")[1]) for w in words[1:]}
    assert set(assign(as_scenes(scenes), {}, PrepareConfig(**options)).values()) == {"train", "val", "test"}


sides = st.integers(1, 3000)


@given(sides, sides, st.integers(64, 600))
def test_tiles_lie_inside_and_neighbours_are_near(width, height, tile):
    boxes = tiles(width, height, tile=tile)
    for left, top, w, h in boxes:
        assert (w, h) == (min(tile, width), min(tile, height))
        assert 0 <= left <= width - w
        assert 0 <= top <= height - h
    lefts = sorted({b[0] for b in boxes})
    assert len(lefts) == max(1, round(width / tile))
    assert all(b - a <= 1.5 * tile + 1 for a, b in itertools.pairwise(lefts))
    assert len(set(boxes)) == len(boxes)


@given(
    st.integers(64, 3000), st.integers(64, 3000), st.integers(64, 600), st.integers(1, 6), st.sampled_from([1, 2, 4])
)
def test_pair_boxes_are_square_multiples_of_the_scale(width, height, size, count, scale):
    boxes = pair_boxes(width, height, size=size, count=count, multiple=scale)
    assert len(boxes) <= count
    for left, top, w, h in boxes:
        assert w == h <= size
        assert w % scale == 0
        assert left + w <= width
        assert top + h <= height
