"""Folders with good, damaged, partial and foreign entries, in the run folder and in its mirror."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from archsr.checkpoint import Contents, Keep, Mirror, Saver, load_newest, problem_with, start_run
from archsr.config import TrainConfig
from archsr.config.config_file import check, dump, with_overrides
from archsr.errors import UserError
from archsr.training import launch
from archsr.utils.world import World

ALONE = World()


def contents(value):
    return Contents({"generator": {"w": torch.full((4, 4), float(value))}}, {"progress": {"step": value}}, {})


def saved(run, steps, *, ident="aaaa", mirror="", keep=2):
    """Save a run at these steps, and return its messages."""
    kept = Keep(keep)
    start_run(run, "name = 'x'\n", ident=ident)
    second = Mirror(mirror, keep=kept, pause=0.01) if mirror else None
    saver = Saver(run, world=ALONE, keep=kept, mirror=second, ident=ident)
    for step in steps:
        saver.begin(step, contents(step))
    saver.settle()
    saver.close()
    return saver.notes


def spoil(folder, how="flip"):
    path = folder / ("MANIFEST.json" if how == "torn" else "generator.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data[: len(data) // 2] if how in ("cut", "torn") else data)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# ---------------------------------------------------------------- what was seen


def test_a_damaged_checkpoint_does_not_count_as_newest(tmp_path):
    """Once, pruning kept two damaged ones of higher steps and removed the good one just written."""
    run = tmp_path / "run"
    saved(run, [8, 9])
    for folder in (run / "checkpoints").iterdir():
        spoil(folder)
    notes = saved(run, [3, 4])
    assert load_newest(run, world=ALONE)[0].step == 4
    assert names(run / "checkpoints") == [
        "step-00000003", "step-00000004", "step-00000008.damaged", "step-00000009.damaged",
    ]  # fmt: skip
    assert len(notes) == 2
    assert "generator.safetensors is damaged; it is now step-0000000" in notes[0]


def test_a_resumed_run_sets_damaged_ones_aside(tmp_path):
    run = tmp_path / "run"
    saved(run, [1, 2])
    spoil(run / "checkpoints" / "step-00000002")
    assert load_newest(run, world=ALONE)[0].step == 1
    assert names(run / "checkpoints") == ["step-00000001", "step-00000002"]  # a dry run looks only
    found, told = load_newest(run, world=ALONE, mend=True)
    assert found.step == 1
    assert told[0].endswith("generator.safetensors is damaged; it is now step-00000002.damaged")
    assert names(run / "checkpoints") == ["step-00000001", "step-00000002.damaged"]


def test_where_none_is_good_all_keep_their_names(tmp_path):
    run = tmp_path / "run"
    saved(run, [1, 2])
    for folder in (run / "checkpoints").iterdir():
        spoil(folder)
    for _ in range(2):
        found, told = load_newest(run, world=ALONE, mend=True)
        assert (found, len(told)) == (None, 2)


@pytest.mark.parametrize("name", ["step-best", "step-00000004-backup", "step-4", "step-00000009.old"])
def test_a_users_copy_is_neither_resumed_nor_pruned_nor_in_the_way(tmp_path, name):
    run = tmp_path / "run"
    saved(run, [4])
    shutil.copytree(run / "checkpoints" / "step-00000004", run / "checkpoints" / name)
    before = {p: p.read_bytes() for p in (run / "checkpoints" / name).iterdir()}
    assert saved(run, [6, 8, 10]) == []
    assert load_newest(run, world=ALONE, mend=True)[0].step == 10
    assert names(run / "checkpoints") == sorted(["step-00000008", "step-00000010", name])
    assert {p: p.read_bytes() for p in before} == before


def test_a_new_run_of_the_same_name_keeps_its_own_copies(tmp_path):
    """Once, its copies were removed because the old run's steps were higher, and the old run was resumed instead."""
    there = str(tmp_path / "there")
    saved(tmp_path / "old" / "run", [80, 90], ident="aaaa", mirror=there)
    saved(tmp_path / "new" / "run", [1, 2, 3], ident="bbbb", mirror=there)
    found, told = load_newest(tmp_path / "lost" / "run", world=ALONE, mirror=there)
    assert found.step == 3
    assert "run/bbbb; " in told[-1]
    assert told[-1].endswith("run/aaaa has another run of this name, at step 90")
    assert names(tmp_path / "there" / "run" / "aaaa" / "checkpoints") == ["step-00000080", "step-00000090"]
    # a folder that knows which run it is takes that one only
    start_run(tmp_path / "known" / "run", "", ident="aaaa")
    assert load_newest(tmp_path / "known" / "run", world=ALONE, mirror=there)[0].step == 90
    start_run(tmp_path / "third" / "run", "", ident="cccc")
    assert load_newest(tmp_path / "third" / "run", world=ALONE, mirror=there) == (None, [])


