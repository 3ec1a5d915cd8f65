"""Scenes, splits, tags and copies, decided from names and thumbnails alone."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsr.config import PrepareConfig
from archsr.config.prepare import ScenesConfig, TagRule, TagsConfig
from archsr.data.prepare.decide import decide
from archsr.data.prepare.former import FormerSplit
from archsr.data.prepare.scenes import scene_of, split_of, unite
from archsr.data.prepare.survey.scan import ScannedFile
from archsr.data.prepare.survey.tags import check_csv, tags_of
from archsr.errors import UserError

CONFIG = PrepareConfig(val=0.3, test=0.3)


def source(path, content=None, **more):
    return ScannedFile(path, bytes=1, sha256=content or path, width=400, height=400, **more)


def decided(paths, *, earlier=None, config=CONFIG, copies=()):
    sources = [source(p) for p in paths] + [source(copy, content=original) for original, copy in copies]
    by_content = {s.sha256: earlier[s.path] for s in sources if earlier and s.path in earlier}
    former = FormerSplit(by_content, earlier or {})
    return decide(sources, np.zeros((len(sources), 64, 64), np.uint8), former, config)


MANY = [f"project {i}/photo {j}.jpg" for i in range(30) for j in range(2)]


def test_folders_titles_and_links_unite():
    paths = ["a/1.jpg", "a/2.jpg", "b/villa-rossi-01.jpg", "c/villa-rossi-02.jpg", "d/x.jpg", "e/y.jpg", "f/z.jpg"]
    scenes = unite(paths, [("d/x.jpg", "e/y.jpg"), ("e/y.jpg", "a/2.jpg")], CONFIG)
    groups = defaultdict(set)
    for path, name in scenes.of.items():
        groups[name].add(path[0])
    assert sorted(map(sorted, groups.values())) == [["a", "d", "e"], ["b", "c"], ["f"]]
    assert scenes.parts["a"] == ["a", "d", "e"]


def test_titles_that_many_folders_have_say_nothing():
    for name, together in (("entrance-hall", False), ("building-005_view", False), ("villa-rossi", True)):
        paths = [f"{folder}/{name}-{n}.jpg" for n, folder in enumerate("abcd")]
        assert len(set(unite(paths, [], CONFIG).of.values())) == 4
        assert len(set(unite(paths[:2], [], CONFIG).of.values())) == (1 if together else 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=40), st.randoms())
def test_scenes_are_the_connected_parts_whatever_the_order(pairs, random):
    links = [(MANY[a], MANY[b]) for a, b in pairs]
    first = unite(MANY, links, CONFIG)
    shuffled = [tuple(random.sample(link, 2)) for link in random.sample(links, len(links))]
    assert unite(random.sample(MANY, len(MANY)), shuffled, CONFIG).of == first.of
    for a, b in links:
        assert first.of[a] == first.of[b]


def test_copies_join_their_folders_and_give_no_samples():
    found = decided(MANY, copies=[(MANY[0], "project 7/again.jpg")])
    assert {s.path: s.kind for s in found.sources}["project 7/again.jpg"] == "duplicate"
    assert found.scenes.of["project 0/photo 0.jpg"] == found.scenes.of["project 7/photo 0.jpg"]
    assert [(s.a, s.b, s.folders) for s in found.same] == [
        (MANY[0], "project 7/again.jpg", ("project 0", "project 7")),
    ]


def test_a_leak_is_what_a_split_by_folder_would_have_had():
    plain = decided(MANY)
    a, b = (next(p for p in MANY if plain.side(p) == side) for side in ("train", "test"))
    c = next(p for p in MANY if plain.side(p) == "train" and p.split("/")[0] != a.split("/")[0])
    folder = a.split("/")[0]
    assert decided(MANY, copies=[(b, f"{folder}/copy.jpg")]).same[0].leak
    assert not decided(MANY, copies=[(c, f"{folder}/copy.jpg")]).same[0].leak


def test_new_photographs_never_move_old_ones_even_when_they_link_them():
    before = decided(MANY)
    earlier = {p: before.side(p) for p in MANY}
    train = next(p for p in MANY if earlier[p] == "train")
    test = next(p for p in MANY if earlier[p] == "test")
    # a new folder that sorts first and holds a copy of an old photograph
    after = decided([*MANY, "aaa/new.jpg"], earlier=earlier, copies=[(test, "aaa/copy.jpg")])
    assert {p: after.side(p) for p in MANY} == earlier
    assert after.side("aaa/new.jpg") == "test"
    # a new photograph in an old training folder that is a copy of an old test photograph
    bridge = f"{train.split('/')[0]}/bridge.jpg"
    found = decided(MANY, earlier=earlier, copies=[(test, bridge)])
    assert {s.path: s.kind for s in found.sources}[bridge] in ("duplicate", "bridge")
    assert {p: found.side(p) for p in MANY} == earlier


def test_renamed_folders_and_files_keep_their_sides():
    """A renamed project and renamed files keep their splits: splits follow contents."""
    before = decided(MANY)
    sides = {p: before.side(p) for p in MANY}
    contents = FormerSplit(sides, sides)
    renamed = {p: f"client {99 - int(p[8:].split('/')[0])}/new {p.rsplit(' ', 1)[1]}" for p in MANY}
    sources = sorted((source(new, content=old) for old, new in renamed.items()), key=lambda s: s.path)
    thumbs = np.zeros((len(sources), 64, 64), np.uint8)
    after = decide(sources, thumbs, contents, CONFIG)
    assert {old: after.side(new) for old, new in renamed.items()} == sides
    assert after.moved == []
    anew = decide(sources, thumbs, contents, CONFIG, resplit=True)
    assert {m.path: (m.before, m.now) for m in anew.moved} == {
        new: (sides[old], anew.side(new)) for old, new in renamed.items() if anew.side(new) != sides[old]
    }
    assert anew.moved


def test_swapped_names_move_no_content():
    before = decided(MANY)
    sides = {p: before.side(p) for p in MANY}
    train, test = (next(p for p in MANY if sides[p] == side).split("/")[0] for side in ("train", "test"))
    swap = {train: test, test: train}
    parts = [p.split("/") for p in MANY]
    sources = sorted((source(f"{swap.get(f, f)}/{n}", content=f"{f}/{n}") for f, n in parts), key=lambda s: s.path)
    after = decide(sources, np.zeros((len(sources), 64, 64), np.uint8), FormerSplit(sides, sides), CONFIG)
    assert {s.sha256: after.side(s.path) for s in sources} == sides


def test_merged_folders_become_tests_and_what_moved_is_told():
    before = decided(MANY)
    sides = {p: before.side(p) for p in MANY}
    train, test = (next(p for p in MANY if sides[p] == side).split("/")[0] for side in ("train", "test"))
    joined = {p: p.replace(f"{train}/", f"{test}/{train} ") for p in MANY}
    sources = sorted((source(new, content=old) for old, new in joined.items()), key=lambda s: s.path)
    after = decide(sources, np.zeros((len(sources), 64, 64), np.uint8), FormerSplit(sides, sides), CONFIG)
    assert {(m.path, m.before, m.now) for m in after.moved} == {
        (new, "train", "test") for old, new in joined.items() if new != old
    }


def test_named_folders_make_the_sides():
    config = PrepareConfig(test_folders=("project 1?",), val_folders=("project 2",))
    found = decided(MANY, config=config)
    sides = defaultdict(set)
    for path in MANY:
        sides[found.side(path)].add(path.split("/")[0])
    assert sides["val"] == {"project 2"}
    assert sides["test"] == {f"project 1{i}" for i in range(10)}
    with pytest.raises(UserError, match="none fell to val"):
        decided(MANY, config=PrepareConfig(val_folders=("nowhere",)))


# ---------------------------------------------------------------- tags


def test_tags_come_from_folders_rules_columns_and_a_table(tmp_path):
    table = tmp_path / "tags.csv"
    table.write_text("path,tag\ninterior/villa/1.jpg,modern\n*/VILLA/*,villa\n")
    config = TagsConfig(folders=1, rules=(TagRule(tag="stairs", match="*stair*"),), csv=str(table), columns=("style",))
    first = source("interior/villa/1.jpg", columns=(("style", "art deco"), ("artist", "x")))
    assert tags_of(first, config) == ("interior", "modern", "style=art deco", "villa")
    assert tags_of(source("exterior/Staircase.jpg"), config) == ("exterior", "stairs")
    assert tags_of(source("alone.jpg"), config) == ()


@pytest.mark.parametrize(("text", "word"), [(None, "cannot be read"), ("a,b\n1,2\n", "expected the columns path")])
def test_a_table_that_cannot_be_used_is_named(tmp_path, text, word):
    table = tmp_path / f"{word[:4]}.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(UserError, match=word):
        tags_of(source("a.jpg"), TagsConfig(csv=str(table)))


@pytest.mark.parametrize(("row", "words"), [("a.jpg,", "line 3"), (",tag", "line 3"), ("a.jpg", "line 3")])
def test_a_row_without_path_or_tag_is_one_line(tmp_path, row, words):
    listed = tmp_path / "tags.csv"
    listed.write_text(f"path,tag\nb.jpg,house\n{row}\n")
    with pytest.raises(UserError, match=words):
        check_csv(TagsConfig(csv=str(listed)))


def test_named_folders_also_without_scenes_by_folder():
    config = PrepareConfig(val_folders=("hall*",), test_folders=(r"old\tower",), scenes=ScenesConfig(folder=False))
    for title in (True, False):
        sides = [split_of(scene_of(p, folder=False, title=title), config)
                 for p in ("Hall 3/a-01.jpg", "old/tower/b.jpg", "hut/c.jpg", "hall.jpg")]  # fmt: skip
        assert sides == ["val", "test", "train", "train"]
