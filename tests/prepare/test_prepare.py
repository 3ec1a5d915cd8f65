"""`archsr prepare` as a whole: always the same bytes, every file accounted for, no scene in two splits."""

import json
import os
import re
import shutil
import tarfile
from collections import defaultdict

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from archsr.config import PrepareConfig
from archsr.config.prepare import TagRule, TagsConfig
from archsr.data import manifest as mf
from archsr.data.prepare.inspect_shards import inspect_dataset, problems, summary
from archsr.data.prepare.pipeline import prepare
from archsr.data.stream.reader import ShardReader
from archsr.data.versions import current
from archsr.degradation.apply import apply
from archsr.degradation.recipe import from_json
from archsr.errors import UserError
from archsr.images.pixels import pixels_to_tensor, read_photo, tensor_to_pixels


def content(folder):
    return {p.name: p.read_bytes() for p in sorted(current(folder).iterdir())}


def sources(folder):
    return [json.loads(line) for line in (current(folder) / "sources.jsonl").read_text().splitlines()]


def made_of(folder):
    return mf.load(current(folder))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_bytes_again_and_with_any_number_of_workers(photos, shards, prepare_config, tmp_path, workers):
    prepare(photos, tmp_path / "again", prepare_config, workers=workers)
    assert content(tmp_path / "again") == content(shards)


def test_every_file_is_accounted_for(photos, shards):
    listed = sources(shards)
    on_disk = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*") if p.is_file())
    assert [s["path"] for s in listed] == on_disk
    assert [s["kind"] for s in listed if "plan" in s["path"]] == ["drawing"]
    made = mf.load(shards)
    assert made.sources.found == len(on_disk) == made.sources.kept + len(made.left_out)
    assert {s["path"] for s in listed if not s["kind"]} == {
        s.photo for side in mf.SPLITS for s in samples(shards, side)
    }


def samples(folder, side):
    folder = current(folder)
    made = mf.load(folder)
    return [s for shard in made.splits[side].shards for s in mf.read_index(folder, shard)]


def test_no_scene_is_on_two_sides(shards):
    sides = defaultdict(set)
    for side in mf.SPLITS:
        for sample in samples(shards, side):
            sides[sample.scene].add(side)
    assert all(len(s) == 1 for s in sides.values())
    assert set().union(*sides.values()) == set(mf.SPLITS)


def test_plain_webdataset_reads_the_shards(shards):
    made = mf.load(shards)
    for side in mf.SPLITS:
        urls = [str(shards / s.file) for s in made.splits[side].shards]
        found = list(webdataset.WebDataset(urls, shardshuffle=False))
        assert [s["__key__"] for s in found] == [s.key for s in samples(shards, side)]
        wanted = {"gt.jpg", "json"} | ({"lq.webp"} if side != "train" else set())
        assert all(wanted <= set(s) for s in found)


def test_training_tiles_are_the_photographs_pixels(photos, shards):
    made = mf.load(shards)
    reader = ShardReader(shards, made.splits["train"].shards)
    for number, shard in enumerate(made.splits["train"].shards):
        for sample in mf.read_index(shards, shard):
            left, top, width, height = sample.box
            pixels = read_photo(photos / sample.photo).pixels[top : top + height, left : left + width]
            got = reader.image(number, sample, "gt").permute(1, 2, 0).numpy()
            assert np.array_equal(got, pixels)
    reader.close()


def test_fixed_pairs_can_be_made_again_from_their_stored_recipes(photos, shards):
    torch.set_num_threads(1)
    for shard in mf.load(shards).splits["test"].shards:
        with tarfile.open(shards / shard.file) as archive:
            for name in [n for n in archive.getnames() if n.endswith(".json")]:
                about = json.load(archive.extractfile(name))
                left, top, width, height = about["box"]
                pixels = read_photo(photos / about["photo"]).pixels[top : top + height, left : left + width]
                pair = apply(pixels_to_tensor(pixels), from_json(about["recipe"]))
                for ending, made in (("lq.webp", pair.lq), ("gt.jpg", pair.gt)):
                    stored = archive.extractfile(name.replace(".json", f".{ending}")).read()
                    assert np.array_equal(read_photo(stored).pixels, tensor_to_pixels(made))