def test_copies_of_earlier_versions_are_read_and_left(tmp_path):
    run, there = tmp_path / "a" / "run", tmp_path / "there"
    saved(run, [5, 6])
    shutil.copytree(run / "checkpoints", there / "run" / "checkpoints")
    assert load_newest(tmp_path / "b" / "run", world=ALONE, mirror=str(there))[0].step == 6
    saved(tmp_path / "b" / "run", [7, 8, 9], mirror=str(there))
    assert names(there / "run" / "checkpoints") == ["step-00000005", "step-00000006"]


def test_a_mirror_heals_damaged_checkpoints(tmp_path):
    """Once, the good copy could not replace the damaged one: directory not empty."""
    run, there = tmp_path / "run", str(tmp_path / "there")
    saved(run, [1, 2], mirror=there)
    for folder in (run / "checkpoints").iterdir():
        spoil(folder)
    found, told = load_newest(run, world=ALONE, mirror=there, mend=True)
    assert found.step == 2
    assert "fetched from" in "".join(told)
    assert not problem_with(run / "checkpoints" / "step-00000002")
    assert "step-00000002.damaged" in names(run / "checkpoints")


@pytest.mark.parametrize("how", ["torn", "cut"])
def test_one_torn_copy_blocks_neither_resuming_nor_copying(tmp_path, how):
    there = tmp_path / "there"
    saved(tmp_path / "run", [1, 2], mirror=str(there))
    copies = there / "run" / "aaaa" / "checkpoints"
    spoil(copies / "step-00000002", how)
    found, told = load_newest(tmp_path / "lost" / "run", world=ALONE, mirror=str(there))
    assert found.step == 1
    assert "step-00000002: skipped" in told[0]
    assert saved(tmp_path / "run", [3, 4], mirror=str(there)) == []
    assert {"step-00000003", "step-00000004"} <= set(names(copies))


def test_snapshots_come_back_with_the_checkpoint(tmp_path):
    run, there = tmp_path / "run", str(tmp_path / "there")
    start_run(run, "", ident="aaaa")
    (run / "snapshots" / "initial.safetensors").write_bytes(b"the start")
    saved(run, [1], mirror=there)
    load_newest(tmp_path / "lost" / "run", world=ALONE, mirror=there)
    assert (tmp_path / "lost" / "run" / "snapshots" / "initial.safetensors").read_bytes() == b"the start"


def test_a_config_edited_in_the_run_folder_is_seen(tiny_tables):
    """Once, the config was compared with itself, so changes of seed, batch, rates and losses passed."""
    config = check(TrainConfig, tiny_tables, where="test")
    launch.run(config, resume=False)
    path = Path(config.runs) / config.name / "config.toml"
    changed = check(TrainConfig, with_overrides(tiny_tables, ["seed=5", "losses.pixel.weight=3"]), where="test")
    path.write_text(dump(changed))
    with pytest.raises(
        UserError, match="config differs from the checkpoint's: (losses.pixel.weight: .* more: seed|seed)"
    ):
        launch.run(changed, resume=True)


def test_a_run_keeps_its_ident_and_another_of_its_name_has_its_own(tiny_tables):
    folder = Path(tiny_tables["runs"]) / "tiny"

    def idents():
        manifests = (json.loads(p.read_bytes()) for p in folder.glob("checkpoints/step-*/MANIFEST.json"))
        return {m["run"] for m in manifests} | {json.loads((folder / "run.json").read_bytes())["ident"]}

    launch.run(check(TrainConfig, tiny_tables, where="test"), resume=False)
    (first,) = idents()
    longer = with_overrides(tiny_tables, ["training.stages=[{iterations=8, lr=1e-3}]"])
    launch.run(check(TrainConfig, longer, where="test"), resume=True)
    assert idents() == {first}
    shutil.rmtree(folder)
    launch.run(check(TrainConfig, tiny_tables, where="test"), resume=False)
    assert idents() != {first}


# ---------------------------------------------------------------- any mixture

KINDS = ("good", "flip", "cut", "torn", "no manifest", "foreign name", "foreign file", "half-written")
places = st.dictionaries(st.integers(1, 12), st.sampled_from(KINDS), max_size=6)


def fill(parent, made, kinds):
    """Put folders of these kinds into the parent, by step."""
    parent.mkdir(parents=True, exist_ok=True)
    for step, kind in kinds.items():
        source, name = made / f"step-{step:08d}", f"step-{step:08d}"
        target = parent / {"foreign name": f"{name}-copy", "half-written": f".{name}.00c0ffee.tmp"}.get(kind, name)
        if kind == "foreign file":
            target = parent / f"notes-{step}.txt"
            target.write_text("mine")
            continue
        shutil.copytree(source, target)
        if kind in ("flip", "cut", "torn"):
            spoil(target, kind)
        if kind in ("no manifest", "half-written"):
            (target / "MANIFEST.json").unlink()


def foreign(parent):
    found = [p for p in parent.rglob("*") if p.is_file()]
    return {p: p.read_bytes() for p in found if "-copy" in str(p) or p.name.startswith("notes-")}


def good(parent):
    return [int(p.name[5:]) for p in parent.glob("step-*") if p.name[5:].isdigit() and not problem_with(p)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = tmp_path_factory.mktemp("made") / "run"
    saved(run, range(1, 13), keep=12)
    return run / "checkpoints"


@settings(max_examples=60)  # each writes and reads some hundred files
@given(here=places, there=places, keep=st.integers(2, 3), number=st.integers(0, 10**9))
def test_any_mixture(made, tmp_path_factory, here, there, keep, number):
    base = tmp_path_factory.mktemp(f"mix{number}")
    run, mirror = base / "a" / "run", base / "there"
    fill(run / "checkpoints", made, here)
    fill(mirror / "run" / "aaaa" / "checkpoints", made, there)
    start_run(run, "", ident="aaaa")
    untouched = foreign(base)
    steps = [good(run / "checkpoints"), good(mirror / "run" / "aaaa" / "checkpoints")]

    found, _ = load_newest(run, world=ALONE, mirror=str(mirror), mend=True)
    expected = max(steps[0]) if steps[0] else max(steps[1], default=None)
    assert (found.step if found else None) == expected
    if found:
        assert found.files["generator"]["w"].eq(found.step).all()

    for step in (20, 21):
        saved(run, [step], mirror=str(mirror), keep=keep)
        assert step in good(run / "checkpoints")
        assert step in good(mirror / "run" / "aaaa" / "checkpoints")
    assert foreign(base) == untouched
    assert load_newest(run, world=ALONE)[0].step == 21
    shutil.rmtree(run)
    assert load_newest(run, world=ALONE, mirror=str(mirror))[0].step == 21
    for kind in {*(f"here: {k}" for k in here.values()), *(f"mirror: {k}" for k in there.values())}:
        event(kind)  # pytest --hypothesis-show-statistics prints how many cases had each
    shutil.rmtree(base)