def test_adding_photographs_keeps_the_old_ones_where_they_were(photos, shards, prepare_config, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(photos, more)
    for i in range(6):
        (more / f"new {i}").mkdir()
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(
            more / f"new {i}" / "x.png"
        )
    prepare(more, tmp_path / "out", prepare_config)
    before = {s.key: side for side in mf.SPLITS for s in samples(shards, side)}
    after = {s.key: side for side in mf.SPLITS for s in samples(tmp_path / "out", side)}
    assert before.items() <= after.items()


def test_other_shares_split_a_dataset_anew_and_say_so(messy, tmp_path, capsys):
    out = tmp_path / "out"
    prepare(messy, out, SETTINGS)
    first = made_of(out)
    prepare(messy, out, SETTINGS.model_copy(update={"tile": 160}))
    assert "was split with" not in capsys.readouterr().err
    prepare(messy, out, SETTINGS.model_copy(update={"test": 0.5}))
    said = capsys.readouterr().err
    assert "was split with other settings (test 0.3, now 0.5); photographs may change their split" in said
    assert re.search(r"\d+ photographs change their split \(.*\d+ from train to test.*\): pro.*train a new model", said)
    assert made_of(out).splits["test"].scenes > first.splits["test"].scenes
    fresh = prepare(messy, tmp_path / "fresh", SETTINGS.model_copy(update={"test": 0.5}))
    assert made_of(out).fingerprint == fresh.fingerprint


def test_renamed_projects_stay_on_their_sides(messy, tmp_path, capsys):
    """10 of 60 photographs once moved from train to test and 10 back, silently."""
    out = tmp_path / "out"
    prepare(messy, out, SETTINGS)
    before = {s.scene: side for side in mf.SPLITS for s in samples(out, side)}
    for number in range(12):
        (messy / f"project {number}").rename(messy / f"client {11 - number}")
    prepare(messy, out, SETTINGS)
    after = {s.scene: side for side in mf.SPLITS for s in samples(out, side)}
    assert after == {f"client {11 - int(scene.split()[1])}": side for scene, side in before.items()}
    assert "change their split" not in capsys.readouterr().err


# ---------------------------------------------------------------- bad files


def noise_image(path, side=200, seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def messy(tmp_path):
    folder = tmp_path / "messy"
    for i in range(12):
        noise_image(folder / f"project {i}" / "good photo.jpg", seed=i)
    return folder


SETTINGS = PrepareConfig(val=0.3, test=0.3, tile=128, min_side=120, pair_size=64)


def kinds(folder, out):
    made = prepare(folder, out, SETTINGS)
    return {item.path: (item.kind, item.reason) for item in made.left_out}


def test_bad_files_are_left_out_by_name_and_reason(messy, tmp_path):
    bad = messy / "project 0"
    good = (bad / "good photo.jpg").read_bytes()
    (bad / "cut.jpg").write_bytes(good[: len(good) // 2])
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "text.jpg").write_bytes(b"this is a letter, not a photograph")
    (bad / "Thumbs.db").write_bytes(b"x")
    (bad / "._good photo.jpg").write_bytes(b"\0\5\26\7")
    (bad / "copy of good.jpg").write_bytes(good)
    noise_image(bad / "tiny.png", side=40)
    Image.new("RGBA", (200, 200), (9, 9, 9, 90)).save(bad / "glass.png")
    frames = [Image.new("RGB", (200, 200), c) for c in ("red", "blue")]
    frames[0].save(bad / "moving.gif", save_all=True, append_images=frames[1:])
    found = kinds(messy, tmp_path / "out")
    words = {
        "cut.jpg": ("unreadable", "truncated"),
        "empty.jpg": ("unreadable", "empty file"),
        "text.jpg": ("unreadable", "not an image"),
        "Thumbs.db": ("no image", "operating system"),
        "._good photo.jpg": ("no image", "operating system"),
        "good photo.jpg": ("duplicate", "project 0/copy of good.jpg"),
        "tiny.png": ("small", "40×40"),
        "glass.png": ("transparent", "transparent"),
        "moving.gif": ("unreadable", "animated"),
    }
    assert {p.removeprefix("project 0/") for p in found} == set(words)
    for name, (kind, word) in words.items():
        assert found[f"project 0/{name}"][0] == kind
        assert word in found[f"project 0/{name}"][1]


def test_odd_names_just_work(messy, tmp_path):
    names = (
        "ünï cödé – façade.jpg",
        "dots.in.name.v2.jpg",
        "no ending",
        "quote'\"s.JPG",
        "emoji 🏛.png",
        "a" * 200 + ".png",
    )
    for seed, name in enumerate(names):
        noise_image(messy / "odd" / name, seed=1000 + seed, format="PNG")
    made = prepare(messy, tmp_path / "out", SETTINGS)
    assert made.left_out == []
    keys = [s.key for side in mf.SPLITS for s in samples(tmp_path / "out", side)]
    assert len(set(keys)) == len(keys)
    assert all(set(k) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") and len(k) <= 80 for k in keys)


def test_notes_beside_photographs_are_no_bad_images(messy, tmp_path):
    """More notes than photographs do not count for max_bad_share or bad_files = "raise"."""
    for n in range(60):
        (messy / "project 1" / f"note {n}.txt").write_text("seen on Sunday")
    out = tmp_path / "out"
    made = prepare(messy, out, SETTINGS.model_copy(update={"max_bad_share": 0.1, "bad_files": "raise"}))
    assert {item.kind for item in made.left_out} == {"no image"}
    assert len(made.left_out) == 60


def test_a_dataset_among_the_photographs_is_not_photographed_again(messy, tmp_path, capsys):
    first = prepare(messy, messy / "shards", SETTINGS)
    second = prepare(messy, tmp_path / "out", SETTINGS)
    assert second.sources.found == first.sources.found
    assert second.fingerprint == first.fingerprint


def test_patterns_that_fit_nothing_are_said(messy, tmp_path, capsys):
    listed = tmp_path / "tags.csv"
    listed.write_text("path,tag\nproject 9/gone.jpg,lost\nproject*,all\n")
    tags = TagsConfig(rules=(TagRule(tag="x", match="nothing/*"), TagRule(tag="one", match=r"project 1\*")),
                      csv=str(listed))  # fmt: skip
    prepare(messy, tmp_path / "out", SETTINGS.model_copy(update={"tags": tags, "deny": ("plans/*",)}))
    told = capsys.readouterr().err
    assert "deny: 'plans/*' fits no file" in told
    assert "tags.rules (x): 'nothing/*' fits no file" in told
    assert "1 of 1 paths are no files here; the first: project 9/gone.jpg" in told
    assert told.count("warning") == 3


def test_links_in_circles_end(messy, tmp_path):
    os.symlink(messy, messy / "project 1" / "circle")
    os.symlink(messy / "nowhere.jpg", messy / "project 1" / "dead.jpg")
    found = kinds(messy, tmp_path / "out")
    assert found["project 1/dead.jpg"][0] == "unreadable"
    assert len(found) == 1


def test_unreadable_rights(messy, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (messy / "project 0" / "good photo.jpg").chmod(0)
    assert "cannot be opened" in kinds(messy, tmp_path / "out")["project 0/good photo.jpg"][1]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: [p.unlink() for p in f.rglob("*") if p.is_file()], "no photographs found"),
        (lambda f: [p.write_text("x") for p in f.rglob("*.jpg")], "no photographs found: all 12 files"),
        (lambda f: [p.write_text("x") for p in sorted(f.rglob("*.jpg"))[:8]], "8 of 12 files cannot be used"),
        (lambda f: [shutil.rmtree(p) for p in sorted(f.iterdir())[:10]], "too few scenes for three splits: found 2"),
    ],
)
def test_sets_one_could_not_trust_are_refused(messy, tmp_path, change, word):
    change(messy)
    with pytest.raises(UserError, match=word):
        prepare(messy, tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out" / "current").exists()


def test_bad_files_can_stop_at_once(messy, tmp_path):
    (messy / "project 3" / "bad.jpg").write_text("x")
    with pytest.raises(UserError, match=r"project 3/bad\.jpg"):
        prepare(messy, tmp_path / "out", SETTINGS.model_copy(update={"bad_files": "raise"}))


def test_the_output_may_not_swallow_other_files(messy, tmp_path):
    with pytest.raises(UserError, match="holds other files"):
        prepare(messy / "project 1", messy, SETTINGS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds other files"):
        prepare(messy, tmp_path / "mine", SETTINGS)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("name", ["frame_{:05}.png", "facade_{:03}.png", "row-{:07}.png"])
def test_names_that_make_one_scene_are_refused_before_anything_is_read(tmp_path, monkeypatch, name):
    """This was refused only after the whole survey, with unsuitable advice."""
    for number in range(12):
        noise_image(tmp_path / "in" / name.format(number), seed=number)
    monkeypatch.setattr("archsr.data.prepare.pipeline._survey", lambda *_: pytest.fail("files were read"))
    with pytest.raises(UserError, match=r"found 1 \((frame|facade|row)\).*--set scenes.title=false"):
        prepare(tmp_path / "in", tmp_path / "out", SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    monkeypatch.undo()
    free = SETTINGS.model_copy(update={"scenes": SETTINGS.scenes.model_copy(update={"title": False})})
    assert prepare(tmp_path / "in", tmp_path / "out", free).splits["test"].scenes > 0


def test_an_output_that_is_a_link_stays_one(messy, tmp_path):
    """The link was once replaced by a folder, on the wrong disk."""
    real = tmp_path / "large disk" / "set"
    real.mkdir(parents=True)
    link = tmp_path / "out"
    link.symlink_to(real)
    for _ in range(2):
        prepare(messy, link, SETTINGS)
        assert link.is_symlink()
        assert made_of(real).splits["train"].samples > 0
        assert [p.name for p in real.parent.iterdir()] == ["set"]


def test_an_output_that_is_mounted_stays_the_same_folder(messy, tmp_path):
    """This once failed after all the work: nothing may be written beside the output, and it is never moved."""
    out = tmp_path / "mounted"
    out.mkdir()
    before, others = out.stat().st_ino, sorted(tmp_path.iterdir())
    for number in range(2):
        prepare(messy, out, SETTINGS.model_copy(update={"samples_per_shard": 8 + number}))
        assert out.stat().st_ino == before
        assert sorted(tmp_path.iterdir()) == others
    assert sorted(p.name for p in out.iterdir()) == ["current", "v1", "v2"]


def test_an_output_inside_the_photographs_is_not_read_as_input(messy):
    prepare(messy, messy / "shards", SETTINGS)
    again = prepare(messy, messy / "shards", SETTINGS)
    assert again.sources.found == 12


def test_the_summary_names_what_was_left_out(messy, tmp_path):
    (messy / "project 0" / "text.jpg").write_bytes(b"hello")
    text = summary(prepare(messy, tmp_path / "out", SETTINGS), current(tmp_path / "out"))
    assert "13 files found, 12 photographs kept, 1 left out" in text
    assert "project 0/text.jpg: not an image that can be read" in text


def test_one_validation_scene_is_warned_of(messy, tmp_path):
    """A single validation scene would choose the weights."""
    made = prepare(messy, tmp_path / "out", SETTINGS)
    few, more = (
        made.model_copy(
            update={"splits": {**made.splits, "val": made.splits["val"].model_copy(update={"scenes": scenes})}}
        )
        for scenes in (1, 2)
    )
    assert "validation has one scene, and validation chooses the weights" in summary(few, current(tmp_path / "out"))
    assert "validation has" not in summary(more, current(tmp_path / "out"))


# ---------------------------------------------------------------- manifest


def test_inspect_verifies_every_file(shards, tmp_path):
    assert "every file verified" in inspect_dataset(shards)
    others = (mf.NAME, "report.html", "stamps.json", "thumbs.npy")
    names = [p.name for p in shards.iterdir() if p.name not in others]
    for name in names:
        copy = tmp_path / name
        shutil.copytree(shards, copy)
        changed = bytearray((copy / name).read_bytes() or b"x")
        changed[len(changed) // 2] ^= 1
        (copy / name).write_bytes(changed)
        with pytest.raises(UserError, match=f"{name}: altered"):
            inspect_dataset(copy)
        (copy / name).unlink()
        assert any("missing" in p for p in problems(copy, mf.load(copy)))
        assert "not verified" in inspect_dataset(shards, check=False)


def test_the_report_shows_what_was_done(shards):
    page = (shards / "report.html").read_text()
    for word in (
        "Which scenes are for what",
        "for testing (test)",
        "Near-duplicates",
        "Left out",
        "Drawings",
        "drawing: 1",
        "Sharpness",
        "Sample crops",
        "data:image/jpeg",
    ):
        assert word in page, word
    assert "http" not in page, "self-contained"


def test_another_schema_and_damage_are_named(shards, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    plain = json.loads((copy / mf.NAME).read_text())
    for change, word in (
        ({"schema": "archsr-shards/99"}, "another schema: got 'archsr-shards/99'"),
        ({"splits": 3}, "damaged at splits"),
    ):
        (copy / mf.NAME).write_text(json.dumps({**plain, **change}))
        with pytest.raises(UserError, match=word):
            mf.load(copy)
    (copy / mf.NAME).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        mf.load(copy)
    with pytest.raises(UserError, match="archsr prepare PHOTOS"):
        mf.load(tmp_path)


@pytest.mark.gate
def test_real_photographs(real_photos, tmp_path):
    made = prepare(real_photos, tmp_path / "real", PrepareConfig(tile=256, pair_size=256, pairs_per_photo=1))
    assert made.sources.found == 78
    plans = {i.path for i in made.left_out if i.kind == "drawing"}
    assert plans == {"project_02/plan-9584.jpg", "project_11/plan-1863.jpg", "project_22/plan-_123.jpg"}
    assert made.sources.kept + sum(i.kind == "duplicate" for i in made.left_out) == 75


def test_hugging_face_datasets_reads_the_shards(shards, tmp_path, monkeypatch):
    import datasets

    files = {side: [str(shards / s.file) for s in split.shards] for side, split in mf.load(shards).splits.items()}
    opened = datasets.load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path))
    assert {side: len(opened[side]) for side in files} == {k: v.samples for k, v in mf.load(shards).splits.items()}
    first = opened["test"][0]
    assert first["gt.jpg"].size == tuple(4 * s for s in first["lq.webp"].size)
    assert first["__key__"] == samples(shards, "test")[0].key


@pytest.mark.parametrize(
    ("changes", "member", "formats"),
    [
        ({}, "gt.jpg", ["JPEG", "WEBP"]),
        ({"crops": "reference"}, "gt.jpg", ["WEBP"]),  # small images are upscaled to a shortest side of 400
        ({"encoding": "png"}, "gt.png", ["PNG"]),
        ({"encoding": "jpeg"}, "gt.jpg", ["JPEG"]),
    ],
    ids=str,
)
def test_it_also_reads_shards_of_mixed_photographs(photos, prepare_config, tmp_path, changes, member, formats):
    """JPEG files and others, and samples with extra fields, have one schema."""
    import datasets

    for number, path in enumerate(sorted(photos.rglob("*.jpg"))):
        target = tmp_path / "photos" / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            Image.open(path).save(target.with_suffix(".png"))
        else:
            shutil.copy(path, target)
    prepare(tmp_path / "photos", tmp_path / "shards", prepare_config.model_copy(update=changes))
    made = made_of(tmp_path / "shards")
    folder = current(tmp_path / "shards")
    files = {side: [str(folder / s.file) for s in split.shards] for side, split in made.splits.items()}
    opened = datasets.load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert len(opened["train"]) == made.splits["train"].samples
    assert {row[member].format for row in opened["train"]} == set(formats)
    assert {row[member].format for row in opened["test"]} == {"PNG" if member == "gt.png" else "WEBP"}
